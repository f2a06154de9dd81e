"""Runs of train.py: each in a process of its own, never repeated, continued if it was killed."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from lnm_jax.errors import ConfigError, Interrupted
from lnm_jax.training import configuration, run_directory
from lnm_jax.training.run import SUMMARY

ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
      experiment: of lnm_jax/configs, by name.
      fields: (dotted field, value) pairs, sorted, that differ from it.
      about: what it is for, in words; two jobs that differ in it alone are equal.
    """

    experiment: str
    fields: tuple[tuple[str, object], ...]
    about: str = field(default="", compare=False)

    def config(self, directory: str):
        """The locked configuration.

        Raises: ConfigError for fields or values that it does not take.
        """
        config = importlib.import_module(f"lnm_jax.configs.{self.experiment}").get_config()
        known = configuration.flatten(config)
        if unknown := [field for field, _ in self.fields if field not in known]:
            raise ConfigError(f"config.{unknown[0]}: no such field")
        try:
            config.update_from_flattened_dict(dict(self.fields))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(" ".join(str(error).split())) from None
        config.directory = directory
        return config

    def command(self, directory: str) -> list[str]:
        """The command line that trains it."""
        given = {**dict(self.fields), "directory": directory, "progress": False}
        flags = [f"--config.{key}={value}" for key, value in given.items() if value is not None]
        return [sys.executable, "-m", "lnm_jax", f"--config={self.experiment}", *flags]


def job(experiment: str, *groups: dict, about: str = "") -> Job:
    """A job of several dicts of fields, of which later ones win."""
    fields = {key: value for group in groups for key, value in group.items()}
    return Job(experiment, tuple(sorted(fields.items())), about)


class Result(NamedTuple):
    """A finished run.

    Attributes:
      directory: of the run.
      accuracy: of the last epoch, %.
      best: of the best epoch, %.
      epochs: that were trained.
      seconds: of the session that finished it.
      device: that it ran on.
    """

    directory: str
    accuracy: float
    best: float
    epochs: int
    seconds: float
    device: str


def to_stderr(line: str) -> None:
    """A line of progress, at once."""
    print(line, file=sys.stderr, flush=True)


class Runner:
    """Runs jobs, several at once where that is asked for.

    Attributes:
      failed: last line of each run that ended with an error, or why it was not begun, by job.
      refused: the jobs that were not begun, since their configuration is not allowed.
      finished: whether any run has a result.
    """

    def __init__(self, directory: str, *, jobs: int = 1, say=to_stderr):
        """Args: directory of all runs; jobs at once; say, called with a line of progress."""
        self.directory, self.failed, self.refused, self.finished = directory, {}, set(), False
        self._expected, self._counted, self._seconds = 0, 0, []
        self._jobs, self._say, self._stop, self._children = jobs, say, threading.Event(), set()
        self._counting, self._slots = threading.Lock(), queue.SimpleQueue()
        for slot in range(jobs):
            self._slots.put(slot)

    def expect(self, runs: int) -> None:
        """Says how many more jobs `run` will be given, for its lines of progress."""
        self._expected += runs

    def run(self, wanted: Iterable[Job]) -> dict[Job, Result]:
        """Results of all jobs that could be finished; see `failed` for the others.

        Raises: Interrupted after a signal, when running jobs have saved; ConfigError for a field
          that does not exist.
        """
        wanted = list(wanted)
        configs = {job: job.config(self.directory) for job in wanted}
        paths = {}
        for job, config in configs.items():
            try:  # its run would end with the same line, later
                configuration.validate_fields(config)
                paths[job] = configuration.path_of(config)
            except ConfigError as error:
                self.failed[job] = str(error)
                self.refused.add(job)
        # Fields may be given that are the experiment's own: equal runs are one directory.
        first = {}
        for job, path in paths.items():
            first.setdefault(path, job)
        results = {job: result for job in first.values() if (result := self.result(job))}
        remarks = {run_directory.remark_on_data(configs[job]) for job in results}
        for remark in sorted(filter(None, remarks)):
            self._say(f"runs that are there: {remark}")
        missing = [job for job in first.values() if job not in results]
        self._counted += len(wanted) - len(missing)
        self._expected = max(self._expected, self._counted + len(missing))
        if missing:
            self._say(f"{len(results)} of {len(first)} runs are there, {len(missing)} to go")
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {job: pool.submit(self._one, job) for job in missing}
            try:
                for job, future in futures.items():
                    if result := future.result():
                        results[job] = result
            except BaseException as error:
                self._end()
                if isinstance(error, KeyboardInterrupt):
                    raise Interrupted("stopped; the same command goes on") from None
                raise
        self.finished |= bool(results)
        for job, path in paths.items():  # equal runs share what became of the first
            if first[path] in self.failed:
                self.failed[job] = self.failed[first[path]]
        return {job: results[first[path]] for job, path in paths.items() if first[path] in results}

    def result(self, job: Job) -> Result | None:
        """The job's result if its run is complete."""
        config = job.config(self.directory)
        directory = configuration.path_of(config)
        try:
            with open(os.path.join(directory, SUMMARY)) as file:
                facts = json.load(file)
        except (OSError, ValueError):
            return None
        if facts["epochs"] < config.epochs:
            return None
        return Result(
            directory,
            facts["accuracy_last"],
            facts["accuracy_best"],
            facts["epochs"],
            facts["seconds"],
            facts.get("devices", "unknown"),
        )

    def _one(self, job: Job) -> Result | None:
        """Trains one job; None if it failed."""
        if self._stop.is_set():
            return None
        slot = self._slots.get()
        self._say(self._next(job))
        started = time.monotonic()
        log = configuration.path_of(job.config(self.directory)) + ".log"
        os.makedirs(self.directory, exist_ok=True)
        try:
            with open(log, "w") as file:
                child = subprocess.Popen(
                    job.command(os.path.abspath(self.directory)),
                    cwd=ROOT,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=os.environ | devices_of(slot, self._jobs),
                    start_new_session=True,
                )
                _share_cores(child, slot, self._jobs)
                self._children.add(child)
                status = child.wait()
                self._children.discard(child)
        finally:
            self._slots.put(slot)
        result = self.result(job) if status == 0 else None
        if result:
            self._seconds.append(time.monotonic() - started)
            os.remove(log)
            self._say(f"  {result.accuracy:.2f} %  {result.seconds:.0f} s  {result.directory}")
        else:
            lines = pathlib.Path(log).read_text(errors="replace").strip().splitlines()
            self.failed[job] = f"exit {status}: {lines[-1] if lines else 'no output'} ({log})"
            if not self._stop.is_set():
                self._say(f"  failed: {self.failed[job]}")
        return result

    def _next(self, job: Job) -> str:
        """Which run begins, and how long all will take if they take as long as those before."""
        with self._counting:
            self._counted += 1
            line = f"run {self._counted} of {self._expected} {job.about or job.experiment}"
            left = self._expected - self._counted + 1
        if not self._seconds:
            return line
        mean = sum(self._seconds) / len(self._seconds)
        return f"{line}; about {duration(mean * left / self._jobs)} left"

    def _end(self):
        """Asks running jobs to save and stop."""
        self._stop.set()
        for child in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                child.terminate()


def duration(seconds: float) -> str:
    """A time in words, to about two digits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def graphics_cards() -> int:
    """NVIDIA cards of this machine, without starting jax on them."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
        return listed.stdout.count("GPU ") if listed.returncode == 0 else 0
    return 0


def devices_of(slot: int, jobs: int) -> dict[str, str]:
    """Environment that gives one of several jobs a card of its own, in turn.

    Cards are those that CUDA_VISIBLE_DEVICES leaves, or all.
    """
    if jobs == 1:
        return {}
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = range(graphics_cards()) if given is None else [*filter(None, given.split(","))]
    return {"CUDA_VISIBLE_DEVICES": str(cards[slot % len(cards)])} if cards else {}


def _share_cores(child: subprocess.Popen, slot: int, jobs: int) -> None:
    """Keeps one of several jobs on its share of the cores."""
    if jobs == 1 or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):  # it has ended
        os.sched_setaffinity(child.pid, cores[slot % len(cores) :: jobs] or cores)
