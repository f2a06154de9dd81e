"""The training run: from a configuration to a directory of results."""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple

from lnm_jax import data
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, experiment, metrics, parallel, run_directory
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.state import TrainState


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


class Stopwatch:
    """Training images per second, with compilation and evaluation left out."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._images, self._seconds = 0, 0.0
        self._step = None

    def start(self, step: int) -> None:
        """Starts a lap at a step whose results have arrived."""
        self._step, self._started = step, time.monotonic()

    def lap(self, step: int) -> float | None:
        """Ends a lap and starts the next; returns the lap's images/s, None without one."""
        if self._step is None or step == self._step:
            return None
        images = (step - self._step) * self._batch_size
        seconds = time.monotonic() - self._started
        self._images, self._seconds = self._images + images, self._seconds + seconds
        self.start(step)
        return images / seconds

    @property
    def rate(self) -> float | None:
        """Images/s over all laps, None if there was none."""
        return self._images / self._seconds if self._images else None


def train(config, *, must_resume: bool = False) -> Run:
    """Trains as the configuration says, from its run directory's last checkpoint if it has one.

    Args:
      config: a locked ConfigDict with the fields of configs/base.py.
      must_resume: a missing checkpoint is an error instead of a fresh start.
    Returns: the finished `Run`. A directory whose run is complete is read, not run again.
    Raises: ConfigError before anything is written.
    """
    started = time.monotonic()
    configuration.validate(config)
    run_directory.check(config)
    directory = run_directory.path_of(config)
    saved = os.path.join(directory, "checkpoints")
    if must_resume and not os.path.isdir(saved):
        raise ConfigError(f"{directory}: no checkpoint to resume from")
    this = experiment.build(config)
    run_directory.create(config)
    with Checkpoints(saved, keep=config.checkpoint.keep) as checkpoints:
        state = this.init()
        if must_resume or checkpoints.latest is not None:
            state = checkpoints.restore(state)
        state, rate = _run_steps(this, parallel.replicate(state), directory, checkpoints)
    return Run(
        experiment=this,
        directory=directory,
        state=state,
        records=metrics.read(directory),
        seconds=time.monotonic() - started,
        images_per_second=rate,
    )


def _run_steps(this, state, directory, checkpoints):
    """Trains from the state to the last step; returns the final state and images/s."""
    from tqdm import tqdm

    config = this.config
    last, batch_size = this.steps_until(config.epochs), config.data.batch_size
    first = int(state.step)
    ends = {this.steps_until(epoch): epoch for epoch in range(1, config.epochs + 1)}
    batches = data.train_batches(this.dataset.train, config.seed, batch_size, first, last)
    bar = tqdm(
        total=last * batch_size,
        initial=first * batch_size,
        desc="training",
        unit=" images",
        unit_scale=True,
        disable=not config.progress,
    )
    shown, watch = {}, Stopwatch(batch_size)
    with metrics.Writer(directory, step=first) as writer, bar, contextlib.closing(batches):
        for step, batch in enumerate(batches, first + 1):
            state, _ = this.train_step(state, batch)
            if step == first + 1:
                state.step.block_until_ready()
                watch.start(step)
            if step % config.log_every == 0:
                record = {
                    "step": step,
                    "split": "train",
                    "loss": float(state.window["loss"]) / config.log_every,
                    "accuracy": 100 * float(state.window["accuracy"]) / config.log_every,
                    "learning_rate": float(this.learning_rate(step - 1)),
                }
                writer.write(record, images_per_second=watch.lap(step))
                shown |= {"loss": f"{record['loss']:.3f}", "train": f"{record['accuracy']:.1f}%"}
            if step in ends:
                state.step.block_until_ready()
                watch.lap(step)
                result = experiment.evaluate(this, state.variables)
                writer.write({"step": step, "split": "test", "epoch": ends[step]} | result)
                shown["test"] = f"{result['accuracy']:.2f}%"
                if ends[step] % config.checkpoint.every_epochs == 0 or step == last:
                    writer.sync()
                    checkpoints.save(state, accuracy=result["accuracy"])
                watch.start(step)
            bar.set_postfix(shown, refresh=False)
            bar.update(batch_size)
    return state, watch.rate
