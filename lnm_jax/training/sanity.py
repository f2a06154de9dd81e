"""Settings with which a run trains nothing, or not what their names say, on the data it has.

Looked at once, before the first step: what can't be meant is refused, the rest is said in a line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import models
from lnm_jax.errors import ConfigError
from lnm_jax.training import losses, optimizer, parallel, steps
from lnm_jax.training.experiment import Experiment
from lnm_jax.training.steps import TrainState


def check(this: Experiment, state: TrainState) -> None:
    """Looks at an experiment with its data and its state before the first step.

    Raises: ConfigError, one line: the field, its value and what is allowed.
    """
    for problem in _refused(this, state):
        raise ConfigError(problem)
    if parallel.is_first():
        for doubt in _doubted(this, state):
            logging.warning("%s", doubt)


def _refused(this: Experiment, state: TrainState) -> Iterator[str]:
    config, info = this.config, this.info
    if config.data.batch_size > info.train:
        # Epochs would end within a step.
        yield (
            f"config.data.batch_size must be at most the {info.train} training examples, got "
            f"{config.data.batch_size}"
        )
    if info.num_classes < 2 and _classifies(this):
        yield f"config.data.name {config.data.name}: at least 2 classes are needed, got 1"
    if path := _single_value(this, state):
        yield (
            f"config.data.batch_size must be at least 2, got 1: BatchNorm at {path} would see a "
            "single value, of which nothing is left"
        )
    fields = config.optimizer
    only = this.steps_until(config.epochs) == 1
    if only and fields.learning_rate and not float(this.learning_rate(0)):
        yield (
            "config.optimizer.warmup_epochs must end before the last step, got "
            f"{fields.warmup_epochs:g}: the only step would have a learning rate of 0"
        )


def _doubted(this: Experiment, state: TrainState) -> Iterator[str]:
    config = this.config
    still, rates = _rates(this, state)
    if still == rates:  # which may be what is wanted, after init_from
        yield "config.optimizer: every learning rate is 0: only BatchNorm's statistics will change"
        still = []
    for field in still:
        what = "neurons' parameters" if field == "neuron_learning_rate" else "weights it would move"
        yield f"config.optimizer.{field} is 0: the {what} stay as they start"
    if _classifies(this):
        yield from _scarce(this)
    if this.timesteps == 1:
        named = [
            ("neuron.kind", True),
            ("loss.name", config.loss.name in ("tet", "last_step")),
            ("model.norm", config.model.norm == "tebn"),
            ("adaptation.masking", config.adaptation.masking),
        ]
        values = config.to_dict()
        fields = [name.split(".") for name, there in named if there]
        told = ", ".join(f"{part}.{key} {values[part][key]}" for part, key in fields)
        yield f"config.timesteps is 1: nothing is carried over time, as {told} need"
    if config.model.side_heads and "side_logits" not in losses.build(config).collections:
        yield f"config.model.side_heads: loss.name {config.loss.name} does not train side heads"


def _classifies(this: Experiment) -> bool:
    """Whether labels are classes: those of `spike_trains` are spikes."""
    return np.ndim(this.dataset.train.labels) == 1


def _rates(this: Experiment, state: TrainState) -> tuple[list[str], list[str]]:
    """Fields of learning rates of the network's parameters: (those that are 0, all)."""
    fields = this.config.optimizer
    weights = "sgd_learning_rate" if fields.name == "muon" else "learning_rate"
    names = {"neurons": "neuron_learning_rate", "weights": weights, "kernels": "learning_rate"}
    groups = set(jax.tree.leaves(optimizer.label(state.params, rule=fields.name)))
    rates = [names[group] for group in optimizer.GROUPS if group in groups]
    return [name for name in rates if not fields[name]], rates


def _single_value(this: Experiment, state: TrainState) -> str | None:
    """Path of the first BatchNorm that normalises over a single value in training, or None."""
    size, model = this.config.data.batch_size, this.model
    if "axis_name" not in model.__dataclass_fields__:  # statistics of each device alone
        size //= parallel.device_count()
    if size > 1:
        return None
    found = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            x = (*args, *kwargs.values())[0]
            if x.size == x.shape[-1]:
                found.append("/".join(context.module.path))
        return call(*args, **kwargs)

    def run(state, images):
        with nn.intercept_methods(record):
            alone = models.adjusted(model, axis_name=None)
            return alone.apply(state.variables, images, train=True, mutable=True)

    jax.eval_shape(run, state, jnp.zeros(steps.model_shape(this.info.shape)))
    return found[0] if found else None


def _scarce(this: Experiment) -> Iterator[str]:
    """Classes of which there is hardly anything to learn or to test, in one line."""
    count, names = this.info.num_classes, this.info.classes
    train, test = (np.bincount(x.labels, minlength=count) for x in this.dataset[:2])
    found = []
    for words, which in (
        ("no training example of", train == 0),
        ("a single training example of", train == 1),
        ("no test example of", test == 0),
    ):
        labels = np.flatnonzero(which).tolist()
        if labels:
            some = ", ".join(names[label] if names else str(label) for label in labels[:3])
            more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
            found.append(f"{words} {some}{more}")
    if found:
        yield f"config.data.name {this.config.data.name}: {'; '.join(found)}"
