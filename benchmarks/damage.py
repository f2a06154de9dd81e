"""Every fault on every file of a checkpoint: what is restored, and whether training can go on.

Two checkpoints are written, the newer one is damaged in one place, and it is restored as a resumed
run does. Either the older one is taken and a line says so, or the newer one comes back bit for bit
because the file is not needed. Then the newer step is written again and must restore. Anything
else counts as lost.
"""

import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import jax
import numpy as np

from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.steps import TrainState

OLD, NEW = 1, 2


def _state(step: int, width: int) -> TrainState:
    """A state with leaves of several shapes, and sizes up to a few kilobytes."""
    rng = np.random.default_rng(step)
    params = {
        "conv": {"kernel": rng.normal(size=(3, 3, 3, width)).astype(np.float32)},
        "spike": {"neuron": {"theta": rng.normal(size=3).astype(np.float32)}},
        "classifier": {"kernel": rng.normal(size=(width, 10)).astype(np.float32)},
    }
    return TrainState(
        step=np.int32(step),
        params=params,
        batch_stats={"norm": {"mean": rng.normal(size=width).astype(np.float32)}},
        opt_state={"trace": jax.tree.map(np.zeros_like, params)},
        window={"loss": np.float32(step), "accuracy": np.float32(0)},
        skipped=np.int32(0),
        skipped_in_row=np.int32(0),
    )


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _flips(path: str, data: bytes, offsets: int, mask: int) -> Iterator[Callable]:
    """Bits of one byte inverted, at random offsets, the same ones for files of the same size."""
    rng = np.random.default_rng([len(data), mask])
    for offset in rng.choice(len(data), min(offsets, len(data)), replace=False):
        flipped = bytearray(data)
        flipped[offset] ^= mask
        yield lambda flipped=flipped: _write(path, flipped)


def _garbage(path: str, data: bytes, offsets: int) -> Iterator[Callable]:
    yield lambda: _write(path, np.random.default_rng(0).bytes(len(data)))


def _truncate(path: str, data: bytes, offsets: int) -> Iterator[Callable]:
    yield lambda: _write(path, data[: len(data) // 2])


def _empty(path: str, data: bytes, offsets: int) -> Iterator[Callable]:
    yield lambda: _write(path, b"")


def _missing(path: str, data: bytes, offsets: int) -> Iterator[Callable]:
    yield lambda: os.remove(path)


FAULTS = {
    "byte inverted": functools.partial(_flips, mask=0xFF),
    # JSON and headers may stay readable, with another meaning.
    "bit inverted": functools.partial(_flips, mask=1),
    "truncated to half": _truncate,
    "empty": _empty,
    "missing": _missing,
    "replaced by garbage": _garbage,
}


def _equal(a: TrainState, b: TrainState) -> bool:
    return all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def _outcome(directory: str, old: TrainState, new: TrainState) -> str:
    """What a resumed run gets from the damaged directory, and whether it can go on from there."""
    try:
        with Checkpoints(directory, keep=2) as checkpoints:
            restored = checkpoints.restore(new)
            named = len(checkpoints.damaged) == 1 and "\n" not in checkpoints.damaged[0]
            checkpoints.save(new, accuracy=2.0)
        with Checkpoints(directory, keep=2) as checkpoints:
            again = checkpoints.restore(new)
            if checkpoints.damaged or checkpoints.latest != NEW or not _equal(again, new):
                return "lost"
    except Exception:
        logging.exception("a damaged checkpoint stopped the run")
        return "lost"
    if named and _equal(restored, old):
        return "fell back"
    return "harmless" if _equal(restored, new) and not checkpoints.damaged else "lost"


def run(short: bool) -> list[dict]:
    """A row for each fault: files, tries, and how they ended; `lost` must be 0."""
    width, offsets = (4, 8) if short else (64, 400)
    old, new = _state(OLD, width), _state(NEW, width)
    rows = []
    messages = logging.getLogger()
    level = messages.level
    messages.setLevel(logging.ERROR)  # the lines about damage, thousands of them, are expected
    with tempfile.TemporaryDirectory() as root:
        whole, trial = os.path.join(root, "whole"), os.path.join(root, "trial")
        with Checkpoints(whole, keep=2) as checkpoints:
            checkpoints.save(old, accuracy=1.0)
            checkpoints.save(new, accuracy=2.0)
        newest = os.path.join(whole, str(NEW))
        files = sorted(
            os.path.relpath(os.path.join(parent, name), whole)
            for parent, _, names in os.walk(newest)
            for name in names
        )
        for fault, damages in FAULTS.items():
            counts = {"fell back": 0, "harmless": 0, "lost": 0}
            for file in files:
                with open(os.path.join(whole, file), "rb") as opened:
                    data = opened.read()
                for damage in damages(os.path.join(trial, file), data, offsets):
                    shutil.copytree(whole, trial)
                    damage()
                    counts[_outcome(trial, old, new)] += 1
                    shutil.rmtree(trial)
            rows.append({"fault": fault, "files": len(files), "tries": sum(counts.values())})
            rows[-1] |= counts
    messages.setLevel(level)
    return rows
