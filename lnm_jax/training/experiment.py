"""Everything that a configuration names, built: data, neuron, model, optimizer, steps."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from lnm_jax import data, models, neurons
from lnm_jax.data import augment
from lnm_jax.errors import ConfigError, NonFiniteError
from lnm_jax.training import configuration, losses, parallel, schedules, steps
from lnm_jax.training.optimizer import learning_rates, make_optimizer, rate_schedules


class Experiment(NamedTuple):
    """What a run is made of; nothing in it changes while it trains.

    Attributes:
      config: the configuration.
      info: of its data set, see `data.Info`.
      load_dataset: () -> that data set, loaded when it is first asked for.
      neuron: of every spiking layer.
      model: Flax module; its outputs are what it predicts.
      learning_rate: of the kernels, as a function of the step.
      loss: (params, state, batch) -> loss of a whole batch on one device, as `steps.make_loss`.
      init: () -> the state before the first step.
      apply: (variables, images, collections) -> (outputs, what was sown) in evaluation, compiled;
        images (B, ...) in the data set's unit.
      train_step, eval_step: over whole batches and all devices; see `steps`.
      adapt: likewise, before the first step of an epoch; see `schedules`. None for most runs.
    """

    config: Any
    info: data.Info
    load_dataset: Callable[[], data.Dataset]
    neuron: neurons.Neuron
    model: nn.Module
    learning_rate: optax.Schedule
    loss: Callable
    init: Callable[[], steps.TrainState]
    apply: Callable
    train_step: Callable
    eval_step: Callable
    adapt: Callable | None

    @property
    def dataset(self) -> data.Dataset:
        """The examples. Raises: ConfigError if they can't be found, or are others than `info`'s."""
        return self.load_dataset()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a batch of one example."""
        return steps.model_shape(self.info.shape)

    @property
    def timesteps(self) -> int:
        """T that the network runs for: recordings bring their own."""
        shape = self.info.shape
        return shape[0] if len(shape) == 4 else self.config.timesteps

    @property
    def threshold(self) -> float:
        """v_th as the neuron says it; the configuration's where it is learned."""
        known = self.neuron.facts.threshold
        return self.config.neuron.threshold if known is None else known

    def steps_until(self, epochs: float) -> int:
        """Training steps after which that many epochs are complete."""
        return data.steps_until(epochs, self.info.train, self.config.data.batch_size)

    def spiking_layers(self) -> list[str]:
        """Paths of the spiking layers, in the order they run."""
        return models.spiking_layers(self.model, self.input_shape)


def build(
    config,
    dataset: data.Dataset | None = None,
    neuron: neurons.Neuron | neurons.Parallel | None = None,
    model: nn.Module | None = None,
    info: data.Info | None = None,
) -> Experiment:
    """The experiment of a validated configuration. Compiles and writes nothing.

    Args:
      config: with the fields of lnm_jax/configs/base.py.
      dataset: to train on; None loads the one that `config.data` names.
      neuron: of every spiking layer; None makes the one that `config.neuron` names.
      model: the network; None makes the one that `config.model` names. Of anybody's own it gets
        `axis_name` and `readout`, if it has such fields.
      info: of the data set, which is then loaded when it is first asked for.
    Raises: ConfigError for what was passed in Python to the run and is missing here.
    """
    configuration.check_passed(config, dataset=dataset or info, neuron=neuron, model=model)

    @functools.cache
    def load_dataset():
        configuration.check_passed(config, dataset=dataset)
        fields = config.data.to_dict()
        found = dataset or data.load(timesteps=config.timesteps, progress=config.progress, **fields)
        if info and (differ := info.differences(data.info_of(found))):
            raise changed_data(config, differ)
        return found

    info = info or data.info_of(load_dataset())
    if len(info.shape) == 4 and info.shape[0] != config.timesteps:
        logging.warning(
            "recordings have T = %d, which is taken; config.timesteps is %d",
            info.shape[0],
            config.timesteps,
        )
    neuron = neuron or neurons.build(**config.neuron, timesteps=config.timesteps)
    scheduled = schedules.scheduled(config.adaptation)
    loss = losses.build(config)
    readout = "last" if loss.readout == "last" else "mean"
    if model is None:
        model = models.build(
            neuron=neuron,
            num_classes=info.num_classes,
            timesteps=config.timesteps,
            dtype=jnp.dtype(config.compute_dtype),
            axis_name=parallel.AXIS,
            readout=readout,
            scheduled=scheduled,
            **config.spiking,
            **config.model,
        )
    else:
        model = models.adjusted(model, axis_name=parallel.AXIS, readout=readout)
    images = info.train
    last = data.steps_until(config.epochs, images, config.data.batch_size)
    make_schedules = functools.partial(
        rate_schedules,
        steps=last,
        warmup_steps=round(config.optimizer.warmup_epochs * images / config.data.batch_size),
        decay=config.optimizer.decay,
    )
    rates = learning_rates(config.optimizer)
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    # Arguments of the compiled programs, not constants in them: runs that differ in the seed or
    # the learning rates alone share what was compiled.
    constants = {"key": step_key, "rates": jax.tree.map(np.float32, rates)}
    normalise = functools.partial(augment.normalise, mean=info.mean, std=info.std)
    make_loss = functools.partial(
        steps.make_loss, prepare=augment.augmentation(config.data, info), loss=loss, steps=last
    )
    input_shape = steps.model_shape(info.shape)
    trained = models.adjusted(model, readout=loss.readout)

    def train_step(state, batch, constants):
        step = steps.make_train_step(
            make_loss(trained, key=constants["key"]),
            make_optimizer(config.optimizer, make_schedules(constants["rates"])),
            log_every=config.log_every,
            axis_name=parallel.AXIS,
        )
        return step(state, batch)

    def adapt(state, batch, constants):
        change = schedules.build(
            config.adaptation,
            make_loss(trained, key=constants["key"]),
            model,
            input_shape,
            last=data.steps_until(config.epochs - 1, images, config.data.batch_size),
            axis_name=parallel.AXIS,
        )
        return change(state, batch)

    eval_step = steps.make_eval_step(
        trained,
        prepare=normalise,
        loss=loss,
        axis_name=parallel.AXIS,
        flip=config.data.test_flip,
    )

    @functools.partial(jax.jit, static_argnames="collections")
    def apply(variables, images, collections=()):
        images = steps.time_first(normalise(images))
        return model.apply(variables, images, mutable=list(collections))

    return Experiment(
        config=config,
        info=info,
        load_dataset=load_dataset,
        neuron=neuron,
        model=model,
        learning_rate=make_schedules(rates)["kernels" if "kernels" in rates else "weights"],
        loss=make_loss(models.adjusted(trained, axis_name=None), key=step_key),
        init=lambda: steps.create_state(
            model, make_optimizer(config.optimizer, make_schedules(rates)), init_key, input_shape
        ),
        apply=apply,
        train_step=parallel.parallel(train_step, constants, donate=True),
        eval_step=parallel.parallel(eval_step, donate=False),
        adapt=parallel.parallel(adapt, constants, donate=True) if scheduled else None,
    )


def changed_data(config, differ: list[str]) -> ConfigError:
    """What to raise for data that are not those that a run began with."""
    directory = configuration.path_of(config)
    return ConfigError(
        f"{directory}: config.data: {config.data.name} has changed since the run began "
        f"({'; '.join(differ)}); choose another config.name, or take it as it is by "
        f"train.py --resume={directory} --config.data.accept_changes=true (in Python: that field)"
    )


SATURATED = 0.95  # a neuron is saturated if it spikes in this share of its updates or more


def dead_fraction(spikes: np.ndarray) -> float:
    """Share of neurons that never spiked.

    Args:
      spikes: of each neuron, over all examples and timesteps.
    """
    return float((spikes == 0).mean())


def saturated_fraction(spikes: np.ndarray, updates: int) -> float:
    """Share of neurons that spiked in `SATURATED` of their updates or more.

    Args:
      spikes: as for `dead_fraction`.
      updates: of each neuron: examples times timesteps.
    """
    return float((spikes >= SATURATED * updates).mean())


def evaluate(
    experiment: Experiment,
    variables: dict,
    split: data.Split | data.Stream | None = None,
    *,
    strict: bool = True,
) -> dict:
    """Accuracy (%), losses (nats) and each layer's activity, every image counted once.

    Args:
      variables: of the model.
      split: examples; None for the test set.
      strict: False counts examples whose currents or loss are not finite as wrong, says how many
        there are, and goes on, as training does.

    With `config.data.test_flip`, "accuracy_flip" is that of the mean logits of each image and its
    mirror image.

    "loss" is of the training objective, as far as the outputs tell: with label smoothing, TET's
    terms and the like, without those of side heads and currents. "cross_entropy" is the plain one
    of the logits that the network predicts by (their mean over time; the last ones for LTS), to be
    compared between losses; where there are no classes it is left out.

    Returns: {"accuracy", "loss", "cross_entropy", "rates": {path: spikes per neuron and timestep},
      "dead": {path: share of neurons that never spiked}, "saturated": {path: see
      `saturated_fraction`}}; and {"not_finite": examples that were left out of losses and rates},
      where there are any; a loss is None if all were.
    Raises: NonFiniteError that names the first array or layer that is not finite.
    """
    split, devices = split or experiment.dataset.test, parallel.device_count()
    size = min(experiment.config.data.eval_batch_size, -(-len(split.labels) // devices) * devices)
    batches = data.eval_batches(split, size, shard=parallel.process())

    def sums_of(batch):
        sums = jax.device_get(experiment.eval_step(variables, batch))
        if strict and sums["not_finite"]:
            raise not_finite(experiment, variables, batch)
        return sums

    # One at a time: the counts of all neurons are too large to keep those of every batch.
    total = functools.reduce(functools.partial(jax.tree.map, np.add), map(sums_of, batches))
    images, lost = float(total["count"]), int(total["not_finite"])
    if lost and parallel.is_first():
        directory = configuration.path_of(experiment.config)
        logging.warning(
            "%s: %d of %d examples give numbers that are not finite, and count as wrong (python -m "
            "lnm_jax.analysis health %s says where)", directory, lost, images, directory,
        )  # fmt: skip
    updates = round(images) * experiment.timesteps
    rates, spikes = _by_path(total["rates"]), _by_path(total["spikes"])

    def percent(hits):
        return 100 * float(total[hits]) / max(float(total["possible"]), 1.0)

    flip = {"accuracy_flip": percent("hits_flip")} if "hits_flip" in total else {}
    names = [name for name in ("loss", "cross_entropy") if name in total]
    return {
        "accuracy": percent("hits"),
        **flip,
        **{name: float(total[name]) / (images - lost) if lost < images else None for name in names},
        **({"not_finite": lost} if lost else {}),
        "rates": {path: float(rate) / max(images - lost, 1) for path, rate in rates.items()},
        "dead": {path: dead_fraction(counts) for path, counts in spikes.items()},
        "saturated": {path: saturated_fraction(counts, updates) for path, counts in spikes.items()},
    }


def not_finite(experiment: Experiment, variables: dict, batch: dict) -> NonFiniteError:
    """What to raise for results that are not finite: it names what was so first.

    Args:
      variables: of the model.
      batch: that gave them, as `data.eval_batches` has it.
    """
    from lnm_jax.training import health  # which stands on this module

    def loss(params, state, batch):
        images = augment.normalise(batch["image"], experiment.info.mean, experiment.info.std)
        variables = {"params": params, "batch_stats": state.batch_stats}
        return experiment.model.apply(variables, steps.time_first(images)).sum(), None

    state = steps.TrainState(
        step=0,
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=(),
        window={},
        skipped=0,
        skipped_in_row=0,
    )
    where = health.first_non_finite(loss, state, batch, forward=True)
    return NonFiniteError(
        f"{configuration.path_of(experiment.config)}: evaluation gives numbers that are not "
        f"finite, first in {where}"
    )


def _by_path(sown: dict) -> dict[str, np.ndarray]:
    """What layers have sown, a value each, by their paths."""
    return {"/".join(path[:-1]): value for path, value in flatten_dict(sown).items()}
