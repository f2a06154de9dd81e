"""Figure 2: f(u) of every spiking layer, from the neuron's own step, over what it visits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import neurons
from lnm_jax.analysis import drawing
from lnm_jax.analysis.recording import channels_of, neuron_params

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Array, Float
    from matplotlib.figure import Figure

    from lnm_jax.analysis.recording import Recording
    from lnm_jax.training.run import Run

PICTURE = "dynamics.png"
INNER = (0.0005, 0.9995)  # shares of visits between which f counts as seen
MOST_CHANNELS = 16  # whose fixed points are searched, where channels have neurons of their own
MOST_POINTS = 20  # more zeros than this are an interval of rest, not points


def learned_drifts(run: Run, u: Float[Array, "N"]) -> dict[str, np.ndarray]:
    """f(u) of every spiking layer of a run, by path, in the order the layers run.

    Each is (N,), or (N, C) where every channel has a neuron of its own.
    """
    u = jnp.asarray(u)
    curves = {}
    for path in run.experiment.spiking_layers():
        params = neuron_params(run.state.params, path)
        channels = channels_of(run, params)
        potentials = u if channels is None else jnp.broadcast_to(u[:, None], (len(u), channels))
        curves[path] = np.asarray(neurons.drift_of(run.experiment.neuron, params, potentials))
    return curves


def argument(neuron: neurons.Neuron, u: np.ndarray) -> np.ndarray:
    """What f sees of potentials u: the bounded ones (4.2.1)."""
    drift = neuron.facts.drift
    return np.asarray(u if drift is None else drift.bounded(jnp.asarray(u)))


def sets(run: Run, params: Any, most: int) -> Iterator[tuple[int | None, Any]]:
    """(channel, one set of a layer's neuron parameters), at most so many, evenly spaced.

    The channel is None where the layer shares one set.
    """
    channels = channels_of(run, params)
    if channels is None:
        yield None, params
        return
    for channel in np.unique(np.linspace(0, channels - 1, min(most, channels)).astype(int)):
        yield int(channel), jax.tree.map(lambda leaf, c=channel: leaf[..., c], params)


class Rest(NamedTuple):
    """A potential at which a neuron of a layer rests without input.

    Attributes:
      channel: whose neuron, None for the whole layer's.
      u: the potential.
      multiplier: 1 + f'(u), by which a small displacement grows in a timestep.
      stable: whether |multiplier| < 1.
      reachable: whether it is below the threshold, where nothing spikes.
    """

    channel: int | None
    u: float
    multiplier: float
    stable: bool
    reachable: bool


class Dynamics(NamedTuple):
    """Figure 2 as numbers.

    Attributes:
      u: (N,) potentials of the curves.
      lif: (N,) the LIF line that learned neurons start from.
      f: by layer, (N,) or (N, C).
      rest: by layer; None if f is 0 on an interval, or the neuron has several variables.
      extrapolated: by layer, share of visits beyond the interval of a clip or a linear
        continuation; None without a recording, visits or such a bound.
    """

    u: np.ndarray
    lif: np.ndarray
    f: dict[str, np.ndarray]
    rest: dict[str, list[Rest] | None]
    extrapolated: dict[str, float | None]


def measure(run: Run, recording: Recording | None = None) -> Dynamics:
    """The learned curves, their fixed points, and how much is visited beyond the bound.

    Args:
      run: as `training.run.load` or `training.loop.train` returns it.
      recording: of the same run, for the visits.
    """
    fields = run.experiment.config.neuron
    limit = max(1.0, fields.threshold) * 1.2
    u = np.linspace(-limit, limit, 241, dtype=np.float32)
    lif = np.asarray(neurons.drift_of(neurons.lif(decay=fields.decay), {}, u))
    f = learned_drifts(run, u)
    rest, extrapolated = {}, {}
    for path in f:
        rest[path] = _rest(run, neuron_params(run.state.params, path)) if recording else None
        extrapolated[path] = (
            _beyond(run.experiment.neuron, recording.layers[path]) if recording else None
        )
    return Dynamics(u, lif, f, rest, extrapolated)


def _rest(run, params):
    neuron = run.experiment.neuron
    if not neurons.one_variable(neuron):
        return None
    threshold = run.experiment.config.neuron.threshold
    found = []
    for channel, one in sets(run, params, MOST_CHANNELS):
        points = neurons.fixed_points(neuron, one)
        if len(points.u) > MOST_POINTS:
            return None
        for u, multiplier, stable in zip(*points, strict=True):
            found.append(
                Rest(channel, float(u), float(multiplier), bool(stable), bool(u < threshold))
            )
    return found


def _beyond(neuron, layer):
    drift = neuron.facts.drift
    if not layer.visits.any() or drift is None or drift.limit is None:
        return None
    return float(layer.visits[np.abs(layer.centres) > drift.limit].sum() / layer.visits.sum())


def picture(run: Run, recording: Recording | None = None) -> tuple[Dynamics, Figure]:
    """Figure 2: f of every layer over the LIF line, with visits, threshold and fixed points.

    f is drawn bold where 99.9 % of the visits are, thin beyond. Args as in `measure`.
    """
    facts = measure(run, recording)
    fields = run.experiment.config.neuron
    drawn, axes = drawing.layer_axes(list(facts.f), x="membrane potential u", y="f(u) per timestep")
    for axis, (path, curve) in zip(axes, facts.f.items(), strict=True):
        axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        axis.axvline(
            fields.threshold, color=drawing.ACCENT, linewidth=0.9, linestyle=":", label="threshold"
        )
        axis.plot(
            facts.u, facts.lif, color=drawing.REFERENCE, linestyle="--", linewidth=1.1,
            label=f"LIF, decay {fields.decay:g}",
        )  # fmt: skip
        if curve.ndim == 2:
            axis.plot(facts.u, curve, color=drawing.LEARNED, linewidth=0.4, alpha=0.35)
            curve = curve.mean(1)
        axis.plot(facts.u, curve, color=drawing.LEARNED, linewidth=0.9)
        seen = _seen(facts.u, recording.layers[path] if recording else None)
        axis.plot(facts.u[seen], curve[seen], color=drawing.LEARNED, linewidth=2.2, label="f(u)")
        _draw_rest(axis, facts, path)
        axis.set_xlim(facts.u[0], facts.u[-1])
    for axis, path in zip(axes, facts.f, strict=True):
        if recording:  # when all curves have set the shared scale
            _draw_visits(axis, recording.layers[path], facts.extrapolated[path])
    drawing.legend(drawn, axes[0], 6)
    return facts, drawn


def _seen(u, layer):
    if layer is None:
        return np.ones(len(u), bool)
    if not layer.visits.any():
        return np.zeros(len(u), bool)
    low, high = layer.quantiles(*INNER)
    return (u >= low) & (u <= high)


def _draw_rest(axis, facts, path):
    if all(points is None for points in facts.rest.values()):
        return  # none were looked for: the legend must not say that there are none
    for stable, label in ((True, "stable fixed point"), (False, "unstable")):
        points = facts.rest[path] or []
        u = [point.u for point in points if point.stable == stable and point.reachable]
        shown = [value for value in u if abs(value) <= facts.u[-1]]
        axis.plot(
            shown, np.zeros(len(shown)), "o", markersize=4.5, color="black", zorder=5,
            markerfacecolor="black" if stable else "white", label=label,
        )  # fmt: skip


def _draw_visits(axis, layer, beyond):
    """The histogram, as tall as the lower 30 % of the axis, behind everything."""
    beneath = axis.twinx()
    beneath.set_zorder(axis.get_zorder() - 1)
    axis.patch.set_visible(False)
    beneath.axis("off")
    if not layer.visits.any():
        axis.text(0.03, 0.04, "nothing but 0 visited", transform=axis.transAxes, fontsize=7)
        return
    coarse, edges = np.histogram(layer.centres, len(layer.edges) // 8, weights=layer.visits)
    beneath.stairs(coarse, edges, fill=True, color=drawing.VISITED)
    shown = (edges[1:] > axis.get_xlim()[0]) & (edges[:-1] < axis.get_xlim()[1])
    beneath.set_ylim(0, max(1, coarse[shown].max()) / 0.3)
    if beyond:
        axis.text(
            0.03, 0.04, f"{beyond:.0%} beyond the bound", transform=axis.transAxes, fontsize=7
        )  # fmt: skip


def save_picture(run: Run) -> str | None:
    """Draws f of every spiking layer over the LIF line into the run's directory (Figure 2).

    Returns: the picture's path; None for neurons that have no f: parallel ones, and those without
      `integrate`.
    """
    neuron = run.experiment.neuron
    if isinstance(neuron, neurons.Parallel) or neuron.integrate is None:
        return None
    path = os.path.join(run.directory, PICTURE)
    _, drawn = picture(run)
    drawn.savefig(path, dpi=150)
    return path
