"""Which classes a network takes for which."""

from __future__ import annotations

import numpy as np

from lnm_jax.analysis import drawing
from lnm_jax.analysis.drawing import Figure
from lnm_jax.analysis.recording import Recording
from lnm_jax.training.run import Run


def picture(run: Run, recorded: Recording) -> tuple[list[dict], Figure]:
    """The confusion matrix of a recording: counts, and each row's shares as colours.

    Args:
      run: as `training.run.load` returns it.
      recorded: of the same run, with `confusion`.
    Returns: a row a class: its name, and how many of its examples were predicted as each one; and
      the figure.
    """
    counts, names = recorded.confusion, _names(run)
    drawn = drawing.figure(0.3 * len(names) + 1.2)
    axis = drawn.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (label, predicted), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[label, predicted] > 0.5 else "black"
            axis.text(predicted, label, count, color=colour, fontsize=7, ha="center", va="center")
    axis.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axis.set_yticks(range(len(names)), names)
    drawing.plain(axis, x="predicted", y="class")
    rows = [
        {"class": name} | {f"predicted {n}": int(x) for n, x in zip(names, own, strict=True)}
        for name, own in zip(names, counts, strict=True)
    ]
    return rows, drawn


def sentence(run: Run, recorded: Recording) -> str:
    """The most frequent mistake. Args as in `picture`."""
    counts, names = recorded.confusion, _names(run)
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.any():
        return "No example was taken for one of another class."
    label, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    return (
        f"The most frequent mistake: {names[label]} taken for {names[predicted]}, in "
        f"{wrong.max()} of {counts[label].sum()} examples."
    )


def _names(run):
    dataset = run.experiment.dataset
    return dataset.classes or tuple(map(str, range(dataset.num_classes)))
