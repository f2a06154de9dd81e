"""Resets after a spike, with Algorithm 1's backward or the full gradient of Eq. 4."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Reset = Callable  # v = reset(v_in, spikes), elementwise


def hard(*, threshold: float, v_reset: float, gate_gradient: bool) -> Reset:
    """v = v_reset where a neuron spiked, else v_in (Eq. 4).

    Args:
      threshold: unused; every reset takes the same arguments.
      v_reset: the potential after a spike.
      gate_gradient: False is Algorithm 1, line 15: the gate (1 - o) is a constant. True lets
        the gradient through the gate as well (Eq. 4), by the spike's surrogate.
    """
    del threshold
    if gate_gradient:
        return lambda v_in, spikes: v_in * (1 - spikes) + v_reset * spikes

    def reset(v_in, spikes):
        # A select, not a product: v_in * 0 would turn an overflow into NaN.
        return jnp.where(jax.lax.stop_gradient(spikes) > 0, jnp.asarray(v_reset, v_in.dtype), v_in)

    return reset


RESETS = {"hard": hard}
