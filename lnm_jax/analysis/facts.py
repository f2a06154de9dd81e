"""What a run is: what was trained, when, with how many parameters, and by which command."""

from __future__ import annotations

import datetime
import os

import jax

import lnm_jax
from lnm_jax import models
from lnm_jax.training import configuration, metrics
from lnm_jax.training.optimizer import group
from lnm_jax.training.run import Run


def of_run(run: Run) -> list[tuple[str, str]]:
    """Short facts as (name, value); what the run does not tell is left out."""
    config, info = run.experiment.config, run.experiment.info
    images = f"{info.train:,} and {info.test:,} examples"
    weights, of_neurons, rest = parameters(run)
    alone = f"; {rest:,} more in training alone" if rest else ""
    passed = configuration.PASSED
    own_model, own_neuron = config.model.name == passed, config.neuron.kind == passed
    data = "passed in Python" if config.data.name == passed else config.data.name
    known = {
        "data": f"{data}: {images}, {info.split}",
        "network": type(run.model).__name__ if own_model else config.model.name,
        "neurons": repr(run.experiment.neuron) if own_neuron else config.neuron.kind,
        "timesteps": str(run.experiment.timesteps),
        "parameters": f"{weights:,} of the network, {of_neurons:,} of its neurons{alone}",
        "seed": str(config.seed),
        "checkpoint": f"step {int(run.state.step)} of {run.experiment.steps_until(config.epochs)}",
        "trained": dates(run.directory),
        "command": configuration.command(config),
    }
    return [(name, value) for name, value in known.items() if value]


def of_report() -> tuple[str, str]:
    """The fact of a report itself: its day and versions."""
    today = datetime.date.today().isoformat()
    return "report", f"{today}, by lnm_jax {lnm_jax.__version__} and jax {jax.__version__}"


def parameters(run: Run) -> tuple[int, int, int]:
    """How many learned numbers the network has: without its neurons', of these, and of neither.

    The last are of what runs in training alone, such as side heads.
    """
    this, sizes = run.experiment, {"weights": 0, "neurons": 0, "training": 0}
    evaluated = models.evaluated(this.model, run.state.variables, this.input_shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(run.state.params):
        name = "/".join(key.key for key in path)
        sizes[group(path) if name in evaluated else "training"] += leaf.size
    return tuple(sizes.values())


def dates(directory: str) -> str:
    """The days on which a run was begun and last wrote, as its files have it; "" without files.

    A copy that does not keep its files' times has those of the copy.
    """
    days = [
        datetime.date.fromtimestamp(os.path.getmtime(path)).isoformat()
        for path in (os.path.join(directory, name) for name in (configuration.FILE, metrics.FILE))
        if os.path.exists(path)
    ]
    return " to ".join(sorted(set(days)))
