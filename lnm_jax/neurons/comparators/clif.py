"""CLIF: a leaky neuron whose memory of its spikes deepens the reset."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons.drift import EXPONENTIAL
from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Neuron, two_phase


@factory
def clif(
    *,
    decay: float = 0.5,
    threshold: float = 1.0,
    surrogate: str = "rectangle",
    width: float = 1.0,
) -> Neuron:
    """Complementary LIF, with a second potential m (Huang et al. 2024). Nothing is learned.

        u = decay v + I,    z = H(u - threshold)
        m' = m s((1 - decay) u) + z
        v' = u - z (threshold + s(m'))

    s is the logistic function and 1 - decay the published 1/tau. The gradient takes every path,
    those through z in m' and v' too: they are the method.

    Source: the authors' code (the class that keeps m itself, not s(m)). Confidence: certain.

    Args:
      decay: share of the potential kept per timestep; published 0.5 (tau = 2).
      threshold: published 1.
      surrogate, width: see `FiringFields`; published a rectangle of width 1.
    Returns: a `Neuron` of state (v, m), without parameters.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.between("decay", decay, 0, 1)
    fires = firing(threshold=threshold, surrogate=surrogate, width=width)

    def reset(shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def integrate(params, state, current):
        v, m = state
        u = decay * v + current
        return u, m * jax.nn.sigmoid((1 - decay) * u)

    def fire(params, state, seen=None):
        u, m = state
        compared = u if seen is None else seen
        spikes = fires.spike(compared - threshold, fires.surrogate_width(params))
        m = m + spikes
        return (u - spikes * (threshold + jax.nn.sigmoid(m)), m), spikes

    return two_phase(
        lambda key: {},
        reset,
        integrate,
        fire,
        threshold=threshold,
        macs=3 + 2 * (EXPONENTIAL + 1),
        reads=fires.reads,
    )
