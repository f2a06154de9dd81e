"""Drifts of the literature's neurons (Gerstner et al. 2014), per timestep, with f(0) = 0.

Nothing here can overflow: QIF's and EIF's arguments are clipped to [-limit, limit]. Above the
threshold, which is inside, a neuron has spiked and been reset, so that the clip takes nothing
from its dynamics; below, it stops the Euler step from leaping over the threshold.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from lnm_jax.neurons.bounding import clip
from lnm_jax.neurons.checks import between, positive
from lnm_jax.neurons.neuron import Drift


def no_drift() -> Drift:
    """f = 0: the perfect integrator of IF."""
    return Drift(lambda key: {}, lambda params, u: jnp.zeros_like(u))


def linear(decay: float) -> Drift:
    """The LIF line f(u) = -(1 - decay) u (Algorithm 2).

    Args:
      decay: share of the potential kept per timestep.
    """
    between("decay", decay, 0, 1)
    slope = decay - 1
    return Drift(lambda key: {}, lambda params, u: slope * u)


def quadratic(*, a_0: float, v_c: float, limit: float) -> Drift:
    """QIF, f(u) = a_0 (u - v_rest)(u - v_c) with v_rest = 0 (Latham et al. 2000).

    Args:
      a_0: curvature, per timestep and unit of potential, > 0.
      v_c: critical potential, above which f drives u to the threshold.
      limit: of the clip on u.
    """
    positive("a_0", a_0)
    positive("v_c", v_c)
    return Drift(lambda key: {}, lambda params, u: clip(limit)(lambda u: a_0 * u * (u - v_c))(u))


def exponential(*, decay: float, delta_t: float, v_t: float, limit: float) -> Drift:
    """EIF, f(u) = (1 - decay)(-u + delta_t (exp((u - v_t) / delta_t) - exp(-v_t / delta_t))).

    Fourcaud-Trocme et al. (2003), less its value at 0, so that the rest is at 0.

    Args:
      decay: share of the potential kept per timestep far below v_t.
      delta_t: sharpness of the spike's onset, in units of the potential.
      v_t: rheobase threshold, where the slope of the leak and of the onset cancel.
      limit: of the clip on u; exp((limit - v_t) / delta_t) must be a finite float32.
    """
    between("decay", decay, 0, 1)
    positive("delta_t", delta_t)
    if (limit - v_t) / delta_t > 80 or -v_t / delta_t > 80:
        raise ValueError(f"delta_t must be > {max(limit - v_t, -v_t) / 80:.3g}, got {delta_t}")
    rest = math.exp(-v_t / delta_t)

    def f(u):
        return (1 - decay) * (delta_t * rest * jnp.expm1(u / delta_t) - u)

    return Drift(lambda key: {}, lambda params, u: clip(limit)(f)(u))
