"""Neurons of two variables: the potential u and a slow variable w."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from lnm_jax.neurons.checks import between, whole
from lnm_jax.neurons.neuron import Drift, Firing, Neuron


def _start(firing: Firing) -> Callable:
    def start(shape, dtype=jnp.float32):
        return firing.start(shape, dtype), jnp.zeros(shape, dtype)

    return start


def adaptive_exponential(
    drift: Drift, firing: Firing, *, a: float, b: float, tau_w: float
) -> Neuron:
    """AdEx: an exponential neuron with an adaptation current w (Brette, Gerstner 2005).

        v_in = v + f(v) - w + I,    w' = w + (a v - w) / tau_w + b z

    Args:
      drift: f, EIF's.
      firing: how it spikes and resets.
      a: subthreshold adaptation, current per potential.
      b: jump of w at a spike, in units of the current.
      tau_w: time constant of w, in timesteps, >= 1.
    """
    if not tau_w >= 1:
        raise ValueError(f"tau_w must be >= 1 timestep, got {tau_w}")

    def step(params, state, current):
        v, w = state
        v_new, spikes = firing.fire(params, v + drift.apply(params, v) - w + current)
        w = w + (a * v - w) / tau_w + b * firing.gate(spikes)
        return (v_new, w), spikes

    return Neuron(drift.init, _start(firing), step)


def exponents(degree: int) -> list[tuple[int, int]]:
    """(i, j) of the terms u**i w**j of total degree 1 .. degree, u's powers first."""
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1)]
    return sorted((pair for pair in pairs if 1 <= sum(pair) <= degree), key=lambda p: (p[1], p[0]))


def polynomial(theta, u, w, degree: int):
    """f(u, w) = sum_ij theta_ij u**i w**j over `exponents`, f(0, 0) = 0, by Horner in u, then w.

    Args:
      theta: one coefficient a term, in the order of `exponents`.
      u, w: potential and slow variable, bounded.
    """
    coefficient = dict(zip(exponents(degree), theta, strict=True))
    f = jnp.zeros_like(u)
    for j in reversed(range(degree + 1)):
        row = jnp.zeros_like(u)
        for i in reversed(range(degree - j + 1)):
            row = row * u + coefficient.get((i, j), 0.0)
        f = f * w + row
    return f


def learned(
    firing: Firing, bound: Callable, *, degree: int, decay: float, w_decay: float, w_gain: float
) -> Neuron:
    """A learnable neuron of two variables (beyond the paper; the limit its section 6 names).

        v_in = v + f(bound(v), bound(w)) + I,    w' = a w + b bound(v)

    f is a polynomial in both, started as LIF: w acts on nothing until training lets it.

    Args:
      firing: how it spikes and resets; w is not reset.
      bound: see `bounding`.
      degree: total degree of f, >= 1.
      decay: share of the potential kept per timestep at initialisation.
      w_decay: a at initialisation, the share of w kept per timestep.
      w_gain: b at initialisation, the potential's share that enters w per timestep.
    Returns: a `Neuron` with params {"theta", "w_decay", "w_gain"}.
    """
    whole("degree", degree, 1)
    between("w_decay", w_decay, 0, 1)
    terms = len(exponents(degree))
    bounded = bound(lambda x: x)

    def init(key):
        del key  # the initialisation is LIF, whatever the key
        return {
            "theta": jnp.zeros(terms, jnp.float32).at[0].set(decay - 1),
            "w_decay": jnp.float32(w_decay),
            "w_gain": jnp.float32(w_gain),
        }

    def step(params, state, current):
        v, w = state
        theta = params["theta"]
        if theta.shape[:1] != (terms,):
            raise ValueError(f"theta must have {terms} entries, got shape {theta.shape}")
        u = bounded(v)
        f = polynomial(theta, u, bounded(w), degree)
        v_new, spikes = firing.fire(params, v + f + current)
        return (v_new, params["w_decay"] * w + params["w_gain"] * u), spikes

    return Neuron(init, _start(firing), step)
