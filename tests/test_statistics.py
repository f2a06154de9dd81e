"""Mean and standard deviation of training images."""

import numpy as np
import pytest

from lnm_jax import data
from lnm_jax.data import statistics
from lnm_jax.data.dataset import Dataset, Split, Stream
from lnm_jax.errors import ConfigError


def test_statistics_are_exact_in_memory_and_streamed(monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 7)
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 6, 3), dtype=np.uint8)
    labels = np.zeros(20, np.int32)
    stream = Stream(lambda index, generator: images[index], labels, (5, 6, 3), 0)
    for split in (Split(images, labels), stream):
        mean, std = statistics.compute(split)
        np.testing.assert_array_equal(mean, images.mean((0, 1, 2)).astype(np.float32))
        np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-7)
    with pytest.raises(ConfigError, match="float32"):
        statistics.compute(Split(images.astype(np.float32), labels))


def test_the_command_prints_statistics_of_the_training_images(tmp_path, monkeypatch, capsys):
    image = np.full((1, 2, 2, 1), 100, np.uint8)

    def load(*, directory):
        assert directory == str(tmp_path)
        split = Split(np.concatenate([image, 2 * image]), np.zeros(2, np.int32))
        return Dataset(split, split, 10, np.array([1.0]), np.array([2.0]), "")

    monkeypatch.setitem(data.DATASETS, "here", load)
    assert statistics.main(["here", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "here computed mean: 150.00000",
        "here computed std: 50.00000",
        "here in use mean: 1.00000",
        "here in use std: 2.00000",
    ]
    assert statistics.main(["here"]) == 2
    assert "here: say where it is with --data-dir" in capsys.readouterr().err


def test_the_command_agrees_with_the_digits_own_numbers(capsys):
    assert statistics.main(["digits"]) == 0
    mean, std, *in_use = (line.split(": ")[1] for line in capsys.readouterr().out.splitlines())
    assert [mean, std] == in_use
