"""Event recordings: AEDAT4 files, their frames, the cache."""

import os

import aedat4
import numpy as np
import pytest
import tonic

from lnm_jax.data import event_camera, events
from lnm_jax.errors import ConfigError

CLASSES = events.CLASSES


def recording(seed, number=300, sensor=(128, 128)):
    generator = np.random.default_rng(seed)
    made = np.zeros(number, event_camera.EVENT)
    # Microseconds since 1970, as recordings have them.
    made["t"] = 1_600_000_000_000_000 + np.sort(generator.integers(0, 1_300_000, number))
    made["x"], made["y"] = (generator.integers(0, size, number) for size in sensor)
    made["p"] = generator.integers(0, 2, number)
    return made


def write_set(root, counts, name="cifar10_{}_{}.aedat4"):
    """A small set in CIFAR10-DVS's layout; a recording's seed is 1000 class + number."""
    for label, (folder, count) in enumerate(zip(CLASSES, counts, strict=True)):
        (root / "CIFAR10DVS" / folder).mkdir(parents=True)
        for number in range(count):
            path = root / "CIFAR10DVS" / folder / name.format(folder, number)
            aedat4.write(path, recording(1000 * label + number), (128, 128))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared")
    write_set(root, [20] + 9 * [2])
    return root


@pytest.fixture
def small(tmp_path):
    write_set(tmp_path, 10 * [2])
    return tmp_path


def load(directory, **arguments):
    return events.load(directory=str(directory), **{"timesteps": 4, "image_size": 16} | arguments)


@pytest.mark.parametrize("number", [0, 1, 1000, 150_000])
def test_tonic_reads_exactly_what_was_written(tmp_path, number):
    path = tmp_path / "a.aedat4"
    written = recording(0, number, sensor=(346, 260))
    aedat4.write(path, written, (346, 260))
    read = tonic.io.read_aedat4(str(path))
    assert len(read) == number
    for name, field in zip(written.dtype.names, read.dtype.names, strict=True):
        np.testing.assert_array_equal(written[name], read[field])
    events._check_header(path)


def test_frames_count_the_events_of_each_part_of_the_recording():
    made = recording(1, 5000)
    frames = events.frames(made, sensor_size=(128, 128), timesteps=5, image_size=128)
    assert (frames.shape, frames.dtype) == ((5, 128, 128, 2), np.float16)
    expected = np.zeros_like(frames)
    start = made["t"] - made["t"][0]
    part = start // (start[-1] // 5)
    for index, event in zip(part, made, strict=True):
        if index < 5:  # the last event ends the last part
            expected[index, event["y"], event["x"], int(event["p"])] += 1
    np.testing.assert_array_equal(frames, expected)
    wide = made[made["y"] < 96]  # a sensor that is not square
    to_frame = tonic.transforms.ToFrame(sensor_size=(128, 96, 2), n_time_bins=5)
    counted = events.frames(wide, sensor_size=(128, 96), timesteps=5)
    np.testing.assert_array_equal(counted, to_frame(wide).transpose(0, 2, 3, 1))


@pytest.mark.parametrize("size", [16, 48, 64, 100, 256])
def test_resized_frames_keep_every_event(size):
    make = lambda image_size: events.frames(
        recording(2, 20_000), sensor_size=(128, 128), timesteps=3, image_size=image_size
    ).astype(np.float64)
    whole, resized = make(128), make(size)
    # A mean per sensor pixel: float16 rounds each value by at most 2^-11 of it.
    np.testing.assert_allclose(resized.mean((1, 2)), whole.mean((1, 2)), rtol=2**-11)
    if 128 % size == 0:
        blocks = whole.reshape(3, size, 128 // size, size, 128 // size, 2).mean((2, 4))
        np.testing.assert_allclose(resized, blocks, rtol=2**-11)
    if size == 48:  # 3 pixels lie over 8: the first has two columns whole and 2/3 of the third
        weights = np.array([1, 1, 2 / 3]) * 3 / 8
        corner = np.einsum("y,x,tyxp->tp", weights, weights, whole[:, :3, :3])
        np.testing.assert_allclose(resized[:, 0, 0], corner, rtol=2**-10)
        np.testing.assert_array_equal(resized, np.round(resized * 64) / 64)  # exact in float16


def test_frames_of_no_events_are_zero_and_events_off_the_sensor_refused():
    frames = events.frames(recording(0, 0), sensor_size=(32, 32), timesteps=3, image_size=8)
    assert frames.shape == (3, 8, 8, 2)
    assert not frames.any()
    with pytest.raises(ValueError, match="outside of the 32x32 sensor"):
        events.frames(recording(0), sensor_size=(32, 32), timesteps=3, image_size=8)


def test_the_last_tenth_of_each_class_by_number_is_for_testing(shared):
    """With a thousand recordings a class 900 and 100, as the field divides CIFAR10-DVS."""
    dataset = load(shared)
    assert dict(zip(CLASSES, range(10), strict=True)) == tonic.datasets.CIFAR10DVS.classes
    assert dataset.train.images.shape == (27, 4, 16, 16, 2)
    assert dataset.test.images.shape == (11, 4, 16, 16, 2)
    np.testing.assert_array_equal(dataset.train.labels, 18 * [0] + list(range(1, 10)))
    np.testing.assert_array_equal(dataset.test.labels, [0, *range(10)])
    assert (dataset.num_classes, dataset.classes) == (10, CLASSES)
    assert dataset.split == "first 90 % of each class train, last 10 % test"
    (shared / "CIFAR10DVS" / "README.txt").write_text("SIMULATED recordings: no camera saw this.")
    assert load(shared).split.endswith(", simulated recordings")
    images = np.concatenate([dataset.train.images[:18], dataset.test.images[[0, 1, 10]]])
    for seed, image in zip([*range(20), 9001], images, strict=True):  # numbers: 9, then 10
        made = events.frames(recording(seed), sensor_size=(128, 128), timesteps=4, image_size=16)
        np.testing.assert_array_equal(image, made)


def test_what_lies_beside_the_recordings_is_ignored_and_counted(small):
    root = small / "CIFAR10DVS"
    (root / "cat" / "._1.aedat4").write_bytes(b"of another system")
    (root / "cat" / "more").mkdir()
    (root / "cat.zip").write_bytes(b"")
    (root / ".cat").mkdir()
    assert load(small).split.endswith("last 10 % test; not recordings and ignored: 4")


def test_recordings_whose_times_go_back_are_sorted(small):
    path = small / "CIFAR10DVS" / "airplane" / "cifar10_airplane_0.aedat4"
    made = recording(0)
    aedat4.write(path, np.random.default_rng(0).permutation(made), (128, 128))
    expected = events.frames(made, sensor_size=(128, 128), timesteps=4, image_size=16)
    np.testing.assert_array_equal(load(small).train.images[0], expected)


def test_worker_processes_read_the_same(shared, tmp_path):
    (tmp_path / "CIFAR10DVS").symlink_to(shared / "CIFAR10DVS")  # a cache of its own
    np.testing.assert_array_equal(load(tmp_path, workers=1).train.images, load(shared).train.images)


def test_frames_are_kept_under_every_parameter_and_file(small, monkeypatch):
    reads = []
    read = events._read
    counting = lambda path, **rest: reads.append(path) or read(path, **rest)
    monkeypatch.setattr(events, "_read", counting)

    def counted(**arguments):
        reads.clear()
        return load(small, **arguments), len(reads)

    first, number = counted()
    assert number == 20
    again, number = counted()
    assert number == 0
    np.testing.assert_array_equal(first.train.images, again.train.images)
    np.testing.assert_array_equal(first.test.images, again.test.images)
    path = small / "CIFAR10DVS" / "bird" / "cifar10_bird_0.aedat4"
    os.utime(path, ns=(0, 0))
    assert counted()[1] == 20
    aedat4.write(path, recording(5, 10), (128, 128))
    os.utime(path, ns=(0, 0))  # another size, the same time
    changed, number = counted()
    assert number == 20
    assert (changed.train.images[2] != first.train.images[2]).any()
    path.rename(path.with_name("cifar10_bird_00.aedat4"))
    assert counted()[1] == 20
    monkeypatch.setattr(events.importlib.metadata, "version", lambda name: "0")
    for arguments in ({}, {"timesteps": 3}, {"image_size": 12}):
        assert counted(**arguments)[1] == 20
    assert all(name.endswith(".npz") for name in os.listdir(small / "CIFAR10DVS_frames"))


def test_where_frames_cannot_be_kept_they_are_loaded_with_a_warning(small, caplog):
    (small / "CIFAR10DVS_frames").write_text("a file where the folder should be")
    assert load(small).train.images.any()
    (warning,) = caplog.messages
    assert warning.startswith(f"nothing is kept: {small}/CIFAR10DVS_frames/")
    assert warning.endswith("cannot be written (File exists)")


DAMAGES = {
    "another file": lambda data: data.replace(b"#!AER", b"RIFF!"),
    "aborts aedat 2.3": lambda data: data.replace(b"<attr", b"</ttr"),
    "makes it panic": lambda data: data.replace(b"\f\0\0\0\f", b"\f\0\0\0\xff"),
    "another type": lambda data: data.replace(b"EVTS</attr>", b"EVXX</attr>"),
} | {f"cut at {end}": lambda data, end=end: data[:end] for end in (0, 10, 17, 300, 800, -1)}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_recording_is_named_and_does_not_end_the_process(small, name):
    path = small / "CIFAR10DVS" / "frog" / "cifar10_frog_1.aedat4"
    data = path.read_bytes()
    path.write_bytes(DAMAGES[name](data))
    assert path.read_bytes() != data
    with pytest.raises(ConfigError, match=r"frog_1\.aedat4: .*unpack") as caught:
        load(small)
    assert "\n" not in str(caught.value)
    assert not (small / "CIFAR10DVS_frames").exists()


def test_a_wrong_layout_says_what_is_expected(small):
    root = small / "CIFAR10DVS"
    expected = f"{root}/<class>/<number>.aedat4, the ten archives .* {events.SOURCE}"
    with pytest.raises(ConfigError, match="No such file"):
        load(small / "elsewhere")
    (root / "truck").rename(root / "lorry")
    with pytest.raises(ConfigError, match=f"class folder: lorry, truck; expected {expected}"):
        load(small)
    (root / "lorry").rename(root / "truck")
    (root / "truck" / "cifar10_truck_0.aedat4").unlink()
    with pytest.raises(ConfigError, match="the only recording of its class"):
        load(small)
    (root / "truck" / "gone.aedat4").symlink_to(root / "nowhere")
    with pytest.raises(ConfigError, match=r"gone\.aedat4: cannot be read"):
        load(small)
    for path in root.rglob("*.aedat4"):
        path.unlink()
    with pytest.raises(ConfigError, match="no recordings"):
        load(small)
    with pytest.raises(ConfigError, match="timesteps = 0: must be at least 1"):
        load(small, timesteps=0)
