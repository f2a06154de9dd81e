"""A run: reading it back, and its closing summary. Nothing is trained here."""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple

import jax

from lnm_jax import data, files, launch
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, experiment, metrics, parallel
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.steps import TrainState

SUMMARY = "summary.json"


class Run(NamedTuple):
    """A finished run.

    Attributes:
      experiment: what was trained.
      directory: where everything is.
      state: after the last step.
      records: of metrics.jsonl.
      seconds: this session took, compilation included.
      images_per_second: training images, compilation and evaluation left out; None if this
        session had no step left to do.
    """

    experiment: experiment.Experiment
    directory: str
    state: TrainState
    records: list[dict]
    seconds: float
    images_per_second: float | None


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


def summarise(run: Run) -> dict:
    """Accuracy, spike rates and time of a run, as numbers; see summary.json."""
    tests = [record for record in run.records if record["split"] == "test"]
    best = max(tests, key=lambda record: record["accuracy"])
    order = run.experiment.spiking_layers()
    return {
        "accuracy_last": tests[-1]["accuracy"],
        "accuracy_best": best["accuracy"],
        "epoch_best": best["epoch"],
        **{key: tests[-1][key] for key in ("accuracy_flip",) if key in tests[-1]},
        "epochs": tests[-1]["epoch"],
        "rates": {path: tests[-1]["rates"][path] for path in order},
        "seconds": round(run.seconds, 1),
        "devices": f"{parallel.device_count()} {jax.devices()[0].device_kind}",
        "images_per_second": run.images_per_second and round(run.images_per_second, 1),
    }


def write_summary(run: Run) -> None:
    """Writes summary.json into the run's directory; a run that was only read keeps its own."""
    if run.images_per_second is None and os.path.exists(os.path.join(run.directory, SUMMARY)):
        return
    text = json.dumps(summarise(run), indent=2) + "\n"
    files.write(os.path.join(run.directory, SUMMARY), text)


def as_text(run: Run, pictures: dict[str, str]) -> str:
    """The summary as lines for the screen.

    Args:
      pictures: what other files hold, path by description.
    """
    facts = summarise(run)
    config = run.experiment.config
    data = run.experiment.dataset
    speed = f", {facts['images_per_second']:.0f} images/s" if facts["images_per_second"] else ""
    if facts["images_per_second"]:
        took = f"{facts['seconds']:.0f} s with compilation{speed} in training steps"
    else:
        took = f"{facts['seconds']:.0f} s to read it; no step was left to do"
    flip = []
    if "accuracy_flip" in facts:
        flip = [f"                last {facts['accuracy_flip']:.2f} % with mirrored images as well"]
    width = max(map(len, facts["rates"]))
    lines = [
        f"{config.neuron.kind} on {config.data.name}: {len(data.train.labels)} training and "
        f"{len(data.test.labels)} test images, {data.split}; T = {config.timesteps}",
        f"test accuracy   last {facts['accuracy_last']:.2f} %, "
        f"best {facts['accuracy_best']:.2f} % (epoch {facts['epoch_best']} of {facts['epochs']})",
        *flip,
        f"time            {took}",
        f"allocator       {launch.allocator()}",
        "mean spike rate of each layer, spikes per neuron and timestep",
    ]
    lines += [f"  {path:<{width}}  {rate:.3f}" for path, rate in facts["rates"].items()]
    places = {
        "configuration": "config.json",
        "metrics": "metrics.jsonl",
        "TensorBoard": f"tensorboard --logdir {run.directory}",
        "checkpoints": "checkpoints/",
    } | pictures
    lines += [f"in {run.directory}/"]
    lines += [f"  {what:<14}{where}" for what, where in places.items()]
    return "\n".join(lines)
