"""One pass over evaluation data: what every layer's neurons visit, receive and send.

Memory is bounded whatever the number of examples: histograms and counters are summed on the
device, and only a fixed number of neurons keeps its currents.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from lnm_jax import data, models, neurons
from lnm_jax.data import augment
from lnm_jax.errors import ConfigError
from lnm_jax.training import experiment, steps
from lnm_jax.training.experiment import Experiment
from lnm_jax.training.run import Run

BINS = 1600
SAMPLE = 4096  # neurons of a layer that are kept over time, of all examples together
MOST_CLASSES = 20  # that a matrix of them is readable with
SAMPLE_PER_CHANNEL = 64  # at least so many, where channels have neurons of their own


class Sample(NamedTuple):
    """Some neurons of a layer over time, drawn at random from all examples.

    Attributes:
      currents: (T, S) that they received.
      before: (T, S) potentials before each timestep, at which f was evaluated.
      v_in: (T, S) integrated potentials, before the comparison with the threshold.
      spikes: (T, S).
      channels: (S,) of the neurons.
    """

    currents: np.ndarray
    before: np.ndarray
    v_in: np.ndarray
    spikes: np.ndarray
    channels: np.ndarray


class Layer(NamedTuple):
    """What one spiking layer did on the examples.

    Attributes:
      path: of the module.
      params: of its neurons.
      edges: (K + 1,) of the histogram's bins, in units of the potential.
      visits: (K,) how often f was evaluated at a potential in the bin, potentials of exactly 0
        left out; the first and the last bin take all that lies beyond.
      zeros: how often the potential was exactly 0, where f is 0.
      low, high: the smallest and the largest potential, zeros included.
      spikes: spikes of each neuron over all examples and timesteps, shaped like the layer.
      updates: how often each neuron was updated: examples times timesteps.
      sample: some of its neurons.
    """

    path: str
    params: Any
    edges: np.ndarray
    visits: np.ndarray
    zeros: int
    low: float
    high: float
    spikes: np.ndarray
    updates: int
    sample: Sample

    @property
    def centres(self) -> np.ndarray:
        """(K,) of the bins."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def rate(self) -> float:
        """Spikes per neuron and timestep."""
        return float(self.spikes.mean() / self.updates)

    @property
    def dead(self) -> float:
        """Share of neurons that never spiked."""
        return experiment.dead_fraction(self.spikes)

    @property
    def saturated(self) -> float:
        """Share of neurons that spiked in `experiment.SATURATED` of the timesteps or more."""
        return experiment.saturated_fraction(self.spikes, self.updates)

    @property
    def at_zero(self) -> float:
        """Share of updates at a potential of exactly 0."""
        return float(self.zeros / (self.zeros + self.visits.sum()))

    def quantiles(self, *shares: float) -> np.ndarray:
        """Potentials, to a bin's width, below which those shares of `visits` are.

        Raises: ValueError if nothing but 0 was visited.
        """
        if not self.visits.any():
            raise ValueError(f"{self.path}: no potential but 0 was visited")
        cumulative = np.cumsum(self.visits) / self.visits.sum()
        return self.centres[np.searchsorted(cumulative, shares)]


class Received(NamedTuple):
    """What a convolution or dense layer receives: shares of the entries, over all timesteps.

    Attributes:
      nonzero: that are not 0: of binary spikes, their rate.
      graded: that are neither 0 nor 1 nor -1, which take a multiplication: spikes with an
        amplitude, and averages of spikes.
    """

    nonzero: float
    graded: float


class Recording(NamedTuple):
    """A network on its test examples.

    Attributes:
      layers: spiking layers by path, in the order they run.
      inputs: of convolutions and dense layers, by path.
      of_ones: the same, had every spike been a 1 in its place: of binary spikes, `inputs`.
      examples: how many.
      timesteps: T.
      confusion: (K, K) examples of each class, by row, that were predicted as each one; None where
        labels are no classes, or more than `MOST_CLASSES`.
    """

    layers: dict[str, Layer]
    inputs: dict[str, Received]
    of_ones: dict[str, Received]
    examples: int
    timesteps: int
    confusion: np.ndarray | None = None


def neuron_params(params: dict, path: str) -> Any:
    """A spiking layer's neuron parameters in the model's; {} for a neuron without any."""
    for name in (*path.split("/"), "neuron"):
        params = params.get(name, {})
    return params


def each_channel(run: Run, params: Any, most: int | None = None) -> tuple[list[int | None], Any]:
    """(channels, their parameters by the last axis) of a layer, at most so many, evenly spaced.

    Potentials for the parameters are (..., C). A layer that shares one set is one channel, None.
    """
    leaves = jax.tree.leaves(params)
    if not leaves or run.experiment.config.spiking.sharing != "channel":
        return [None], jax.tree.map(lambda leaf: jnp.asarray(leaf)[..., None], params)
    count = leaves[0].shape[-1]
    chosen = np.unique(np.linspace(0, count - 1, min(most or count, count)).astype(int))
    return chosen.tolist(), jax.tree.map(lambda leaf: leaf[..., chosen], params)


def record(run: Run, *, examples: int = 0) -> Recording:
    """Runs the network once over test examples.

    Args:
      run: as `training.run.load` or `training.loop.train` returns it.
      examples: how many, evenly spaced over the test set; 0 for all.
    Raises: ConfigError for a network of parallel neurons, or of neurons without `integrate`.
    """
    this = run.experiment
    if isinstance(this.neuron, neurons.Parallel):
        raise ConfigError(
            f"{run.directory}: {this.config.neuron.kind} has no potential from step to step, which "
            "this analysis looks at"
        )
    if this.neuron.integrate is None:
        raise ConfigError(
            f"{run.directory}: {this.config.neuron.kind} has no integrate, by which this analysis "
            "sees its potential; see neurons.two_phase"
        )
    split = data.subset(this.dataset.test, examples)
    spiking = [row for row in models.counts(this.model, this.input_shape) if row.neurons]
    largest = this.timesteps * max(row.neurons for row in spiking)
    # A batch is counted with 32 bits.
    most = max(1, np.iinfo(np.int32).max // largest)
    size = min(this.config.data.eval_batch_size, len(split.labels), most)
    batches = -(-len(split.labels) // size)
    fields = this.config.neuron
    # Over four times the potentials that matter; clip and -clip are edges if they can.
    limit = 4 * max(1.0, fields.clip, this.threshold, abs(fields.v_reset))
    edges = np.linspace(-limit, limit, BINS + 1)
    variables = jax.device_get(run.state.variables)
    sample = SAMPLE
    if this.config.spiking.sharing == "channel":
        sample = max(SAMPLE, SAMPLE_PER_CHANNEL * max(row.shape[-1] for row in spiking))
    measure = jax.jit(functools.partial(_measure, this, edges, -(-sample // batches)))
    sums, extremes, drawn = functools.reduce(
        _join,
        (
            jax.device_get(measure(variables, batch, jax.random.key(number)))
            for number, batch in enumerate(data.eval_batches(split, size))
        ),
    )
    layers = {
        path: Layer(
            path=path,
            params=neuron_params(variables["params"], path),
            edges=edges,
            **sums["layers"][path],
            low=-float(extremes[path][0]),
            high=float(extremes[path][1]),
            updates=len(split.labels) * this.timesteps,
            sample=drawn[path],
        )
        for path in this.spiking_layers()
    }
    count = len(split.labels)
    inputs, of_ones = (
        {path: Received(*(float(x / count) for x in total)) for path, total in sums[name].items()}
        for name in ("inputs", "of_ones")
    )
    return Recording(
        layers, inputs, of_ones, count, this.timesteps, confusion=sums.get("confusion")
    )


def _join(one: tuple, other: tuple) -> tuple:
    """What `_measure` found of two batches, as of one; with bits for the sum of many."""

    def add(a, b):
        return np.add(a, b, dtype=np.int64 if np.issubdtype(a.dtype, np.integer) else float)

    def append(a, b):
        return np.concatenate([a, b], -1)

    return tuple(map(jax.tree.map, (add, np.maximum, append), one, other))


def _measure(this: Experiment, edges: np.ndarray, sample: int, variables, batch, key) -> tuple:
    """What a batch adds to a recording, of fixed size.

    Returns: sums over its examples, of "layers", "inputs", "of_ones" and, of few classes,
      "confusion"; of each layer minus the lowest potential and the highest; of each layer a
      `Sample`.
    """
    images = augment.normalise(batch["image"], this.info.mean, this.info.std)
    mask, labels = batch["mask"], batch["label"]
    outputs, traces, inputs, of_ones = observe(
        this.model, variables, steps.time_first(images), mask, this.timesteps
    )
    layers, largest, drawn = {}, {}, {}
    for number, path in enumerate(this.spiking_layers()):
        currents, trace = traces[path]
        layers[path], largest[path] = _visited(trace, mask, edges)
        drawn[path] = _draw(currents, trace, mask, jax.random.fold_in(key, number), sample)
    sums = {"layers": layers, "inputs": inputs, "of_ones": of_ones}
    classes = outputs.shape[-1]
    if labels.ndim == 1 and outputs.ndim == 2 and classes <= MOST_CLASSES:
        counts = jnp.zeros((classes, classes), jnp.int32)
        sums["confusion"] = counts.at[labels, outputs.argmax(-1)].add(mask.astype(jnp.int32))
    return sums, largest, drawn


def observe(model: nn.Module, variables: dict, images, mask, timesteps: int) -> tuple:
    """A network on a batch, with what its layers receive.

    Args:
      images: as the model takes them, normalised.
      mask: (B,) 1 for examples, 0 for padding.
    Returns: (outputs; (currents, `neurons.Trace`) of each spiking layer; sums over the examples of
      each other layer's `Received`; the same with a 1 in place of every spike), all but the first
      by path.
    """
    if hasattr(model, "remat"):  # interception cannot look into its inner traces
        model = model.clone(remat="none")

    def run(found, spikes=None, **fields):
        def intercept(call, args, kwargs, context):
            module, path = context.module, "/".join(context.module.path)
            if context.method_name == "__call__":
                if isinstance(module, nn.Conv | nn.Dense):
                    found[path] = _received(module, args[0], mask, timesteps)
                if spikes and path in spikes:
                    return spikes[path]
            return call(*args, **kwargs)

        with nn.intercept_methods(intercept):
            return model.apply(variables, images, **fields)

    inputs, of_ones = {}, {}
    outputs, sown = run(inputs, mutable=["trace"])
    traces = {"/".join(path[:-1]): each for path, each in flatten_dict(sown["trace"]).items()}
    ones = {path: (x.spikes != 0).astype(x.spikes.dtype) for path, (_, x) in traces.items()}
    run(of_ones, ones)  # no result but pools and averages of ones is used, nor computed by XLA
    return outputs, traces, inputs, of_ones


def _received(layer, x, mask, timesteps):
    """Sums of a `Received` over the examples of (T*B, ...), (T, B, ...) or (B, ...)."""
    one = 4 if isinstance(layer, nn.Conv) else 2  # axes at most, if time and batch are one of them
    lead = 2 if x.ndim > one and x.shape[:2] == (timesteps, len(mask)) else 1
    each = x.reshape(-1, len(mask), math.prod(x.shape[lead:]))

    def total(entries):
        return (entries.mean((0, 2)) * mask).sum()

    return Received(total(each != 0), total((each != 0) & (abs(each) != 1)))


def _visited(trace, mask, edges):
    """Sums over a layer's potentials and spikes (T, B, ...), and the potentials' extremes."""
    u = neurons.potential(trace.before)  # what f is evaluated at
    real = jnp.broadcast_to(mask.reshape(1, -1, *[1] * (u.ndim - 2)) > 0, u.shape)
    bins = len(edges) - 1
    place = jnp.floor((u - edges[0]) * (bins / (edges[-1] - edges[0])))
    place = jnp.clip(place, 0, bins - 1).astype(jnp.int32)
    nonzero = real & (u != 0)
    sums = {
        "visits": jnp.zeros(bins, jnp.int32).at[place].add(nonzero.astype(jnp.int32)),
        "zeros": (real & (u == 0)).sum(),
        "spikes": ((trace.spikes != 0) & real).sum((0, 1)),
    }
    return sums, tuple(jnp.where(real, x, -jnp.inf).max() for x in (-u, u))


def _draw(currents, trace, mask, key, sample):
    """A `Sample` of that many of a layer's neurons, drawn from (T, B, ..., C)."""
    valid = mask.sum().astype(jnp.int32) * currents[0, 0].size  # padding comes last
    chosen = jax.random.randint(key, (sample,), 0, valid)
    kept = (currents, neurons.potential(trace.before), trace.v_in, trace.spikes)
    kept = (x.reshape(len(x), -1)[:, chosen].astype(jnp.float32) for x in kept)
    return Sample(*kept, chosen % currents.shape[-1])


def evaluate(run: Run, params: Any, *, examples: int = 0) -> dict:
    """`experiment.evaluate` of the run's network with these parameters, on `record`'s examples."""
    this = run.experiment
    test = data.subset(this.dataset.test, examples)
    return experiment.evaluate(this, {**run.state.variables, "params": params}, test)
