"""Why a network does not learn: what its layers and kernels do, and a sentence for each illness."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from lnm_jax import data, models
from lnm_jax.data import augment
from lnm_jax.training import experiment, steps
from lnm_jax.training.experiment import Experiment
from lnm_jax.training.optimizer import group, learning_rates, make_optimizer
from lnm_jax.training.steps import TrainState

# Beyond these something is clearly ill: healthy networks stay far away.
SILENT = 0.01  # spikes per neuron and timestep
DEAD = 0.9  # share of a layer's neurons that never spike
SATURATED = 0.5  # share that nearly always spikes
WINDOW = 0.01  # share of potentials at which a gradient passes
SCALE = 0.1  # mean size of BatchNorm's scales, in thresholds or widths, whichever is smaller
BIAS = 5.0  # mean size of BatchNorm's biases, in thresholds
GROWN = 10.0  # norm of a kernel, over that at the start
# Norm of a step at the highest learning rate, over its kernel's. Muon's does not depend on the
# gradient, which is small where little is left to learn.
SLOW, SLOW_MUON, FAST = 3e-4, 2e-3, 0.3
LEARNED = 90.0  # % of a training batch: from there on small gradients are no illness


class LayerHealth(NamedTuple):
    """A spiking layer on test examples.

    Attributes:
      rate: spikes per neuron and timestep.
      dead: share of neurons that never spiked.
      saturated: share that nearly always did, see `experiment.saturated_fraction`.
      window: share of potentials inside the surrogate's window, see `neurons.surrogate_window`,
        on the first evaluation batch of the examples; None for neurons that decide by something
        else (PSN, MPBN) or are told when (recorded).
    """

    rate: float
    dead: float
    saturated: float
    window: float | None


class KernelHealth(NamedTuple):
    """The weights of a convolution or dense layer, and a training step on one batch.

    Attributes:
      norm: Frobenius.
      growth: norm over that at the start of the run, or over the norm that Muon holds it at.
      gradient: norm.
      update: norm of the step at the highest learning rate, over that of the kernel.
    """

    norm: float
    growth: float
    gradient: float
    update: float


class NormHealth(NamedTuple):
    """A BatchNorm's parameters: means of their sizes, in units of the current."""

    scale: float
    bias: float


class Health(NamedTuple):
    """What `measure` found.

    Attributes:
      layers: by path, in the order they run.
      norms: by path.
      kernels: by path of the layer; empty where they were not looked at.
      accuracy: of the batch that `kernels` are of, %.
    """

    layers: dict[str, LayerHealth]
    norms: dict[str, NormHealth]
    kernels: dict[str, KernelHealth] = {}  # noqa: RUF012 never changed
    accuracy: float = 0.0


def measure(this: Experiment, state: TrainState, *, examples: int = 1000) -> Health:
    """Looks at a network as a checkpoint has it; nothing is trained.

    Args:
      this: the experiment.
      state: of it, on the host or on devices.
      examples: of the test set; 0 for all.
    """
    state = jax.device_get(state)
    test = data.subset(this.dataset.test, examples)
    results = experiment.evaluate(this, state.variables, test)
    layers = layers_of(results, _windows(this, state.variables, test))
    kernels, accuracy = _kernels(this, state)
    order = [count.path for count in models.counts(this.model, this.input_shape)]

    def ordered(things):  # what runs in training alone comes last
        return {path: things[path] for path in (*order, *things) if path in things}

    return Health(ordered(layers), norms_of(state.params), ordered(kernels), accuracy)


def layers_of(results: dict, windows: dict[str, float] | None = None) -> dict[str, LayerHealth]:
    """Spiking layers by path, from what `experiment.evaluate` returns."""
    windows = windows or {}
    return {
        path: LayerHealth(
            rate, results["dead"][path], results["saturated"][path], windows.get(path)
        )
        for path, rate in results["rates"].items()
    }


def norms_of(params: dict) -> dict[str, NormHealth]:
    """Every BatchNorm of a network by path, from its parameters."""
    flat = flatten_dict(params)
    return {
        "/".join(path[:-1]): NormHealth(
            float(jnp.abs(scale).mean()), float(jnp.abs(flat[*path[:-1], "bias"]).mean())
        )
        for path, scale in flat.items()
        if path[-1] == "scale"
    }


def _windows(this, variables, test):
    normalise = functools.partial(augment.normalise, mean=this.info.mean, std=this.info.std)
    batch = next(data.eval_batches(test, min(this.config.data.eval_batch_size, len(test.labels))))

    @jax.jit
    def shares(variables, batch):
        images = steps.time_first(normalise(batch["image"]))
        _, sown = this.model.apply(variables, images, mutable=["window"])
        total = jax.tree.map(lambda x: (x * batch["mask"]).sum(), sown.get("window", {}))
        return jax.tree.map(lambda x: x / batch["mask"].sum(), total)

    return {
        "/".join(path[:-1]): float(share)
        for path, share in flatten_dict(shares(variables, batch)).items()
    }


def _kernels(this, state):
    fields = this.config.optimizer
    highest = {name: optax.constant_schedule(x) for name, x in learning_rates(fields).items()}
    optimizer = make_optimizer(fields, highest)

    @jax.jit
    def look(state, batch, start):
        grads, ((hits, possible), _) = jax.grad(this.loss, has_aux=True)(state.params, state, batch)
        updates, _ = optimizer.update(grads, state.opt_state, state.params)
        trees = (state.params, start, grads, updates)
        return [jax.tree.map(jnp.linalg.norm, tree) for tree in trees], hits / possible

    size = this.config.data.batch_size
    batch = next(data.train_batches(this.dataset.train, this.config.seed, size, 0, 1))
    found, accuracy = jax.device_get(look(state, batch, this.init().params))
    norms, starts, gradients, updates = map(flatten_dict, found)
    if fields.name == "muon" and fields.fixed_norm:
        for path, kernel in flatten_dict(state.params).items():
            if group(path, rule="muon") == "kernels":
                starts[path] = np.sqrt(kernel.shape[-1])
    kernels = {
        "/".join(path[:-1]): KernelHealth(
            float(norm),
            float(norm / starts[path]),
            float(gradients[path]),
            float(updates[path] / norm),
        )
        for path, norm in norms.items()
        if path[-1] == "kernel"
    }
    return kernels, 100 * float(accuracy)


def illnesses(config, health: Health) -> list[str]:
    """A sentence for each illness: what it is, where, what to change. A healthy network has none.

    Where one illness follows from another, the cause alone is named.

    Args:
      config: the configuration.
      health: of the network, with or without kernels.
    """
    neuron, optimizer = config.neuron, config.optimizer
    layers, norms, kernels = health.layers, health.norms, health.kernels
    rate = f"config.optimizer.learning_rate ({optimizer.learning_rate:g})"

    def silent(x):
        return x.dead >= DEAD or x.rate < SILENT

    def saturated(x):
        return x.saturated >= SATURATED

    def missed(x):
        active = not silent(x) and not saturated(x)
        return active and x.window is not None and x.window < WINDOW

    # What a later stage finds follows from an illness of an earlier one. {x}: the first one ill.
    stages = [
        [
            (layers, missed,
             "Nearly no potential is inside the surrogate's window: {where}: {x.window:.2%}, so "
             "that nearly no gradient passes. Raise config.neuron.width ({neuron.width:g}), or fit "
             "it with config.spiking.window=1."),
        ],
        [
            (norms, lambda x: x.scale < SCALE * min(neuron.threshold, neuron.width),
             "BatchNorm's scales are too small: {where}: {x.scale:.2g}, so that currents do not "
             "reach the threshold of {neuron.threshold:g}. Start them there with "
             "config.model.tdbn={neuron.threshold:g}, or lower config.neuron.threshold."),
            (norms, lambda x: not x.bias < BIAS * neuron.threshold,
             "BatchNorm's biases have run away: {where}: {x.bias:.2g}, the threshold is "
             "{neuron.threshold:g}. The learning rate is too high: lower {rate}."),
        ],
        [
            (kernels, lambda x: not x.growth < GROWN,
             "Kernels have blown up: {where}: {x.growth:.3g} times the norm at the start. "
             "Lower {rate}, or hold norms with config.optimizer.name=muon."),
        ],
        [
            (layers, silent,
             "Nearly silent: {where}: {x.rate:.2g} spikes per neuron and timestep, {x.dead:.0%} of "
             "the neurons never spike. Lower config.neuron.threshold ({neuron.threshold:g}); if it "
             "is one layer alone, look at the biases before it."),
            (layers, saturated,
             "Saturated: {where}: {x.saturated:.0%} of the neurons spike nearly always. Raise "
             "config.neuron.threshold ({neuron.threshold:g})."),
        ],
        [
            (kernels, lambda x: x.gradient == 0,
             "No gradient reaches {where}. Look at the layers behind."),
        ],
    ]  # fmt: skip
    for stage in stages:
        found = []
        for things, ill, sentence in stage:
            paths = [path for path, thing in things.items() if ill(thing)]
            if paths:
                more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
                where, x = ", ".join(paths[:3]) + more, things[paths[0]]
                found.append(sentence.format(where=where, x=x, neuron=neuron, rate=rate))
        if found:
            return found
    if not kernels:
        return []
    found = []
    change = np.median([kernel.update for kernel in kernels.values()])
    step = f"a step changes the median kernel by {change:.2g} of its norm, 0.003 to 0.05 is usual"
    slow = SLOW_MUON if optimizer.name == "muon" else SLOW
    if change < slow and health.accuracy < LEARNED:
        found.append(f"The learning rate is too low: {step}. Raise {rate}.")
    if not change < FAST:
        found.append(f"The learning rate is too high: {step}. Lower {rate}.")
    return found


def summary(health: Health, sentences: list[str]) -> str:
    """Tables of a network's layers and kernels, and the sentences, as text."""

    def table(heads, things):
        width = max(map(len, things), default=0)
        lines = [f"{'':<{width}}" + "".join(f"{head:>11}" for head in heads)]
        for path, values in things.items():
            cells = ("-" if value is None else f"{value:.3g}" for value in values)
            lines.append(f"{path:<{width}}" + "".join(f"{cell:>11}" for cell in cells))
        return "\n".join(lines)

    return "\n\n".join(
        [
            table(LayerHealth._fields, health.layers),
            table(KernelHealth._fields, health.kernels),
            table(NormHealth._fields, health.norms),
            "\n".join(sentences) or "Nothing is clearly ill.",
        ]
    )


def non_finite_array(variables: dict) -> str | None:
    """Names the first array of a model that holds NaN or infinity; None if all are finite.

    Args:
      variables: {"params", "batch_stats"}, or one of them.
    """
    names = {"params": "parameter", "batch_stats": "statistic"}
    for (kind, *path), leaf in flatten_dict(variables).items():
        if not np.isfinite(leaf).all():
            return f"{names[kind]} {'/'.join(path)}"
    return None


def first_non_finite(
    loss_fn: Callable, state: TrainState, batch: dict, *, forward: bool = False
) -> str:
    """Names the array or layer whose values left the finite numbers first.

    Args:
      loss_fn: as made by `steps.make_loss`, for one device.
      state: before the step; of evaluation, params and batch_stats are read.
      batch: the whole batch.
      forward: look at the forward pass alone.
    Returns: "image <i> of the batch", counted from 0; "parameter <path>"; "statistic <path>";
      "layer <path>" for a result of the forward pass; "the loss"; "the gradient of <path>", the
      first on the way back; or "the optimizer's step" if all of these are finite.
    """
    images = np.asarray(batch["image"])
    finite = np.isfinite(images.reshape(len(images), -1)).all(1)
    if not finite.all():
        return f"image {finite.argmin()} of the batch"
    if found := non_finite_array(state.variables):
        return found
    order: list[str] = []

    def watched(params):
        finite = {}

        def record(call, args, kwargs, context):
            result = call(*args, **kwargs)
            if context.method_name == "__call__":
                path = "/".join(context.module.path)
                floating = [x for x in jax.tree.leaves(result) if jnp.issubdtype(x, jnp.floating)]
                finite[path] = jnp.array([jnp.isfinite(x).all() for x in floating]).all()
                order.append(path)
            return result

        with nn.intercept_methods(record):
            loss, _ = loss_fn(params, state, batch)
        return loss, finite

    if forward:
        (loss, finite), gradients = jax.jit(watched)(state.params), {}
    else:
        both = jax.value_and_grad(watched, has_aux=True)
        (loss, finite), gradients = jax.jit(both)(state.params)
    # A layer is recorded when it returns: before the layers that hold it.
    for path in dict.fromkeys(order):
        if not finite[path]:
            return f"layer {path or 'output'}"
    if forward or not jnp.isfinite(loss):
        return "the loss"
    ranks = {path: rank for rank, path in enumerate(dict.fromkeys(order))}
    leaves = flatten_dict(gradients, sep="/").items()
    bad = [path for path, leaf in leaves if not jnp.isfinite(leaf).all()]
    if bad:
        last = max(bad, key=lambda path: ranks.get(path.rsplit("/", 1)[0], -1))
        return f"the gradient of {last}"
    return "the optimizer's step"
