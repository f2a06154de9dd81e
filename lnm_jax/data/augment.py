"""Augmentation and normalisation of one example, on the device, inside the jitted step.

An example is an image (H, W, C) or event frames (T, H, W, C); frames are all treated alike.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from lnm_jax.data.auto_augment import auto_augment
from lnm_jax.data.dataset import Info
from lnm_jax.errors import ConfigError


def normalise(image: Array, mean: Array, std: Array) -> Float[Array, "*B H W C"]:
    """(image - mean) / std a channel, in float32."""
    # Shaped like it: nothing is left to broadcasting between ranks, which users may forbid.
    mean, std = (jnp.reshape(x, (1,) * (image.ndim - 1) + (-1,)) for x in (mean, std))
    return (image.astype(jnp.float32) - mean) / std


def random_crop(
    key: PRNGKeyArray, image: Shaped[Array, "*T H W C"], padding: int
) -> Shaped[Array, "*T H W C"]:
    """Pads with `padding` black pixels on each side and cuts out H x W at a random place."""
    others = image.ndim - 3
    sides = (padding, padding)
    padded = jnp.pad(image, ((0, 0),) * others + (sides, sides, (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (0,) * others + (top, left, 0), image.shape)


def random_flip(key: PRNGKeyArray, image: Shaped[Array, "*T H W C"]) -> Shaped[Array, "*T H W C"]:
    """Mirrors left and right with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key), image[..., ::-1, :], image)


def cutout(
    key: PRNGKeyArray, image: Shaped[Array, "*T H W C"], size: int
) -> Shaped[Array, "*T H W C"]:
    """Fills a square around a random pixel with 0; what falls outside the image is cut off.

    The released code cuts after normalisation, where 0 is the data set's mean.

    Args:
      size: side of the square, in pixels (16 for CIFAR-10, 8 for CIFAR-100 in the reference).
    References: DeVries and Taylor (2017), arXiv:1708.04552, github.com/uoguelph-mlrg/Cutout.
    """
    height, width, _ = image.shape[-3:]
    row, column = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    # Rows -size // 2 .. size // 2 - 1 around the centre, as released.
    rows, columns = jnp.arange(height) - row + size // 2, jnp.arange(width) - column + size // 2
    inside = ((rows >= 0) & (rows < size))[:, None] & ((columns >= 0) & (columns < size))[None]
    inside = inside.reshape((1,) * (image.ndim - 3) + (height, width, 1))
    return jnp.where(inside, 0, image)


def augmentation(fields, info: Info) -> Callable:
    """The function (key, example) -> float32 example that the fields of `config.data` ask for.

    In the order of the published recipes, each with a key of its own: crop, flip, AutoAugment,
    normalisation, Cutout. Examples of a stream are cropped and flipped when they are read.

    Args:
      fields: crop_padding, flip, auto_augment and cutout, and the name for messages.
      info: of the data set, whose mean and std normalise.
    Raises: ConfigError for an operation that the data set has no use for, or that leaves nothing.
    """
    shape = info.shape
    if fields.auto_augment and (len(shape), shape[-1], info.dtype) != (3, 3, "uint8"):
        raise ConfigError(
            f"config.data.auto_augment needs RGB images of type uint8; {fields.name} has examples "
            f"of shape {shape}, {info.dtype}"
        )
    size = min(shape[-3:-1])
    if fields.cutout > size:
        raise ConfigError(f"config.data.cutout must be at most {size}, got {fields.cutout}")
    if fields.crop_padding >= size:  # a crop could miss the image
        raise ConfigError(
            f"config.data.crop_padding must be below {size}, got {fields.crop_padding}"
        )
    if info.streamed and (fields.crop_padding or fields.flip):
        raise ConfigError(
            "config.data.crop_padding and config.data.flip must be off for images that are "
            "streamed: reading crops and flips them"
        )

    def prepare(key, image):
        keys = [key, *(jax.random.fold_in(key, number) for number in (1, 2, 3))]
        if fields.crop_padding:
            image = random_crop(keys[0], image, fields.crop_padding)
        if fields.flip:
            image = random_flip(keys[1], image)
        if fields.auto_augment:
            image = auto_augment(keys[2], image)
        image = normalise(image, info.mean, info.std)
        if fields.cutout:
            image = cutout(keys[3], image, fields.cutout)
        return image

    return prepare
