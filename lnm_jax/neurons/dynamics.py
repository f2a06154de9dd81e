"""What a neuron does, measured on its own step: drift, fixed points, f-I curve, lower degrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax.neurons.backends import run
from lnm_jax.neurons.checks import whole
from lnm_jax.neurons.neuron import Neuron, Params, one_variable

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def drift_of(neuron: Neuron, params: Params, u: Float[Array, "..."]) -> Float[Array, "..."]:
    """f(u) of any neuron: the change of its potential in a step, less the current (Eq. 10).

    Args:
      neuron: the potential is the first leaf of its state; other variables are as at the start.
      params: as made by `neuron.init`.
      u: potentials.
    Returns: f(u), per timestep, shaped like u. Where one of u spikes without input, a neuron that
      scales its current (PLIF) gets a wrong f: the input that keeps it silent is taken as unscaled.
    Raises: ValueError for a neuron that spikes at any current.
    """
    u = jnp.asarray(u)
    leaves, structure = jax.tree.flatten(neuron.reset(u.shape, u.dtype))
    state = jax.tree.unflatten(structure, [u, *leaves[1:]])
    # A spike would hide the potential behind the reset: push the neuron below threshold.
    for inhibition in (0.0, 4.0, 64.0, 1024.0):
        after, spikes = neuron.step(params, state, jnp.full_like(u, -inhibition))
        if not spikes.any():
            return jax.tree.leaves(after)[0] - u + inhibition
    raise ValueError("the neuron spikes under a current of -1024")


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
    """Zeros of f(u) + current in [low, high], where the potential stays if nothing spikes.

    Zeros closer together than a grid spacing, and zeros without a change of sign, are missed.

    Args:
      neuron: of one variable.
      params: as made by `neuron.init`, one set.
      current: constant input.
      low, high, points: grid that is searched for changes of sign.
    Raises: ValueError for a neuron of several variables.
    """
    if not one_variable(neuron):
        raise ValueError("fixed_points needs a neuron of one variable")

    def f(u):
        return np.asarray(drift_of(neuron, params, jnp.asarray(u, jnp.float32)), float) + current

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
    neuron: Neuron, params: Params, currents: Float[Array, "K"], *, timesteps: int = 1000
) -> Float[Array, "K"]:
    """Spikes per timestep under constant currents, from the reset state.

    Args:
      neuron: any neuron.
      params: as made by `neuron.init`, one set.
      currents: constant inputs, each to a neuron of its own.
      timesteps: over which spikes are counted.
    """
    whole("timesteps", timesteps, 1)
    currents = jnp.asarray(currents, jnp.float32)
    constant = jnp.broadcast_to(currents, (timesteps, *currents.shape))
    return run(neuron, params, constant, backend="scan").mean(0)


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
      neuron: takes params {"theta": (degree,)}; fires and resets as the original.
      params: fitted.
      error: root mean square of the difference of f over the voltages.
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
        and Chebyshev neurons.
      params: as trained.
      voltages: potentials that the neuron visits, any shape.
      degree: 1 <= degree <= N.
      currents: on which the share of changed spikes is counted.
    Raises: ValueError for another neuron, no voltages or a degree outside 1 .. N.
    """
    theta = np.asarray(params["theta"]) if "theta" in params else np.zeros(0)
    if theta.ndim != 1 or not len(theta) or not one_variable(neuron):
        raise ValueError(f"fit_degree needs params theta of shape (N,), got shape {theta.shape}")
    whole("degree", degree, 1)
    if degree > len(theta):
        raise ValueError(f"degree must be at most the neuron's {len(theta)}, got {degree}")
    u = jnp.ravel(jnp.asarray(voltages))
    if not u.size:
        raise ValueError("fit_degree needs voltages, got none: the layer was never visited")

    def with_theta(values):
        return {**params, "theta": jnp.asarray(values, params["theta"].dtype)}

    # f is linear in theta: its columns are the drifts of unit vectors, bound included.
    units = np.eye(len(theta))
    columns = [np.asarray(drift_of(neuron, with_theta(unit), u), float) for unit in units]
    wanted = np.stack(columns, 1) @ theta
    kept = np.stack(columns[:degree], 1)
    fitted, *_ = np.linalg.lstsq(kept, wanted, rcond=None)
    missing = len(theta) - degree

    def pad(lower):
        return {**lower, "theta": jnp.pad(lower["theta"], (0, missing))}

    lower = Neuron(
        init=lambda key: with_theta(fitted),
        reset=neuron.reset,
        step=lambda lower, state, current: neuron.step(pad(lower), state, current),
    )
    fitted_params = with_theta(fitted)
    changed = None
    if currents is not None:
        changed = float(spike_changes(neuron, params, lower, fitted_params, currents))
    error = float(np.sqrt(np.mean((kept @ fitted - wanted) ** 2)))
    return Fit(lower, fitted_params, error, changed)
