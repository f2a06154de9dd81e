"""The training run: from a configuration to a directory of results."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from contextlib import closing, nullcontext

import flax.linen as nn
import jax

from lnm_jax import data, neurons
from lnm_jax.errors import ConfigError, Interrupted, NonFiniteError
from lnm_jax.training import (
    configuration,
    environment,
    experiment,
    health,
    metrics,
    parallel,
    run_directory,
    sanity,
    schedules,
)
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.run import Run, read_records, start_from
from lnm_jax.training.steps import TrainState

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # that ask a run to end


class Interrupts:
    """Notices SIGTERM and SIGINT while it is entered.

    A second signal ends the process at once with status 128 + signal: after the first one the
    system's own action is back. Nothing is harmed by it, as checkpoints are written whole or not
    at all. Python notices the first one between two of its calls, so that both wait for a program
    that is being compiled. Outside the main thread, where Python can't set handlers, nothing is
    noticed.

    Attributes:
      asked: whether the run should end.
    """

    asked = False

    def __enter__(self):
        main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS if main}
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_):
        self.asked = True
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)


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


def train(
    config,
    *,
    dataset: data.Dataset | None = None,
    neuron: neurons.Neuron | neurons.Parallel | None = None,
    model: nn.Module | None = None,
    must_resume: bool = False,
) -> Run:
    """Trains as the configuration says, from its run directory's last checkpoint if it has one.

    SIGTERM and SIGINT end it after the step that is under way and a checkpoint; see `Interrupts`.

    Args:
      config: a ConfigDict with the fields of lnm_jax/configs/base.py.
      dataset: to train on, in place of the one that `config.data` names.
      neuron: of every spiking layer, in place of `config.neuron`.
      model: in place of `config.model`: a Flax module with the call of `models.SpikingNetwork`.
      must_resume: a missing checkpoint is an error instead of a fresh start; more `config.epochs`
        than the run had are added to it.
    Returns: the finished `Run`. A directory whose run is complete is read, not run again.
    Raises: ConfigError before anything is written, or when the disk refuses; NonFiniteError;
      Interrupted; LostProcessError.
    """
    started = time.monotonic()
    if dataset is not None:
        data.check(dataset, "dataset: ")
    things = {"dataset": dataset, "neuron": neuron, "model": model}
    config = configuration.passing(configuration.located(config), **things)
    configuration.validate_fields(config, **things)  # those of config.distributed are used first
    with Interrupts() as interrupts, contextlib.ExitStack() as stack:
        parallel.initialize(config.distributed)
        directory = configuration.path_of(config)
        stack.enter_context(parallel.one_of_several(directory))

        def build():
            configuration.validate(config, **things)
            if parallel.is_first():
                _may_use(config, directory, must_resume)
            this = experiment.build(config, **things)
            state = this.init()
            sanity.check(this, state)
            return this, state

        this, state = parallel.agreed(build)
        last = this.steps_until(config.epochs)

        def open_directory():
            """(checkpoints, state to go on from); a finished run is only read."""
            checkpoints = Checkpoints(_checkpoints(directory), keep=config.checkpoint.keep)
            if checkpoints.latest == last and int((end := checkpoints.restore(state)).step) == last:
                run_directory.begin(config, this, last)
                return checkpoints, end
            run_directory.create(config)
            environment.write(directory)
            stack.enter_context(run_directory.locked(directory))
            stack.enter_context(checkpoints)
            found = must_resume or checkpoints.latest is not None
            restored = checkpoints.restore(state) if found else _first(config, state)
            run_directory.begin(config, this, int(restored.step))
            return checkpoints, restored

        checkpoints, start = parallel.on_first_process(open_directory) or (None, state)
        state = parallel.from_first(start)
        records = read_records(this, directory, int(state.step)) if checkpoints else []
        best = metrics.best([x for x in records if x["step"] <= state.step])
        trainer = Trainer(this, directory, checkpoints, interrupts, best)
        steps = last - int(state.step)
        if steps > 0:
            state = trainer.train(parallel.replicate(state))
    return Run(
        experiment=this,
        directory=directory,
        state=state,
        records=metrics.read(directory),
        seconds=time.monotonic() - started,
        images_per_second=trainer.watch.rate,
        steps=max(steps, 0),
    )


def _checkpoints(directory: str) -> str:
    return os.path.join(directory, "checkpoints")


def _first(config, state: TrainState) -> TrainState:
    """The state before the first step, with what fits of `config.init_from`."""
    if config.init_from is None:
        return state
    state, new = start_from(state, config.init_from, config.init_parts)
    if new:
        made = ", ".join(path.removeprefix("params/") for path in new)
        logging.warning("config.init_from: made new, not as in %s: %s", config.init_from, made)
    return state


def _may_use(config, directory: str, must_resume: bool) -> None:
    run_directory.check(config, resume=must_resume)
    environment.check(directory)
    if must_resume and not os.path.isdir(_checkpoints(directory)):
        raise ConfigError(f"{directory}: no checkpoint to resume from")


class Trainer:
    """The steps of one session of a run, with what is written between them.

    Attributes:
      watch: of the training steps.
    """

    def __init__(self, this, directory, checkpoints, interrupts, best=None):
        """Args: checkpoints, None in all processes but the first; best, the evaluation so far."""
        self.experiment, self.config = this, this.config
        self.watch = Stopwatch(this.config.data.batch_size)
        self._directory, self._interrupts = directory, interrupts
        self._checkpoints, self._saved, self._saved_at = checkpoints, None, time.monotonic()
        self._shown, self._warned = {}, False
        self._best = best["accuracy"] if best else -1.0

    def train(self, state: TrainState) -> TrainState:
        """From the state to the last step; returns the final state."""
        this, config = self.experiment, self.config
        last, batch_size = this.steps_until(config.epochs), config.data.batch_size
        first = int(state.step)
        ends = {this.steps_until(epoch): epoch for epoch in range(1, config.epochs + 1)}
        starts = {0, *ends}
        batches = data.train_batches(
            this.dataset.train, config.seed, batch_size, first, last, shard=parallel.process()
        )
        with self._writer(first) as writer, self._bar(first, last) as bar, closing(batches):
            for step, batch in enumerate(batches, first + 1):
                if this.adapt and step - 1 in starts:
                    state = this.adapt(state, batch)
                state, _ = this.train_step(state, batch)
                if step == first + 1:
                    state.step.block_until_ready()
                    self.watch.start(step)
                if step % config.log_every == 0:
                    self._log(writer, state, step, batch)
                if step in ends:
                    self._evaluate(writer, state, step, ends[step], last)
                self._save_if_due(writer, state, step, last)
                self._show(bar, step)
        return state

    def _writer(self, step):
        return metrics.Writer(self._directory, step=step) if self._checkpoints else nullcontext()

    def _bar(self, first, last):
        """A bar on a terminal alone: in a file every change would be one more line."""
        from tqdm import tqdm

        shown = self.config.progress and self._checkpoints and first < last
        return tqdm(
            total=last * self.config.data.batch_size,
            initial=first * self.config.data.batch_size,
            desc="compiling",
            unit=" images",
            unit_scale=True,
            disable=None if shown else True,  # None: without a terminal
        )

    def _show(self, bar, step):
        """The bar after that step, whose epoch is that of its first image."""
        size, images = self.config.data.batch_size, len(self.experiment.dataset.train.labels)
        epoch = (step - 1) * size // images + 1
        bar.set_description(f"epoch {epoch} of {self.config.epochs}", refresh=False)
        bar.set_postfix(self._shown, refresh=False)
        bar.update(size)

    def _log(self, writer, state, step, batch):
        """Writes the means since the last line, and stops if the numbers don't come back."""
        applied, skipped = float(state.window["steps"]), int(state.skipped)
        means = {
            name: float(state.window[name]) / applied if applied else None
            for name in ("loss", "accuracy")
        }
        record = {
            "step": step,
            "split": "train",
            "loss": means["loss"],
            "accuracy": means["accuracy"] and 100 * means["accuracy"],
            "learning_rate": float(self.experiment.learning_rate(step - 1 - skipped)),
        }
        if skipped:
            record["skipped"] = skipped
            self._shown["skipped"] = skipped
        if writer:
            writer.write(record, images_per_second=self.watch.lap(step))
        if applied:
            loss, accuracy = record["loss"], record["accuracy"]
            self._shown |= {"loss": f"{loss:.3f}", "train": f"{accuracy:.1f}%"}
        row = int(state.skipped_in_row)
        if row >= self.config.stop_after_non_finite:
            before = jax.device_get(state).replace(step=step - 1)  # nothing else was changed
            where = health.first_non_finite(self.experiment.loss, before, batch)
            saved = self._checkpoints and self._checkpoints.latest
            helps = "a lower config.optimizer.learning_rate or config.optimizer.clip_norm may help"
            if where.startswith("image"):
                helps = "no setting mends the data"
            raise NonFiniteError(
                f"{self._directory}: {row} training steps in a row, until step {step}, were left "
                f"out because numbers were not finite, first in {where}; the last checkpoint is "
                f"of step {saved or 0}; {helps}"
            )

    def _evaluate(self, writer, state, step, epoch, last):
        """Writes the test set's results, and saves where an epoch's checkpoint is due."""
        state.step.block_until_ready()
        self.watch.lap(step)
        result = experiment.evaluate(self.experiment, state.variables, strict=False)
        self._shown["test"] = f"{result['accuracy']:.2f}%"
        if writer:
            self._warn(state, result, step)
            record = {"step": step, "split": "test", "epoch": epoch} | result
            writer.write(record | schedules.read(state))
            accuracy, every = result["accuracy"], self.config.checkpoint.every_epochs
            if epoch % every == 0 or step == last or accuracy > self._best:
                self._save(writer, state, step, accuracy=accuracy)
            self._best = max(self._best, accuracy)
        self.watch.start(step)

    def _warn(self, state, result, step):
        """Says once what is clearly ill, as far as an evaluation shows it."""
        seen = health.Health(health.layers_of(result), health.norms_of(state.params))
        found = [] if self._warned else health.illnesses(self.config, seen)
        if found:
            self._warned = True
            logging.warning(
                "%s: after step %d: %s (python -m lnm_jax.analysis health %s has more)",
                self._directory, step, found[0], self._directory,
            )  # fmt: skip

    def _save_if_due(self, writer, state, step, last):
        """Saves between epochs as the fields say, and ends the run if it was asked to."""
        config = self.config
        asked = self._interrupts.asked
        if parallel.process()[1] > 1:  # all stop after the same step, agreed on with each line
            asked = step % config.log_every == 0 and parallel.any_process(asked)
        fields = config.checkpoint
        minutes = (time.monotonic() - self._saved_at) / 60
        due = (fields.every_steps and step % fields.every_steps == 0) or (
            fields.every_minutes and minutes >= fields.every_minutes
        )
        if writer and (due or asked) and self._saved != step:
            self._save(writer, state, step)
        if asked and step != last:
            raise Interrupted(
                f"{self._directory}: stopped after step {step} of {last}; the same command goes on"
            )

    def _save(self, writer, state, step, accuracy=None):
        writer.sync()
        self._checkpoints.save(state, accuracy=accuracy)
        self._saved, self._saved_at = step, time.monotonic()
