"""Section 5.3: which known neuron model a layer's learned f resembles, by a stated rule.

Every family is fitted to f by least squares, weighted by how often each potential was visited.
**The rule**: the nearest family is the one of the fewest parameters whose R2 is within
`TOLERANCE` of the best R2 of all (the higher R2 among equals); it names the layer if that R2 is
at least `LEAST`, else the name is "none". So a cubic term that explains less than 1 % of f's
variance does not make a LIF a cubic.

All families have f(0) = 0, as all learned drifts do. "None" can only occur where f is no cubic:
a polynomial of degree 3 is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lnm_jax.analysis import drawing, dynamics
from lnm_jax.analysis.drawing import Figure
from lnm_jax.analysis.recording import Layer, Recording
from lnm_jax.training.run import Run

TOLERANCE = 0.01
LEAST = 0.98
NONE = "none"
FEWEST = 6  # potentials that must have been visited, twice the parameters of the largest family
SHAPES = 60  # values of a family's nonlinear parameter that are tried before it is refined
MOST_CHANNELS = 32  # that are named, where channels have neurons of their own


class Family(NamedTuple):
    """A model f(u) = sum_k coefficient_k column_k(u, shape).

    Attributes:
      formula: with the parameters' names.
      parameters: names of the coefficients, then of the shape if there is one.
      signs: of each coefficient: 1 for >= 0, -1 for <= 0, 0 for any.
      columns: (u, shape) -> one array a coefficient.
      shapes: (low, high) potentials visited -> values of the shape to try; None without one.
    """

    formula: str
    parameters: tuple[str, ...]
    signs: tuple[int, ...]
    columns: Callable
    shapes: Callable | None = None


def _onsets(low, high):
    """Sharpness of an exponential onset, from a fiftieth of the range to the whole of it."""
    return np.geomspace((high - low) / 50, high - low, SHAPES)


def _frequencies(low, high):
    """From a half to three periods over the range: less of a sine is a line or a cubic."""
    return np.linspace(np.pi, 6 * np.pi, SHAPES) / (high - low)


def _poles(low, high):
    """Distances of the logarithm's pole from 0, to the left (> 0) or to the right (< 0)."""
    span = high - low
    left = max(0.0, -low) + span * np.geomspace(0.02, 2, SHAPES // 2)
    right = max(0.0, high) + span * np.geomspace(0.02, 2, SHAPES // 2)
    return np.concatenate([left, -right])


def _exponential(u, delta):
    return u, np.expm1(u / delta)


FAMILIES = {
    "LIF": Family("-k u", ("k",), (-1,), lambda u, _: (u,)),
    "QIF": Family("a u² + b u", ("a", "b"), (1, 0), lambda u, _: (u * u, u)),
    "negative QIF": Family("a u² + b u, a < 0", ("a", "b"), (-1, 0), lambda u, _: (u * u, u)),
    "logarithmic": Family(
        "a log(1 + u/s)", ("a", "s"), (0,), lambda u, s: (np.log1p(u / s),), _poles
    ),
    "sinusoidal": Family(
        "a sin(w u)", ("a", "w"), (0,), lambda u, w: (np.sin(w * u),), _frequencies
    ),
    "EIF": Family(
        "-k u + c (exp(u/D) - 1)", ("k", "c", "D"), (-1, 1), _exponential, _onsets
    ),
    "negative EIF": Family(
        "k u - c (exp(u/D) - 1)", ("k", "c", "D"), (1, -1), _exponential, _onsets
    ),
    "cubic": Family(
        "a u + b u² + c u³", ("a", "b", "c"), (0, 0, 0), lambda u, _: (u, u * u, u**3)
    ),
}  # fmt: skip


class Fit(NamedTuple):
    """One family fitted to one f.

    Attributes:
      family: its name.
      parameters: values by name.
      r2: 1 - weighted squared error / weighted variance of f; 1 is exact.
      curve: (K,) the fitted f.
    """

    family: str
    parameters: dict[str, float]
    r2: float
    curve: np.ndarray


class Name(NamedTuple):
    """What an f is called.

    Attributes:
      name: of the family, or "none".
      nearest: the fit that the rule chose, also where it names nothing; None without visits.
      fits: of all families, by name.
      reason: why the name is "none", else "".
    """

    name: str
    nearest: Fit | None
    fits: dict[str, Fit]
    reason: str


def fit(
    family: str, u: Float[np.ndarray, " K"], f: Float[np.ndarray, " K"], weights: np.ndarray
) -> Fit:
    """A family's weighted least squares fit: coefficients exactly, the shape by a search.

    Args:
      family: in `FAMILIES`.
      u: potentials.
      f: at them, per timestep.
      weights: (K,) > 0.
    """
    from scipy.optimize import minimize_scalar, nnls

    chosen, root = FAMILIES[family], np.sqrt(weights / weights.sum())

    def linear(shape):
        """(coefficients, squared error) for a shape; signs as non-negative halves."""
        columns = chosen.columns(u, shape)
        halves = [
            (k, sign)
            for k, wanted in enumerate(chosen.signs)
            for sign in ((wanted,) if wanted else (1, -1))
        ]
        matrix = np.stack([sign * columns[k] for k, sign in halves], 1) * root[:, None]
        scale = np.linalg.norm(matrix, axis=0)
        scale[scale == 0] = 1
        found, residual = nnls(matrix / scale, f * root)
        coefficients = np.zeros(len(columns))
        for (k, sign), value in zip(halves, found / scale, strict=True):
            coefficients[k] += sign * value
        return coefficients, residual**2

    shape = None
    if chosen.shapes:
        tried = chosen.shapes(u.min(), u.max())
        errors = [linear(value)[1] for value in tried]
        best = int(np.argmin(errors))
        ends = sorted((tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]))
        shape = tried[best]
        if ends[0] * ends[1] > 0:  # not across the two sides of a pole
            refined = minimize_scalar(lambda s: linear(s)[1], bounds=ends, method="bounded")
            shape = refined.x if refined.fun < errors[best] else shape
    coefficients, error = linear(shape)
    columns = chosen.columns(u, shape)
    values = [abs(c) if sign and "QIF" not in family else c
              for c, sign in zip(coefficients, chosen.signs, strict=True)]  # fmt: skip
    values += [] if shape is None else [shape]
    variance = np.average((f - np.average(f, weights=weights)) ** 2, weights=weights)
    r2 = 1 - error / variance if variance > 1e-12 else float(error <= 1e-12)
    curve = sum(c * column for c, column in zip(coefficients, columns, strict=True))
    named = dict(zip(chosen.parameters, map(float, values), strict=True))
    return Fit(family, named, float(r2), curve)


def nearest(
    u: Float[np.ndarray, " K"], f: Float[np.ndarray, " K"], weights: Float[np.ndarray, " K"]
) -> Name:
    """The name of an f by the rule above.

    Args:
      u: potentials.
      f: at them, per timestep.
      weights: how often each was visited; those of 0 do not count.
    """
    u, f, weights = (np.asarray(x, float) for x in (u, f, weights))
    seen = weights > 0
    if seen.sum() < FEWEST:
        reason = "no potential but 0 was visited" if not seen.any() else (
            f"only {seen.sum()} potentials were visited, {FEWEST} are needed"
        )  # fmt: skip
        return Name(NONE, None, {}, reason)
    fits = {family: fit(family, u[seen], f[seen], weights[seen]) for family in FAMILIES}
    best = max(found.r2 for found in fits.values())
    near = [found for found in fits.values() if found.r2 >= best - TOLERANCE]
    chosen = min(near, key=lambda found: (len(found.parameters), -found.r2))
    if chosen.r2 >= LEAST:
        return Name(chosen.family, chosen, fits, "")
    return Name(NONE, chosen, fits, f"nearest {chosen.family}, R2 {chosen.r2:.2f} < {LEAST}")


def name_layers(run: Run, recording: Recording) -> dict[str, list[Name]]:
    """The name of every layer's f: one, or one of each of at most `MOST_CHANNELS` channels.

    Args:
      run: as `training.run.load` returns it.
      recording: of the same run; channels of a layer share its histogram.
    """
    names = {}
    for path, layer in recording.layers.items():
        u, f = _learned(run, layer)
        names[path] = [nearest(u, own, layer.visits[layer.visits > 0]) for own in f.T]
    return names


def _learned(run: Run, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """f (K, C) of the named channels at the potentials visited, and its argument (K,) there."""
    u = layer.centres[layer.visits > 0]
    return argument(run, u), dynamics.drifts(run, layer.params, u, MOST_CHANNELS)


def argument(run: Run, u: Float[np.ndarray, " K"]) -> np.ndarray:
    """What f sees of potentials: those beyond its bound are all the same to it."""
    drift = run.experiment.neuron.facts.drift
    return np.asarray(drift.bounded(jnp.asarray(u))) if drift else u


def tally(names: Iterable[list[Name]]) -> str:
    """How often each name occurs, most often first, e.g. "4 LIF, 1 QIF"."""
    counts = Counter(name.name for channels in names for name in channels).most_common()
    return ", ".join(f"{count} {name}" for name, count in counts)


def table(names: dict[str, list[Name]]) -> list[dict]:
    """A row a layer and channel: name, nearest family with parameters, R2 of every family."""
    rows = []
    for number, (path, channels) in enumerate(names.items(), 1):
        for channel, (name, near, fits, reason) in enumerate(channels):
            row = {"layer": number, "path": path, "channel": channel if len(channels) > 1 else ""}
            row |= {"name": name, "nearest": "", "formula": "", "parameters": "", "r2": ""}
            if near:
                values = ", ".join(f"{key} = {value:.3g}" for key, value in near.parameters.items())
                row |= {"nearest": near.family, "formula": FAMILIES[near.family].formula}
                row |= {"parameters": values, "r2": near.r2}
            row["reason"] = reason
            rows.append(row | {f"r2 {family}": fitted.r2 for family, fitted in fits.items()})
    return rows


def picture(run: Run, recording: Recording) -> tuple[dict[str, list[Name]], Figure]:
    """Every layer's f with the fit that names it, over the potentials that were visited."""
    names = name_layers(run, recording)
    drawn, axes = drawing.layer_axes(list(names), x="argument of f", y="f per timestep")
    for axis, (path, found) in zip(axes, names.items(), strict=True):
        first = found[0]
        axis.axhline(0, color="0.85", linewidth=0.8)
        axis.plot([], [], color=drawing.LEARNED, linewidth=2.2, label="f(u) where visited")
        axis.plot([], [], color=drawing.ACCENT, linestyle="--", label="nearest family")
        if first.nearest is None:
            drawing.note(axis, first.reason)
            continue
        u, f = _learned(run, recording.layers[path])
        order = np.argsort(u)
        axis.plot(u[order], f[order, 0], color=drawing.LEARNED, linewidth=2.2)
        axis.plot(
            u[order], first.nearest.curve[order], color=drawing.ACCENT, linestyle="--", linewidth=1
        )
        called = first.name if first.name != NONE else f"none ({first.nearest.family})"
        axis.text(
            0.97, 0.95, f"{called}, R2 {first.nearest.r2:.3f}", transform=axis.transAxes,
            fontsize=8, ha="right", va="top",
        )  # fmt: skip
    drawing.legend(drawn, axes[0], 2)
    return names, drawn
