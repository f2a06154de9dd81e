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


def drift(neuron: neurons.Neuron, params, u: Float[Array, "N"]) -> Float[Array, "N"]:
    """f(u) of any one-variable neuron, measured: the change of u in a step, less the current.

    Args:
      neuron: its state must be one array, the membrane potential.
      params: as made by `neuron.init`.
      u: potentials.
    Returns: f(u), per timestep (Eq. 10).
    Raises: ValueError for a neuron of several variables, or one that spikes at any current.
    """
    u = jnp.asarray(u)
    if jax.tree.structure(neuron.reset(u.shape, u.dtype)) != jax.tree.structure(u):
        raise ValueError("drift needs a neuron whose state is one array, the membrane potential")
    # A spike would hide the potential behind the reset: push the neuron below threshold.
    for inhibition in (0.0, 4.0, 64.0, 1024.0):
        after, spikes = neuron.step(params, u, jnp.full_like(u, -inhibition))
        if not spikes.any():
            return after - u + inhibition
    raise ValueError("the neuron spikes under a current of -1024")


def learned_drifts(run: Run, u: Float[Array, "N"]) -> dict[str, np.ndarray]:
    """f(u) of every spiking layer of a run, by path, in the order the layers run."""
    curves = {}
    for path in run.experiment.spiking_layers():
        params = run.state.params
        for name in (*path.split("/"), "neuron"):
            params = params.get(name, {})
        curves[path] = np.asarray(drift(run.experiment.neuron, params, u))
    return curves


def save_picture(run: Run) -> str:
    """Draws f of every spiking layer over the LIF line into the run's directory (Figure 2).

    Returns: the picture's path.
    """
    from matplotlib.figure import Figure

    config = run.experiment.config
    limit = max(1.0, config.neuron.threshold) * 1.2
    u = np.linspace(-limit, limit, 241, dtype=np.float32)
    start = drift(neurons.lif(decay=config.neuron.decay), {}, u)
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
