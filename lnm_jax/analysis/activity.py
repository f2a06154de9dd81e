"""How active layers are: spike rates over training, and dead and saturated neurons now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lnm_jax.analysis import drawing
from lnm_jax.analysis.recording import SATURATED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.analysis.recording import Recording
    from lnm_jax.training.loop import Run


class Activity(NamedTuple):
    """Activity by layer, in the order they run.

    Attributes:
      epochs: (E,) of the evaluations in metrics.jsonl.
      history: by layer, (E,) mean spikes per neuron and timestep on the whole test set.
      rate: by layer, the same on the recorded examples.
      dead: by layer, share of neurons that never spiked on them.
      saturated: by layer, share that spiked in `SATURATED` of the timesteps or more.
      at_zero: by layer, share of updates whose potential was exactly 0.
    """

    epochs: np.ndarray
    history: dict[str, np.ndarray]
    rate: dict[str, float]
    dead: dict[str, float]
    saturated: dict[str, float]
    at_zero: dict[str, float]


def measure(run: Run, recording: Recording) -> Activity:
    """The numbers; see `Activity`."""
    tests = [record for record in run.records if record["split"] == "test"]
    layers = recording.layers
    return Activity(
        epochs=np.array([record["epoch"] for record in tests]),
        history={path: np.array([record["rates"][path] for record in tests]) for path in layers},
        rate={path: layer.rate for path, layer in layers.items()},
        dead={path: layer.dead for path, layer in layers.items()},
        saturated={path: layer.saturated for path, layer in layers.items()},
        at_zero={path: layer.at_zero for path, layer in layers.items()},
    )


def picture(run: Run, recording: Recording) -> tuple[Activity, Figure]:
    """Rates over training, beside rates, dead and saturated shares of the trained network."""
    facts = measure(run, recording)
    count = len(facts.rate)
    drawn = drawing.figure(max(3.0, 0.2 * count + 1.4))
    left, right = drawn.subplots(1, 2, width_ratios=(1.1, 1))
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.05, 0.85, count))
    for number, rates in enumerate(facts.history.values(), 1):
        left.plot(facts.epochs, rates, color=colours[number - 1], linewidth=1.3)
        if len(rates) and count <= 12:
            left.annotate(
                str(number), (facts.epochs[-1], rates[-1]), xytext=(3, 0), fontsize=7,
                textcoords="offset points", va="center", color=colours[number - 1],
            )  # fmt: skip
    left.set_ylim(0)
    left.set_xlabel("epoch", fontsize=8)
    drawing.whole_numbers(left)
    left.set_ylabel("spikes per neuron and timestep", fontsize=8)
    left.set_title("over training (lines are layers, dark to light)", fontsize=8, loc="left")
    rows = np.arange(count)
    right.barh(rows, list(facts.rate.values()), 0.7, color=drawing.VISITED, label="spike rate")
    right.plot(list(facts.dead.values()), rows, "x", color="black", label="dead share")
    right.plot(
        list(facts.saturated.values()), rows, "^", color=drawing.ACCENT, label="saturated share"
    )
    right.set_yticks(rows, [f"{n}  {path}" for n, path in enumerate(facts.rate, 1)])
    right.invert_yaxis()
    right.set_xlim(-0.02, 1.02)
    right.set_title(
        f"now; saturated: spikes in {SATURATED:.0%} of timesteps", fontsize=8, loc="left"
    )
    for axis in (left, right):
        drawing.plain(axis)
    right.legend(fontsize=7, frameon=False, loc="lower right")
    return facts, drawn
