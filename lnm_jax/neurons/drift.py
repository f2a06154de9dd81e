"""Drift families f(u) of 4.2.1. Each has f(0) = 0 and starts as the LIF line -(1 - decay) u.

Parameters lie along leading axes and are used one scalar at a time, so that a leaf may carry
trailing axes (one set a channel) that broadcast against u.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax.numpy as jnp

from lnm_jax.neurons.checks import whole
from lnm_jax.neurons.neuron import Drift

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def polynomial(theta: Float[Array, "N"], u: Float[Array, "..."]) -> Float[Array, "..."]:
    """Drift f(u) = sum_k theta_k u**k, k = 1..N, by Horner's rule (Eq. 11 and 15, f(0) = 0).

    Args:
      theta: (N,) coefficients of u, u**2, ..., per timestep.
      u: bounded membrane potential, in units of the input current.
    Returns: f(u), shaped like u.
    Raises: ValueError if N == 0.
    """
    if theta.ndim == 0 or theta.shape[0] == 0:
        raise ValueError(f"polynomial needs theta of shape (N,), N >= 1, got shape {theta.shape}")
    f = theta[-1]
    for k in reversed(range(theta.shape[0] - 1)):  # N is static: this unrolls
        f = f * u + theta[k]
    return f * u


def linear(decay: float) -> Drift:
    """The fixed LIF line f(u) = -(1 - decay) u (Algorithm 2; decay is the factor kept)."""
    slope = decay - 1
    return Drift(lambda key: {}, lambda params, u: slope * u)


def learned_polynomial(bound: Callable, *, degree: int, decay: float) -> Drift:
    """Polynomial drift of the bounded potential, theta started as LIF: (decay - 1, 0, ..., 0).

    Args:
      bound: applied to the potential before f; see `bounding`.
      degree: N >= 1.
      decay: factor of the potential kept per timestep at initialisation.
    Raises: ValueError if degree < 1.
    """
    whole("degree", degree, 1)

    def init(key):
        del key  # the initialisation is LIF, whatever the key
        return {"theta": jnp.zeros(degree).at[0].set(decay - 1)}

    def apply(params, u):
        theta = params["theta"]
        if theta.shape[:1] != (degree,):
            raise ValueError(f"theta must have {degree} coefficients, got shape {theta.shape}")
        return polynomial(theta, bound(u))

    return Drift(init, apply)


FAMILIES = {"polynomial": learned_polynomial}
