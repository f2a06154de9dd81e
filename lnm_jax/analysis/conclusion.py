"""Three sentences that conclude: what was learned, where it matters, what less would cost."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from lnm_jax import neurons
from lnm_jax.analysis import degrees, dynamics, energy, naming
from lnm_jax.analysis.degrees import Degree
from lnm_jax.analysis.naming import Name
from lnm_jax.analysis.recording import Recording, each_channel
from lnm_jax.training.run import Run

NOWHERE = 0.0005  # share of changed spikes that is none in the digits shown


class Replaced(NamedTuple):
    """A layer whose neurons are replaced by the LIF neurons nearest to them.

    Attributes:
      decay: share of the potential that these keep; the mean over channels that have their own.
      changed: share of neurons and timesteps with another spike than in the trained network, on the
        currents that the layer received there.
    """

    decay: float
    changed: float


def refusal(run: Run) -> str | None:
    """Why a run's neurons cannot be replaced by LIF, in one sentence; None if they can."""
    config, neuron = run.experiment.config, run.experiment.neuron
    if config.spiking.membrane_norm:
        return "With membrane_norm spikes do not follow from f alone."
    if not neurons.one_variable(neuron):
        return "Neurons of several variables do not spike by f alone."
    if neuron.facts.threshold is None or neuron.facts.reset_name is None:
        return f"Neurons of kind {config.neuron.kind} name no threshold and reset of LIF's kind."
    return None


def replace(run: Run, recorded: Recording) -> dict[str, Replaced]:
    """Every layer's nearest LIF, that of `naming` with a decay from 0 to 1, in its place.

    It has the layer's threshold, reset, start and gain of the current, no bound, and sees the
    currents of the recording's sample. A layer that visited nothing but 0 is left out.

    Args:
      run: as `training.run.load` returns it.
      recorded: of the same run.
    Raises: ValueError if `refusal` has a reason.
    """
    if reason := refusal(run):
        raise ValueError(reason)
    neuron, facts = run.experiment.neuron, run.experiment.neuron.facts
    # A line in u is a LIF, and theta may differ between neurons.
    lif = neurons.lnm(
        degree=1, bound="none", threshold=facts.threshold, reset=facts.reset_name,
        v_reset=facts.v_reset,
    )  # fmt: skip
    spikes_of = jax.jit(lambda params, currents, v: neurons.run(lif, params, currents, state=v))
    found = {}
    for path, layer in recorded.layers.items():
        u, visits, sample = naming.argument(run, layer.centres), layer.visits, layer.sample
        if not visits.any():
            continue
        f = dynamics.drifts(run, layer.params, layer.centres)  # (K, C), C = 1 if it is shared
        slopes = np.clip((visits * u) @ f / (visits @ u**2), -1, 0)
        gains = neurons.gain_of(neuron, each_channel(run, layer.params)[1])
        own = sample.channels % len(slopes)
        currents = np.broadcast_to(gains, slopes.shape)[own] * sample.currents
        spikes = spikes_of({"theta": slopes[None, own]}, currents, sample.before[0])
        changed = np.mean(np.sign(spikes) != np.sign(sample.spikes))
        found[path] = Replaced(float(1 + slopes.mean()), float(changed))
    return found


def sentences(
    run: Run,
    recorded: Recording,
    names: dict[str, list[Name]],
    reduced: tuple[list[Degree], int] | None,
    loss: float = degrees.LOSS,
) -> list[str]:
    """The three. Each says no more than was computed, and what could not be.

    Args:
      run: as `training.run.load` returns it.
      recorded: of the same run.
      names: as `naming.name_layers` gives them.
      reduced: of `degrees.reduce`, all degrees and the smallest; None where it refuses.
      loss: percentage points of accuracy that a lower degree may cost.
    """
    reason = refusal(run)
    replaced = {} if reason else replace(run, recorded)
    layers = {path: f"layer {n} ({path})" for n, path in enumerate(recorded.layers, 1)}
    return [
        _learned(run, recorded, names, layers, replaced),
        _where(recorded, layers, replaced, reason),
        _less(run, recorded, reduced, loss),
    ]


def _learned(run, recorded, names, layers, replaced):
    fields = run.experiment.config.neuron
    if not any(jax.tree.leaves(layer.params) for layer in recorded.layers.values()):
        return f"The neurons learned nothing: those of kind {fields.kind} have no parameters."
    lines = {  # R2 of a line, the mean over channels
        path: np.mean([name.fits["LIF"].r2 for name in found])
        for path, found in names.items()
        if found[0].nearest
    }
    silent = [f"{layers[path]}: {names[path][0].reason}" for path in names if path not in lines]
    if not lines:
        silent += ["T = 1, where f is evaluated at the start alone"] * (recorded.timesteps == 1)
        return f"What f became cannot be said ({'; '.join(silent)})."
    each = " of each channel" if any(len(names[path]) > 1 for path in lines) else ""
    text = f"The learned f{each}, by name: {naming.tally(names[path] for path in lines)}"
    decays = [replaced[path].decay for path in lines if path in replaced]
    if decays and {name.name for path in lines for name in names[path]} == {"LIF"}:
        low, high = (f"{value:.2f}" for value in (min(decays), max(decays)))
        text += f", of decay {low if low == high else f'{low} to {high}'}"
        text += f" (config.neuron.decay: {fields.decay:g})"
    far = min(lines, key=lines.get)
    text += f"; least like a LIF is {layers[far]}, where a line -k u has R2 {lines[far]:.3f}"
    return text + (f". Nothing is known of {'; '.join(silent)}." if silent else ".")


def _where(recorded, layers, replaced, reason):
    if not replaced:
        reason = _clause(reason or "No potential but 0 was visited.")
        return f"Where the shape of f matters was not measured: {reason}."
    most, least = (f(replaced, key=lambda path: replaced[path].changed) for f in (max, min))
    changed = replaced[most].changed
    if changed < NOWHERE:
        return (
            "The shape of f matters in no layer: the nearest LIF neurons, on the same currents, "
            f"would spike otherwise in {100 * changed:.2g} % of a layer's updates at most."
        )
    text = (
        f"The shape of f matters most in {layers[most]}: the nearest LIF neurons in its place, of "
        f"decay {replaced[most].decay:.2f}, would spike otherwise in {100 * changed:.2g} % of its "
        f"updates, on the same currents (it spikes in {100 * recorded.layers[most].rate:.1f} %)"
    )
    if least != most:
        text += f"; least in {layers[least]}, with {100 * replaced[least].changed:.2g} %"
    return text + "."


def _less(run, recorded, reduced, loss):
    macs = run.experiment.neuron.facts.macs
    if reduced:
        found, smallest = reduced
        full = found[0]
        kept = smallest < full.degree
        lower = next(one for one in found[1:] if one.degree == smallest or not kept)
        saved = 100 * (1 - lower.energy.operations / full.energy.operations)
        return (
            ("D" if kept else f"No lower degree keeps accuracy within {loss:g} points: d")
            + f"egree {lower.degree} in place of {full.degree}, in all layers and without training "
            f"again, has {lower.accuracy:.2f} % accuracy in place of {full.accuracy:.2f} % on "
            f"{recorded.examples} examples, and takes {saved:.1f} % less energy (Eq. 17)."
        )
    if macs is None:
        return "What a simpler neuron would cost is not known: these do not say what they take."
    if macs <= 1:
        return "There is no simpler neuron to compare with: an update takes no more than a LIF's."
    costs = energy.compare(run, recorded)
    saved = 100 * (1 - costs.lif.operations / costs.own.operations)
    return (
        f"LIF neurons would take {saved:.1f} % less energy at equal spike rates (Eq. 17); what "
        f"accuracy they would cost was not measured: {_clause(degrees.refusal(run))}."
    )


def _clause(sentence):
    return sentence[0].lower() + sentence[1:].removesuffix(".")
