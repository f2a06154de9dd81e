"""Data sets, batches and augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import data
from lnm_jax.data import augment, batches
from lnm_jax.errors import ConfigError


@pytest.fixture(scope="module")
def digits():
    return data.DATASETS["digits"]()


def test_digits_are_split_80_20_the_same_for_every_class(digits):
    assert (digits.train.images.shape, digits.test.images.shape) == (
        (1437, 8, 8, 1),
        (360, 8, 8, 1),
    )
    assert digits.train.images.dtype == np.uint8
    train, test = (np.bincount(split.labels) for split in (digits.train, digits.test))
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.004)
    again = data.DATASETS["digits"]()
    np.testing.assert_array_equal(digits.test.images, again.test.images)
    # No image of the test set was trained on.
    rows = lambda split: {image.tobytes() for image in split.images}
    assert not rows(digits.train) & rows(digits.test)


@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
def test_every_image_is_trained_on_once_an_epoch(batch_size):
    images, epochs = 23, 4
    steps = data.steps_until(epochs, images, batch_size)
    stream = np.concatenate([batches.indices(5, step, images, batch_size) for step in range(steps)])
    orders = stream[: images * epochs].reshape(epochs, images)
    for order in orders:
        assert sorted(order) == list(range(images))
    assert len({tuple(order) for order in orders}) == epochs  # a fresh order each epoch


def test_a_batch_depends_on_seed_and_step_alone(digits):
    from_start = list(data.train_batches(digits.train, 1, 64, 0, 30))
    resumed = list(data.train_batches(digits.train, 1, 64, 25, 30))
    for a, b in zip(from_start[25:], resumed, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    other = next(data.train_batches(digits.train, 2, 64, 25, 26))
    assert (other["label"] != resumed[0]["label"]).any()
    index = batches.indices(1, 25, len(digits.train.labels), 64)
    np.testing.assert_array_equal(resumed[0]["image"], digits.train.images[index])
    np.testing.assert_array_equal(resumed[0]["label"], digits.train.labels[index])


@pytest.mark.parametrize("batch_size", [1, 7, 24, 100, 360])
def test_evaluation_counts_every_image_once(digits, batch_size):
    seen = [
        image.tobytes()
        for batch in data.eval_batches(digits.test, batch_size)
        for image, mask in zip(batch["image"], batch["mask"], strict=True)
        if mask
    ]
    assert seen == [image.tobytes() for image in digits.test.images]
    shapes = {batch["image"].shape for batch in data.eval_batches(digits.test, batch_size)}
    assert shapes == {(batch_size, 8, 8, 1)}  # one compiled program


def test_normalised_training_images_have_mean_0_and_variance_1(digits):
    x = augment.normalise(digits.train.images, digits.mean, digits.std)
    np.testing.assert_allclose([x.mean(), x.var()], [0, 1], atol=1e-4)


def test_random_crop_shifts_by_at_most_the_padding():
    image = jnp.arange(1.0, 17.0).reshape(4, 4, 1)
    keys = jax.random.split(jax.random.key(0), 200)
    crops = jax.vmap(lambda key: augment.random_crop(key, image, 1))(keys)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    shifts = {padded[i : i + 4, j : j + 4].tobytes(): (i, j) for i in range(3) for j in range(3)}
    counts = np.zeros((3, 3), int)
    for crop in np.asarray(crops):
        counts[shifts[crop.tobytes()]] += 1
    assert counts.sum() == 200
    assert counts.min() > 5  # all nine, about 22 each


def test_processes_share_every_batch_without_gap_or_overlap(digits):
    whole = list(data.train_batches(digits.train, 3, 12, 118, 121))  # across two epochs
    parts = [
        list(data.train_batches(digits.train, 3, 12, 118, 121, shard=(rank, 3)))
        for rank in range(3)
    ]
    for step, batch in enumerate(whole):
        for name, leaf in batch.items():
            shared = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(shared, leaf)
    tests = [
        np.concatenate(
            [batch["mask"] for batch in data.eval_batches(digits.test, 64, shard=(r, 2))]
        )
        for r in range(2)
    ]
    assert sum(mask.sum() for mask in tests) == len(digits.test.labels)
    with pytest.raises(ConfigError, match="12 images cannot be shared by 5 processes"):
        next(data.train_batches(digits.train, 0, 12, 0, 1, shard=(0, 5)))
