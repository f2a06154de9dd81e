"""Curves of training, of one run or of several side by side: mean and deviation over seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lnm_jax.analysis import drawing
from lnm_jax.training import configuration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.training.run import Run


class Group(NamedTuple):
    """Runs whose configurations differ in nothing but the seed.

    Attributes:
      label: the fields in which the group differs from the others, or the neuron's kind.
      runs: by seed.
      epochs: (E,) that all of its runs have evaluated.
      accuracy: (R, E) on the test set, %.
      loss: (R, E) on the test set, nats.
      steps: (S,) that all of its runs have a line of training for.
      train_loss: (R, S) nats, mean since the line before; NaN where no step was applied.
    """

    label: str
    runs: list[Run]
    epochs: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    steps: np.ndarray
    train_loss: np.ndarray


def mean_and_deviation(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the first axis; the deviation is the sample's (n - 1), and NaN for one run."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return values.mean(0), np.full(values.shape[1:], np.nan)
    return values.mean(0), values.std(0, ddof=1)


def groups(runs: Sequence[Run]) -> list[Group]:
    """The runs by configuration, in the order of each one's first run."""
    alike: dict[str, list[Run]] = {}
    computed = []
    for run in runs:
        fields = configuration.flatten(run.experiment.config)
        places = ("seed", *configuration.BOOKKEEPING_FIELDS)
        fields = {key: value for key, value in fields.items() if key not in places}
        computed.append(fields)
        alike.setdefault(json.dumps(fields, sort_keys=True), []).append(run)
    varied = [key for key in computed[0] if any(f[key] != computed[0][key] for f in computed)]
    return [_group(json.loads(key), members, varied) for key, members in alike.items()]


def _group(fields: dict, members: list[Run], varied: list[str]) -> Group:
    label = ", ".join(f"{key.split('.')[-1]} {fields[key]}" for key in varied)
    members = sorted(members, key=lambda run: run.experiment.config.seed)
    tests = [_by(run, "test", "epoch") for run in members]
    trains = [_by(run, "train", "step") for run in members]
    epochs = sorted(set.intersection(*map(set, tests)))
    steps = sorted(set.intersection(*map(set, trains)))

    def values(records, places, name):
        rows = [[one[place][name] for place in places] for one in records]
        return np.array(rows, float).reshape(len(members), len(places))

    return Group(
        label=label or fields["neuron.kind"],
        runs=members,
        epochs=np.array(epochs),
        accuracy=values(tests, epochs, "accuracy"),
        loss=values(tests, epochs, "loss"),
        steps=np.array(steps),
        train_loss=values(trains, steps, "loss"),
    )


def _by(run: Run, split: str, key: str) -> dict:
    return {record[key]: record for record in run.records if record["split"] == split}


def picture(runs: Sequence[Run]) -> tuple[list[Group], Figure]:
    """Test accuracy and losses over training, a colour a configuration.

    Lines are means over seeds, bands one sample standard deviation.
    """
    found = groups(runs)
    drawn = drawing.figure(3.0)
    left, right = drawn.subplots(1, 2)
    for number, group in enumerate(found):
        colour = drawing.SERIES[number % len(drawing.SERIES)]
        count = len(group.runs)
        label = f"{group.label} ({count} run{'s' if count > 1 else ''})"
        _band(left, group.epochs, group.accuracy, colour, label)
        _band(right, group.epochs, group.loss, colour, f"{group.label}, test")
        # Training lines are by step: placed on the axis of epochs by their share of the run.
        if len(group.steps) and len(group.epochs):
            this = group.runs[0].experiment
            epochs = group.steps / this.steps_until(group.epochs[-1]) * group.epochs[-1]
            means, _ = mean_and_deviation(group.train_loss)
            right.plot(
                epochs, means, color=colour, linestyle=":", linewidth=1,
                label=f"{group.label}, training",
            )  # fmt: skip
    left.set_ylabel("test accuracy, %", fontsize=8)
    right.set_ylabel("loss, nats", fontsize=8)
    for axis in (left, right):
        drawing.plain(axis)
        axis.set_xlabel("epoch", fontsize=8)
        drawing.whole_numbers(axis)
        axis.legend(fontsize=7, frameon=False)
    return found, drawn


def _band(axis, x, values, colour, label):
    if not len(x):
        return
    means, deviations = mean_and_deviation(values)
    axis.plot(
        x, means, color=colour, linewidth=1.6, label=label, marker="o" if len(x) == 1 else None
    )
    if len(values) > 1:
        axis.fill_between(
            x, means - deviations, means + deviations, color=colour, alpha=0.18, linewidth=0
        )
