"""Resets after a spike, with Algorithm 1's backward or the full gradient through the gate."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Reset = Callable  # v = reset(v_in, spikes), elementwise


def gate(spikes, gate_gradient: bool):
    """The spikes as the reset sees them: without gradient (Algorithm 1, line 15), or with it."""
    return spikes if gate_gradient else jax.lax.stop_gradient(spikes)


def hard(*, threshold: float, v_reset: float, gate_gradient: bool) -> Reset:
    """v = v_reset where a neuron spiked, else v_in (Algorithm 1, lines 7 to 11).

    Args:
      threshold: unused; every reset takes the same arguments.
      v_reset: the potential after a spike.
      gate_gradient: False is Algorithm 1, line 15: the gate (1 - z) is a constant. True lets
        the gradient through the gate as well, by the spike's surrogate.
    """
    del threshold
    if gate_gradient:
        return lambda v_in, spikes: v_in * (1 - spikes) + v_reset * spikes

    def reset(v_in, spikes):
        # A select, not a product: v_in * 0 would turn an overflow into NaN.
        return jnp.where(gate(spikes, False) > 0, jnp.asarray(v_reset, v_in.dtype), v_in)

    return reset


def soft(*, threshold: float, v_reset: float, gate_gradient: bool) -> Reset:
    """v = v_in - (threshold - v_reset) z: subtracts what a hard reset takes at the threshold.

    Args: as for `hard`.
    """
    drop = threshold - v_reset
    return lambda v_in, spikes: v_in - drop * gate(spikes, gate_gradient)


RESETS = {"hard": hard, "soft": soft}
