"""What the files of a training run show: its phase at a moment, and differences to another run."""

import json
import os
import pathlib
from typing import NamedTuple

import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict


class View(NamedTuple):
    """What a run's files show at one moment.

    Attributes:
      created, configured: whether the run's directory holds anything, and its config.json.
      metrics: identity of metrics.jsonl, which changes when it is written; None without one.
      last: step and split of its last complete line.
      written: steps of the checkpoints that have their final name.
      writing: whether there is a checkpoint by a temporary name.
      torn: whether a checkpoint has fewer files than it had.
    """

    created: bool
    configured: bool
    metrics: tuple | None
    last: tuple[int, str]
    written: frozenset[int]
    writing: bool
    torn: bool


class Watch:
    """Looks at the files of one run."""

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._read = None, (0, "")
        self._files = {}

    def look(self) -> View:
        """The run as it is now."""
        try:
            names = set(os.listdir(self._directory))
        except FileNotFoundError:
            return View(False, False, None, (0, ""), frozenset(), False, False)
        sizes, writing = self._checkpoints()
        for step, size in sizes.items():
            self._files[step] = max(size, self._files.get(step, 0))
        torn = any(size < self._files[step] for step, size in sizes.items())
        metrics, last = self._metrics()
        return View(
            bool(names), "config.json" in names, metrics, last, frozenset(sizes), writing, torn
        )

    def _checkpoints(self):
        """Entries of each complete checkpoint, and whether one is being written."""
        sizes, writing = {}, False
        try:
            for name in os.listdir(self._directory / "checkpoints"):
                if name.isdecimal():
                    sizes[int(name)] = len(os.listdir(self._directory / "checkpoints" / name))
                writing |= "tmp" in name
        except FileNotFoundError:  # not there yet, or just deleted
            pass
        return sizes, writing

    def _metrics(self):
        path = self._directory / "metrics.jsonl"
        try:
            status = path.stat()
            identity = status.st_ino, status.st_size, status.st_mtime_ns
            if identity != self._read[0]:
                lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
                record = json.loads(lines[-1]) if lines else {"step": 0, "split": ""}
                self._read = identity, (record["step"], record["split"])
        except FileNotFoundError:
            self._read = None, (0, "")
        return self._read


def restored(start: View) -> int:
    """Step that a process starts from, if no checkpoint is damaged."""
    return max(start.written, default=0)


def recorded(now: View, start: View) -> bool:
    """Whether a process has added a line of its own to those that it found."""
    return now.metrics != start.metrics and now.last[0] > restored(start)


def inside(phase: str, now: View, start: View, ends: list[int], aim: int) -> bool:
    """Whether a process is in a phase.

    Args:
      now, start: what the files show now, and showed when the process was started.
      ends: last step of each epoch.
      aim: the end of the epoch that the kill is meant for, or one after it.
    """
    step, split = now.last
    fresh, new = now.metrics != start.metrics, recorded(now, start)
    there = new and step > aim - ends[0]
    return {
        "creation": now.created and not now.configured,
        "import": not fresh,  # of modules and data; a checkpoint is restored
        "compilation": fresh and not new,
        "step": there and split == "train" and step not in ends,
        "evaluation": there and split == "train" and step in ends,
        "write": there and now.writing,
        "rename": max(now.written, default=0) >= max(aim, restored(start) + 1),
        "deletion": there and now.torn,
        "end": fresh and now.last == (ends[-1], "test"),  # last checkpoint, picture, summary
    }[phase]


def _leaves(checkpoint: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by their paths, read by orbax alone."""
    return flatten_dict(ocp.PyTreeCheckpointer().restore(checkpoint / "default"), sep="/")


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return False
    return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def differences(run: pathlib.Path, quiet: pathlib.Path) -> tuple[list[str], list[str]]:
    """What a run lost, and what it left lying about, against an undisturbed one; one line each."""
    lost, left = [], []
    for name in ("config.json", "metrics.jsonl", "dynamics.png"):
        if not (run / name).exists() or (run / name).read_bytes() != (quiet / name).read_bytes():
            lost.append(f"{name} differs")
    ours, theirs = (sorted(os.listdir(root / "checkpoints")) for root in (run, quiet))
    lost += [f"checkpoint {name} is missing" for name in theirs if name not in ours]
    left += [f"checkpoints/{name}" for name in ours if name not in theirs]
    for name in sorted(set(ours) & set(theirs)):
        try:
            a, b = (_leaves(root / "checkpoints" / name) for root in (run, quiet))
        except Exception as error:  # of whatever type: numpy has many for a damaged file
            lost.append(f"checkpoint {name} can't be read: {str(error).splitlines()[:1]}")
            continue
        lost += [
            f"checkpoint {name}: {path} differs"
            for path in sorted(a | b)
            if not _same(a.get(path), b.get(path))
        ]
    files = [{p.name for p in root.iterdir() if "tfevents" not in p.name} for root in (run, quiet)]
    lost += [f"{name} is missing" for name in sorted(files[1] - files[0])]
    left += sorted(files[0] - files[1])
    return lost, left
