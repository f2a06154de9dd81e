"""Bounds on the argument of f (4.2.1, Table 5). The carried membrane potential is not bounded.

A bound is a function of f: `bound(f)` is f with its argument bounded.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lnm_jax.neurons.checks import positive

Bound = Callable  # bounded_f = bound(f)


def _clipped(v, limit):
    """v in [-limit, limit]; the derivative is 1 there, ends included, and 0 beyond.

    `jnp.clip` divides to share the gradient at the very ends, which every neuron would pay for.
    """
    return jnp.where(v > limit, limit, jnp.where(v < -limit, -limit, v))


def clip(limit: float = 1.0) -> Bound:
    """f(min(max(v, -limit), limit)): the paper's bound, with limit 1.

    Raises: ValueError if limit <= 0.
    """
    positive("clip", limit)
    return lambda f: lambda v: f(_clipped(v, limit))


def tanh(limit: float = 1.0) -> Bound:
    """f(tanh(v)), whatever the limit (Table 5, first row)."""
    del limit
    return lambda f: lambda v: f(jnp.tanh(v))


def linear(limit: float = 1.0) -> Bound:
    """f inside [-limit, limit], its tangent at the end beyond: C1, and injective where f is.

    Values beyond the interval stay distinguishable, which clip's do not (the paper's section 6).

    Raises: ValueError if limit <= 0.
    """
    positive("clip", limit)

    def bound(f):
        def continued(v):
            u = _clipped(v, limit)
            value, beyond = jax.jvp(f, (u,), (v - u,))  # f(u) and f'(u) (v - u), 0 inside
            return value + beyond

        return continued

    return bound


def none(limit: float = 1.0) -> Bound:
    """f itself: potentials may grow without bound."""
    del limit
    return lambda f: f


BOUNDS = {"clip": clip, "tanh": tanh, "linear": linear, "none": none}
