"""Augmentation and normalisation of one image, on the device, inside the jitted step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray, Shaped


def normalise(image: Array, mean: Array, std: Array) -> Float[Array, "*B H W C"]:
    """(image - mean) / std a channel, in float32."""
    return (image.astype(jnp.float32) - mean) / std


def random_crop(
    key: PRNGKeyArray, image: Shaped[Array, "H W C"], padding: int
) -> Shaped[Array, "H W C"]:
    """Pads with `padding` black pixels on each side and cuts out H x W at a random place."""
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)
