"""How neurons answer: f-I curves under constant currents, and potentials over time."""

from __future__ import annotations

import jax
import numpy as np

from lnm_jax import neurons
from lnm_jax.analysis import drawing
from lnm_jax.analysis.drawing import Figure
from lnm_jax.analysis.recording import Recording, Sample, each_channel
from lnm_jax.training.run import Run

CURRENTS = 161
TIMESTEPS = 400  # of constant current: the rate is known to 1/400
MOST_LAYERS = 6  # whose potentials are drawn over time
TRACES = 3  # neurons of each


def f_i_curves(run: Run, recorded: Recording) -> tuple[list[dict], Figure]:
    """Spike rate of every layer's neuron under constant current, over the currents it received.

    Args:
      run: as `training.run.load` returns it.
      recorded: of the same run.
    Returns: a row a layer and current, from 0 to twice the threshold: spikes per timestep, the mean
      over channels that have neurons of their own; and the figure.
    """
    fields = run.experiment.config.neuron
    neuron = run.experiment.neuron
    currents = np.linspace(0, 2 * run.experiment.threshold, CURRENTS, dtype=np.float32)
    names = ("threshold", "reset", "v_reset")
    lif = neurons.lif(decay=fields.decay, **{name: fields[name] for name in names})
    line = np.asarray(neurons.f_i_curve(lif, {}, currents, timesteps=TIMESTEPS))

    @jax.jit  # once for all layers of the same number of channels
    def rates_of(params):
        channels, own = each_channel(run, params)
        each = np.broadcast_to(currents[:, None], (CURRENTS, len(channels)))
        return neurons.f_i_curve(neuron, own, each, timesteps=TIMESTEPS)

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
        drawing.lif(axis, currents, line, fields.decay)
        drawing.learned(axis, currents, rate.squeeze(), linewidth=1.8, label="this layer")
        axis.set_ylim(0, 1.05)
    drawing.legend(drawn, axes[0], 3)
    rows = [
        {"path": path, "current": float(current), "rate": float(rate)}
        for path, of_layer in rates.items()
        for current, rate in zip(currents, of_layer.mean(1), strict=True)
    ]
    return rows, drawn


def traces(run: Run, recorded: Recording) -> tuple[list[dict], Figure]:
    """Potentials and spikes of some neurons of at most `MOST_LAYERS` layers, evenly spaced.

    Of those recorded, neurons that spike at about a third of the timesteps are shown.
    Args as in `f_i_curves`. Returns: a row a neuron and timestep, and the figure.
    """
    paths = list(recorded.layers)
    places = np.unique(np.linspace(0, len(paths) - 1, min(MOST_LAYERS, len(paths))).astype(int))
    found = {}
    for path in (paths[place] for place in places):
        sample = recorded.layers[path].sample
        chosen = np.argsort(np.abs(sample.spikes.mean(0) - 1 / 3), kind="stable")[:TRACES]
        found[path] = Sample(*(x[..., chosen] for x in sample))
    threshold = run.experiment.threshold
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
                label="spike" if n == shown.spikes.shape[1] - 1 else None,
            )  # fmt: skip
        axis.set_xticks(time if len(time) <= 10 else np.linspace(1, len(time), 6).astype(int))
    drawing.legend(drawn, axes[0], 5)
    rows = [
        {"path": path, "neuron": n + 1, "timestep": t + 1, "current": float(shown.currents[t, n])}
        | {"potential": float(shown.v_in[t, n]), "spike": int(shown.spikes[t, n])}
        for path, shown in found.items()
        for t, n in np.ndindex(shown.spikes.shape)
    ]
    return rows, drawn
