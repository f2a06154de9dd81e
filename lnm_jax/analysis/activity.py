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


class Activity(NamedTuple):
    """Activity by layer, in the order they run.

    Attributes:
      epochs: (E,) of the evaluations in metrics.jsonl.
      history: by layer, (E,) mean spikes per neuron and timestep on the whole test set.
      dead_history, saturated_history: by layer, (E,) shares of neurons, of the whole test set as
        well; NaN for evaluations that did not record them.
      rate: by layer, the same on the recorded examples.
      dead: by layer, share of neurons that never spiked on them.
      saturated: by layer, share that spiked in `SATURATED` of the timesteps or more.
      at_zero: by layer, share of updates whose potential was exactly 0.
    """

    epochs: np.ndarray
    history: dict[str, np.ndarray]
    dead_history: dict[str, np.ndarray]
    saturated_history: dict[str, np.ndarray]
    rate: dict[str, float]
    dead: dict[str, float]
    saturated: dict[str, float]
    at_zero: dict[str, float]

    @property
    def has_shares(self) -> bool:
        """Whether some evaluation recorded the shares."""
        return any(np.isfinite(shares).any() for shares in self.dead_history.values())


def measure(run: Run, recording: Recording) -> Activity:
    """The numbers; see `Activity`."""
    tests = [record for record in run.records if record["split"] == "test"]
    layers = recording.layers

    def over_training(name):
        return {
            path: np.array([record.get(name, {}).get(path, np.nan) for record in tests], float)
            for path in layers
        }

    return Activity(
        epochs=np.array([record["epoch"] for record in tests], int),
        history=over_training("rates"),
        dead_history=over_training("dead"),
        saturated_history=over_training("saturated"),
        rate={path: layer.rate for path, layer in layers.items()},
        dead={path: layer.dead for path, layer in layers.items()},
        saturated={path: layer.saturated for path, layer in layers.items()},
        at_zero={path: layer.at_zero for path, layer in layers.items()},
    )


def picture(run: Run, recording: Recording) -> tuple[Activity, Figure]:
    """Rates and shares over training, beside those of the trained network.

    The shares over training are left out for a run that did not record them.
    """
    facts = measure(run, recording)
    count = len(facts.rate)
    drawn = drawing.figure(max(4.6 if facts.has_shares else 3.0, 0.2 * count + 1.4))
    rows = 2 if facts.has_shares else 1
    grid = drawn.add_gridspec(rows, 2, width_ratios=(1.1, 1), height_ratios=(1.3, 1)[:rows])
    rates = drawn.add_subplot(grid[0, 0])
    _draw_rates(rates, facts)
    if facts.has_shares:
        _draw_shares(drawn.add_subplot(grid[1, 0], sharex=rates), facts)
        rates.tick_params(labelbottom=False)
        rates.set_xlabel(None)
    _draw_now(drawn.add_subplot(grid[:, 1]), facts)
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

    count = len(facts.history)
    style = _over_training(
        axis, facts, "spikes per neuron and timestep",
        "over training (lines are layers, dark to light)",
    )  # fmt: skip
    colours = colormaps["viridis"](np.linspace(0.05, 0.85, count))
    for number, rates in enumerate(facts.history.values(), 1):
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
        ("dead", facts.dead_history, "black"),
        ("saturated", facts.saturated_history, drawing.ACCENT),
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


def _draw_now(axis, facts):
    rows = np.arange(len(facts.rate))
    axis.barh(rows, list(facts.rate.values()), 0.7, color=drawing.VISITED, label="spike rate")
    axis.plot(list(facts.dead.values()), rows, "x", color="black", label="dead share")
    axis.plot(
        list(facts.saturated.values()), rows, "^", color=drawing.ACCENT, label="saturated share"
    )
    axis.set_yticks(rows, [f"{n}  {path}" for n, path in enumerate(facts.rate, 1)])
    axis.invert_yaxis()
    axis.set_xlim(-0.02, 1.02)
    axis.set_title(
        f"now; saturated: spikes in {SATURATED:.0%} of timesteps", fontsize=8, loc="left"
    )
    drawing.plain(axis)
    # Below the axis: markers can be anywhere on it.
    axis.legend(fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.06))
