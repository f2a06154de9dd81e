"""How active layers are, over training and now: spike rates, dead and saturated neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lnm_jax.analysis import drawing
from lnm_jax.training.experiment import SATURATED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.analysis.recording import Recording
    from lnm_jax.training.run import Run


class History(NamedTuple):
    """Activity over training, of the whole test set, from metrics.jsonl; by layer as they run.

    Attributes:
      epochs: (E,) of the evaluations.
      rates: by layer, (E,) mean spikes per neuron and timestep.
      dead, saturated: by layer, (E,) shares of neurons that never spiked, and that spiked in
        `SATURATED` of the timesteps or more; NaN for evaluations that did not record them.
    """

    epochs: np.ndarray
    rates: dict[str, np.ndarray]
    dead: dict[str, np.ndarray]
    saturated: dict[str, np.ndarray]

    @property
    def has_shares(self) -> bool:
        """Whether some evaluation recorded the shares."""
        return any(np.isfinite(shares).any() for shares in self.dead.values())


def history(run: Run, recording: Recording) -> History:
    """The numbers; see `History`."""
    tests = [record for record in run.records if record["split"] == "test"]

    def over_training(name):
        return {
            path: np.array([record.get(name, {}).get(path, np.nan) for record in tests], float)
            for path in recording.layers
        }

    epochs = np.array([record["epoch"] for record in tests], int)
    return History(epochs, *map(over_training, ("rates", "dead", "saturated")))


def picture(run: Run, recording: Recording) -> tuple[History, Figure]:
    """Rates and shares over training, beside those of the trained network.

    The shares over training are left out for a run that did not record them.
    """
    facts = history(run, recording)
    count = len(recording.layers)
    drawn = drawing.figure(max(4.6 if facts.has_shares else 3.0, 0.2 * count + 1.4))
    rows = 2 if facts.has_shares else 1
    grid = drawn.add_gridspec(rows, 2, width_ratios=(1.1, 1), height_ratios=(1.3, 1)[:rows])
    rates = drawn.add_subplot(grid[0, 0])
    _draw_rates(rates, facts)
    if facts.has_shares:
        _draw_shares(drawn.add_subplot(grid[1, 0], sharex=rates), facts)
        rates.tick_params(labelbottom=False)
        rates.set_xlabel(None)
    _draw_now(drawn.add_subplot(grid[:, 1]), recording.layers)
    return facts, drawn


def _over_training(axis, facts, label, title):
    axis.set_xlabel("epoch", fontsize=8)
    axis.set_ylabel(label, fontsize=8)
    axis.set_title(title, fontsize=8, loc="left")
    drawing.whole_numbers(axis)
    drawing.plain(axis)
    # A single epoch is a point, and a line through it is nothing.
    return {"marker": "." if len(facts.epochs) == 1 else None}


def _draw_rates(axis, facts):
    from matplotlib import colormaps

    count = len(facts.rates)
    style = _over_training(
        axis, facts, "spikes per neuron and timestep",
        "over training (lines are layers, dark to light)",
    )  # fmt: skip
    colours = colormaps["viridis"](np.linspace(0.05, 0.85, count))
    for number, rates in enumerate(facts.rates.values(), 1):
        axis.plot(facts.epochs, rates, color=colours[number - 1], linewidth=1.3, **style)
        if len(rates) and count <= 12:
            _number(axis, facts.epochs[-1], rates[-1], str(number), colours[number - 1])
    axis.set_ylim(0)


def _draw_shares(axis, facts):
    """Thin lines are layers; the one of the largest share in the end is numbered."""
    style = _over_training(
        axis, facts, "share of neurons", "over training (thin lines are layers, bold: their mean)"
    )
    highest = 0.05
    for name, shares, colour in (
        ("dead", facts.dead, "black"),
        ("saturated", facts.saturated, drawing.ACCENT),
    ):
        values = np.stack(list(shares.values()), 1)  # (E, L)
        axis.plot(facts.epochs, values, color=colour, linewidth=0.6, alpha=0.4, **style)
        axis.plot(
            facts.epochs, values.mean(1), color=colour, linewidth=2, label=f"{name} share", **style
        )
        highest = max(highest, np.nanmax(values))
        worst = int(np.argmax(values[-1]))
        if values[-1, worst] > 0:
            _number(axis, facts.epochs[-1], values[-1, worst], str(worst + 1), colour)
    axis.set_ylim(0, 1.05 * highest)
    axis.legend(fontsize=7, frameon=False)


def _number(axis, x, y, number, colour):
    axis.annotate(
        number, (x, y), xytext=(3, 0), fontsize=7, textcoords="offset points", va="center",
        color=colour,
    )  # fmt: skip


def _draw_now(axis, layers):
    rows = np.arange(len(layers))

    def of(name):
        return [getattr(layer, name) for layer in layers.values()]

    axis.barh(rows, of("rate"), 0.7, color=drawing.VISITED, label="spike rate")
    axis.plot(of("dead"), rows, "x", color="black", label="dead share")
    axis.plot(of("saturated"), rows, "^", color=drawing.ACCENT, label="saturated share")
    axis.set_yticks(rows, [f"{n}  {path}" for n, path in enumerate(layers, 1)])
    axis.invert_yaxis()
    axis.set_xlim(-0.02, 1.02)
    axis.set_title(
        f"now; saturated: spikes in {SATURATED:.0%} of timesteps", fontsize=8, loc="left"
    )
    drawing.plain(axis)
    # Below the axis: markers can be anywhere on it.
    axis.legend(fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.06))
