"""One pass over evaluation data: what every layer's neurons visit, receive and send.

Memory is bounded whatever the number of examples: histograms and counters are summed on the
device, and only a fixed number of neurons keeps its currents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import data, neurons
from lnm_jax.analysis import measuring, runs
from lnm_jax.errors import ConfigError
from lnm_jax.training import experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from lnm_jax.training.run import Run

BINS = 1600
SAMPLE = 4096  # neurons of a layer whose currents are kept, of all examples together
SAMPLE_PER_CHANNEL = 64  # at least so many, where channels have neurons of their own


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
      currents: (T, S) of S neurons drawn at random from all examples.
      channels: (S,) their channels.
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
    currents: np.ndarray
    channels: np.ndarray

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


class Input(NamedTuple):
    """What a convolution or dense layer receives.

    Attributes:
      mean: of the entries; for spikes, and averages of spikes, spikes per entry and timestep.
      nonzero: share of entries that are not 0.
    """

    mean: float
    nonzero: float


class Recording(NamedTuple):
    """A network on its test examples.

    Attributes:
      layers: spiking layers by path, in the order they run.
      inputs: of the convolutions and dense layers, by path.
      examples: how many.
      timesteps: T.
      accuracy: on these examples, %.
    """

    layers: dict[str, Layer]
    inputs: dict[str, Input]
    examples: int
    timesteps: int
    accuracy: float


def neuron_params(params: dict, path: str) -> Any:
    """A spiking layer's neuron parameters in the model's; {} for a neuron without any."""
    for name in (*path.split("/"), "neuron"):
        params = params.get(name, {})
    return params


def sample_params(run: Run, layer: Layer, params: Any) -> Any:
    """A layer's neuron parameters as its sampled currents (T, S) take them: of their channels."""
    if run.experiment.config.spiking.sharing != "channel":
        return params
    return jax.tree.map(lambda leaf: leaf[..., layer.channels], params)


def record(run: Run, *, examples: int = 0) -> Recording:
    """Runs the network once over test examples.

    Args:
      run: as `training.run.load` or `training.loop.train` returns it.
      examples: how many, evenly spaced over the test set; 0 for all.
    Raises: ConfigError for a network of parallel neurons.
    """
    this = run.experiment
    if isinstance(this.neuron, neurons.Parallel):
        raise ConfigError(
            f"{run.directory}: {this.config.neuron.kind} has no potential from step to step, which "
            "this analysis looks at"
        )
    split = data.subset(this.dataset.test, examples)
    size = min(this.config.data.eval_batch_size, len(split.labels))
    batches = -(-len(split.labels) // size)
    edges = _edges(this.config.neuron)
    variables = jax.device_get(run.state.variables)
    channels = max(row.shape[-1] for row in runs.layer_counts(this) if row.kind == "spiking")
    sample = SAMPLE
    if this.config.spiking.sharing == "channel":
        sample = max(SAMPLE, SAMPLE_PER_CHANNEL * channels)
    measure = jax.jit(measuring.measure(this, edges, -(-sample // batches)))
    totals, currents = None, []
    for number, batch in enumerate(data.eval_batches(split, size)):
        found = jax.device_get(measure(variables, batch, jax.random.key(number)))
        currents.append({path: layer.pop("sample") for path, layer in found["layers"].items()})
        totals = _wide(found) if totals is None else _add(totals, found)
    count = int(totals["count"])
    timesteps = next(iter(currents[0].values()))[0].shape[0]
    layers = {}
    for path in this.spiking_layers():
        total = totals["layers"][path]
        drawn = [part[path] for part in currents]
        layers[path] = Layer(
            path=path,
            params=neuron_params(variables["params"], path),
            edges=edges,
            visits=total["visits"],
            zeros=int(total["zeros"]),
            low=float(total["low"]),
            high=float(total["high"]),
            spikes=total["spikes"],
            updates=count * timesteps,
            currents=np.concatenate([part[0] for part in drawn], 1),
            channels=np.concatenate([part[1] for part in drawn]),
        )
    inputs = {
        path: Input(float(entry["sum"] / entry["entries"]), float(entry["on"] / entry["entries"]))
        for path, entry in totals["inputs"].items()
    }
    hits, possible = map(float, totals["score"])
    return Recording(layers, inputs, count, timesteps, 100 * hits / max(possible, 1.0))


def accuracy_of(run: Run, *, examples: int = 0) -> Callable[[Any], float]:
    """A function of the model's parameters: accuracy on the examples of `record`, %.

    It is compiled once for all parameters of the same shapes.
    """
    this = run.experiment
    split = data.subset(this.dataset.test, examples)
    size = min(this.config.data.eval_batch_size, len(split.labels))
    variables = jax.device_get(run.state.variables)
    (model, loss), prepare = measuring.scored(this), measuring.prepare(this)

    @jax.jit
    def score(params, batch):
        outputs = model.apply({**variables, "params": params}, prepare(batch["image"]))
        parts = loss.score(outputs, batch["label"])
        return jnp.stack([(part * batch["mask"]).sum() for part in parts])

    def accuracy(params):
        found = [np.asarray(score(params, batch)) for batch in data.eval_batches(split, size)]
        hits, possible = np.sum(found, 0, dtype=float)
        return 100 * hits / max(possible, 1.0)

    return accuracy


def _edges(fields) -> np.ndarray:
    """Bins over four times the potentials that matter; clip and -clip are edges if they can."""
    limit = 4 * max(1.0, fields.clip, fields.threshold, abs(fields.v_reset))
    return np.linspace(-limit, limit, BINS + 1)


def _wide(found):
    return jax.tree.map(
        lambda x: np.asarray(x, np.int64 if np.issubdtype(x.dtype, np.integer) else float), found
    )


def _add(total, found):
    """Sums of both, but for the extremes."""
    result = jax.tree.map(np.add, total, _wide(found))
    for path, layer in result["layers"].items():
        ours, theirs = total["layers"][path], found["layers"][path]
        layer["low"] = np.minimum(ours["low"], theirs["low"])
        layer["high"] = np.maximum(ours["high"], theirs["high"])
    return result
