"""What a neuron does, by its own functions: drift, fixed points, f-I curve, lower degrees."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lnm_jax.checks import integer
from lnm_jax.neurons.neuron import (
    Neuron,
    Parallel,
    Params,
    State,
    one_variable,
    potential,
    two_phase,
    with_potential,
)
from lnm_jax.neurons.over_time import run, trace

REST = 2.0**10  # a current that makes any neuron spike, or silences it


def _integrated(neuron: Neuron, params: Params, u, current):
    """v_in at potentials u, other variables as at the start."""
    if isinstance(neuron, Parallel) or neuron.integrate is None:
        raise ValueError(
            "f of a neuron needs `integrate`, see neurons.two_phase; a neuron of three functions, "
            "or a parallel one, has none"
        )
    shape = jnp.broadcast_shapes(jnp.shape(u), jnp.shape(current))
    u = jnp.broadcast_to(u, shape)
    state = with_potential(neuron.reset(shape, u.dtype), u)
    with jax.numpy_rank_promotion("allow"):  # parameters (C,), also for users who forbid it
        return potential(neuron.integrate(params, state, jnp.broadcast_to(current, shape)))


def drift_of(neuron: Neuron, params: Params, u: Float[Array, "..."]) -> Float[Array, "..."]:
    """f(u) of any neuron: v_in - u without a current (Eq. 10).

    Args:
      neuron: with `integrate`; other variables than the potential are as at the start.
      params: as made by `neuron.init`.
      u: potentials; the last axis is that of channels, where they have parameters of their own.
    Returns: f(u), per timestep, shaped like u.
    Raises: ValueError for a neuron without `integrate`.
    """
    u = jnp.asarray(u)
    return _integrated(neuron, params, u, jnp.zeros((), u.dtype)) - u


def gain_of(neuron: Neuron, params: Params) -> Float[Array, "..."]:
    """dv_in / dI at rest, by which a neuron scales its current: 1 but for PLIF and some others.

    Args: as for `drift_of`.
    Returns: a scalar, or (C,) where channels have parameters of their own.
    """
    at_rest = functools.partial(
        _integrated, neuron, params, potential(neuron.reset((), jnp.float32))
    )
    return jax.jvp(at_rest, (jnp.float32(0),), (jnp.float32(1),))[1]


class FixedPoints(NamedTuple):
    """Potentials at which a neuron rests under a constant current.

    Attributes:
      u: (K,) ascending.
      multiplier: (K,) 1 + f'(u), by which a small displacement grows in a timestep.
      stable: (K,) where |multiplier| < 1.
    """

    u: np.ndarray
    multiplier: np.ndarray
    stable: np.ndarray


def fixed_points(
    neuron: Neuron,
    params: Params,
    *,
    current: float = 0.0,
    low: float = -2.0,
    high: float = 2.0,
    points: int = 4001,
) -> FixedPoints:
    """Zeros of f(u) + gain * current in [low, high], where the potential stays without a spike.

    Zeros closer together than a grid spacing, and zeros without a change of sign, are missed.

    Args:
      neuron: of one variable.
      params: as made by `neuron.init`, one set.
      current: constant input; `gain_of` is 1 but for PLIF.
      low, high, points: grid that is searched for changes of sign.
    Raises: ValueError for a neuron of several variables.
    """
    if not one_variable(neuron):
        raise ValueError("fixed_points needs a neuron of one variable")

    push = float(gain_of(neuron, params)) * current if current else 0.0

    def f(u):
        return np.asarray(drift_of(neuron, params, jnp.asarray(u, jnp.float32)), float) + push

    grid = np.linspace(low, high, points)
    values = f(grid)
    left = np.flatnonzero((values[:-1] * values[1:] < 0) & (values[:-1] != 0))
    a, b, f_a = grid[left], grid[left + 1], values[left]
    for _ in range(20):  # a grid spacing / 2**20 is below the rounding of float32
        if not len(left):
            break
        middle = (a + b) / 2
        same = f(middle) * f_a > 0
        a, b = np.where(same, middle, a), np.where(same, b, middle)
    roots = np.sort(np.concatenate([(a + b) / 2, grid[values == 0]]))
    if not len(roots):
        return FixedPoints(roots, roots, np.zeros(0, bool))
    h = 1e-3
    multiplier = 1 + (f(roots + h) - f(roots - h)) / (2 * h)
    return FixedPoints(roots, multiplier, np.abs(multiplier) < 1)


def f_i_curve(
    neuron: Neuron, params: Params, currents: Float[Array, " K"], *, timesteps: int = 1000
) -> Float[Array, " K"]:
    """Spikes per timestep under constant currents, from the reset state.

    Args:
      neuron: any neuron.
      params: as made by `neuron.init`, one set.
      currents: constant inputs, each to a neuron of its own.
      timesteps: over which spikes are counted.
    """
    integer("timesteps", timesteps, 1)
    currents = jnp.asarray(currents, jnp.float32)
    constant = jnp.broadcast_to(currents, (timesteps, *currents.shape))
    return run(neuron, params, constant, backend="scan").mean(0)


def surrogate_window(
    neuron: Neuron,
    params: Params,
    currents: Float[Array, "T ..."],
    *,
    state: State | None = None,
    least: float = 0.1,
) -> Bool[Array, "T ..."]:
    """Where a gradient passes: the surrogate's derivative is at least `least` of its largest.

    Of a rectangle that is its window. The derivative is that of the neuron's own step in its
    current; its largest value is taken where a neuron at rest begins to spike.

    Args:
      neuron: the triple.
      params: as made by `neuron.init`.
      currents: (T, ...) input currents.
      state: before the first timestep; None for the reset state.
    """
    before = trace(neuron, params, currents, state=state).before
    dtype = potential(before).dtype

    def derivative(state, current):
        spikes, pullback = jax.vjp(lambda i: neuron.step(params, state, i)[1], current)
        return jnp.abs(pullback(jnp.ones_like(spikes))[0])

    channels = currents.shape[-1:]
    rest = neuron.reset(channels, dtype)

    def halve(_, between):
        low, high = between
        middle = (low + high) / 2
        spikes = neuron.step(params, rest, middle)[1] > 0
        return jnp.where(spikes, low, middle), jnp.where(spikes, middle, high)

    limits = jnp.full(channels, -REST, dtype), jnp.full(channels, REST, dtype)
    largest = derivative(rest, jax.lax.fori_loop(0, 40, halve, limits)[1])
    with jax.numpy_rank_promotion("allow"):  # a channel's, also for users who forbid it
        found = jax.vmap(derivative)(before, currents.astype(dtype))
        return (found >= least * largest) & (largest > 0)


def spike_changes(
    neuron: Neuron, params: Params, other: Neuron, other_params: Params, currents
) -> Float[Array, ""]:
    """Share of (neuron, timestep) pairs in which two neurons' spikes differ on the same currents.

    For Eq. 16's fold: `spike_changes(lnm(), p, lnm(update="fold"), p, currents)`.

    Args:
      neuron, params, other, other_params: the two.
      currents: (T, ...) given to both.
    """
    spikes = run(neuron, params, currents)
    return (spikes != run(other, other_params, currents)).mean()


class Fit(NamedTuple):
    """A neuron of lower degree, fitted to another.

    Attributes:
      neuron: takes params {"theta": (degree,)}, or (degree, C); fires and resets as the original.
      params: fitted.
      error: root mean square of the difference of f over the voltages; the mean over channels.
      changed: share of spikes that differ on the given currents, None without currents.
    """

    neuron: Neuron
    params: Params
    error: float
    changed: float | None


def fit_degree(
    neuron: Neuron,
    params: Params,
    voltages: Float[Array, "..."],
    degree: int,
    *,
    currents: Float[Array, "T ..."] | None = None,
) -> Fit:
    """Lower degree by least squares on the voltages really visited (4.2.3; Guo et al. 2020).

    Args:
      neuron: whose f is linear in params["theta"], (N,), the lower degrees first: polynomial
        and Chebyshev neurons; (N, C) where channels have their own.
      params: as trained.
      voltages: potentials that the neuron visits, any shape; (..., C) with theta (N, C).
      degree: 1 <= degree <= N.
      currents: on which the share of changed spikes is counted.
    Raises: ValueError for another neuron, no voltages or a degree outside 1 .. N.
    """
    theta = np.asarray(params["theta"]) if "theta" in params else np.zeros(0)
    if theta.ndim not in (1, 2) or not len(theta) or not one_variable(neuron):
        raise ValueError(f"fit_degree needs params theta of shape (N,), got shape {theta.shape}")
    integer("degree", degree, 1)
    if degree > len(theta):
        raise ValueError(f"degree must be at most the neuron's {len(theta)}, got {degree}")
    u = jnp.reshape(jnp.asarray(voltages), (-1, *theta.shape[1:]))
    if not u.size:
        raise ValueError("fit_degree needs voltages, got none: the layer was never visited")

    def with_theta(values):
        return {**params, "theta": jnp.asarray(values, params["theta"].dtype)}

    # f is linear in theta: its columns are the drifts of unit vectors, bound included.
    units = [np.broadcast_to(unit, theta.T.shape).T for unit in np.eye(len(theta))]
    columns = np.stack([np.asarray(drift_of(neuron, with_theta(unit), u), float) for unit in units])
    columns = columns.reshape(len(theta), len(u), -1)  # (N, K, C), C = 1 for one set
    wanted = np.einsum("nkc,nc->kc", columns, theta.reshape(len(theta), -1))
    kept = columns[:degree].transpose(2, 1, 0)
    fits = [np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(kept, wanted.T, strict=True)]
    errors = [a @ fit - b for a, fit, b in zip(kept, fits, wanted.T, strict=True)]
    fitted = np.stack(fits, -1).reshape(degree, *theta.shape[1:])
    missing = [(0, len(theta) - degree), *[(0, 0)] * (theta.ndim - 1)]

    def pad(lower):
        return {**lower, "theta": jnp.pad(lower["theta"], missing)}

    lower = two_phase(
        lambda key: with_theta(fitted),
        neuron.reset,
        lambda lower, state, current: neuron.integrate(pad(lower), state, current),
        lambda lower, *state: neuron.fire(pad(lower), *state),
    )
    fitted_params = with_theta(fitted)
    changed = None
    if currents is not None:
        changed = float(spike_changes(neuron, params, lower, fitted_params, currents))
    error = float(np.sqrt(np.square(errors).mean(1)).mean())
    return Fit(lower, fitted_params, error, changed)
