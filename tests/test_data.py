"""Data sets by name, what they say of themselves, and arrays that are kept."""

import sys

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


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", None])
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
