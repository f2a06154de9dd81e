"""What a checkpoint is on disk, and how it is verified leaf by leaf.

`state/arrays.npz` holds the arrays, `state/record.json` shape, dtype and CRC32 of every one, the
test accuracy, and a CRC32 of all this. Nothing else is read, and both are read as numbers and
text: what may hold pickled objects or code (numpy's object arrays, the formats that orbax's own
handlers follow) is refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
import zlib

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

from lnm_jax.errors import ConfigError
from lnm_jax.training import run_directory
from lnm_jax.training.steps import TrainState

ITEM = "state"  # what orbax calls the one thing in a checkpoint, and its directory
ARRAYS = os.path.join(ITEM, "arrays.npz")
RECORD = os.path.join(ITEM, "record.json")


class Damage(Exception):  # noqa: N818 caught where checkpoints are chosen
    """What is wrong with a checkpoint: the file or leaf, and how, in one line."""


def one_line(error: BaseException) -> str:
    """An error's message, or its type if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def alone() -> ocp.options.MultiprocessingOptions:
    """Processes write and read by themselves.

    A barrier of orbax's in a background thread would get between the collectives of training.
    """
    return ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"process_{jax.process_index()}",
    )


def named(state: TrainState):
    """Leaves by their path, e.g. "params/stem/conv/kernel", and the tree they make."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(flax.serialization.to_state_dict(state))
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in leaves}, tree


def describe(leaf) -> dict:
    """Shape and dtype as JSON has them."""
    return {"shape": list(leaf.shape), "dtype": np.dtype(leaf.dtype).name}


class Handler(ocp.CheckpointHandler):
    """Writes and reads the files of a checkpoint for orbax, which makes them one atomic step.

    Orbax's own StandardSave leaves tasks behind when the disk is full, which print tracebacks
    after the error was handled, and its restore does not notice changed bytes.
    """

    def save(self, directory: os.PathLike, args: Leaves) -> None:
        """Writes the leaves and their record into the item's directory."""
        arrays = {name: _plain(x) for name, x in args.leaves.items()}
        leaves = {name: describe(x) | {"crc32": _crc(x)} for name, x in args.leaves.items()}
        record = _seal({"leaves": leaves, "accuracy": args.accuracy})
        with open(os.path.join(directory, os.path.basename(ARRAYS)), "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        run_directory.write(os.fspath(directory), os.path.basename(RECORD), json.dumps(record))

    def restore(self, directory: os.PathLike, args: Leaves) -> dict[str, np.ndarray]:
        """Reads arrays shaped like the leaves; see `read`."""
        return read(os.path.dirname(os.fspath(directory)), args.leaves)


@ocp.args.register_with_handler(Handler, for_save=True, for_restore=True)
@dataclasses.dataclass
class Leaves(ocp.args.CheckpointArgs):
    """What `Handler` writes.

    Attributes:
      leaves: contiguous arrays by name.
      accuracy: on the test set, in percent, or None.
    """

    leaves: dict[str, np.ndarray]
    accuracy: float | None = None


def add_accuracy(directory: str, accuracy: float) -> None:
    """Gives the checkpoint in `directory` a test accuracy, whole or not at all."""
    record = read_record(directory) | {"accuracy": accuracy}
    parent, name = os.path.split(os.path.join(directory, RECORD))
    run_directory.write(parent, name, json.dumps(_seal(record)))


def read_record(directory: str) -> dict:
    """The record of the checkpoint in `directory`, without its own CRC32.

    Raises: Damage.
    """
    try:
        with open(os.path.join(directory, RECORD), "rb") as file:
            record = json.load(file)
        crc = record.pop("crc32")
        if _seal(record)["crc32"] != crc:
            raise ValueError("its CRC32 differs")
    except OSError as error:
        raise Damage(f"{RECORD} cannot be read ({error.strerror})") from None
    except Exception as error:  # whatever foreign bytes do to a parser
        raise Damage(f"{RECORD} is not what was written ({one_line(error)})") from None
    return record


def read(directory: str, leaves: dict) -> dict[str, np.ndarray]:
    """The arrays of the checkpoint in `directory`, by name, equal to what was written.

    Args:
      directory: of one checkpoint.
      leaves: what the model has, by name: arrays, or their shapes and dtypes.
    Raises: Damage; ConfigError if the leaves were written for another model, naming them.
    """
    record = read_record(directory)["leaves"]
    wanted = {name: describe(leaf) for name, leaf in leaves.items()}
    found = {name: {key: x[key] for key in ("shape", "dtype")} for name, x in record.items()}
    lines = _differences(found, wanted)
    if lines:
        more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise ConfigError(
            f"{directory}: is of another model, {len(lines)} leaves differ: "
            f"{'; '.join(lines[:3])}{more}; use the config it was trained with"
        )
    arrays = {}
    try:
        with (
            open(os.path.join(directory, ARRAYS), "rb") as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            # Stored, not deflated: a small file can't claim a large memory.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.zip.infolist()):
                raise ValueError("it is compressed")
            for name, leaf in leaves.items():
                arrays[name] = archive[name].view(leaf.dtype)
    except OSError as error:
        raise Damage(f"{ARRAYS} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # whatever foreign bytes do to a parser
        raise Damage(f"{ARRAYS} is not what was written ({one_line(error)})") from None
    for name, array in arrays.items():
        if describe(array) != wanted[name]:
            raise Damage(f"{ARRAYS}: {name} has another shape or dtype than was written")
        if _crc(np.ascontiguousarray(array)) != record[name]["crc32"]:
            raise Damage(f"{ARRAYS}: {name} is not what was written (its CRC32 differs)")
    return arrays


def _plain(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that numpy's files know: bfloat16 becomes uint16, bit for bit."""
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def _crc(array: np.ndarray) -> int:
    """CRC32 of a contiguous array's bytes; bfloat16, unknown to buffers, is seen as bytes."""
    return zlib.crc32(array.reshape(-1).view(np.uint8))


def _seal(record: dict) -> dict:
    """The record with the CRC32 of its own content."""
    return record | {"crc32": zlib.crc32(json.dumps(record, sort_keys=True).encode())}


def _differences(found: dict, wanted: dict) -> list[str]:
    """Leaves that two trees do not share, or whose shape or dtype differs."""
    lines = []
    for name in sorted(found | wanted):
        if name not in wanted:
            lines.append(f"{name} is not in the model")
        elif name not in found:
            lines.append(f"{name} is missing")
        elif found[name] != wanted[name]:
            have, want = ("{dtype}{shape}".format(**x[name]) for x in (found, wanted))
            lines.append(f"{name} is {have}, not {want}")
    return lines
