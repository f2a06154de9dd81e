"""Checkpoints by orbax, which are what was written or count as damaged.

Orbax writes a checkpoint whole or not at all and keeps the latest ones and the best. Each is a
tree of arrays that `ocp.PyTreeCheckpointer().restore(".../checkpoints/<step>/default")` reads too.
Its files show when they are missing or cut off, but not every changed byte: so a record in orbax's
metadata holds shape, dtype and CRC32 of every leaf, the test accuracy, and a CRC32 of all this.
Nothing in a checkpoint is ever unpickled or executed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
import shutil
import zlib

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, CustomSteps, LatestN

from lnm_jax import files
from lnm_jax.errors import ConfigError
from lnm_jax.training.steps import TrainState

ARRAYS, METADATA = "default", "_CHECKPOINT_METADATA"  # as orbax names them
EARLIER = "state/arrays.npz", "state/record.json"  # of the versions before orbax's own format


class Damage(Exception):  # noqa: N818 caught where checkpoints are chosen
    """What is wrong with a checkpoint: the file or leaf, and how, in one line."""


class Checkpoints:
    """The checkpoints of one run; a context manager, in process 0 alone.

    Opening and restoring change nothing on disk.

    Attributes:
      damaged: a line for each damaged checkpoint that `restore` met: which, what, and how. It is
        no longer counted, and removed before the next one is written.
    """

    def __init__(self, directory: str, *, keep: int):
        """Args: directory, made by the first save; keep, how many of the latest beside the best."""
        self.damaged: list[str] = []
        if not os.fsencode(directory).decode(errors="replace") == directory:
            raise ConfigError(
                f"{directory}: no UTF-8, which checkpoints need; link to it by another name"
            )
        self._directory, self._keep = directory, keep
        self._bad: set[int] = set()
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

    @property
    def latest(self) -> int | None:
        """Step of the latest complete checkpoint not known to be damaged, or None."""
        self._settle()
        return max(self._steps(), default=None)

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest test accuracy, the first of equals; or None."""
        self._settle()
        return self._best({})

    def save(self, state: TrainState, *, accuracy: float | None = None) -> None:
        """Copies the state to the host and writes it in the background.

        Waits for the write before, if that is still under way.

        Args:
          state: on the devices, of a step that has no checkpoint; may be donated as soon as this
            returns.
          accuracy: on the test set, in percent; None makes it no candidate for the best.
        Raises: ConfigError if the write before failed; the checkpoints before that are intact.
        """
        self._settle()
        leaves, _ = _named(state)
        # On a CPU, what device_get returns is memory that the next step may write to.
        leaves = {name: np.array(leaf) for name, leaf in jax.device_get(leaves).items()}
        # A thread of ours: orbax's asynchronous manager copies once more, makes folders and needs
        # the checksums while training waits, 180 ms for 100 MB of which the copy takes 15.
        self._pending = self._thread.submit(self._write, int(state.step), leaves, accuracy)

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
        leaves, tree = _named(target)
        arrays = self.arrays(step, leaves)
        state = tree.unflatten(arrays[name] for name in leaves)
        return flax.serialization.from_state_dict(target, state)

    def arrays(self, step: int | None = None, leaves: dict | None = None) -> dict[str, np.ndarray]:
        """What the newest undamaged checkpoint holds, by path, such as "params/stem/conv/kernel".

        Args and Raises: as `restore`; leaves are those that it must have, by path.
        """
        self._settle()
        steps = sorted(self._steps(), reverse=True)
        if step is not None:
            steps = [step] if step in steps else []
        if not steps:
            which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise ConfigError(f"{self._directory}: {which} to resume from")
        for found in steps:
            try:
                return _read(self._path(found), leaves)
            except Damage as damage:
                self._bad.add(found)
                self.damaged.append(f"{self._path(found)}: damaged: {damage}")
                logging.warning("%s", self.damaged[-1])
        others = f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""
        raise ConfigError(
            f"{self.damaged[-len(steps)]}{others}; no undamaged checkpoint is left: "
            "start again under another config.name, or put a copy back"
        )

    def _path(self, step: int) -> str:
        return os.path.join(self._directory, str(step))

    def _steps(self) -> list[int]:
        """Steps on disk, complete as far as their names say, without those known as damaged."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self._directory}: cannot be read ({error.strerror})") from None
        return [int(name) for name in names if name.isdecimal() and int(name) not in self._bad]

    def _best(self, accuracies: dict[int, float | None]) -> int | None:
        """Of the steps on disk and those given: the first, if two are equally accurate."""
        for step in self._steps():
            with contextlib.suppress(Damage):
                accuracies[step] = _record(self._path(step))["accuracy"]
        rated = [step for step, accuracy in accuracies.items() if accuracy is not None]
        return max(rated, key=lambda step: (accuracies[step], -step), default=None)

    def _settle(self) -> None:
        """Waits for the write under way and raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    # What follows runs in the background thread.

    def _write(self, step: int, leaves: dict[str, np.ndarray], accuracy: float | None) -> None:
        record = {"leaves": {name: _kind(x) | _crc32(x) for name, x in leaves.items()}}
        record = _sealed(record | {"accuracy": accuracy})
        # Orbax refuses arrays of size 0, of which the record says all.
        arrays = unflatten_dict({name: x for name, x in leaves.items() if x.size}, sep="/")
        try:
            if not os.path.isdir(self._directory):
                os.mkdir(self._directory)  # not its parents: a run that was deleted stays deleted
            for damaged in self._bad:
                shutil.rmtree(self._path(damaged))
            self._bad.clear()
            with _quiet(), self._manager(self._best({step: accuracy})) as manager:
                # By force: also a step before the latest.
                args = ocp.args.PyTreeSave(arrays)
                manager.save(step, args=args, custom_metadata=record, force=True)
        except Exception as error:  # of any type: it must reach the training loop
            for path in pathlib.Path(self._directory).glob(f"{step}{ocp.utils.TMP_DIR_SUFFIX}*"):
                shutil.rmtree(path, ignore_errors=True)
            raise ConfigError(
                f"{self._path(step)}: checkpoint could not be written ({files.reason(error)}); "
                "earlier ones are intact: make the directory writable or free space, and resume"
            ) from error

    def _manager(self, best: int | None) -> ocp.CheckpointManager:
        """Orbax's, which looks at the disk anew; `best` is what it keeps beside the latest."""
        # BestN reads a metrics file of every checkpoint, and stops where one is damaged.
        policies = [LatestN(self._keep), CustomSteps([best])]
        return ocp.CheckpointManager(
            os.path.abspath(self._directory),
            options=ocp.CheckpointManagerOptions(
                create=False,
                cleanup_tmp_directories=True,  # of a write that was killed
                enable_async_checkpointing=False,  # this thread is the background
                lightweight_initialize=True,  # else a damaged file stops it
                # No barriers: from this thread they would get between the collectives of training.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    active_processes={0}, barrier_sync_key_prefix="0"
                ),
                preservation_policy=AnyPreservationPolicy(policies),
            ),
            item_handlers=_handler(),
        )


class _Arrays(ocp.type_handlers.NumpyHandler):
    """Leaves no array under way when it says that one can't be written or read.

    Orbax's own gives up at the first: the others then end in a closed event loop, and each
    prints a traceback that nothing can catch.
    """

    async def _open_and_write(self, *arguments):
        try:
            await super()._open_and_write(*arguments)
        except Exception as error:
            self._error = error

    async def _background_serialize(self, *arguments):
        self._error = None
        await super()._background_serialize(*arguments)
        if self._error is not None:
            raise self._error

    async def deserialize(self, infos, args=None):
        arrays = []
        for info in infos:  # one after the other
            arrays += await super().deserialize([info])
        return arrays


def _handler() -> ocp.PyTreeCheckpointHandler:
    handlers = (np.ndarray, _Arrays(deepcopy_host_arrays=False))
    return ocp.PyTreeCheckpointHandler(
        use_compression=False,  # weights are noise: zstd takes twice the time and saves 5 %
        type_handler_registry=ocp.type_handlers.create_type_handler_registry(handlers),
    )


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


def _named(state: TrainState):
    """Leaves by their path, e.g. "params/stem/conv/kernel", and the tree they make."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(flax.serialization.to_state_dict(state))
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in leaves}, tree


def _kind(leaf) -> dict:
    """Shape and dtype as JSON has them."""
    return {"shape": list(leaf.shape), "dtype": np.dtype(leaf.dtype).name}


def _crc32(array: np.ndarray) -> dict:
    """Of the array's bytes: buffers know no bfloat16."""
    return {"crc32": zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))}


def _sealed(record: dict) -> dict:
    """The record with the CRC32 of its own content."""
    return record | {"crc32": zlib.crc32(json.dumps(record, sort_keys=True).encode())}


@contextlib.contextmanager
def _reading(name: str):
    """Turns whatever foreign bytes do to a parser into Damage to the file of that name."""
    try:
        yield
    except Exception as error:
        raise Damage(f"{name} is not what was written ({files.reason(error)})") from None


def _record(directory: str) -> dict:
    """The record of the checkpoint in `directory`, without its own CRC32.

    Raises: Damage.
    """
    earlier = os.path.exists(os.path.join(directory, EARLIER[1]))
    name = EARLIER[1] if earlier else METADATA
    with _reading(name), open(os.path.join(directory, name), "rb") as file:
        record = json.load(file)
        record = record if earlier else record["custom_metadata"]
        crc = record.pop("crc32")
        if _sealed(record)["crc32"] != crc:
            raise ValueError("its CRC32 differs")
    return record


def _read(directory: str, leaves: dict | None) -> dict[str, np.ndarray]:
    """The arrays of the checkpoint in `directory`, by name, equal to what was written.

    Args:
      directory: of one checkpoint.
      leaves: what the model has, by name: arrays, or their shapes and dtypes; None for any.
    Raises: Damage; ConfigError if the leaves were written for another model, naming them.
    """
    record = _record(directory)["leaves"]
    if leaves is None:
        kinds = record.items()
        leaves = {name: jax.ShapeDtypeStruct(kind["shape"], kind["dtype"]) for name, kind in kinds}
    if lines := _differences(record, {name: _kind(leaf) for name, leaf in leaves.items()}):
        more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise ConfigError(
            f"{directory}: is of another model, {len(lines)} leaves differ: "
            f"{'; '.join(lines[:3])}{more}; use the config it was trained with"
        )
    arrays = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
    earlier = os.path.join(directory, EARLIER[0])
    if os.path.exists(earlier):
        with _reading(EARLIER[0]), np.load(earlier) as archive:
            arrays = {name: archive[name].view(leaf.dtype) for name, leaf in leaves.items()}
    else:
        with _reading(ARRAYS), _quiet():
            path = pathlib.Path(directory).absolute() / ARRAYS
            arrays |= flatten_dict(_handler().restore(path), sep="/")
    for name in leaves:
        if _kind(arrays[name]) | _crc32(arrays[name]) != record[name]:
            raise Damage(f"{ARRAYS}: {name} is not what was written (its CRC32 differs)")
    return arrays


def _differences(found: dict, wanted: dict) -> list[str]:
    """Leaves that two trees do not share, or whose shape or dtype differs."""
    lines = []
    for name in sorted(found | wanted):
        if name not in wanted:
            lines.append(f"{name} is not in the model")
        elif name not in found:
            lines.append(f"{name} is missing")
        elif not wanted[name].items() <= found[name].items():
            have, want = ("{dtype}{shape}".format(**x[name]) for x in (found, wanted))
            lines.append(f"{name} is {have}, not {want}")
    return lines
