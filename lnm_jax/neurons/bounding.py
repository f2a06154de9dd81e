"""Bounds on the argument of f (4.2.1, Table 5). The carried membrane potential is not bounded."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from lnm_jax.neurons.checks import positive

Bound = Callable  # u = bound(v), elementwise


def clip(limit: float = 1.0) -> Bound:
    """u = min(max(v, -limit), limit): the paper's bound, with limit 1.

    Raises: ValueError if limit <= 0.
    """
    positive("clip", limit)
    return lambda v: jnp.clip(v, -limit, limit)


def tanh(limit: float = 1.0) -> Bound:
    """u = tanh(v), whatever the limit (Table 5, first row)."""
    del limit
    return jnp.tanh


BOUNDS = {"clip": clip, "tanh": tanh}
