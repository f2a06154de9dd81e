"""Several finished runs at once, and their layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lnm_jax import models
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration
from lnm_jax.training.run import load

if TYPE_CHECKING:
    from lnm_jax.training.experiment import Experiment
    from lnm_jax.training.run import Run


# Fields that make an architecture, its input's shape included.
SHAPES = ("model.", "data.name", "data.directory", "data.image_size")


def load_all(directories: Sequence[str]) -> list[Run]:
    """Several runs; those of the same data share one copy of it. Raises as `training.run.load`."""
    loaded: list[Run] = []
    for directory in directories:
        config = configuration.read(directory)
        same = (
            run.experiment.dataset
            for run in loaded
            if run.experiment.config.data == config.data
            and run.experiment.config.timesteps == config.timesteps
        )
        loaded.append(load(directory, dataset=next(same, None)))
    return loaded


def name_of(run: Run) -> str:
    """The run's name: the last part of its directory."""
    return os.path.basename(os.path.normpath(run.directory))


def layer_counts(this: Experiment) -> list[models.Count]:
    """Every layer's weights, neurons and MACs, in the order they run."""
    return models.counts(this.model, this.input_shape)


def check_same_architecture(runs: Sequence[Run]) -> None:
    """Raises ConfigError unless all runs have the same layers in the same shapes."""
    first = runs[0]
    for other in runs[1:]:
        if layer_counts(first.experiment) == layer_counts(other.experiment):
            continue
        found = configuration.differences(first.experiment.config, other.experiment.config)
        found = [line for line in found if line.startswith(SHAPES)]
        raise ConfigError(
            f"{other.directory} and {first.directory} are of different architectures "
            f"({'; '.join(found) or 'their data differ'}); report on each alone"
        )
