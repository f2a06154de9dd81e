"""Reading a run back: its configuration and a checkpoint. Nothing is written or trained."""

from __future__ import annotations

import json
import os
import time

import jax

from lnm_jax import data
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, experiment, metrics, run_directory
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.loop import Run


def load(directory: str, *, best: bool = False, dataset: data.Dataset | None = None) -> Run:
    """The run in `directory` as its newest undamaged checkpoint has it, finished or not.

    Nothing is locked, so that a run that is still training can be looked at.

    Args:
      directory: of the run, wherever it was moved to; it is only read.
      best: take the checkpoint of the highest test accuracy, if one was evaluated.
      dataset: that the run was trained on; None loads the one that its configuration names.
    Returns: a `Run` whose state is on the host; `images_per_second` is None.
    Raises: ConfigError if there is no run, no undamaged checkpoint or no data set, or if the
      configuration is not of this version.
    """
    started = time.monotonic()
    config = read_config(directory)
    with Checkpoints(os.path.join(directory, "checkpoints"), keep=1) as checkpoints:
        if checkpoints.latest is None:
            raise ConfigError(
                f"{directory}: no checkpoint here; train.py --resume={directory} "
                "trains until it has one"
            )
        try:  # not validated: the devices that it was trained on are not needed
            this = experiment.build(config, dataset)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{directory}: config.json: {' '.join(str(error).split())}") from None
        step = checkpoints.best if best else None
        state = checkpoints.restore(jax.eval_shape(this.init), step)
    return Run(
        experiment=this,
        directory=directory,
        state=state,
        records=_records(directory),
        seconds=time.monotonic() - started,
        images_per_second=None,
    )


def read_config(directory: str):
    """The locked configuration of a run, which names every field itself.

    Raises: ConfigError if the file is missing, is no configuration, or not of this version.
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
