"""Over training, from metrics.jsonl: accuracy and losses, and how active layers are, beside now."""

from __future__ import annotations

import numpy as np

from lnm_jax.analysis import drawing
from lnm_jax.analysis.drawing import Figure
from lnm_jax.analysis.recording import Recording
from lnm_jax.training.run import Run


def curves(run: Run) -> tuple[list[dict], Figure]:
    """Test accuracy, and losses of training and test, over epochs.

    Returns: a row an evaluation: epoch, accuracy in %, loss of the training objective and plain
      cross-entropy in nats, None where it was not recorded; and the figure. The loss of training is
      the mean since the record before, NaN where no step was applied.
    """

    def values(split, name):
        records = [record for record in run.records if record["split"] == split]
        return np.array([record.get(name) for record in records], float)

    this = run.experiment
    an_epoch = this.info.train / this.config.data.batch_size
    names = ("epoch", "accuracy", "loss", "cross_entropy")
    epochs, accuracy, loss, plain = (values("test", name) for name in names)
    drawn = drawing.figure(3.0)
    left, right = drawn.subplots(1, 2)
    line = {"color": drawing.LEARNED, **_line(epochs)}
    left.plot(epochs, accuracy, **line)
    if np.isfinite(plain).any():
        right.plot(epochs, plain, label="test, cross-entropy", **line)
    if not np.allclose(loss, plain):  # NaN is not
        right.plot(epochs, loss, label="test, training objective", **line | {"color": "black"})
    steps = values("train", "step") / an_epoch
    dotted = {"color": drawing.LEARNED, "linestyle": ":", "label": "training, its objective"}
    right.plot(steps, values("train", "loss"), **dotted)
    right.legend(fontsize=7, frameon=False)
    left.set_ylim(top=100)
    for axis, label in ((left, "test accuracy, %"), (right, "loss, nats")):
        _over_epochs(axis, label)
    rows = [
        {"epoch": int(e), "accuracy": a, "loss": x, "cross_entropy": y if np.isfinite(y) else None}
        for e, a, x, y in zip(epochs, accuracy, loss, plain, strict=True)
    ]
    return rows, drawn


def _over_epochs(axis, label, title=""):
    from matplotlib.ticker import MaxNLocator

    drawing.plain(axis, x="epoch", y=label, title=title)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _line(epochs):
    """A single epoch is a point, and a line through it is nothing."""
    return {"marker": "." if len(epochs) == 1 else None}


def activity(run: Run, recording: Recording) -> tuple[list[dict], list[dict], Figure]:
    """Spike rates, and shares of dead and saturated neurons, over training and now.

    Saturated neurons are those of `experiment.saturated_fraction`. The shares over training are
    left out of the figure for a run that did not record them.

    Returns: a row a layer as the trained network has it; a row a layer and evaluation, of the whole
      test set, without what was not recorded; and the figure.
    """
    tests = [record for record in run.records if record["split"] == "test"]
    epochs = np.array([record["epoch"] for record in tests], int)
    layers = recording.layers

    def over(name):  # (E, L)
        values = [[record.get(name, {}).get(path, np.nan) for path in layers] for record in tests]
        return np.array(values, float).reshape(len(tests), len(layers))

    rates, dead, saturated = map(over, ("rates", "dead", "saturated"))
    has_shares = np.isfinite(dead).any()
    drawn = drawing.figure(max(4.6 if has_shares else 3.0, 0.2 * len(layers) + 1.4))
    rows = 2 if has_shares else 1
    grid = drawn.add_gridspec(rows, 2, width_ratios=(1.1, 1), height_ratios=(1.3, 1)[:rows])
    upper = drawn.add_subplot(grid[0, 0])
    _draw_rates(upper, epochs, rates)
    if has_shares:
        _draw_shares(drawn.add_subplot(grid[1, 0], sharex=upper), epochs, dead, saturated)
        upper.tick_params(labelbottom=False)
        upper.set_xlabel("")
    _draw_now(drawn.add_subplot(grid[:, 1]), layers)
    now = [
        {"layer": n, "path": path} | _row(layer.rate, layer.dead, layer.saturated)
        for n, (path, layer) in enumerate(layers.items(), 1)
    ]
    over_training = [
        {"path": path, "epoch": int(epochs[e])} | _row(rates[e, n], dead[e, n], saturated[e, n])
        for n, path in enumerate(layers)
        for e in range(len(epochs))
    ]
    return now, over_training, drawn


def _row(rate, dead, saturated):
    values = {"spike rate": rate, "dead, %": 100 * dead, "saturated, %": 100 * saturated}
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def _draw_rates(axis, epochs, rates):
    from matplotlib import colormaps

    _over_epochs(axis, "spikes per neuron and timestep", "over training, dark to light: layers")
    count = rates.shape[1]
    colours = colormaps["viridis"](np.linspace(0.05, 0.85, count))
    for n, colour in enumerate(colours):
        axis.plot(epochs, rates[:, n], color=colour, linewidth=1.3, **_line(epochs))
        if len(epochs) and count <= 12:
            _number(axis, epochs[-1], rates[-1, n], n, colour)
    axis.set_ylim(0)


def _draw_shares(axis, epochs, dead, saturated):
    """Thin lines are layers; the one of the largest share in the end is numbered."""
    _over_epochs(axis, "share of neurons", "over training, bold: the layers' mean")
    shares = (("dead", dead, "black"), ("saturated", saturated, drawing.ACCENT))
    for name, values, colour in shares:
        style = {"color": colour, **_line(epochs)}
        axis.plot(epochs, values, linewidth=0.6, alpha=0.4, **style)
        axis.plot(epochs, values.mean(1), linewidth=2, label=f"{name} share", **style)
        worst = int(np.argmax(values[-1]))
        if values[-1, worst] > 0:
            _number(axis, epochs[-1], values[-1, worst], worst, colour)
    axis.set_ylim(0, 1.05 * max(0.05, np.nanmax(dead), np.nanmax(saturated)))
    axis.legend(fontsize=7, frameon=False)


def _number(axis, x, y, layer, colour):
    axis.annotate(
        str(layer + 1), (x, y), xytext=(3, 0), fontsize=7, textcoords="offset points", va="center",
        color=colour,
    )  # fmt: skip


def _draw_now(axis, layers):
    rows = np.arange(len(layers))

    def of(name):
        return [getattr(layer, name) for layer in layers.values()]

    bars = axis.barh(rows, of("rate"), 0.7, color=drawing.VISITED, label="spike rate")
    dead = axis.plot(of("dead"), rows, "x", color="black", label="dead share")
    saturated = axis.plot(of("saturated"), rows, "^", color=drawing.ACCENT, label="saturated share")
    axis.set_yticks(rows, rows + 1)
    axis.invert_yaxis()
    axis.set_xlim(-0.02, 1.02)
    drawing.plain(axis, y="layer", title="now")
    # Below the axis: markers can be anywhere on it. Bars would come last by themselves.
    axis.legend(
        handles=[bars, *dead, *saturated], fontsize=7, frameon=False, ncols=3, loc="upper center",
        bbox_to_anchor=(0.5, -0.06),
    )  # fmt: skip
