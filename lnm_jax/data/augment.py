"""Augmentation and normalisation of one example, on the device, inside the jitted step.

An example is an image (H, W, C) or event frames (T, H, W, C); frames are all treated alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray, Shaped
    from numpy.typing import ArrayLike


def normalise(image: Array, mean: Array, std: Array) -> Float[Array, "*B H W C"]:
    """(image - mean) / std a channel, in float32."""
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
    key: PRNGKeyArray, image: Shaped[Array, "*T H W C"], size: int, fill: ArrayLike = 0
) -> Shaped[Array, "*T H W C"]:
    """Fills a square around a random pixel; what falls outside the image is cut off.

    The released code cuts after normalisation and fills with 0, the data set's mean: that is
    this function on a normalised image with the default `fill`. Before normalisation it is
    the same with `fill` the mean, up to rounding to the image's type.

    Args:
      key: of this image.
      image: of any type.
      size: side of the square, in pixels (16 for CIFAR-10, 8 for CIFAR-100 in the reference).
      fill: (C,) or a number, in the image's unit.
    Returns: image, the same type.
    References: DeVries and Taylor (2017), arXiv:1708.04552, github.com/uoguelph-mlrg/Cutout.
    """
    height, width, _ = image.shape[-3:]
    row, column = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    # Rows -size // 2 .. size // 2 - 1 around the centre, as released.
    rows, columns = jnp.arange(height) - row + size // 2, jnp.arange(width) - column + size // 2
    inside = ((rows >= 0) & (rows < size))[:, None] & ((columns >= 0) & (columns < size))
    fill = jnp.asarray(fill)
    if jnp.issubdtype(image.dtype, jnp.integer):
        fill = jnp.round(fill)
    return jnp.where(inside[..., None], fill.astype(image.dtype), image)
