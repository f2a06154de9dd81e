"""Several runs of one architecture beside each other: means and deviations over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lnm_jax.analysis import drawing, dynamics, energy
from lnm_jax.analysis.curves import Group, mean_and_deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.analysis.recording import Recording


def table(groups: Sequence[Group], recordings: dict[str, Recording]) -> list[dict]:
    """A row a configuration: accuracy, spike rate and energy, mean and sample deviation.

    Args:
      groups: as `curves.groups` makes them.
      recordings: by directory of the run.
    """
    rows = []
    for group in groups:
        seen = [recordings[run.directory] for run in group.runs]
        last = group.accuracy[:, -1] if len(group.epochs) else np.full(len(group.runs), np.nan)
        joules = [
            1e3 * energy.compare(run, recording).own.operations
            for run, recording in zip(group.runs, seen, strict=True)
        ]
        rates = [np.mean([layer.rate for layer in one.layers.values()]) for one in seen]
        rows.append(
            {
                "configuration": group.label,
                "runs": len(group.runs),
                "seeds": ", ".join(str(run.experiment.config.seed) for run in group.runs),
                "accuracy, last epoch, %": as_text(last),
                "spike rate, mean of layers": as_text(rates),
                "energy (Eq. 17), µJ": as_text(joules),
            }
        )
    return rows


def as_text(values: Sequence[float]) -> str:
    """Mean and deviation with the decimals that give the mean four digits."""
    mean, deviation = mean_and_deviation(np.asarray(values, float))
    if np.isnan(mean):
        return "n/a"
    decimals = max(0, 3 - int(np.floor(np.log10(abs(mean))))) if mean else 3
    text = f"{mean:.{decimals}f}"
    return text if np.isnan(deviation) else f"{text} ± {deviation:.{decimals}f}"


def drifts(groups: Sequence[Group]) -> tuple[dict[str, dict[str, np.ndarray]], Figure]:
    """f of every layer of all runs in the same axes, a colour a configuration.

    Returns: f by configuration and layer, (R, N) over runs and potentials; and the figure.
    """
    fields = groups[0].runs[0].experiment.config.neuron
    limit = max(1.0, fields.threshold) * 1.2
    u = np.linspace(-limit, limit, 241, dtype=np.float32)
    found: dict[str, dict[str, np.ndarray]] = {}
    for group in groups:
        curves = [dynamics.learned_drifts(run, u) for run in group.runs]
        found[group.label] = {
            path: np.stack([c[path].mean(1) if c[path].ndim == 2 else c[path] for c in curves])
            for path in curves[0]
        }
    drawn, axes = drawing.layer_axes(
        list(next(iter(found.values()))), x="membrane potential u", y="f(u) per timestep"
    )
    for place, (label, layers) in enumerate(found.items()):
        colour = drawing.SERIES[place % len(drawing.SERIES)]
        for axis, curves in zip(axes, layers.values(), strict=True):
            for n, curve in enumerate(curves):
                axis.plot(
                    u, curve, color=colour, linewidth=1.2, alpha=0.8, label=None if n else label
                )
    for axis in axes:
        axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        axis.axvline(fields.threshold, color=drawing.ACCENT, linewidth=0.9, linestyle=":")
    drawing.legend(drawn, axes[0], 3)
    return found, drawn


def rates(
    groups: Sequence[Group], recordings: dict[str, Recording]
) -> tuple[dict[str, np.ndarray], Figure]:
    """Spike rate of every layer, a bar a configuration, with its deviation over seeds.

    Returns: rates by configuration, (R, L) over runs and layers; and the figure.
    """
    found = {
        group.label: np.array(
            [
                [layer.rate for layer in recordings[run.directory].layers.values()]
                for run in group.runs
            ]
        )
        for group in groups
    }
    paths = list(next(iter(recordings.values())).layers)
    drawn = drawing.figure(2.8)
    axis = drawn.subplots()
    width = 0.8 / len(found)
    for place, (label, values) in enumerate(found.items()):
        means, deviations = mean_and_deviation(values)
        axis.bar(
            np.arange(len(paths)) + (place - (len(found) - 1) / 2) * width, means, width,
            yerr=None if np.isnan(deviations).all() else deviations, capsize=2,
            color=drawing.SERIES[place % len(drawing.SERIES)], label=label,
        )  # fmt: skip
    axis.set_xticks(np.arange(len(paths)), np.arange(1, len(paths) + 1))
    axis.set_xlabel("spiking layer", fontsize=8)
    axis.set_ylabel("spikes per neuron and timestep", fontsize=8)
    drawing.plain(axis)
    drawing.legend(drawn, axis, 4)
    return found, drawn
