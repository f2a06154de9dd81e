"""Checkpoints by orbax: the latest ones and the best are kept, written in the background."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import shutil
from collections.abc import Iterable

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from lnm_jax.errors import ConfigError
from lnm_jax.training import checkpoint_format
from lnm_jax.training.checkpoint_format import Damage
from lnm_jax.training.steps import TrainState


@contextlib.contextmanager
def _quiet():
    """Orbax logs the traceback of every error that it also raises."""
    logger = logging.getLogger("absl")

    def foreign(record):
        return f"{os.sep}orbax{os.sep}" not in record.pathname

    logger.addFilter(foreign)
    try:
        yield
    finally:
        logger.removeFilter(foreign)


class _Best(preservation_policy.PreservationPolicy):
    """Preserves the checkpoint that `best` chooses from a list of steps."""

    def __init__(self, best):
        self._best = best

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        best = self._best([info.step for info in checkpoints])
        return [info.step == best for info in checkpoints]


class Checkpoints:
    """The checkpoints of one run; a context manager.

    Opening and restoring change nothing on disk. Only process 0 writes.

    Attributes:
      damaged: a line for each damaged checkpoint that `restore` met: which, what, and how. It is
        no longer counted, and removed before the next one is written.
    """

    def __init__(self, directory: str, *, keep: int):
        """Args: directory, made by the first save; keep, how many of the latest beside the best."""
        self.damaged: list[str] = []
        self._directory, self._keep = directory, keep
        self._bad: set[int] = set()
        self._sound: set[int] = set()  # written or restored by this object
        self._buffers: dict[str, np.ndarray] = {}
        self._manager: ocp.CheckpointManager | None = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future | None = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            self._settle()
        except ConfigError as lost:
            if kind is None:
                raise
            logging.error("%s", lost)  # what is already being raised comes first
        finally:
            self._thread.shutdown()
            self._close()

    @property
    def latest(self) -> int | None:
        """Step of the latest complete checkpoint not known to be damaged, or None."""
        return max(self._steps(), default=None)

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest test accuracy, or None."""
        return self._best(self._steps())

    def prepare(self, state: TrainState) -> None:
        """Makes room for the copies of `save`, in the background: fresh memory is slow.

        Optional; called before the first step is compiled, it costs nothing there.
        """
        if jax.process_index() == 0:
            leaves, _ = checkpoint_format.named(state)
            self._settle()
            self._pending = self._thread.submit(self._reserve, leaves)

    def save(self, state: TrainState, *, accuracy: float | None = None) -> None:
        """Copies the state to the host and writes it in the background.

        Waits for the write before, if that is still under way. A step that this object wrote or
        restored is not written again; it only gets its accuracy, if it had none. One that was
        left there by another run is replaced.

        Args:
          state: on the devices; may be donated as soon as this returns.
          accuracy: on the test set, in percent; None makes it no candidate for the best.
        Raises: ConfigError if the write before failed; the checkpoints before that are intact.
        """
        self._settle()
        if jax.process_index() != 0:
            return
        step = int(state.step)
        if step not in self._sound:
            work = self._write, step, self._copy(state), accuracy
        elif accuracy is not None:
            work = self._add_accuracy, step, accuracy
        else:
            return
        self._pending = self._thread.submit(self._try, *work)

    def restore(self, target: TrainState, step: int | None = None) -> TrainState:
        """The newest undamaged state, as host arrays.

        Every leaf is compared with its CRC32. Damaged checkpoints are logged and added to
        `damaged`.

        Args:
          target: arrays, or their shapes and dtypes, that the checkpoint must have.
          step: take this one and no other.
        Raises: ConfigError if there is none, if all are damaged, or if one is of another model:
          it names the leaves that differ.
        """
        steps = sorted(self._steps(), reverse=True)
        if step is not None:
            steps = [step] if step in steps else []
        if not steps:
            which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise ConfigError(f"{self._directory}: {which} to resume from")
        leaves, tree = checkpoint_format.named(target)
        for found in steps:
            try:
                arrays = checkpoint_format.read(self._path(found), leaves)
            except Damage as damage:
                self._bad.add(found)
                self._sound.discard(found)
                self.damaged.append(f"{self._path(found)}: damaged: {damage}")
                logging.warning("%s", self.damaged[-1])
                continue
            self._sound.add(found)
            state = tree.unflatten(arrays[name] for name in leaves)
            return flax.serialization.from_state_dict(target, state)
        others = f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""
        raise ConfigError(
            f"{self.damaged[-len(steps)]}{others}; no undamaged checkpoint is left: "
            "start again under another config.name, or put a copy back"
        )

    def _path(self, step: int) -> str:
        return os.path.join(self._directory, str(step))

    def _steps(self) -> list[int]:
        """Steps on disk, complete as far as their names say, without those known as damaged."""
        if self._pending is not None:
            concurrent.futures.wait([self._pending])
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self._directory}: cannot be read ({error.strerror})") from None
        steps = (int(name) for name in names if name.isdecimal() and name == str(int(name)))
        return [step for step in steps if step not in self._bad]

    def _best(self, steps: Iterable[int]) -> int | None:
        accuracies = {step: self._accuracy(step) for step in steps}
        return max(
            (step for step, accuracy in accuracies.items() if accuracy is not None),
            key=lambda step: (accuracies[step], step),
            default=None,
        )

    def _accuracy(self, step: int) -> float | None:
        try:
            return checkpoint_format.read_record(self._path(step))["accuracy"]
        except Damage:
            return None

    def _copy(self, state: TrainState) -> dict[str, np.ndarray]:
        """Host arrays of our own: on a CPU, device_get's share memory that a step may reuse.

        They are kept from save to save: fresh pages cost more than the copy.
        """
        leaves, _ = checkpoint_format.named(state)
        leaves = {name: np.asarray(leaf) for name, leaf in jax.device_get(leaves).items()}
        for name, leaf in leaves.items():
            buffer = self._buffers.get(name)
            if buffer is None or (buffer.shape, buffer.dtype) != (leaf.shape, leaf.dtype):
                buffer = self._buffers[name] = np.empty(leaf.shape, leaf.dtype)
            np.copyto(buffer, leaf)
        return {name: self._buffers[name] for name in leaves}

    def _settle(self) -> None:
        """Waits for the write under way and raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    # What follows runs in the background thread.

    def _try(self, work, step: int, *arguments) -> None:
        try:
            work(step, *arguments)
        except Exception as error:  # of any type: it must reach the training loop
            self._close()
            self._clean()
            reason = checkpoint_format.one_line(error)
            raise ConfigError(
                f"{self._path(step)}: checkpoint could not be written ({reason}); "
                "earlier ones are intact: make the directory writable or free space, and resume"
            ) from error

    def _reserve(self, leaves: dict) -> None:
        self._buffers = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
        for buffer in self._buffers.values():
            buffer.fill(0)  # touches its pages

    def _write(self, step: int, leaves: dict[str, np.ndarray], accuracy: float | None) -> None:
        self._remove(self._bad | {step})
        args = {checkpoint_format.ITEM: checkpoint_format.Leaves(leaves, accuracy)}
        with _quiet():
            # By force: also a step before the latest.
            self._open().save(step, args=ocp.args.Composite(**args), force=True)
        self._sound.add(step)

    def _add_accuracy(self, step: int, accuracy: float) -> None:
        checkpoint_format.add_accuracy(self._path(step), accuracy)

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is not None:
            if not os.path.isdir(self._directory):
                raise FileNotFoundError("its directory was deleted")
            return self._manager
        if not os.path.isdir(self._directory):
            os.mkdir(self._directory)  # not its parents: a run that was deleted stays deleted
        self._clean()
        latest = preservation_policy.LatestN(self._keep)
        self._manager = ocp.CheckpointManager(
            os.path.abspath(self._directory),
            options=ocp.CheckpointManagerOptions(
                create=False,
                enable_async_checkpointing=False,  # this thread is the background
                lightweight_initialize=True,  # else a damaged file stops it
                multiprocessing_options=checkpoint_format.alone(),
                preservation_policy=preservation_policy.AnyPreservationPolicy(
                    [latest, _Best(self._best)]
                ),
            ),
        )
        return self._manager

    def _close(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.close()

    def _clean(self) -> None:
        """Removes what a killed or failed write left."""
        if os.path.isdir(self._directory):
            for name in os.listdir(self._directory):
                if ocp.utils.TMP_DIR_SUFFIX in name:
                    shutil.rmtree(os.path.join(self._directory, name), ignore_errors=True)

    def _remove(self, steps: set[int]) -> None:
        """Removes checkpoints, whatever became of them, and lets the manager look again."""
        paths = [self._path(step) for step in steps]
        paths = [path for path in paths if os.path.lexists(path)]
        for path in paths:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        if paths:
            self._close()
        self._bad -= steps
