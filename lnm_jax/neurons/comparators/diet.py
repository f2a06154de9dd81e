"""DIET-SNN's neuron: the leak and the threshold of every layer are learned."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Neuron, two_phase


@factory
def diet(
    *,
    decay: float = 1.0,
    threshold: float = 1.0,
    surrogate: str = "triangle",
    width: float = 1.0,
    surrogate_gain: float = 0.3,
) -> Neuron:
    """LIF with a learned leak and threshold (Rathi, Roy 2023).

        u = leak v + I,    z = H(u / theta - 1),    v' = u - theta M,    M = z, a constant

    theta has a gradient in H's argument and in what the reset takes; M has none. The leak is at
    most 1: beyond, the step uses 1 and the gradient still passes, where the authors clamp the
    parameter after each update.

    Source: the authors' code. Confidence: certain. They spike at u > theta, here at >=. They
    start theta at a share of the 99.7th percentile of the currents of a trained ANN and have a
    head that sums its currents; neither is in a neuron, nor here.

    Args:
      decay: leak at initialisation; published 1.
      threshold: theta at initialisation.
      surrogate: see `FiringFields`; published a triangle.
      width: of the surrogate at initialisation, in units of the potential; its reach follows
        theta, since it is one of u / theta. Published: as much as the threshold.
      surrogate_gain: factor of the surrogate's derivative; published 0.3.
    Returns: a `Neuron` with params {"leak": (), "theta": ()}.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.between("decay", decay, 0, 1)
    checks.positive("surrogate_gain", surrogate_gain)
    fires = firing(threshold=threshold, surrogate=surrogate, width=width)

    def init(key):
        del key  # nothing is random
        return {"leak": jnp.float32(decay), "theta": jnp.float32(threshold)}

    def integrate(params, v, current):
        leak = params["leak"]
        return (leak - jax.lax.stop_gradient(jnp.maximum(leak - 1, 0))) * v + current

    def fire(params, u, seen=None):
        theta = params["theta"]
        compared = u if seen is None else seen
        # In units of the potential at initialisation, as the width is; areas stay 1.
        spikes = fires.spike(threshold * (compared / theta - 1), fires.surrogate_width(params))
        fixed = jax.lax.stop_gradient(spikes)
        if surrogate_gain != 1:
            spikes = fixed + surrogate_gain * (spikes - fixed)
        return u - theta * fixed, spikes

    return two_phase(init, fires.initial, integrate, fire, macs=1, reads=fires.reads)
