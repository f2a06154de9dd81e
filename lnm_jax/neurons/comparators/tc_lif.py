"""TC-LIF: a dendrite and a soma that act on each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Neuron, two_phase


@factory
def tc_lif(
    *,
    threshold: float = 1.0,
    dendrite_reset: float = 0.5,
    surrogate: str = "triangle",
    width: float = 1.0,
    gate_gradient: bool = True,
) -> Neuron:
    """Two-compartment LIF (Zhang et al. 2024), dendrite d and soma m, without a leak.

        d_in = d - s(c_1) m + I,     m_in = m + s(c_2) d_in,    z = H(m_in - threshold)
        d' = d_in - dendrite_reset z,    m' = m_in - threshold z

    s is the logistic function. Nothing is forgotten: silent, (d, m) turns on an ellipse.
    Source: the authors' code. Confidence: certain; they have no convolutional result.

    Args:
      threshold: published 1 to 1.8, by task.
      dendrite_reset: what a spike takes from d; published 0.5 to 0.7, by task.
      surrogate, width, gate_gradient: see `FiringFields`; published as by default.
    Returns: a `Neuron` of state (m, d) with params {"c_1": (), "c_2": ()}, from 0.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.at_least("dendrite_reset", dendrite_reset, 0)
    fires = firing(
        threshold=threshold, surrogate=surrogate, width=width, gate_gradient=gate_gradient
    )

    def init(key):
        del key  # nothing is random
        return {"c_1": jnp.float32(0), "c_2": jnp.float32(0)}

    def reset(shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def integrate(params, state, current):
        m, d = state
        d = d - jax.nn.sigmoid(params["c_1"]) * m + current
        return m + jax.nn.sigmoid(params["c_2"]) * d, d

    def fire(params, state, seen=None):
        m, d = state
        compared = m if seen is None else seen
        spikes = fires.spike(compared - threshold, fires.surrogate_width(params))
        z = fires.gate(spikes)
        return (m - threshold * z, d - dendrite_reset * z), spikes

    return two_phase(
        init,
        reset,
        integrate,
        fire,
        threshold=threshold,
        macs=2,
        reads=fires.reads,
    )
