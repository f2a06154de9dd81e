"""Spike functions: the Heaviside step forward, a surrogate derivative backward (Eq. 5 and 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from lnm_jax.neurons.checks import positive

if TYPE_CHECKING:
    from jaxtyping import Array, Float

Spike = Callable[["Float[Array, '...']"], "Float[Array, '...']"]


def heaviside(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 where x >= 0, else 0, in x's dtype (Eq. 5 with x = v_in - threshold)."""
    return (x >= 0).astype(x.dtype)


def with_derivative(derivative: Callable) -> Spike:
    """A Heaviside function whose derivative is taken to be `derivative(x)`.

    Args:
      derivative: elementwise function of x = v_in - threshold.
    Returns: the spike function, a `jax.custom_vjp`.
    """

    @jax.custom_vjp
    def spike(x):
        return heaviside(x)

    # The forward rule repeats heaviside instead of calling spike: kernels that trace this
    # rule can lower a comparison, but not a nested custom_vjp.
    spike.defvjp(lambda x: (heaviside(x), x), lambda x, g: (g * derivative(x),))
    return spike


def rectangle(width: float = 1.0) -> Spike:
    """1/width on the open window |x| < width/2 (Eq. 8; Wu et al. 2018). Area 1.

    Args:
      width: alpha of Eq. 8. The paper's window [-0.5, 0.5] is width 1.
    Raises: ValueError if width <= 0.
    """
    positive("width", width)
    return with_derivative(lambda x: (jnp.abs(x) < width / 2).astype(x.dtype) / width)


def triangle(width: float = 1.0) -> Spike:
    """max(0, width - |x|) / width**2 (Bellec et al. 2018; Deng et al. 2022). Area 1.

    Args:
      width: gamma, half the support: the paper's window [-0.5, 0.5] is width 0.5.
    Raises: ValueError if width <= 0.
    """
    positive("width", width)
    return with_derivative(lambda x: jnp.maximum(0, width - jnp.abs(x)) / width**2)


SURROGATES = {"rectangle": rectangle, "triangle": triangle}
