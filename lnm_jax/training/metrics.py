"""metrics.jsonl and TensorBoard events of a run."""

from __future__ import annotations

import json
import logging
import os

from lnm_jax import files
from lnm_jax.errors import missing_extra

FILE = "metrics.jsonl"


def read(directory: str) -> list[dict]:
    """The records of a run's metrics.jsonl in order; a torn last line is left out."""
    records = []
    try:
        with open(os.path.join(directory, FILE)) as file:
            for line in file:
                if not line.endswith("\n"):
                    break
                records.append(json.loads(line))
    except FileNotFoundError:
        pass
    return records


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
