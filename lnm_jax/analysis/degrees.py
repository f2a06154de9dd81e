"""Lower degrees after training (4.2.3): accuracy, changed spikes and energy for N - 1 .. 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lnm_jax import neurons
from lnm_jax.analysis import drawing, dynamics, energy, recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.analysis.recording import Layer, Recording
    from lnm_jax.training.run import Run

LOSS = 0.5  # percentage points of accuracy that a lower degree may cost


class Degree(NamedTuple):
    """The network with every layer's f fitted to one degree.

    Attributes:
      degree: of all layers; the first is the trained one.
      accuracy: on the recording's examples, %.
      changed: by layer, share of spikes that differ from the trained neuron's on the currents
        that the layer received in the trained network.
      error: by layer, root mean square of the difference of f over the potentials
        visited; the mean over channels, if each has its own f.
      energy: of an inference at the trained network's rates.
    """

    degree: int
    accuracy: float
    changed: dict[str, float]
    error: dict[str, float]
    energy: energy.Energy


class Reduction(NamedTuple):
    """Lower degrees, highest first.

    Attributes:
      degrees: N, N - 1, .., 1.
      smallest: the lowest degree that keeps accuracy, with all degrees above it.
      loss: percentage points that it may cost.
    """

    degrees: list[Degree]
    smallest: int
    loss: float


def refusal(run: Run) -> str | None:
    """Why this run's neurons have no degree to reduce, in one sentence; None if they have."""
    fields = run.experiment.config.neuron
    drift = run.experiment.neuron.facts.drift
    params = run.experiment.neuron.init(jax.random.key(0))
    described = drift.describe(params)[0]["drift"] if drift and drift.describe else None
    if described in ("spline", "mlp"):
        return f"Neurons of family {fields.family} have no degree to reduce."
    if described != "polynomial" or "theta" not in params:
        return f"Neurons of kind {fields.kind} have no degree to reduce."
    if run.experiment.config.spiking.membrane_norm:
        return "With membrane_norm spikes do not follow from f alone: lower degrees are not fitted."
    if len(params["theta"]) == 1:
        return "The neurons are of degree 1: there is no lower one."
    return None


def reduce(
    run: Run, recorded: Recording, *, examples: int = 0, loss: float = LOSS
) -> tuple[Reduction, Figure]:
    """Fits every layer to degrees N - 1 .. 1 by `neurons.fit_degree` and measures each network.

    Args:
      run: as `training.run.load` returns it.
      recorded: of the same run; the fits are over a sample of the potentials that it visited.
      examples: that the recording took.
      loss: percentage points of accuracy that a lower degree may cost.
    Raises: ValueError if `refusal` has a reason.
    """
    reason = refusal(run)
    if reason:
        raise ValueError(reason)
    top = run.experiment.config.neuron.degree
    params = flatten_dict(jax.device_get(run.state.params), keep_empty_nodes=True)
    neuron = run.experiment.neuron
    changes = jax.jit(lambda a, b, currents: neurons.spike_changes(neuron, a, neuron, b, currents))
    of_layers = {path: _lower(run, layer, top, changes) for path, layer in recorded.layers.items()}
    found = []
    for degree in range(top, 0, -1):
        lower = params | {
            (*path.split("/"), "neuron", "theta"): fits[degree][0]
            for path, fits in of_layers.items()
        }
        found.append(
            Degree(
                degree=degree,
                accuracy=recording.accuracy(run, unflatten_dict(lower), examples=examples),
                changed={path: fits[degree][1] for path, fits in of_layers.items()},
                error={path: fits[degree][2] for path, fits in of_layers.items()},
                energy=energy.total(energy.rows(run, recorded, macs=degree)),
            )
        )
    smallest = top
    for one in found[1:]:
        if one.accuracy < found[0].accuracy - loss:
            break
        smallest = one.degree
    reduction = Reduction(found, smallest, loss)
    return reduction, _draw(reduction)


def _lower(run: Run, layer: Layer, top: int, changes) -> dict[int, tuple]:
    """(theta padded to N, share of changed spikes, error) of a layer, by degree."""
    neuron, trained = run.experiment.neuron, np.asarray(layer.params["theta"])
    own = recording.sample_params(run, layer, layer.params)
    sample = layer.sample
    sets = list(dynamics.sets(run, layer.params, trained.shape[-1]))
    places = {channel: np.flatnonzero(sample.channels == channel) for channel, _ in sets}
    # As many potentials of every channel: one shape, so that nothing is compiled for each.
    least = max(1, min(map(len, places.values())))
    results: dict[int, tuple] = {top: (trained, 0.0, 0.0)}
    for degree in range(top - 1, 0, -1):
        theta, errors = np.zeros_like(trained), []
        for channel, params in sets:
            seen = sample.before
            if channel is not None:
                seen = seen[:, places[channel][:least]]
            if not seen.size:  # none was drawn: the channel keeps its low coefficients
                theta[:degree, channel] = trained[:degree, channel]
                continue
            fit = neurons.fit_degree(neuron, params, seen, degree)
            where = np.index_exp[:degree] if channel is None else np.index_exp[:degree, channel]
            theta[where] = np.asarray(fit.params["theta"])
            errors.append(fit.error)
        lower = recording.sample_params(run, layer, {**layer.params, "theta": theta})
        changed = float(changes(own, lower, sample.currents))
        results[degree] = (theta, changed, float(np.mean(errors)))
    return results


def _draw(reduction: Reduction) -> Figure:
    drawn = drawing.figure(2.7)
    left, middle, right = drawn.subplots(1, 3)
    x = [one.degree for one in reduction.degrees]
    least = reduction.degrees[0].accuracy - reduction.loss
    left.plot(x, [one.accuracy for one in reduction.degrees], "-o", color=drawing.LEARNED)
    left.axhline(least, color=drawing.ACCENT, linestyle=":", linewidth=1)
    left.set_title(f"accuracy, % (dotted: less {reduction.loss:g})", fontsize=8, loc="left")
    for path in reduction.degrees[0].changed:
        shares = [100 * one.changed[path] for one in reduction.degrees]
        middle.plot(x, shares, "-o", color=drawing.LEARNED, alpha=0.5, linewidth=1, markersize=3)
    middle.set_title("changed spikes, %, a line a layer", fontsize=8, loc="left")
    joules = [1e3 * one.energy.operations for one in reduction.degrees]
    right.plot(x, joules, "-o", color=drawing.LEARNED)
    right.set_title("energy of operations, µJ", fontsize=8, loc="left")
    for axis in (left, middle, right):
        drawing.plain(axis)
        axis.set_xticks(x)
        axis.invert_xaxis()
        axis.set_xlabel("degree of every layer", fontsize=8)
    middle.set_ylim(0)
    right.set_ylim(0, 1.1 * max(joules))
    return drawn
