"""Reading a run back: its configuration and a checkpoint. Nothing is written or trained."""

from __future__ import annotations

import json
import os

import jax

from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, experiment, metrics, run_directory
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.loop import Run


def load(directory: str, *, best: bool = False) -> Run:
    """The run in `directory` as its newest checkpoint has it, finished or not.

    Args:
      directory: of the run, wherever it was moved to.
      best: take the checkpoint of the highest test accuracy, if one was evaluated.
    Returns: a `Run` whose state is on the host; `seconds` is 0 and `images_per_second` None.
    Raises: ConfigError if there is no run, no undamaged checkpoint or no data set, or if the
      configuration is not of this version.
    """
    config = _config(directory)
    configuration.validate(config)
    this = experiment.build(config)
    with Checkpoints(os.path.join(directory, "checkpoints"), keep=1) as checkpoints:
        if checkpoints.latest is None:
            raise ConfigError(f"{directory}: the run has no checkpoint; train it first")
        step = checkpoints.best if best else None
        state = checkpoints.restore(jax.eval_shape(this.init), step)
    return Run(
        experiment=this,
        directory=directory,
        state=state,
        records=metrics.read(directory),
        seconds=0.0,
        images_per_second=None,
    )


def _config(directory: str):
    """The locked configuration of a run, which names every field itself."""
    from ml_collections import ConfigDict

    path = os.path.join(directory, run_directory.CONFIG)
    try:
        with open(path) as file:
            fields = json.load(file)
        config = ConfigDict(fields)
    except OSError as error:
        raise ConfigError(
            f"{directory}: no run here ({run_directory.CONFIG}: {error.strerror})"
        ) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: is not a configuration ({error})") from None
    missing = sorted(set(configuration.RULES) - set(configuration.flatten(config)))
    if missing:
        raise ConfigError(f"{path}: is of another version: it has no {missing[0]}")
    config.directory, config.name = os.path.split(os.path.normpath(directory))
    return config.lock()
