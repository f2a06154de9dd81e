"""Ternary spikes: -1, 0 or 1, and a learned amplitude."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons import drift
from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Neuron, two_phase


@factory
def ternary(
    *,
    decay: float = 0.25,
    learn_amplitude: bool = False,
    threshold: float = 0.5,
    surrogate: str = "rectangle",
    width: float = 1.0,
    gate_gradient: bool = True,
) -> Neuron:
    """Ternary spikes (Guo et al. 2024): a LIF neuron with a threshold on either side.

        u = decay v + I,    z = H(u - threshold) - H(-u - threshold)
        v' = u (1 - |z|),   out = a z

    Each side has the surrogate. At the defaults that is the published dz/du = 1 on |u| < 1, but
    for u = 0 exactly, where it is 0. In |z|, where its gradient is taken, a neuron that is
    silent passes none, as in the authors' code.

    a = 1, or one learned scalar a layer that starts at 1 and folds into the next layer's
    weights, unless the same spikes also pass an identity shortcut.
    Source: the authors' code. Confidence: of the dynamics certain; of the amplitude likely (it
    is disabled in their code, and whether it is bounded is not known).

    Args:
      decay: share of the potential kept per timestep; published 0.25.
      learn_amplitude: whether a is learned.
      threshold: published 0.5 (the code's nominal 1 is compared at 0.5).
      surrogate, width, gate_gradient: see `FiringFields`; published as by default.
    Returns: a `Neuron` with params {}, or {"amplitude": ()}. Its spikes are -1, 0 and 1 times a.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.between("decay", decay, 0, 1)
    fires = firing(
        threshold=threshold, surrogate=surrogate, width=width, gate_gradient=gate_gradient
    )

    def init(key):
        return {"amplitude": jnp.float32(1)} if learn_amplitude else {}

    f = drift.line(decay)._replace(describe=None)  # readers know one threshold alone

    def fire(params, u, seen=None):
        compared, width = u if seen is None else seen, fires.surrogate_width(params)
        above, below = (fires.spike(x - threshold, width) for x in (compared, -compared))
        spikes = above - below
        v = fires.reset(u, spikes * jax.lax.stop_gradient(spikes))  # |z|
        return v, spikes * params["amplitude"] if learn_amplitude else spikes

    return two_phase(
        init,
        fires.initial,
        lambda params, v, current: decay * v + current,
        fire,
        drift=f,
        threshold=threshold,
        macs=f.macs,
        reads=fires.reads,
    )
