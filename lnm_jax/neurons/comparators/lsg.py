"""LSG: a learned leak, and a surrogate that is as wide as the leak makes the potential."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Neuron, two_phase


@factory
def lsg(
    *,
    decay: float = 0.2,
    threshold: float = 0.5,
    reset: str = "hard",
    v_reset: float = 0.0,
    gate_gradient: bool = True,
) -> Neuron:
    """LIF with a learnable surrogate gradient (Lian et al. 2023).

        u = b v + I,    b = s(w) learned,    z = H(u - threshold)

    and dz/du is a rectangle of width 2 threshold sqrt(1 + b**2): a standard deviation of u on
    either side, if I and v have tdBN's deviation, the threshold. No gradient reaches the width:
    w learns by the dynamics alone.

    Source: two reading notes of the paper and a derived work's code. Confidence: likely.

    Args:
      decay: b at initialisation; published 0.2. Strictly inside (0, 1).
      threshold: published 0.5.
      reset, v_reset, gate_gradient: see `FiringFields`; published as by default.
    Returns: a `Neuron` with params {"w": ()}, s the logistic function. A params["width"] from
      outside goes before its own.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    if not 0 < decay < 1:
        raise ValueError(f"decay must be > 0 and < 1, got {decay}")
    fires = firing(threshold=threshold, reset=reset, v_reset=v_reset, gate_gradient=gate_gradient)

    def integrate(params, v, current):
        return jax.nn.sigmoid(params["w"]) * v + current

    def fire(params, v_in, seen=None):
        b = jax.nn.sigmoid(params["w"])
        width = jax.lax.stop_gradient(2 * threshold * jnp.sqrt(1 + b * b))
        return fires.fire({"width": width, **params}, v_in, seen)

    start = math.log(decay / (1 - decay))
    return two_phase(
        lambda key: {"w": jnp.float32(start)},
        fires.initial,
        integrate,
        fire,
        threshold=threshold,
        macs=1,
        reads=fires.reads,
    )
