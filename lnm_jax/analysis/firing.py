"""How neurons answer: f-I curves under constant currents, and potentials over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from lnm_jax import neurons
from lnm_jax.analysis import drawing
from lnm_jax.analysis.recording import Sample, channels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lnm_jax.analysis.recording import Recording
    from lnm_jax.training.run import Run

CURRENTS = 161
TIMESTEPS = 400  # of constant current: the rate is known to 1/400
MOST_LAYERS = 6  # whose potentials are drawn over time
TRACES = 3  # neurons of each


class Curves(NamedTuple):
    """f-I curves.

    Attributes:
      currents: (K,) constant inputs, from 0 to twice the threshold.
      lif: (K,) spikes per timestep of the LIF that learned neurons start from.
      rates: by layer, (K,), or (K, C) where every channel has a neuron of its own.
    """

    currents: np.ndarray
    lif: np.ndarray
    rates: dict[str, np.ndarray]


def f_i_curves(run: Run, recorded: Recording) -> tuple[Curves, Figure]:
    """Spike rate of every layer's neuron under constant current, over the currents it received.

    Args:
      run: as `training.run.load` returns it.
      recorded: of the same run.
    """
    fields = run.experiment.config.neuron
    neuron = run.experiment.neuron
    currents = np.linspace(0, 2 * fields.threshold, CURRENTS, dtype=np.float32)
    names = ("threshold", "reset", "v_reset")
    lif = neurons.lif(decay=fields.decay, **{name: fields[name] for name in names})
    line = np.asarray(neurons.f_i_curve(lif, {}, currents, timesteps=TIMESTEPS))

    @jax.jit  # once for all layers of the same number of channels
    def rates_of(params):
        channels = channels_of(run, params)
        each = currents
        if channels is not None:
            each = np.broadcast_to(currents[:, None], (CURRENTS, channels))
        return neurons.f_i_curve(neuron, params, each, timesteps=TIMESTEPS)

    rates = {path: np.asarray(rates_of(layer.params)) for path, layer in recorded.layers.items()}
    drawn, axes = drawing.layer_axes(list(rates), x="constant current I", y="spikes per timestep")
    for axis, (path, rate) in zip(axes, rates.items(), strict=True):
        received = recorded.layers[path].sample.currents
        inside = received[(received >= 0) & (received <= currents[-1])]
        if len(inside):
            heights, edges = np.histogram(inside, 40, (0, currents[-1]))
            axis.stairs(
                heights / max(heights.max(), 1) * 0.3, edges, fill=True, color=drawing.VISITED,
                label="currents received",
            )  # fmt: skip
        axis.plot(
            currents, line, color=drawing.REFERENCE, linestyle="--", linewidth=1.1,
            label=f"LIF, decay {fields.decay:g}",
        )  # fmt: skip
        if rate.ndim == 2:
            axis.plot(currents, rate, color=drawing.LEARNED, linewidth=0.4, alpha=0.35)
            rate = rate.mean(1)
        axis.plot(currents, rate, color=drawing.LEARNED, linewidth=1.8, label="this layer")
        axis.set_ylim(0, 1.05)
    drawing.legend(drawn, axes[0], 3)
    return Curves(currents, line, rates), drawn


def traces(run: Run, recorded: Recording) -> tuple[dict[str, Sample], Figure]:
    """Potentials and spikes of some neurons of at most `MOST_LAYERS` layers, evenly spaced.

    Of those recorded, neurons that spike at about a third of the timesteps are shown.
    Args as in `f_i_curves`.
    """
    paths = list(recorded.layers)
    places = np.unique(np.linspace(0, len(paths) - 1, min(MOST_LAYERS, len(paths))).astype(int))
    found = {}
    for path in (paths[place] for place in places):
        sample = recorded.layers[path].sample
        chosen = np.argsort(np.abs(sample.spikes.mean(0) - 1 / 3), kind="stable")[:TRACES]
        found[path] = Sample(*(x[..., chosen] for x in sample))
    threshold = run.experiment.config.neuron.threshold
    drawn, axes = drawing.layer_axes(list(found), x="timestep", y="potential", share_y=False)
    for axis, place, (path, shown) in zip(axes, places, found.items(), strict=True):
        axis.set_title(f"{place + 1}  {path}", fontsize=8, loc="left")
        time = np.arange(1, len(shown.spikes) + 1)
        axis.axhline(
            threshold, color=drawing.ACCENT, linestyle=":", linewidth=0.9, label="threshold"
        )
        for n in range(shown.spikes.shape[1]):
            colour = drawing.SERIES[n]
            axis.plot(
                time, shown.v_in[:, n], "-o", color=colour, markersize=3, linewidth=1.1,
                label=f"neuron {n + 1}",
            )  # fmt: skip
            fired = shown.spikes[:, n] > 0
            axis.plot(
                time[fired], shown.v_in[fired, n], "*", color=colour, markersize=11,
                markeredgecolor="white", markeredgewidth=0.5,
                label="spike" if n == 0 else None,
            )  # fmt: skip
        axis.set_xticks(time if len(time) <= 10 else np.linspace(1, len(time), 6).astype(int))
    drawing.legend(drawn, axes[0], 5)
    return found, drawn
