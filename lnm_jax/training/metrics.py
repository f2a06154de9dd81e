"""metrics.jsonl and TensorBoard events of a run."""

from __future__ import annotations

import json
import logging
import os
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
        with files.writing(directory):
            files.write(self._path, lines)
            self._file = open(self._path, "a")  # noqa: SIM115 closed by __exit__
            self._events = self._open_events(step)

    def _open_events(self, step):
        """The writer of TensorBoard's events, or None where tensorboardX is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            logging.warning("no events for TensorBoard: %s", missing_extra(error) or error)
            return None
        return SummaryWriter(self._directory, purge_step=step + 1 if step else None)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()
        if self._events:
            self._events.close()

    def write(self, record: dict, **only_events: float | None) -> None:
        """Appends a record with step and split, and its numbers to TensorBoard.

        Args:
          record: numbers and dicts of numbers, beside step and split.
          only_events: numbers for TensorBoard alone; None is left out.
        Raises: ConfigError if the file can't be written or is gone.
        """
        with files.writing(self._directory):
            os.stat(self._path)  # an open file can be written after it was deleted
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if not self._events:
            return
        for name, value in (record | only_events).items():
            values = value if isinstance(value, dict) else {"": value}
            for key, number in values.items():
                if name not in ("step", "split") and number is not None:
                    tag = f"{record['split']}/{name}" + (f"/{key}" if key else "")
                    self._events.add_scalar(tag, number, record["step"])

    def sync(self) -> None:
        """Puts all records on disk: called before a checkpoint of their step is written."""
        with files.writing(self._directory):
            os.fsync(self._file.fileno())
        if self._events:
            self._events.flush()
