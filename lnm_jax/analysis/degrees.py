"""Lower degrees after training (4.2.3): accuracy, changed spikes and energy for N - 1 .. 1."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lnm_jax import neurons
from lnm_jax.analysis import drawing, energy, recording
from lnm_jax.analysis.drawing import Figure
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
) -> tuple[list[Degree], int, Figure]:
    """Fits every layer to degrees N - 1 .. 1 by `neurons.fit_degree` and measures each network.

    Args:
      run: as `training.run.load` returns it.
      recorded: of the same run; the fits are over a sample of the potentials that it visited.
      examples: that the recording took.
      loss: percentage points of accuracy that a lower degree may cost.
    Returns: degrees N, N - 1, .., 1; the lowest that keeps accuracy, with all above it; the figure.
    Raises: ValueError if `refusal` has a reason.
    """
    reason = refusal(run)
    if reason:
        raise ValueError(reason)
    top = run.experiment.config.neuron.degree
    params = flatten_dict(jax.device_get(run.state.params), keep_empty_nodes=True)
    neuron = run.experiment.neuron
    counted = energy.rows(run, recorded)
    changes = jax.jit(lambda a, b, currents: neurons.spike_changes(neuron, a, neuron, b, currents))
    of_layers = {path: _lower(run, layer, top, changes) for path, layer in recorded.layers.items()}
    found = []
    for degree in range(top, 0, -1):
        fits = {path: of_layer[degree] for path, of_layer in of_layers.items()}
        lower = {(*path.split("/"), "neuron", "theta"): fit[0] for path, fit in fits.items()}
        seen = recording.evaluate(run, unflatten_dict(params | lower), examples=examples)
        found.append(
            Degree(
                degree=degree,
                accuracy=seen["accuracy"],
                changed={path: fit[1] for path, fit in fits.items()},
                error={path: fit[2] for path, fit in fits.items()},
                energy=energy.total(energy.with_macs(counted, degree)),
            )
        )
    least = found[0].accuracy - loss
    kept = itertools.takewhile(lambda one: one.accuracy >= least, found)
    return found, [one.degree for one in kept][-1], _draw(found, loss)


def _lower(run: Run, layer: Layer, top: int, changes) -> dict[int, tuple]:
    """(theta padded to N, share of changed spikes, error) of a layer, by degree."""
    trained, sample = np.asarray(layer.params["theta"]), layer.sample
    seen = sample.before

    def sampled(params):  # as the currents (T, S) take them: of their channels
        own = trained.ndim == 2
        return jax.tree.map(lambda leaf: leaf[..., sample.channels] if own else leaf, params)

    if trained.ndim == 2:
        # As many potentials of every channel; one of which none was drawn takes another's.
        places = [np.flatnonzero(sample.channels == n) for n in range(trained.shape[1])]
        least = max(1, min(map(len, places)))
        seen = seen[:, np.stack([np.resize(place, least) for place in places], 1)]
    results: dict[int, tuple] = {top: (trained, 0.0, 0.0)}
    for degree in range(top - 1, 0, -1):
        fit = neurons.fit_degree(run.experiment.neuron, layer.params, seen, degree)
        theta = np.zeros_like(trained)
        theta[:degree] = fit.params["theta"]
        lower = sampled({**layer.params, "theta": theta})
        changed = changes(sampled(layer.params), lower, sample.currents)
        results[degree] = (theta, float(changed), fit.error)
    return results


def _draw(degrees: list[Degree], loss: float) -> Figure:
    drawn = drawing.figure(2.7)
    left, middle, right = drawn.subplots(1, 3)
    x = [one.degree for one in degrees]
    left.plot(x, [one.accuracy for one in degrees], "-o", color=drawing.LEARNED)
    left.axhline(degrees[0].accuracy - loss, color=drawing.ACCENT, linestyle=":", linewidth=1)
    for path in degrees[0].changed:
        shares = [100 * one.changed[path] for one in degrees]
        middle.plot(x, shares, "-o", color=drawing.LEARNED, alpha=0.5, linewidth=1, markersize=3)
    joules = [1e3 * one.energy.operations for one in degrees]
    right.plot(x, joules, "-o", color=drawing.LEARNED)
    for axis, title in (
        (left, f"accuracy, % (dotted: less {loss:g})"),
        (middle, "changed spikes, %, a line a layer"),
        (right, "energy of operations, µJ"),
    ):
        drawing.plain(axis, x="degree of every layer", title=title)
        axis.set_xticks(x)
        axis.invert_xaxis()
    left.set_ylim(top=100)
    middle.set_ylim(0)
    right.set_ylim(0, 1.1 * max(joules))
    return drawn
