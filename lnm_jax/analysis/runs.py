"""Finished runs, read back for analysis: nothing is trained, written or locked."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from lnm_jax import data, models
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, experiment, metrics, run_directory
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.loop import Run

if TYPE_CHECKING:
    from lnm_jax.training.experiment import Experiment

CHECKPOINTS = "checkpoints"


def load(directory: str, *, dataset: data.Dataset | None = None) -> Run:
    """A run as its last undamaged checkpoint left it.

    Args:
      directory: of the run; it is only read.
      dataset: that the run was trained on; None loads the one that its configuration names.
    Raises: ConfigError if there is no run, no checkpoint, or one that does not fit this version.
    """
    started = time.monotonic()
    config = read_config(directory)
    folder = os.path.join(directory, CHECKPOINTS)
    with Checkpoints(folder, keep=config.checkpoint.keep) as checkpoints:
        if checkpoints.latest is None:
            raise ConfigError(
                f"{directory}: no checkpoint here to look at; train.py --resume={directory} "
                "trains until it has one"
            )
        try:
            this = experiment.build(config, dataset)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{directory}: config.json: {' '.join(str(error).split())}") from None
        state = checkpoints.restore(jax.eval_shape(this.init))
    return Run(
        experiment=this,
        directory=directory,
        state=state,
        records=_records(directory),
        seconds=time.monotonic() - started,
        images_per_second=None,
    )


def load_all(directories: Sequence[str]) -> list[Run]:
    """Several runs; those of the same data share one copy of it. Raises as `load`."""
    loaded: list[Run] = []
    for directory in directories:
        config = read_config(directory)
        same = (
            run.experiment.dataset
            for run in loaded
            if run.experiment.config.data == config.data
            and run.experiment.config.timesteps == config.timesteps
        )
        loaded.append(load(directory, dataset=next(same, None)))
    return loaded


def read_config(directory: str):
    """The locked configuration of a run, by its own file alone.

    Raises: ConfigError if the file is missing, is no configuration, or lacks a field.
    """
    from ml_collections import ConfigDict

    path = os.path.join(directory, run_directory.CONFIG)
    try:
        with open(path) as file:
            config = ConfigDict(json.load(file))
    except OSError:
        raise ConfigError(f"{directory}: no run here ({run_directory.CONFIG} is missing)") from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a configuration ({error})") from None
    given = configuration.flatten(config)
    missing = [field for field in configuration.RULES if field not in given]
    if missing:
        raise ConfigError(
            f"{path}: written by an older version, without {', '.join(missing[:3])}"
            f"{' ...' if len(missing) > 3 else ''}; add them as configs/base.py has them"
        )
    config.directory, config.name = os.path.split(os.path.normpath(directory))
    return config.lock()


def _records(directory: str) -> list[dict]:
    try:
        return metrics.read(directory)
    except ValueError as error:
        raise ConfigError(f"{os.path.join(directory, metrics.FILE)}: damaged ({error})") from None


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
        found = [line for line in found if line.startswith(("model.", "data."))]
        raise ConfigError(
            f"{other.directory} and {first.directory} are of different architectures "
            f"({'; '.join(found) or 'their data differ'}); report on each alone"
        )


def spread(split: data.Split | data.Stream, count: int) -> data.Split | data.Stream:
    """`count` examples of a split, evenly spaced, so that sorted classes all come in.

    Args:
      count: how many; 0, or as many as there are, is all of them.
    """
    total = len(split.labels)
    if not 0 < count < total:
        return split
    chosen = np.arange(count) * total // count
    if isinstance(split, data.Stream):
        read = functools.partial(_read_chosen, split.read, chosen)
        return split._replace(read=read, labels=split.labels[chosen])
    return split._replace(images=split.images[chosen], labels=split.labels[chosen])


def _read_chosen(read, chosen, index, generator):
    """At the module's level, so that worker processes can unpickle it."""
    return read(int(chosen[index]), generator)
