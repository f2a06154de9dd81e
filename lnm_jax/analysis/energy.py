"""Energy of an inference by operations counted (Eq. 17), and by memory traffic beside them.

Behind the first layer operations are of non-zero inputs alone: an accumulate where the input is 1
or -1, a multiply-accumulate where it is another number, as NeuroBench's effective operations (Yik
et al. 2025). Binary spikes take fr OP_AC accumulates, as in Eq. 17.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from lnm_jax import models
from lnm_jax.analysis import drawing
from lnm_jax.analysis.drawing import Figure
from lnm_jax.analysis.recording import Recording
from lnm_jax.errors import ConfigError
from lnm_jax.training.experiment import Experiment
from lnm_jax.training.run import Run


class Costs(NamedTuple):
    """What an operation costs, in pJ, 32-bit floating point in 45 nm.

    Attributes:
      mac: multiply-accumulate; 3.7 + 0.9 (Horowitz 2014, as section 5.4 takes it).
      ac: accumulate (the same).
      word: moving 32 bits between an 8 KB memory and the logic: half of the 10 pJ that
        Horowitz (2014) gives for 64 bits.
      words_per_mac: in the first layer, a weight and an input; the sum stays in a register.
      words_per_ac: a spike reads a weight, reads the receiver's current and writes it; so does
        one that is multiplied.
      words_per_update: a neuron reads its potential and its current and writes its potential.
        The coefficients of f are a layer's, and stay in registers.
    """

    mac: float = 4.6
    ac: float = 0.9
    word: float = 5.0
    words_per_mac: int = 2
    words_per_ac: int = 3
    words_per_update: int = 3


class Row(NamedTuple):
    """Operations of one layer in one inference, all timesteps together.

    Attributes:
      path: of the layer.
      kind: "convolution", "dense" or "spiking".
      macs: multiply-accumulates: of the first layer, of inputs that are neither 0 nor 1 nor -1,
        and of a spiking layer's neurons.
      acs: accumulates: of a later layer's inputs that are 1 or -1.
      rate: share of the layer's inputs that are not 0; for spiking layers, of their spikes.
      updates: of neurons.
      at_zero: share of the updates at a potential of exactly 0, where f is 0.
      first: whether it is the first layer, where an input of 0 is multiplied too.
    """

    path: str
    kind: str
    macs: float
    acs: float
    rate: float
    updates: int
    at_zero: float
    first: bool

    def operations(self, costs: Costs, *, skip_zeros: bool = False) -> float:
        """Energy of the operations, mJ (Eq. 17); skip_zeros leaves out updates at 0."""
        macs = self.macs * (1 - self.at_zero) if skip_zeros else self.macs
        return 1e-9 * (costs.mac * macs + costs.ac * self.acs)

    def memory(self, costs: Costs) -> float:
        """Energy of moving words, mJ, by the model of `Costs`."""
        words = self.updates * costs.words_per_update
        if self.kind != "spiking":
            each = costs.words_per_mac if self.first else costs.words_per_ac
            words += (self.macs + self.acs) * each
        return 1e-9 * costs.word * words


class Energy(NamedTuple):
    """Energy of one inference, mJ.

    Attributes:
      operations: of Eq. 17.
      with_memory: the same, and memory traffic.
      skipping_zeros: of Eq. 17 with no MAC for a potential of exactly 0: a lower bound, of
        hardware that updates only active neurons.
    """

    operations: float
    with_memory: float
    skipping_zeros: float


def macs_per_update(experiment: Experiment) -> int:
    """Multiply-accumulates of one neuron's update, as the neuron says, see `neurons.Facts`.

    By the paper's count 1 for LIF and N for degree N, by Horner.

    Raises: ConfigError for a neuron that has no count.
    """
    macs = experiment.neuron.facts.macs
    if macs is None:
        raise ConfigError(
            f"config.neuron.kind {experiment.config.neuron.kind} has no count of multiplications"
        )
    return macs


def uncounted(run: Run) -> list[str]:
    """Paths of weights that evaluation uses and that are of no convolution, dense or spiking layer.

    Their operations are in no row: of anybody's own network, such as attention.
    """
    this, variables = run.experiment, run.state.variables
    known = [f"{layer.path}/" for layer in models.counts(this.model, this.input_shape)]
    sizes = flatten_dict(variables["params"], sep="/")
    return [
        path
        for path in sorted(models.evaluated(this.model, variables, this.input_shape))
        if np.ndim(sizes[path]) > 1 and not path.startswith(tuple(known))
    ]


def rows(run: Run, recording: Recording, *, lif: bool = False) -> list[Row]:
    """Operations of every layer on the examples of the run's recording (Eq. 17), see `uncounted`.

    Args:
      lif: of LIF neurons in the place of the run's that spike where these do: their spikes are 1,
        an update takes 1 MAC.
    Raises: ConfigError for a neuron that has no count.
    """
    macs = 1 if lif else macs_per_update(run.experiment)
    inputs = recording.of_ones if lif else recording.inputs
    timesteps, found = recording.timesteps, []
    for number, layer in enumerate(models.counts(run.experiment.model, run.experiment.input_shape)):
        # The first layer's inputs are pixels or counts of events, no spikes.
        first = number == 0 and layer.kind != "spiking"
        if layer.kind == "spiking":
            seen = recording.layers[layer.path]
            updates = timesteps * layer.neurons
            counted = (macs * updates, 0.0, seen.rate, updates, seen.at_zero)
        else:
            nonzero, graded = inputs[layer.path]
            done = layer.macs * (timesteps if first else layer.passes)  # Eq. 17: T passes of it
            taken = (done, 0.0) if first else (done * graded, done * (nonzero - graded))
            counted = (*taken, nonzero, 0, 0.0)
        found.append(Row(layer.path, layer.kind, *counted, first))
    return found


def with_macs(counted: list[Row], macs: int) -> list[Row]:
    """The same network of neurons whose update takes so many MACs, at equal rates."""
    return [
        row._replace(macs=macs * row.updates) if row.kind == "spiking" else row for row in counted
    ]


def total(counted: list[Row], costs: Costs = Costs()) -> Energy:  # noqa: B008 a constant
    """The layers' sum."""
    operations = sum(row.operations(costs) for row in counted)
    return Energy(
        operations=operations,
        with_memory=operations + sum(row.memory(costs) for row in counted),
        skipping_zeros=sum(row.operations(costs, skip_zeros=True) for row in counted),
    )


class Comparison(NamedTuple):
    """A network beside the same network of LIF neurons that spike where its own do (Table 3).

    Attributes:
      own, lif: energies, mJ.
      macs: of an update of the network's own neurons; LIF's is 1.
      overhead: of `own` over `lif`, %, by field of `Energy`.
    """

    own: Energy
    lif: Energy
    macs: int
    overhead: Energy


def compare(run: Run, recording: Recording) -> Comparison:
    """Our row of Table 3. Args as in `rows`."""
    own, lif = total(rows(run, recording)), total(rows(run, recording, lif=True))
    overhead = Energy(*(100 * (a / b - 1) for a, b in zip(own, lif, strict=True)))
    return Comparison(own, lif, macs_per_update(run.experiment), overhead)


def picture(run: Run, recording: Recording) -> tuple[list[Row], Figure]:
    """Energy of every layer: MACs and accumulates, and memory traffic. Args as in `rows`."""
    counted, costs = rows(run, recording), Costs()
    drawn = drawing.figure(0.19 * len(counted) + 1.2)
    axis = drawn.subplots()
    places = np.arange(len(counted))
    parts = {
        "multiply-accumulate": ([1e-6 * costs.mac * row.macs for row in counted], drawing.ACCENT),
        "accumulate": ([1e-6 * costs.ac * row.acs for row in counted], drawing.LEARNED),
        "memory traffic": ([1e3 * row.memory(costs) for row in counted], drawing.VISITED),
    }
    left = np.zeros(len(counted))
    for label, (values, colour) in parts.items():
        axis.barh(places, values, 0.72, left=left, color=colour, label=label)
        left += values
    axis.set_yticks(places, [row.path for row in counted])
    axis.invert_yaxis()
    axis.set_xlim(0)
    drawing.plain(axis, x="µJ an inference")
    drawing.legend(drawn, axis, 3)
    return counted, drawn
