"""TS-LIF: two compartments that both spike, and a learned mixture of their spikes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Neuron, two_phase

# p's and q's own share and that of the input, and what each takes from the other.
START = {"pp": 0.8, "p_input": 0.2, "qq": 0.3, "q_input": 0.7, "qp": 0.8, "pq": 0.1}


@factory
def ts_lif(
    *,
    threshold: float = 1.0,
    dendrite_reset: float = 0.5,
    surrogate: str = "arctan",
    width: float = 0.5,
    gate_gradient: bool = True,
) -> Neuron:
    """Temporal-segment LIF (Feng et al. 2025), compartments p (long) and q (short).

        p_in = pp p + p_input I - pq q,    q_in = qq q + q_input I - qp p_in
        z_p = H(p_in - threshold),         z_q = H(q_in - threshold)
        out = long z_p + short z_q
        p' = p_in - dendrite_reset z_p,    q' = q_in - threshold z_q

    All coefficients are learned, one set a layer in the paper, but for the mixture, which is a
    feature's: here `per_channel` turns all of them into a channel's. The output is real-valued.
    Source: the authors' code. Confidence: certain of the code; whether the paper bounds the
    coefficients is not known.

    Args:
      threshold: of both compartments; published 1.
      dendrite_reset: what a spike takes from p; published 0.5.
      surrogate, width, gate_gradient: see `FiringFields`; published as by default.
    Returns: a `Neuron` of state (p, q) with params "pp", "p_input", "pq", "qq", "q_input", "qp",
      and "long", "short" from a standard normal distribution, all (). Its spikes are 0, long,
      short or long + short.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.at_least("dendrite_reset", dendrite_reset, 0)
    fires = firing(
        threshold=threshold, surrogate=surrogate, width=width, gate_gradient=gate_gradient
    )

    def init(key):
        long, short = jax.random.normal(key, (2,), jnp.float32)
        start = {name: jnp.float32(value) for name, value in START.items()}
        return {**start, "long": long, "short": short}

    def reset(shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)

    def integrate(params, state, current):
        p, q = state
        p = params["pp"] * p + params["p_input"] * current - params["pq"] * q
        q = params["qq"] * q + params["q_input"] * current - params["qp"] * p
        return p, q

    def fire(params, state, seen=None):
        p, q = state
        width = fires.surrogate_width(params)
        z_p = fires.spike((p if seen is None else seen) - threshold, width)
        z_q = fires.spike(q - threshold, width)
        out = params["long"] * z_p + params["short"] * z_q
        return (p - dendrite_reset * fires.gate(z_p), q - threshold * fires.gate(z_q)), out

    return two_phase(
        init,
        reset,
        integrate,
        fire,
        threshold=threshold,
        macs=6,
        reads=fires.reads,
    )
