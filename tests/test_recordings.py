"""Recordings of one's own and tonic's data sets: files, frames, splits, and what is refused."""

import aedat4
import h5py
import numpy as np
import pytest
import tonic
from numpy.lib.recfunctions import rename_fields

from lnm_jax import cli, data
from lnm_jax.data import event_camera, events
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, loop

# Five events on a sensor of 4x3 pixels, of 40 microseconds: two timesteps of 20.
ROWS = [(0, 3, 2, 1), (5, 0, 0, 0), (19, 0, 0, 0), (20, 1, 2, 1), (40, 2, 2, 1)]  # t, x, y, p
FIVE = np.array(ROWS, [("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.bool_)])
SENSOR = (4, 3)


def expected():
    frames = np.zeros((2, 3, 4, 2))
    frames[0, 2, 3, 1] = 1  # row y, column x, ON
    frames[0, 0, 0, 0] = 2
    frames[1, 2, 1, 1] = 1  # the last event ends the recording, and is in no frame
    return frames


def write_bin(path, events):
    """N-MNIST's 40 bits: x, y, polarity and 23 bits of time."""
    rows = [
        [x, y, int(p) << 7 | t >> 16, t >> 8 & 255, t & 255]
        for t, x, y, p in events[["t", "x", "y", "p"]].tolist()
    ]
    path.write_bytes(np.array(rows, np.uint8).tobytes())


def write_h5(path, group="", **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[f"{group}/{name}"] = array
        if group:
            file["ms_to_idx"] = np.arange(3)


FOUR = np.stack([FIVE[name].astype(float) for name in "xytp"], 1)
SIGNED = FIVE.astype([("t", np.uint32), ("x", np.uint16), ("y", np.uint16), ("p", np.int8)])
SIGNED["p"] = 2 * SIGNED["p"] - 1
FIELDS = {name: FIVE[name] for name in "txyp"}
FORMATS = {  # a name of a file and what writes it
    "structured.npy": lambda path: np.save(path, FIVE),
    "names.npy": lambda path: np.save(
        path, rename_fields(FIVE, {"t": "timestamp", "p": "polarity"})
    ),
    "signed.npy": lambda path: np.save(path, SIGNED),
    "columns.npy": lambda path: np.save(path, FOUR),
    "fields.npz": lambda path: np.savez(path, ts=FIVE["t"], **{n: FIVE[n] for n in "xyp"}),
    "array.npz": lambda path: np.savez(path, events=FIVE, label=3),
    "a.aedat4": lambda path: aedat4.write(path, FIVE, SENSOR),
    "a.bin": lambda path: write_bin(path, FIVE),
    "group.h5": lambda path: write_h5(path, "events", **FIELDS),
    "array.HDF5": lambda path: write_h5(path, data=FIVE),
}


@pytest.fixture(scope="module")
def every_format(tmp_path_factory):
    """A flat tree of two classes with a file of each format in both."""
    root = tmp_path_factory.mktemp("recordings") / "mine"
    for name in ("left", "right"):
        (root / name).mkdir(parents=True)
        for file, write in FORMATS.items():
            write(root / name / file)
    (root / "left" / "._structured.npy").write_bytes(b"")
    (root / "left" / "deeper").mkdir()
    (root / "notes.txt").write_text("")
    return root


def load(root, **fields):
    fields = {"timesteps": 2, "sensor_size": SENSOR} | fields
    return data.load("events", directory=str(root), **fields)


def test_every_format_gives_the_same_frames(every_format):
    dataset = load(every_format)
    assert (dataset.train.images.shape, len(dataset.test.labels)) == ((16, 2, 3, 4, 2), 4)
    assert dataset.classes == ("left", "right")
    assert dataset.split == (
        "drawn with seed 0, 20 % of each class for testing: 16 train, 4 test; "
        "not recordings and ignored: 3"
    )
    for images in (dataset.train.images, dataset.test.images):
        np.testing.assert_array_equal(images, np.broadcast_to(expected(), images.shape))
    assert (every_format.parent / "mine_frames").is_dir()
    shrunk = load(every_format, image_size=2).train.images  # the longer side; 3 x 4 to 2 x 2
    assert shrunk.shape == (16, 2, 2, 2, 2)
    # The row y = 2 is 2/3 of the lower half, whose pixels are means over 1.5 x 2.
    np.testing.assert_allclose(shrunk[0, 0, 1, 1, 1], 1 / 3, rtol=2**-11)


def changed(event, **fields):
    """The five events with fields of one of them set, as (N, 4)."""
    rows = FOUR.copy()
    for name, value in fields.items():
        rows[event, "xytp".index(name)] = value
    return lambda path: np.save(path, rows)


def cut(name, end):
    """A file of a format, of which the last bytes are gone."""

    def write(path):
        FORMATS[name](path)
        path.write_bytes(path.read_bytes()[:end])

    return write


SHAPE = "; (N, 4) with columns xytp, or (N,) with fields t, x, y, p, is allowed"
BAD = {  # a file's name, what writes it, and what is said after its path
    "empty npy": ("npy", lambda path: path.write_bytes(b""), "cannot be read, is it whole? ("),
    "cut npy": ("npy", cut("columns.npy", -8), "cannot be read, is it whole? ("),
    "cut npz": ("npz", cut("array.npz", -99), "cannot be read, is it whole? ("),
    "cut h5": ("h5", cut("group.h5", -99), "cannot be read, is it whole? ("),
    "cut aedat4": ("aedat4", cut("a.aedat4", -9), "cannot be read, is it whole? (cut off or"),
    "not aedat4": ("aedat4", cut("a.bin", 9), "cannot be read, is it whole? (not an AEDAT4"),
    "cut bin": (
        "bin",
        cut("a.bin", -2),
        "cannot be read, is it whole? (events have 5 bytes, at its end are 3)",
    ),
    "pickled": (
        "npy",
        lambda path: np.save(path, np.array([{}]), allow_pickle=True),
        "cannot be read, is it whole? (Object arrays cannot be loaded",
    ),
    "no events": ("npy", lambda path: np.save(path, FIVE[:0]), "no events, at least 1 is needed"),
    "empty bin": ("bin", lambda path: path.write_bytes(b""), "no events, at least 1 is needed"),
    "axes": ("npy", lambda path: np.save(path, FOUR.T), "an array of shape (4, 5)" + SHAPE),
    "three": ("npy", lambda path: np.save(path, FOUR[:, :3]), "an array of shape (5, 3)" + SHAPE),
    "frames": ("npy", lambda path: np.save(path, np.zeros((2, 2, 3))), "an array of shape (2, 2,"),
    "no polarity": (
        "npz",
        lambda path: np.savez(path, **{name: FIVE[name] for name in "txy"}),
        "no field p (named p or polarity or pol or on) among t, x, y",
    ),
    "lengths": (
        "h5",
        lambda path: write_h5(path, **FIELDS | {"x": np.zeros(4)}),
        "fields must be (N,) of one length, got {'t': (5,), 'x': (4,), 'y': (5,), 'p': (5,)}",
    ),
    "text": (
        "npz",
        lambda path: np.savez(path, **FIELDS | {"x": np.array(list("abcde"))}),
        "events must be numbers, got <U1 for x",
    ),
    "time back": ("npy", changed(3, t=4), "event 3 goes back in time, from t = 19.0 to 4.0"),
    "time nan": ("npy", changed(4, t=np.nan), "event 4 goes back in time, from t = 20.0 to nan"),
    "polarity": (
        "npy",
        changed(1, p=2),
        "event 1 has p = 2.0, not a polarity: 0 and 1, or -1 and 1",
    ),
    "both": ("npy", changed(3, p=-1), "event 1 has p = 0.0, not a polarity: 0 and 1, or -1 and 1"),
    "left": (
        "npy",
        changed(2, x=-1),
        "event 2 has x = -1.0, outside of the 4x3 sensor: whole numbers from 0 to 3",
    ),
    "below": (
        "npy",
        changed(0, y=3),
        "event 0 has y = 3.0, outside of the 4x3 sensor: whole numbers from 0 to 2",
    ),
    "between": ("npy", changed(0, x=1.5), "event 0 has x = 1.5, outside of the 4x3 sensor"),
    "seconds": (
        "npy",
        lambda path: np.save(path, FOUR / np.array([1, 1, 4, 1])),  # 0 to 10, with fractions
        "times from 0.0 to 10.0 must be microseconds, not seconds, and last at least timesteps = 2",
    ),
    "one event": (
        "npy",
        lambda path: np.save(path, FIVE[:1]),
        "times from 0 to 0 must be microseconds, not seconds, and last at least timesteps = 2",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recording_is_one_line_that_names_it(tmp_path, name):
    extension, write, message = BAD[name]
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            np.save(tmp_path / folder / f"{number}.npy", FIVE)
    path = tmp_path / "right" / f"2.{extension}"
    write(path)
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_window_is_of_the_first_microseconds_and_not_longer_than_the_recording(every_format):
    windowed = load(every_format, time_window=20).train.images  # timesteps of 10
    assert windowed.sum((1, 2, 3, 4)).tolist() == 16 * [3]  # of five events
    assert windowed[0, 1, 0, 0, 0] == 1  # at 19 microseconds
    message = r"time_window = 41 microseconds must be from timesteps = 2 to the recording's 40$"
    with pytest.raises(ConfigError, match=rf"structured\.npy: {message}|\.\w+: {message}"):
        load(every_format, time_window=41)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sensor_size": None}, "config.data.sensor_size must be the sensor's width and height"),
        ({"sensor_size": (4, 0)}, "config.data.sensor_size must be .* got .4, 0."),
        ({"columns": "xyt"}, "config.data.columns must be t, x, y and p .* got 'xyt'"),
        ({"time_window": 1}, "config.data.time_window must be at least .* = 2 micro.* got 1"),
        ({"timesteps": 0}, "timesteps = 0: must be at least 1"),
        ({"memory_limit": 1e-9}, "frames of .* GiB, more than config.data.memory_limit=1e-09"),
    ],
)
def test_fields_that_do_not_fit_are_named(every_format, config, fields, message):
    with pytest.raises(ConfigError, match=message):
        load(every_format, **fields)
    if set(fields) & {"columns", "sensor_size"} and None not in fields.values():
        config.data.update(fields)
        with pytest.raises(ConfigError, match=message):
            configuration.validate_fields(config)


def test_frames_refuse_what_files_may_not_hold():
    frames = lambda made: events.frames(made, sensor_size=(4, 3), timesteps=2)
    np.testing.assert_array_equal(frames(FIVE), expected())
    np.testing.assert_array_equal(frames(SIGNED), expected())
    with pytest.raises(
        ValueError, match=r"structured array \(N,\) .* got shape \(5, 4\), no fields"
    ):
        frames(FOUR)
    with pytest.raises(ValueError, match="event 1 goes back in time, from t = 40 to 20"):
        frames(FIVE[::-1])
    many = np.repeat(FIVE, [40_000, 1, 1, 1, 1])
    assert frames(many)[0, 2, 3, 1] == 40_000  # more than 16 bits count
    with pytest.raises(ValueError, match="70000 events of a pixel in a timestep; at most 65504"):
        frames(np.repeat(FIVE, [70_000, 1, 1, 1, 1]))


def write_moving(root, count):
    """Recordings in three classes, of events in a row of their own, above each other."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("high", "low", "middle")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            made = np.zeros(60, event_camera.EVENT)
            made["t"] = np.sort(rng.integers(0, 100_000, 60))
            made["x"], made["y"] = rng.integers(0, 6, 60), 2 * label + rng.integers(0, 2, 60)
            made["p"] = rng.integers(0, 2, 60)
            np.save(root / name / f"{number}.npy", made)


def test_sixty_recordings_are_trained_on(tmp_path, config, capsys):
    write_moving(tmp_path / "mine", 20)
    config.epochs, config.data.batch_size, config.data.eval_batch_size = 1, 24, 12
    config.data.name, config.data.directory = "events", str(tmp_path / "mine")
    config.data.sensor_size, config.data.crop_padding = (6, 6), 0
    run = loop.train(config)
    dataset = run.experiment.dataset
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (48, 12)
    assert (dataset.train.shape, dataset.num_classes) == ((config.timesteps, 6, 6, 2), 3)
    assert int(run.state.step) == 2
    assert all(np.isfinite(record["loss"]) for record in run.records)
    path = sorted((tmp_path / "mine").glob("*/*.npy"))[0]
    assert cli.predict([run.directory, str(path), "--top=1"]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: ")
    (tmp_path / "empty.npy").write_bytes(b"")
    assert cli.predict([run.directory, str(tmp_path / "empty.npy")]) == 2
    assert "empty.npy: cannot be read, is it whole?" in capsys.readouterr().err


def test_one_far_timestamp_is_not_a_recording():
    """It would put all other events into the first frame."""
    far = np.zeros(200, [(name, np.int64) for name in "txyp"])
    far["t"] = np.arange(200)
    events.frames(far, sensor_size=(2, 2), timesteps=4, image_size=None)
    far["t"][-1] = 2**40
    with pytest.raises(ValueError, match="times jump from 198 to 1099511627776, over 90 %"):
        events.frames(far, sensor_size=(2, 2), timesteps=4, image_size=None)


# tonic


def write_shd(root, part, labels):
    """SHD as Zenke's laboratory publishes it, with 3 spikes a recording."""
    folder = root / "SHD"
    folder.mkdir(exist_ok=True)
    (folder / f"shd_{part}.h5.zip").write_bytes(b"")
    with h5py.File(folder / f"shd_{part}.h5", "w") as file:
        for name, dtype, value in (
            ("times", np.float16, [0, 0.25, 0.5]),
            ("units", int, [0, 699, 5]),
        ):
            rows = file.create_dataset(f"spikes/{name}", len(labels), h5py.vlen_dtype(dtype))
            for row in range(len(labels)):
                rows[row] = np.array(value, dtype)
        file["labels"] = np.array(labels, np.uint16)
        file["extra/keys"] = np.array([b"zero", b"one", b"two"])
        file["extra/speaker"] = np.zeros(len(labels), int)


def test_shd_is_frames_of_one_row(tmp_path):
    write_shd(tmp_path, "train", [2, 0, 1])
    write_shd(tmp_path, "test", [1])
    dataset = data.load("tonic:SHD", directory=str(tmp_path), timesteps=2)
    assert dataset.train.images.shape == (3, 2, 1, 700, 1)
    assert dataset.train.labels.tolist() == [2, 0, 1]
    assert (dataset.test.labels.tolist(), dataset.classes) == ([1], ("zero", "one", "two"))
    assert dataset.split == "tonic's training and test sets"
    assert np.argwhere(dataset.test.images).tolist() == [[0, 0, 0, 0, 0], [0, 1, 0, 699, 0]]


def test_nmnist_is_read_in_its_own_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)  # of 70,000
    for part, numbers in (("Train", (1, 2)), ("Test", (3,))):
        for label in (0, 7):
            (tmp_path / "NMNIST" / part / str(label)).mkdir(parents=True)
            for number in numbers:
                write_bin(tmp_path / "NMNIST" / part / str(label) / f"{number}.bin", FIVE)
    fields = {"directory": str(tmp_path), "timesteps": 2}
    dataset = data.load("tonic:NMNIST", **fields)
    assert (dataset.train.images.shape, dataset.test.labels.tolist()) == ((4, 2, 34, 34, 2), [0, 7])
    assert dataset.classes[7] == "7 - seven"
    np.testing.assert_array_equal(dataset.test.images[0, :, :3, :4], expected())
    assert dataset.train.images.sum() == 4 * 4
    path = tmp_path / "NMNIST" / "Test" / "7" / "3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=rf"{path}: cannot be read, is it whole"):
        data.load("tonic:NMNIST", **fields)


def test_a_set_without_parts_is_split_and_its_words_are_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(tonic.datasets.NCALTECH101, "_check_exists", lambda self: True)
    for name in ("ant", "bass"):
        (tmp_path / "NCALTECH101" / "Caltech101" / name).mkdir(parents=True)
        for number in range(3):
            write_bin(tmp_path / "NCALTECH101" / "Caltech101" / name / f"{number}.bin", FIVE)
    fields = {"directory": str(tmp_path), "timesteps": 2}
    with pytest.raises(ConfigError, match=r"config\.data\.sensor_size must be .* got None"):
        data.load("tonic:NCALTECH101", **fields)  # its recordings differ in size
    dataset = data.load("tonic:NCALTECH101", sensor_size=(5, 3), **fields)
    assert dataset.train.images.shape == (4, 2, 3, 5, 2)
    assert (dataset.test.labels.tolist(), dataset.classes) == ([0, 1], ("ant", "bass"))
    assert dataset.split == "drawn with seed 0, 20 % of each class for testing: 4 train, 2 test"


def test_what_tonic_cannot_give_is_one_line(tmp_path, config):
    def refused(name):
        with pytest.raises(ConfigError) as error:
            data.load(name, directory=str(tmp_path))
        assert "\n" not in str(error.value)
        return str(error.value)

    for name, folder in (
        ("NMNIST", "NMNIST"),
        ("DVSLip", "DVSLip"),
        ("NTIDIGITS18", "NTIDIGITS18"),
    ):
        message = f"{tmp_path}/{folder}: the files of tonic:{name} are missing; tonic.datasets."
        call = f"{name}(save_to={str(tmp_path)!r}, train=True) gets them"
        assert refused(f"tonic:{name}") == message + call
    assert refused("tonic:DSEC").startswith("tonic:DSEC needs save_to, split")
    assert refused("tonic:NMINST").endswith("got 'tonic:NMINST' (did you mean 'tonic:NMNIST'?)")
    config.data.name = "tonic:NMNIST"
    configuration.validate_fields(config)
    config.data.name = "tonic:SDH"
    with pytest.raises(ConfigError, match=r"^config\.data\.name must be .*'tonic:SHD'\?\)"):
        configuration.validate_fields(config)
    with pytest.raises(ConfigError, match=r"directory must say where tonic:SHD is"):
        data.load("tonic:SHD")
