"""GLIF: learned gates between two leaks, two resets and two ways to take the input."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons.firing import factory, firing
from lnm_jax.neurons.neuron import Neuron, two_phase

GATES = ("gate_leak", "gate_input", "gate_reset")
LINEAR_STEPS = 8  # timesteps in which the linear leak alone would take the threshold, at the start


def _at(values, t):
    """values[t], the last one beyond the end, by comparisons: a kernel cannot gather."""
    found = values[values.shape[0] - 1]
    for i in reversed(range(values.shape[0] - 1)):
        found = jnp.where(t <= i, values[i], found)
    return found


def _raw(name: str, value: float) -> float:
    """The number whose logistic function is the value."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be > 0 and < 1, where GLIF keeps it; got {value}")
    return math.log(value / (1 - value))


@factory
def glif(
    *,
    timesteps: int = 4,
    decay: float = 0.25,
    threshold: float = 0.5,
    surrogate: str = "rectangle",
    width: float = 1.0,
) -> Neuron:
    """Gated LIF (Yao et al. 2022): with u and z of the timestep before,

        u' = (1 - A (1 - tau)) (1 - G z) u - (1 - A) L + (1 - B (1 - k[t])) I - (1 - G) R z
        z' = H(u' - theta)

    A, B, G are the gates; tau the share kept, L the linear leak, k[t] the conductance of the
    input at a timestep, R what a soft reset takes, theta the threshold. All are learned, as the
    logistic function of a parameter, and the gates stay soft. u is not reset in place: the next
    timestep takes the reset from it. The gradient takes every path.

    Parameters are a channel's in the paper (`per_channel`), a layer's where there is one set.
    Source: the authors' code. Confidence: certain. They spike at u' > theta, here at >=.

    Args:
      timesteps: T, how many conductances; beyond them the last one goes on.
      decay: tau at initialisation; published 0.25. Strictly inside (0, 1).
      threshold: theta and R at initialisation, and 8 L; published 0.5. Strictly inside (0, 1).
      surrogate, width: see `FiringFields`; published a rectangle of width 1.
    Returns: a `Neuron` of state (u, z, t), t a scalar, with params "gate_leak" (A),
      "gate_input" (B), "gate_reset" (G), "tau", "linear" (L), "subtracted" (R), "theta", all (),
      and "conductance" (T,).
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.integer("timesteps", timesteps, 1)
    fires = firing(threshold=threshold, surrogate=surrogate, width=width)
    start = {
        "tau": _raw("decay", decay),
        "theta": _raw("threshold", threshold),
        "subtracted": _raw("threshold", threshold),
        "linear": _raw("threshold", threshold / LINEAR_STEPS),
    }

    def init(key):
        gates = jax.random.uniform(key, (len(GATES),), jnp.float32, -0.1, 0.1)
        params = {name: jnp.float32(value) for name, value in start.items()}
        params["conductance"] = jnp.zeros(timesteps, jnp.float32)  # k = 0.5
        return {**params, **dict(zip(GATES, gates, strict=True))}

    def reset(shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((), dtype)

    def integrate(params, state, current):
        u, z, t = state
        names = (*GATES, "tau", "linear", "subtracted")
        a, b, g, tau, linear, subtracted = (jax.nn.sigmoid(params[name]) for name in names)
        k = jax.nn.sigmoid(_at(params["conductance"], t))
        kept = (1 - a * (1 - tau)) * (1 - g * z) * u - (1 - a) * linear
        u = kept + (1 - b * (1 - k)) * current - (1 - g) * subtracted * z
        return u, z, t + 1

    def fire(params, state, seen=None):
        u, _, t = state
        compared = u if seen is None else seen
        theta = jax.nn.sigmoid(params["theta"])
        spikes = fires.spike(compared - theta, fires.surrogate_width(params))
        return (u, spikes, t), spikes

    return two_phase(init, reset, integrate, fire, macs=2, reads=fires.reads)
