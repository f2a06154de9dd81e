"""Figure 2: f(u) of every spiking layer, from the neuron's own step, over what it visits."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lnm_jax import neurons
from lnm_jax.analysis import drawing
from lnm_jax.analysis.drawing import Figure
from lnm_jax.analysis.recording import Recording, each_channel, neuron_params
from lnm_jax.training.run import Run

PICTURE = "dynamics.png"
INNER = (0.0005, 0.9995)  # shares of visits between which f counts as seen
MOST_CHANNELS = 16  # whose fixed points are searched, where channels have neurons of their own
MOST_POINTS = 20  # more zeros than this are an interval of rest, not points


def learned_drifts(run: Run, u: Float[Array, " N"]) -> dict[str, np.ndarray]:
    """f(u) of every spiking layer of a run, by path, in the order the layers run.

    Each is (N,), or (N, C) where every channel has a neuron of its own.
    """
    curves = {}
    for path in run.experiment.spiking_layers():
        curve = drifts(run, neuron_params(run.state.params, path), u)
        curves[path] = curve if curve.shape[1] > 1 else curve[:, 0]
    return curves


def drifts(run: Run, params: Any, u: Float[Array, " N"], most: int | None = None) -> np.ndarray:
    """(N, C) f(u) of a layer's channels as `each_channel` chooses them, C = 1 for a shared one."""
    channels, own = each_channel(run, params, most)
    u = jnp.broadcast_to(jnp.asarray(u, jnp.float32)[:, None], (len(u), len(channels)))
    return np.asarray(neurons.drift_of(run.experiment.neuron, own, u))


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
      f: by layer, (N,) or (N, C).
      rest: by layer, none without a recording; None if f is 0 on an interval, or the neuron has
        several variables.
      extrapolated: by layer, none without a recording, share of visits beyond the interval of a
        clip or a linear continuation; None without visits or such a bound.
    """

    u: np.ndarray
    f: dict[str, np.ndarray]
    rest: dict[str, list[Rest] | None]
    extrapolated: dict[str, float | None]


def _rest(run, params):
    neuron = run.experiment.neuron
    if not neurons.one_variable(neuron):
        return None
    threshold = run.experiment.threshold
    found = []
    channels, own = each_channel(run, params, MOST_CHANNELS)
    for place, channel in enumerate(channels):
        one = jax.tree.map(lambda leaf: leaf[..., place], own)  # noqa: B023 used at once
        points = neurons.fixed_points(neuron, one)
        if len(points.u) > MOST_POINTS:
            return None
        for u, multiplier, stable in zip(*(x.tolist() for x in points), strict=True):
            found.append(Rest(channel, u, multiplier, stable, u < threshold))
    return found


def _beyond(neuron, layer):
    drift = neuron.facts.drift
    if not layer.visits.any() or drift is None or drift.limit is None:
        return None
    return float(layer.visits[np.abs(layer.centres) > drift.limit].sum() / layer.visits.sum())


def picture(run: Run, recording: Recording | None = None) -> tuple[Dynamics, Figure]:
    """Figure 2: f of every layer over the LIF line, with visits, threshold and fixed points.

    f is drawn bold where 99.9 % of the visits are, thin beyond.

    Args:
      run: as `training.run.load` or `training.loop.train` returns it.
      recording: of the same run, for the visits.
    """
    fields = run.experiment.config.neuron
    limit = max(1.0, run.experiment.threshold) * 1.2
    u = np.linspace(-limit, limit, 241, dtype=np.float32)
    lif = np.asarray(neurons.drift_of(neurons.lif(decay=fields.decay), {}, u))
    layers = recording.layers if recording else {}
    facts = Dynamics(
        u,
        learned_drifts(run, u),
        {path: _rest(run, layer.params) for path, layer in layers.items()},
        {path: _beyond(run.experiment.neuron, layer) for path, layer in layers.items()},
    )
    searched = any(points is not None for points in facts.rest.values())
    drawn, axes = drawing.layer_axes(list(facts.f), x="membrane potential u", y="f(u) per timestep")
    for axis, (path, curve) in zip(axes, facts.f.items(), strict=True):
        axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        axis.axvline(
            run.experiment.threshold,
            color=drawing.ACCENT,
            linewidth=0.9,
            linestyle=":",
            label="threshold",
        )
        drawing.lif(axis, u, lif, fields.decay)
        curve = drawing.learned(axis, u, curve, linewidth=0.9)
        seen = np.full(len(u), not layers)
        if layers and layers[path].visits.any():
            low, high = layers[path].quantiles(*INNER)
            seen = (u >= low) & (u <= high)
        axis.plot(u[seen], curve[seen], color=drawing.LEARNED, linewidth=2.2, label="f(u)")
        if searched:  # else the legend must not say that there are none
            _draw_rest(axis, facts.rest[path] or [], u[-1])
        axis.set_xlim(u[0], u[-1])
    for axis, (path, layer) in zip(axes, layers.items(), strict=bool(layers)):
        # When all curves have set the shared scale.
        _draw_visits(axis, layer, facts.extrapolated[path])
    drawing.legend(drawn, axes[0], 6)
    return facts, drawn


def _draw_rest(axis, points, limit):
    for stable, label in ((True, "stable fixed point"), (False, "unstable")):
        u = [point.u for point in points if point.stable == stable and point.reachable]
        shown = [value for value in u if abs(value) <= limit]
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
        drawing.note(axis, "nothing but 0 visited")
        return
    coarse, edges = np.histogram(layer.centres, len(layer.edges) // 8, weights=layer.visits)
    beneath.stairs(coarse, edges, fill=True, color=drawing.VISITED)
    shown = (edges[1:] > axis.get_xlim()[0]) & (edges[:-1] < axis.get_xlim()[1])
    beneath.set_ylim(0, max(1, coarse[shown].max()) / 0.3)
    if beyond:
        drawing.note(axis, f"{beyond:.0%} beyond the bound")


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
