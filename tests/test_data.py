"""Data sets by name, what they say of themselves, and arrays that are kept."""

import io
import sys
import zipfile

import numpy as np
import pytest

from lnm_jax import data
from lnm_jax.data import Dataset, augment, dataset
from lnm_jax.errors import ConfigError
from lnm_jax.files import cached


@pytest.fixture(scope="module")
def digits():
    return data.DATASETS["digits"]()


def test_digits_are_split_80_20_the_same_for_every_class(digits):
    shapes = [split.images.shape for split in (digits.train, digits.test)]
    assert shapes == [(1437, 8, 8, 1), (360, 8, 8, 1)]
    assert digits.train.images.dtype == np.uint8
    train, test = (np.bincount(split.labels) for split in (digits.train, digits.test))
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.004)
    again = data.DATASETS["digits"]()
    np.testing.assert_array_equal(digits.test.images, again.test.images)
    # No image of the test set was trained on.
    rows = lambda split: {image.tobytes() for image in split.images}
    assert not rows(digits.train) & rows(digits.test)


def test_pixels_come_one_a_timestep_in_their_order_or_in_another(digits):
    rows, permuted = (
        data.load(f"{name}_digits", timesteps=64) for name in ("sequential", "permuted")
    )
    assert rows.train.images.shape == (1437, 64, 1, 1, 1)
    np.testing.assert_array_equal(rows.test.images.reshape(-1, 8, 8, 1), digits.test.images)
    order = np.array([rows.test.images[:, k].tobytes() for k in range(64)])
    other = np.array([permuted.test.images[:, k].tobytes() for k in range(64)])
    assert sorted(order) == sorted(other)
    assert (order != other).any()
    with pytest.raises(ConfigError, match="timesteps must be 64, one a pixel, got 10"):
        data.load("sequential_digits", timesteps=10)


def test_any_set_is_trained_on_fewer_examples(digits):
    few = data.load("digits", examples=100)
    np.testing.assert_array_equal(
        few.train.images, digits.train.images[np.arange(100) * 1437 // 100]
    )
    assert len(few.test.labels) == 360
    assert few.split.endswith("100 of 1437 to train on")
    assert data.info_of(few).digest != data.info_of(digits).digest
    assert len(data.load("interval", examples=60).train.labels) == 60  # which draws them itself
    with pytest.raises(ConfigError, match="must be at most 1437 of digits, got 1438"):
        data.load("digits", examples=1438)


def test_normalised_training_images_have_mean_0_and_variance_1(digits):
    x = augment.normalise(digits.train.images, digits.mean, digits.std)
    np.testing.assert_allclose([x.mean(), x.var()], [0, 1], atol=1e-4)


def test_mean_and_deviation_are_exact():
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 6, 3), dtype=np.uint8)
    images[..., 2] = 7
    mean, std = dataset.mean_std(images)
    np.testing.assert_array_equal(mean, images.mean((0, 1, 2)).astype(np.float32))
    np.testing.assert_allclose(std[:2], images.std((0, 1, 2))[:2], rtol=1e-7)
    assert std[2] == 1  # of a constant channel, which is only centred


def own(**changes):
    """A data set of two classes, with fields of its training split or of itself changed."""
    images, labels = np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1], np.int32)
    train = data.Split(images, labels)
    train = train._replace(**{name: changes.pop(name) for name in train._fields if name in changes})
    made = Dataset(train, data.Split(images, labels), 2, np.zeros(1), np.ones(1), "mine")
    return made._replace(**changes)


EVENTS = np.zeros((4, 3, 2, 2, 1), np.float16)
UNSOUND = [
    ({"labels": np.array([0, 1, 0, 2])}, "train labels must be 0 to 1, got 2 for example 3"),
    ({"labels": np.array([0, -1, 0, 1])}, "train labels must be 0 to 1, got -1 for example 1"),
    ({"labels": np.zeros(4)}, "train labels must be N integers, got float64 of shape (4,)"),
    ({"labels": np.eye(4, 2, dtype=int)}, "train labels must be N integers, got int64 of shape"),
    ({"labels": np.zeros(3, int)}, "train must have a label an image, got 4 images and 3 labels"),
    ({"images": EVENTS[0, 0]}, "train images must be (H, W, C) or (T, H, W, C) each, got (2, 1)"),
    ({"images": EVENTS}, "test images must be (3, 2, 2, 1) of float16, as those of train, got (2"),
    ({"images": EVENTS.astype(int)}, "train images must be uint8 or floating-point, got int64"),
    ({"images": EVENTS + np.inf}, "train images must be finite, image 0 is not"),
    ({"images": EVENTS[:0], "labels": np.zeros(0, int)}, "train has 0 examples, at least 1 is"),
    ({"train": EVENTS}, "train must be a data.Split or data.Stream, got ndarray"),
    ({"num_classes": 0}, "num_classes must be an integer >= 1, got 0"),
    ({"classes": ("cat",)}, "classes must name all 2 or none, got 1 names"),
    ({"mean": np.zeros(3)}, "mean must be a finite number for each of C = 1, got [0.0, 0.0, 0.0]"),
    ({"std": np.zeros(1)}, "std must be above 0, got [0.0]"),
]


@pytest.mark.parametrize(("changes", "message"), UNSOUND)
def test_a_data_set_that_is_not_sound_is_one_line(changes, message):
    with pytest.raises(ConfigError) as error:
        data.check(own(**changes))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_sound_data_set_passes(digits):
    assert data.check(own()).split == "mine"
    data.check(digits)
    data.check(data.load("identify", examples=3, timesteps=4))  # labels are spikes
    assert data.load("interval", examples=6).classes[0] == "4 timesteps"
    with pytest.raises(ConfigError, match=r"must be a data\.Dataset, got tuple"):
        data.check((1, 2))


OWN = """
from lnm_jax.data import load as _load

def load(*, timesteps, seed=3, directory=None):
    return _load("digits")._replace(split=f"{timesteps} {seed} {directory}")

def needs(*, directory):
    pass
"""


def test_anybodys_own_data_set_is_named_by_its_import_path(tmp_path, monkeypatch, config):
    from lnm_jax.training import configuration, experiment

    (tmp_path / "my_lab.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    config.data.name = "my_lab:load"
    configuration.validate(config)
    found = experiment.build(config).dataset
    assert isinstance(found, Dataset)
    assert found.split == "2 0 None"  # the fields of the configuration that it has
    with pytest.raises(ConfigError, match="directory must say where my_lab:needs is"):
        data.load("my_lab:needs")
    config.data.name = "my_lab:lod"
    for load in (lambda: data.load("my_lab:lod"), lambda: configuration.validate(config)):
        with pytest.raises(ConfigError, match=r"config\.data\.name is 'my_lab:lod', .* 'lod'"):
            load()
    with pytest.raises(ConfigError, match=r"one of digits, .* \(did you mean 'cifar10'\?\)"):
        data.load("cifar1")


def array_file(header):
    return b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n"


def archive(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a.npy", content)
    return file.getvalue()


HUGE = array_file(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }")
BROKEN = [b"", b"PK\x03\x04", None, HUGE, archive(HUGE), archive(array_file(b"{(((("))]


@pytest.mark.parametrize("damage", BROKEN, ids=range(len(BROKEN)))
def test_a_damaged_file_of_kept_arrays_is_made_again(tmp_path, damage):
    calls = []

    def make():
        calls.append(1)
        return {"a": np.arange(600, dtype=np.float16), "b": np.array(3)}

    cached(tmp_path, {"size": 3}, make)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(whole[200:300], bytes(100)) if damage is None else damage)
    for _ in range(2):
        kept = cached(tmp_path, {"size": 3}, make)
        assert kept.keys() == {"a", "b"}
        np.testing.assert_array_equal(kept["a"], np.arange(600))
    assert len(calls) == 2
