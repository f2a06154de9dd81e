"""Accuracy and loss over training."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lnm_jax.analysis import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.training.run import Run


class Curves(NamedTuple):
    """What metrics.jsonl has of a run.

    Attributes:
      epochs: (E,) of the evaluations.
      accuracy: (E,) on the test set, %.
      loss: (E,) on the test set, nats.
      train_epochs: (S,) of the lines of training, in epochs.
      train_loss: (S,) nats, mean since the line before; NaN where no step was applied.
    """

    epochs: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    train_epochs: np.ndarray
    train_loss: np.ndarray


def measure(run: Run) -> Curves:
    """The numbers; see `Curves`."""

    def values(split, name):
        return np.array([record[name] for record in run.records if record["split"] == split], float)

    this = run.experiment
    an_epoch = len(this.dataset.train.labels) / this.config.data.batch_size
    return Curves(
        epochs=values("test", "epoch"),
        accuracy=values("test", "accuracy"),
        loss=values("test", "loss"),
        train_epochs=values("train", "step") / an_epoch,
        train_loss=values("train", "loss"),
    )


def picture(run: Run) -> tuple[Curves, Figure]:
    """Test accuracy, and losses of training and test, over epochs."""
    facts = measure(run)
    drawn = drawing.figure(3.0)
    left, right = drawn.subplots(1, 2)
    marker = "o" if len(facts.epochs) == 1 else None  # a line through one point is nothing
    left.plot(facts.epochs, facts.accuracy, color=drawing.LEARNED, marker=marker)
    right.plot(facts.epochs, facts.loss, color=drawing.LEARNED, marker=marker, label="test")
    right.plot(
        facts.train_epochs, facts.train_loss, color=drawing.LEARNED, linestyle=":", label="training"
    )
    right.legend(fontsize=7, frameon=False)
    for axis, label in ((left, "test accuracy, %"), (right, "loss, nats")):
        drawing.plain(axis)
        axis.set_ylabel(label, fontsize=8)
        axis.set_xlabel("epoch", fontsize=8)
        drawing.whole_numbers(axis)
    return facts, drawn
