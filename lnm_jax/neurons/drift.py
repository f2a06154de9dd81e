"""Learned drift families f(u) of 4.2.1, each with f(0) = 0 and the LIF line at the start.

Parameters lie along leading axes and are used one scalar at a time, so that a leaf may carry
a trailing channel axis that broadcasts against u. A factory takes the same arguments in every
family: the bound, its limit, degree, knots, hidden and decay, of which it uses its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
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


def chebyshev(
    theta: Float[Array, "N"], u: Float[Array, "..."], limit: float = 1.0
) -> Float[Array, "..."]:
    """Drift f(u) = sum_k theta_k (T_k(u / limit) - T_k(0)), k = 1..N, by Clenshaw's recurrence.

    Args:
      theta: (N,) coefficients of T_1 .. T_N, per timestep (Hale 2015).
      u: potential in [-limit, limit], the interval that the polynomials are scaled to.
    Returns: f(u), shaped like u.
    """

    def clenshaw(x):
        b1, b2 = jnp.zeros_like(x), jnp.zeros_like(x)
        for k in reversed(range(theta.shape[0])):
            b1, b2 = theta[k] + 2 * x * b1 - b2, b1
        return x * b1 - b2

    # At 0 every product is exactly 0, so that the difference is exactly 0 there.
    return clenshaw(u / limit) - clenshaw(jnp.zeros((), u.dtype))


def spline(
    theta: Float[Array, "K"], u: Float[Array, "..."], limit: float = 1.0
) -> Float[Array, "..."]:
    """Cubic spline f(u) with uniform knots over [-limit, limit], C2, f(0) = 0 exactly.

    A cubic around 0, and at each inner knot x_j a cube that starts there and grows outward:
    theta_1 u + theta_2 u**2 + theta_3 u**3 + sum_j theta_j max(0, +-(u - x_j))**3. All cubic
    splines on these knots with f(0) = 0 are of this form (truncated powers, Schumaker 2007), and
    none of it needs a table look-up.

    Args:
      theta: (knots + 1,): the cubic's coefficients, then the inner knots' from left to right.
      u: potential.
      limit: of the interval, outside of which the last piece goes on.
    Returns: f(u), shaped like u.
    """
    inner = theta.shape[0] - 3
    f = polynomial(theta[:3], u) if inner else polynomial(theta, u)
    for j in range(inner):
        knot = -limit + 2 * limit * (j + 1) / (inner + 1)
        cube = jnp.maximum(u - knot if knot >= 0 else knot - u, 0)
        f = f + theta[3 + j] * cube * cube * cube
    return f


def mlp(params: dict, u: Float[Array, "..."]) -> Float[Array, "..."]:
    """g(u) = sum_k out_k (a(in_k u + bias_k) - a(bias_k)), a(x) = x / (1 + |x|), k = 1..hidden.

    Softsign, as its value at 0 is the same to the bit in every vector width: g(0) = 0 exactly.

    Args:
      params: "in", "bias" and "out", (hidden,) each.
      u: potential.
    Returns: g(u), shaped like u.
    """
    soft_sign = jax.nn.soft_sign
    weights = zip(params["in"], params["bias"], params["out"], strict=True)
    return sum(out * (soft_sign(w * u + b) - soft_sign(b)) for w, b, out in weights)


def _check_length(name: str, leaf: Array, length: int) -> None:
    if leaf.shape[:1] != (length,):
        raise ValueError(f"{name} must have {length} entries, got shape {leaf.shape}")


def learned_polynomial(bound: Callable, *, degree: int, decay: float, **_) -> Drift:
    """`polynomial` of the bounded potential, theta started as (decay - 1, 0, ..., 0).

    Args:
      bound: see `bounding`.
      degree: N >= 1.
      decay: share of the potential kept per timestep at initialisation.
    Raises: ValueError if degree < 1.
    """
    whole("degree", degree, 1)

    def apply(params, u):
        _check_length("theta", params["theta"], degree)
        return bound(lambda u: polynomial(params["theta"], u))(u)

    return Drift(lambda key: {"theta": jnp.zeros(degree, jnp.float32).at[0].set(decay - 1)}, apply)


def learned_chebyshev(bound: Callable, *, limit: float, degree: int, decay: float, **_) -> Drift:
    """`chebyshev` of the bounded potential, scaled to the bound, started as the LIF line.

    Args: as for `learned_polynomial`; limit is the bound's.
    """
    whole("degree", degree, 1)

    def apply(params, u):
        _check_length("theta", params["theta"], degree)
        return bound(lambda u: chebyshev(params["theta"], u, limit))(u)

    return Drift(
        lambda key: {"theta": jnp.zeros(degree, jnp.float32).at[0].set((decay - 1) * limit)}, apply
    )


def learned_spline(bound: Callable, *, limit: float, knots: int, decay: float, **_) -> Drift:
    """`spline` of the bounded potential, theta started as (decay - 1, 0, ..., 0).

    Args:
      bound: see `bounding`.
      limit: knots are uniform over [-limit, limit].
      knots: how many, ends included, >= 2.
      decay: share of the potential kept per timestep at initialisation.
    """
    whole("knots", knots, 2)

    def apply(params, u):
        _check_length("theta", params["theta"], knots + 1)
        return bound(lambda u: spline(params["theta"], u, limit))(u)

    return Drift(
        lambda key: {"theta": jnp.zeros(knots + 1, jnp.float32).at[0].set(decay - 1)}, apply
    )


def learned_mlp(bound: Callable, *, hidden: int, decay: float, **_) -> Drift:
    """The LIF line plus an `mlp` whose last layer starts at 0.

    Args:
      bound: see `bounding`.
      hidden: width of the hidden layer, >= 1.
      decay: share of the potential kept per timestep at initialisation.
    """
    whole("hidden", hidden, 1)

    def init(key):
        in_key, bias_key = jax.random.split(key)
        return {
            "in": jax.random.normal(in_key, (hidden,), jnp.float32) * math.sqrt(2),
            "bias": jax.random.uniform(bias_key, (hidden,), jnp.float32, -1, 1),
            "out": jnp.zeros(hidden, jnp.float32),
        }

    def apply(params, u):
        for name in ("in", "bias", "out"):
            _check_length(name, params[name], hidden)
        return bound(lambda u: (decay - 1) * u + mlp(params, u))(u)

    return Drift(init, apply)


FAMILIES = {
    "polynomial": learned_polynomial,
    "chebyshev": learned_chebyshev,
    "spline": learned_spline,
    "mlp": learned_mlp,
}
