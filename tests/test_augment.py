"""Augmentation on the device: random crop, flip and Cutout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax.data import augment

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
KEYS = jax.random.split(jax.random.key(0), 400)


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


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint8"])
def test_frames_are_cropped_and_flipped_alike(dtype):
    frames = np.random.default_rng(0).integers(0, 99, (5, 6, 7, 2)).astype(dtype)
    for augmentation in (lambda k, i: augment.random_crop(k, i, 2), augment.random_flip):
        together = jax.vmap(lambda key, f=augmentation: f(key, frames))(KEYS[:20])
        assert (together.dtype, together.shape) == (frames.dtype, (20, *frames.shape))
        for t in range(5):
            alone = jax.vmap(lambda key, f=augmentation, t=t: f(key, frames[t]))(KEYS[:20])
            np.testing.assert_array_equal(together[:, t], alone)


def test_random_flip_mirrors_half_of_the_images():
    image = IMAGE
    flipped = np.asarray(jax.vmap(lambda key: augment.random_flip(key, image))(KEYS))
    mirrored = (flipped == image[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (flipped == image).all((1, 2, 3))).all()
    assert 150 < mirrored.sum() < 250  # five standard deviations about 200


def test_cutout_fills_a_square_around_every_pixel():
    height, width, size = 9, 12, 4
    image = jnp.ones((height, width, 3))
    cut = np.asarray(jax.vmap(lambda key: augment.cutout(key, image, size))(KEYS))
    some = {(out[..., 0] == 0).tobytes() for out in cut}
    masks = set()
    for row in range(height):  # the released code, for each centre
        for column in range(width):
            mask = np.zeros((height, width), bool)
            rows = np.clip([row - size // 2, row + size // 2], 0, height)
            columns = np.clip([column - size // 2, column + size // 2], 0, width)
            mask[slice(*rows), slice(*columns)] = True
            masks.add(mask.tobytes())
    assert some <= masks
    # 400 draws miss a centre with probability (1 - 1/108)^400, 2.4 %.
    assert len(some) > 0.9 * len(masks)
    assert np.isin(cut, (0, 1)).all()
