"""Everything that a configuration names, built: data, neuron, model, optimizer, steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict

from lnm_jax import data, models, neurons
from lnm_jax.data import augment
from lnm_jax.training import parallel, state, steps
from lnm_jax.training.optimizer import make_optimizer, schedules


class Experiment(NamedTuple):
    """What a run is made of; nothing in it changes while it trains.

    Attributes:
      config: the configuration.
      dataset: in memory.
      neuron: of every spiking layer.
      model: Flax module.
      learning_rate: of the weights, as a function of the step.
      init: () -> the state before the first step.
      train_step, eval_step: over whole batches and all devices; see `steps`.
    """

    config: Any
    dataset: data.Dataset
    neuron: neurons.Neuron
    model: nn.Module
    learning_rate: optax.Schedule
    init: Callable[[], state.TrainState]
    train_step: Callable
    eval_step: Callable

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a batch of one example."""
        return (1, *self.dataset.train.images.shape[1:])

    def steps_until(self, epochs: float) -> int:
        """Training steps after which that many epochs are complete."""
        return data.steps_until(epochs, len(self.dataset.train.labels), self.config.data.batch_size)

    def spiking_layers(self) -> list[str]:
        """Paths of the spiking layers, in the order they run."""
        return models.spiking_layers(self.model, self.input_shape)


def build(config) -> Experiment:
    """The experiment of a validated configuration. Compiles and writes nothing."""
    dataset = data.DATASETS[config.data.name]()
    neuron = neurons.build(**config.neuron)
    model = models.build(
        neuron=neuron,
        num_classes=dataset.num_classes,
        timesteps=config.timesteps,
        axis_name=parallel.AXIS,
        dtype=jnp.dtype(config.compute_dtype),
        **config.spiking,
        **config.model,
    )
    images = len(dataset.train.labels)
    rates = schedules(
        config.optimizer,
        steps=data.steps_until(config.epochs, images, config.data.batch_size),
        warmup_steps=round(config.optimizer.warmup_epochs * images / config.data.batch_size),
    )
    optimizer = make_optimizer(config.optimizer, rates)
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    normalise = functools.partial(augment.normalise, mean=dataset.mean, std=dataset.std)

    def prepare(key, image):
        if config.data.crop_padding:
            image = augment.random_crop(key, image, config.data.crop_padding)
        return normalise(image)

    train_step = steps.make_train_step(
        model,
        optimizer,
        key=step_key,
        prepare=prepare,
        smoothing=config.label_smoothing,
        log_every=config.log_every,
        axis_name=parallel.AXIS,
    )
    eval_step = steps.make_eval_step(
        model, prepare=normalise, smoothing=config.label_smoothing, axis_name=parallel.AXIS
    )
    input_shape = (1, *dataset.train.images.shape[1:])
    return Experiment(
        config=config,
        dataset=dataset,
        neuron=neuron,
        model=model,
        learning_rate=rates["weights"],
        init=lambda: state.create(model, optimizer, init_key, input_shape),
        train_step=parallel.parallel(train_step, donate=True),
        eval_step=parallel.parallel(eval_step, donate=False),
    )


def evaluate(experiment: Experiment, variables: dict) -> dict:
    """Accuracy (%), loss (nats) and each layer's spike rate, every test image counted once.

    Returns: {"accuracy", "loss", "rates": {path: spikes per neuron and timestep}}.
    """
    batches = data.eval_batches(experiment.dataset.test, experiment.config.data.eval_batch_size)
    sums = [jax.device_get(experiment.eval_step(variables, batch)) for batch in batches]
    total = jax.tree.map(lambda *parts: float(sum(parts)), *sums)
    images = total["count"]
    rates = flatten_dict(total["rates"])
    return {
        "accuracy": 100 * total["correct"] / images,
        "loss": total["loss"] / images,
        "rates": {"/".join(path[:-1]): rate / images for path, rate in rates.items()},
    }
