"""metrics.jsonl and TensorBoard events of a run."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterable

from lnm_jax import files
from lnm_jax.errors import ConfigError, missing_extra

FILE = "metrics.jsonl"


def read(directory: str) -> list[dict]:
    """The records of a run's metrics.jsonl in order; a torn last line is left out.

    Raises: ConfigError that names another line that is not a record.
    """
    path, records = os.path.join(directory, FILE), []
    try:
        with open(path, "rb") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        try:
            if not line.endswith(b"\n"):
                break
            record = json.loads(line.decode())
            if not isinstance(record, dict) or {"step", "split"} - {*record}:
                raise ValueError("no record")
        except ValueError as error:
            raise ConfigError(
                f"{path}: line {number} is damaged ({' '.join(str(error).split())[:80]}); put a "
                "copy of the file back, or delete the line to go on without its numbers"
            ) from None
        records.append(record)
    return records


def missing(records: list[dict], step: int, log_every: int, ends: Iterable[int]) -> str | None:
    """What is not there of the records until a step, in words; None if all are.

    Args:
      log_every: steps a line of training.
      ends: steps at which epochs end, in order; may be more than those until `step`.
    """
    wanted = {(number, "train") for number in range(log_every, step + 1, log_every)}
    wanted |= {(end, "test") for end in ends if end <= step}
    lost = sorted(wanted - {(record["step"], record["split"]) for record in records})
    if not lost:
        return None
    (first, split), tests = lost[0], sum(split == "test" for _, split in lost)
    return (
        f"{FILE}: {len(lost)} of {len(wanted)} records until step {step} are missing, {tests} of "
        f"them evaluations, the first that of step {first} ({split})"
    )


def best(records: list[dict]) -> dict | None:
    """The evaluation of the highest test accuracy, the first of equals; None without one."""
    tests = (record for record in records if record["split"] == "test")
    return max(tests, key=lambda record: record["accuracy"], default=None)


class Writer:
    """Appends records; a context manager.

    metrics.jsonl holds what is computed and no times, so that the same run writes the same
    bytes; speed goes to TensorBoard alone.
    """

    def __init__(self, directory: str, *, step: int):
        """Drops every record after `step`, which a resumed run writes again."""
        kept = [record for record in read(directory) if record["step"] <= step]
        self._directory, self._path = directory, os.path.join(directory, FILE)
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        with files.writing(directory), contextlib.ExitStack() as opened:
            files.write(self._path, lines)
            self._file = opened.enter_context(open(self._path, "a"))
            self._events = _Events.open(directory, step, opened)
            self._opened = opened.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            with files.writing(self._directory):
                self._opened.close()
        except ConfigError:  # a full disk refuses what a write left over, once more
            if kind is None:
                raise

    def write(self, record: dict, **only_events: float | None) -> None:
        """Appends a record with step and split, and its numbers to TensorBoard.

        Args:
          record: numbers and dicts of numbers, beside step and split.
          only_events: numbers for TensorBoard alone; None is left out.
        Raises: ConfigError if the file can't be written or is gone.
        """
        if not os.path.exists(self._path):  # an open file can be written after it was deleted
            raise ConfigError(f"{self._directory}: cannot be written (the directory is gone)")
        with files.writing(self._directory):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            if self._events:
                self._events.write(record | only_events)

    def sync(self) -> None:
        """Puts all records on disk: called before a checkpoint of their step is written."""
        with files.writing(self._directory):
            os.fsync(self._file.fileno())  # the events are after each record


class _Events:
    """One file of TensorBoard events, in tensorboardX's records.

    Not by its SummaryWriter, whose thread a full disk ends without a word, which then waits for
    it for ever, and whose flush leaves out what is in its queue; nor by its EventsWriter, which
    a full disk keeps from closing the file.
    """

    def __init__(self, directory: str, step: int, opened: contextlib.ExitStack):
        """Tells TensorBoard to forget what earlier files have after `step`; `opened` closes."""
        from tensorboardX import record_writer, summary
        from tensorboardX.proto import event_pb2

        self._event, self._scalar = event_pb2.Event, summary.scalar
        # The name has the second in which it is made, and the step: each session its own.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{step}"
        self._file = record_writer.RecordWriter(os.path.join(directory, name))
        opened.callback(self._file.close)
        session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(0, file_version="brain.Event:2")
        self._add(step + 1, session_log=session)
        self._file.flush()

    @classmethod
    def open(cls, directory: str, step: int, opened: contextlib.ExitStack) -> _Events | None:
        """None, after a warning, where tensorboardX is not installed."""
        try:
            return cls(directory, step, opened)
        except ModuleNotFoundError as error:
            logging.warning("no events for TensorBoard: %s", missing_extra(error) or error)
            return None

    def _add(self, step, **what):
        event = self._event(wall_time=time.time(), step=step, **what)
        self._file.write(event.SerializeToString())

    def write(self, record: dict) -> None:
        """Appends a record's numbers, each under the path of its keys behind the split."""
        for name, value in record.items():
            values = value if isinstance(value, dict) else {"": value}
            for key, number in values.items():
                if name not in ("step", "split") and number is not None:
                    tag = f"{record['split']}/{name}" + (f"/{key}" if key else "")
                    self._add(record["step"], summary=self._scalar(tag, number))
        self._file.flush()
