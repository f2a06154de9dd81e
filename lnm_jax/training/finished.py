"""Reading a run back: its configuration and a checkpoint. Nothing is written or trained."""

from __future__ import annotations

import os
import time

import jax

from lnm_jax import data
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, experiment, metrics
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
    config = configuration.read(directory)
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


def _records(directory: str) -> list[dict]:
    try:
        return metrics.read(directory)
    except ValueError as error:
        raise ConfigError(f"{os.path.join(directory, metrics.FILE)}: damaged ({error})") from None
