"""A run: reading it back, what it says of new examples, and its closing summary."""

from __future__ import annotations

import glob
import json
import logging
import os
import time
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lnm_jax import data, files, launch, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.training import (
    configuration,
    environment,
    experiment,
    metrics,
    parallel,
    run_directory,
)
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.steps import TrainState

SUMMARY = "summary.json"
# Of an evaluation, by name. Earlier records, and tasks without classes, have the first alone.
LOSSES = {"loss": "training objective", "cross_entropy": "cross-entropy"}


class Prediction(NamedTuple):
    """What a network says of examples.

    Attributes:
      labels: (B,) int, the most probable class; () of a single example.
      probabilities: (B, K), or (K,) of a single example.
      classes: names of the labels; empty if the data set has none.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]

    @property
    def names(self) -> list[str] | str:
        """Of the labels; the labels themselves where the data set has no names."""
        names = [self.classes[k] if self.classes else str(k) for k in np.ravel(self.labels)]
        return names if self.labels.ndim else names[0]


class Run(NamedTuple):
    """A run, finished or not, with the network as one of its checkpoints has it.

    Attributes:
      experiment: what was trained.
      directory: where everything is.
      state: after the last step.
      records: of metrics.jsonl.
      seconds: this session took, compilation included.
      images_per_second: training images, compilation and evaluation left out; None if this
        session had no step left to do, or the first one alone.
      steps: of this session.
    """

    experiment: experiment.Experiment
    directory: str
    state: TrainState
    records: list[dict]
    seconds: float
    images_per_second: float | None
    steps: int = 0

    @property
    def config(self):
        """Of the run, locked."""
        return self.experiment.config

    @property
    def model(self) -> nn.Module:
        """The network; `model.apply(variables, x)` takes normalised inputs."""
        return self.experiment.model

    @property
    def variables(self) -> dict:
        """What `model.apply` takes: "params" and "batch_stats"."""
        return self.state.variables

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty if the data set has none."""
        return self.experiment.info.classes

    def predict(self, images) -> Prediction:
        """Classes of new examples; no data set is needed.

        Args:
          images: (H, W, C) or (B, H, W, C), recordings (T, H, W, C) or (B, T, H, W, C), of the size
            that the network was trained on: integers in the unit of the data set, or floats from 0
            to 1. They are normalised here. Of a data set of floats they are floats in its unit.
        Raises: ConfigError for another shape, type or range, or a network that is no classifier;
          NonFiniteError that names the first array or layer that is not finite.
        """
        if self.config.loss.name == "spike_trains":
            raise ConfigError(f"{self.directory}: predicts spikes, not classes")
        examples, single = as_examples(images, self.experiment.info)
        split = data.Split(examples, np.zeros(len(examples), np.int32))
        size = min(self.config.data.eval_batch_size, len(examples))
        logits = []
        for batch in data.eval_batches(split, size):
            outputs, _ = self.experiment.apply(self.variables, batch["image"])
            logits.append(np.asarray(outputs)[batch["mask"] > 0])
            if not np.isfinite(logits[-1]).all():
                raise experiment.not_finite(self.experiment, self.variables, batch)
        probabilities = np.asarray(jax.nn.softmax(np.concatenate(logits)))
        if single:
            probabilities = probabilities[0]
        return Prediction(probabilities.argmax(-1), probabilities, self.classes)

    def evaluate(self, dataset: data.Dataset | data.Split | data.Stream | None = None) -> dict:
        """Accuracy (%), losses (nats) and spike rates, see `experiment.evaluate`.

        Args:
          dataset: whose test split is taken, or a split; None for the run's own.
        Raises: ConfigError for examples of another shape or with labels that the run does not know;
          NonFiniteError as `predict`.
        """
        split = dataset.test if isinstance(dataset, data.Dataset) else dataset
        info = self.experiment.info
        if split is not None and tuple(split.shape) != info.shape:
            raise ConfigError(f"examples must be {info.shape}, as in training, got {split.shape}")
        if (
            split is not None
            and not 0 <= split.labels.min() <= split.labels.max() < info.num_classes
        ):
            raise ConfigError(
                f"labels must be 0 to {info.num_classes - 1}, got {split.labels.min()} to "
                f"{split.labels.max()}"
            )
        return experiment.evaluate(self.experiment, self.variables, split)

    def trace(self, images) -> dict[str, neurons.Trace]:
        """What every spiking layer does on examples, by path, in the order they run.

        Args: as `predict`, at most as many as memory holds.
        Returns: a `neurons.Trace` a layer, leaves (T, B, ...): v_in are its membrane potentials.
        """
        examples, _ = as_examples(images, self.experiment.info)
        _, sown = self.experiment.apply(self.variables, examples, ("trace",))
        traces = flatten_dict(jax.device_get(sown["trace"]), sep="/")
        paths = self.experiment.spiking_layers()
        return {path: traces[f"{path}/over_time"][1] for path in paths}


def as_examples(images, info: data.Info) -> tuple[np.ndarray, bool]:
    """(examples (B, ...) in the unit of the data set, whether it was a single one).

    Raises: ConfigError, see `Run.predict`.
    """
    x, shape = np.asarray(images), info.shape
    single = x.shape == shape
    if single:
        x = x[None]
    if x.shape[1:] != shape or not len(x):
        axes = ", ".join(map(str, shape))
        raise ConfigError(f"images must be ({axes}) or (B, {axes}), got shape {x.shape}")
    if x.dtype.kind not in "iuf" and x.dtype.name != "bfloat16":
        raise ConfigError(f"images must be integers or floats, got {x.dtype}")
    low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        raise ConfigError("images must be finite, got NaN or infinity")
    if np.dtype(info.dtype).kind != "u":
        if x.dtype.kind in "iu":
            raise ConfigError(f"images must be floats in the unit of the data set, got {x.dtype}")
        return x.astype(np.float32), single
    top = info.white if x.dtype.kind in "iu" else 1
    if low < 0 or high > top:
        raise ConfigError(
            f"images must be integers from 0 to {info.white} or floats from 0 to 1, not "
            f"normalised; got {x.dtype} from {low:g} to {high:g}"
        )
    return (x if top == info.white else x.astype(np.float32) * info.white), single


def load(
    directory: str,
    *,
    best: bool = False,
    dataset: data.Dataset | None = None,
    neuron: neurons.Neuron | neurons.Parallel | None = None,
    model: nn.Module | None = None,
) -> Run:
    """The run in `directory` as its newest undamaged checkpoint has it, finished or not.

    Nothing is locked, so that a run that is still training can be looked at. Its data set is read
    when it is needed: `evaluate` does, `predict` and `trace` do not.

    Args:
      directory: of the run, wherever it was moved to; it is only read.
      best: take the checkpoint of the highest test accuracy, the first of equals, if one was
        evaluated.
      dataset, neuron, model: that the run was trained with, if they were passed to `train`.
    Returns: a `Run` whose state is on the host; `images_per_second` is None.
    Raises: ConfigError if there is no run, no undamaged checkpoint or no data set, or if the
      configuration is not of this version.
    """
    started = time.monotonic()
    directory = os.path.expanduser(directory)
    config = configuration.read(directory)
    parallel.check_platform()
    with Checkpoints(os.path.join(directory, "checkpoints"), keep=1) as checkpoints:
        if checkpoints.latest is None:
            raise ConfigError(
                f"{directory}: no checkpoint here; train.py --resume={directory} "
                "trains until it has one"
            )
        try:  # not validated: the devices that it was trained on are not needed
            info = run_directory.read_info(directory)
            this = experiment.build(config, dataset, neuron, model, info)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{directory}: config.json: {' '.join(str(error).split())}") from None
        step = checkpoints.best if best else None
        began = environment.read(directory)  # looking is free, whatever this process has set
        with jax.enable_x64(began.get("jax_enable_x64", jax.config.jax_enable_x64)):
            target = jax.eval_shape(this.init)
        state = checkpoints.restore(target, step)
    records, step = read_records(this, directory, int(state.step)), int(state.step)
    wanted = metrics.best(records) if best else None
    if wanted and wanted["step"] != step:
        logging.warning(
            "%s: no checkpoint is left of the best epoch, %d with %.2f %%; this is step %d",
            directory, wanted["epoch"], wanted["accuracy"], step,
        )  # fmt: skip
    return Run(
        experiment=this,
        directory=directory,
        state=state,
        records=records,
        seconds=time.monotonic() - started,
        images_per_second=None,
    )


def start_from(
    state: TrainState, directory: str, parts: str = "all"
) -> tuple[TrainState, list[str]]:
    """The state with the parameters and statistics of another run, and paths of those without.

    What has the same path and shape is taken; all else is as it was, such as the head for other
    classes. The optimizer starts anew.

    Args:
      parts: "all", or "neurons": their parameters alone.
    Raises: ConfigError if there is no such run, or nothing of it fits.
    """
    with Checkpoints(os.path.join(directory, "checkpoints"), keep=1) as checkpoints:
        if checkpoints.latest is None:
            raise ConfigError(f"config.init_from: {directory} has no checkpoint")
        theirs = checkpoints.arrays()
    ours = flatten_dict(state.variables, sep="/")
    asked = {x for x in ours if parts == "all" or "neuron" in x.split("/")}
    fits = {x for x in asked if x in theirs and ours[x].shape == theirs[x].shape}
    if not any(path.startswith("params/") for path in fits):
        whose = "parameter" if parts == "all" else "parameter of neurons"
        raise ConfigError(f"config.init_from: no {whose} of {directory} fits this network")
    ours |= {path: theirs[path].astype(ours[path].dtype) for path in fits}
    new = sorted(asked - fits)
    return state.replace(**{"batch_stats": {}, **unflatten_dict(ours, sep="/")}), new


def read_records(this: experiment.Experiment, directory: str, step: int) -> list[dict]:
    """Those of metrics.jsonl, after a warning if some until a step are missing."""
    records = metrics.read(directory)
    ends = map(this.steps_until, range(1, this.config.epochs + 1))
    if words := metrics.missing(records, step, this.config.log_every, ends):
        logging.warning("%s: %s", directory, words)
    return records


def summarise(run: Run) -> dict:
    """Accuracy, losses, spike rates and time of a run, as numbers; see summary.json."""
    tests = [record for record in run.records if record["split"] == "test"]
    if not tests:
        path = os.path.join(run.directory, metrics.FILE)
        raise ConfigError(f"{path}: no evaluation is in it; put a copy of the file back")
    best = metrics.best(tests)
    order = run.experiment.spiking_layers()
    return {
        "accuracy_last": tests[-1]["accuracy"],
        "accuracy_best": best["accuracy"],
        "epoch_best": best["epoch"],
        **{key: tests[-1][key] for key in ("accuracy_flip",) if key in tests[-1]},
        **{f"{key}_last": tests[-1][key] for key in LOSSES if key in tests[-1]},
        "epochs": tests[-1]["epoch"],
        "rates": {path: tests[-1]["rates"][path] for path in order},
        "seconds": round(run.seconds, 1),
        "devices": f"{parallel.device_count()} {jax.devices()[0].device_kind}",
        "images_per_second": run.images_per_second and round(run.images_per_second, 1),
    }


def write_summary(run: Run) -> None:
    """Writes summary.json into the run's directory."""
    text = json.dumps(summarise(run), indent=2) + "\n"
    files.write(os.path.join(run.directory, SUMMARY), text)


def losses_as_text(result: dict) -> str:
    """The losses of what `experiment.evaluate` returns, such as "cross-entropy 0.41 nats"."""
    known = [(name, result[key]) for key, name in LOSSES.items() if result.get(key) is not None]
    return ", ".join(f"{name} {value:.4g} nats" for name, value in reversed(known))


def as_text(run: Run) -> str:
    """The summary as lines for the screen."""
    facts = summarise(run)
    config = run.experiment.config
    info = run.experiment.info
    speed = f", {facts['images_per_second']:.0f} images/s" if facts["images_per_second"] else ""
    if run.steps:
        speed += " in training steps" if speed else ""
        took = f"{facts['seconds']:.0f} s with compilation{speed}"
    else:
        took = f"{facts['seconds']:.0f} s to read it; no step was left to do"
    flip = []
    if "accuracy_flip" in facts:
        flip = [f"                last {facts['accuracy_flip']:.2f} % with mirrored images as well"]
    width = max(map(len, facts["rates"]))
    lines = [
        f"{config.neuron.kind} on {config.data.name}: {info.train} training and "
        f"{info.test} test images, {info.split}; T = {config.timesteps}",
        f"test accuracy   last {facts['accuracy_last']:.2f} %, "
        f"best {facts['accuracy_best']:.2f} % (epoch {facts['epoch_best']} of {facts['epochs']})",
        *flip,
        f"test loss       {losses_as_text({x: facts.get(f'{x}_last') for x in LOSSES})}",
        f"time            {took}",
        f"allocator       {launch.allocator()}",
        "mean spike rate of each layer, spikes per neuron and timestep",
    ]
    lines += [f"  {path:<{width}}  {rate:.3f}" for path, rate in facts["rates"].items()]
    places = {
        "configuration": "config.json",
        "metrics": "metrics.jsonl",
        "checkpoints": "checkpoints/",
        "dynamics": "dynamics.png",
        "TensorBoard": "events.*",
    }
    lines += [f"in {run.directory}/"]
    for what, where in places.items():
        if glob.glob(where, root_dir=run.directory):
            lines += [f"  {what:<14}{where}"]
    return "\n".join(lines)
