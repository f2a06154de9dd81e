"""Learned dynamics: f(u) of every spiking layer, from the neuron's own step function."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import neurons

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from lnm_jax.training.loop import Run

PICTURE = "dynamics.png"


def learned_drifts(run: Run, u: Float[Array, "N"]) -> dict[str, np.ndarray]:
    """f(u) of every spiking layer of a run, by path, in the order the layers run.

    Each is (N,), or (N, C) where every channel has a neuron of its own.
    """
    u = jnp.asarray(u)
    curves = {}
    for path in run.experiment.spiking_layers():
        params = run.state.params
        for name in (*path.split("/"), "neuron"):
            params = params.get(name, {})
        leaves = jax.tree.leaves(params)
        if run.experiment.config.spiking.sharing == "channel" and leaves:
            potentials = jnp.broadcast_to(u[:, None], (len(u), leaves[0].shape[-1]))
        else:
            potentials = u
        curves[path] = np.asarray(neurons.drift_of(run.experiment.neuron, params, potentials))
    return curves


def save_picture(run: Run) -> str:
    """Draws f of every spiking layer over the LIF line into the run's directory (Figure 2).

    Returns: the picture's path.
    """
    from matplotlib.figure import Figure

    config = run.experiment.config
    limit = max(1.0, config.neuron.threshold) * 1.2
    u = np.linspace(-limit, limit, 241, dtype=np.float32)
    start = neurons.drift_of(neurons.lif(decay=config.neuron.decay), {}, u)
    curves = learned_drifts(run, u)
    columns = math.ceil(math.sqrt(1.5 * len(curves)))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.3 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.axis("off")
    for number, (axis, (path, curve)) in enumerate(zip(axes.flat, curves.items(), strict=False), 1):
        axis.axhline(0, color="0.8", linewidth=0.8)
        axis.axvline(config.neuron.threshold, color="0.6", linewidth=0.8, linestyle=":")
        axis.plot(u, start, color="0.5", linestyle="--", linewidth=1.2, label="LIF at the start")
        if curve.ndim == 2:
            axis.plot(u, curve, color="#1f5fa8", linewidth=0.5, alpha=0.4)
            curve = curve.mean(1)
        axis.plot(u, curve, color="#1f5fa8", linewidth=1.8, label="learned f(u)")
        axis.set_title(f"{number}  {path}", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[max(0, len(curves) - columns) : len(curves)]:  # lowest of each column
        axis.set_xlabel("membrane potential u", fontsize=8)
        axis.tick_params(labelbottom=True)
    for axis in axes[:, 0]:
        axis.set_ylabel("f(u) per timestep", fontsize=8)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    path = os.path.join(run.directory, PICTURE)
    figure.savefig(path, dpi=150)
    return path
