"""Recordings of one's own, <class>/*, and the data sets of tonic, as frames of events."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import inspect
import io
import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lnm_jax import checks
from lnm_jax.data import crops, events, folder
from lnm_jax.data.dataset import Dataset, Split, positive, unnormalised
from lnm_jax.errors import ConfigError
from lnm_jax.files import cached, stamps

TONIC = "tonic:"  # before the name of one of tonic's data sets
FIELDS = {  # of an event, with the names that files give them
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "polarity", "pol", "on"),
}
RECORDINGS = folder.Kind(
    "recordings",
    (".npy", ".npz", ".aedat4", ".bin", ".h5", ".hdf5"),
    "{what} belong in <class>/, or in train/<class>/ and {test}/<class>/",
)


class _Found(NamedTuple):
    """Recordings that are there.

    Attributes:
      root: of their files, beside which frames are kept.
      files: that decide about the frames.
      items: path and further arguments of `read` for each recording.
      read: gives its events.
      labels: (N,), int32.
      parts: of the items, that train and that test.
      sensor_size: width, height and polarities, where they are known.
    """

    root: str
    files: list[str]
    items: list[tuple]
    read: Callable[..., np.ndarray]
    labels: np.ndarray
    parts: tuple
    words: str
    classes: tuple[str, ...]
    sensor_size: tuple | None


def load(
    *,
    directory: str,
    tonic: str | None = None,
    sensor_size: Sequence[int] | None = None,
    time_window: int | None = None,
    timesteps: int = 10,
    image_size: int | None = None,
    columns: str = "xytp",
    seed: int = 0,
    test_share: float = 0.2,
    workers: int = 0,
    memory_limit: float = 4.0,
) -> Dataset:
    """Recordings, in folders of classes or a data set of tonic's, as frames in memory.

    Images are (N, T, H, W, 2), float16; see `events.frames`. They are not normalised, and are kept
    in <directory>_frames, or tonic's <directory>/<name>_frames, which can be deleted at any time.
    Where tonic's events have no y (SHD), H is 1; where they have one polarity the last axis is 1.

    Args:
      directory: has <class>/*, or train/<class>/* and test/<class>/*; see `read` for files. For
        tonic: save_to, where the files must be, since nothing is downloaded.
      tonic: name of a set of tonic.datasets whose labels are integers or strings.
      sensor_size: width and height, pixels; must be given unless tonic knows it.
      time_window: microseconds from a recording's first event; None for the whole recording.
      timesteps: frames of a recording.
      image_size: of a frame's longer side, pixels; None for the sensor's.
      columns: of arrays (N, 4).
      seed, test_share: of the split that `folder.draw` makes where there is none.
      workers: processes that read; 0 reads in this one.
      memory_limit: GiB that all frames may take.
    Raises: ConfigError, one line: the field or file, the value and what is allowed.
    References: Lenz et al. (2021), https://tonic.readthedocs.io.
    """
    root = os.path.abspath(os.path.expanduser(directory))
    check_columns("config.data.columns", columns)
    draw = functools.partial(folder.draw, seed=seed, share=test_share)
    found = _of_tonic(tonic, root, draw) if tonic else _in_folders(root, columns, seed, test_share)
    *known, polarities = found.sensor_size or (None, None, 2)
    if sensor_size is None and found.sensor_size:
        sensor_size = known
    check_sensor_size("config.data.sensor_size", sensor_size)
    positive(timesteps=timesteps, image_size=1 if image_size is None else image_size)
    if time_window is not None and time_window < timesteps:
        raise ConfigError(
            f"config.data.time_window must be at least config.timesteps = {timesteps} "
            f"microseconds, got {time_window}"
        )
    shape = (timesteps, *events.frame_size(sensor_size, image_size), polarities)
    if (needed := len(found.items) * math.prod(shape) * 2 / 2**30) > memory_limit:
        raise ConfigError(
            f"{root}: frames of {needed:.3g} GiB, more than config.data.memory_limit="
            f"{memory_limit:g}; set a smaller config.data.image_size, or raise the limit"
        )
    how = {
        "sensor_size": sensor_size,
        "timesteps": timesteps,
        "image_size": image_size,
        "time_window": time_window,
    }
    parameters = {"columns": columns, "tonic": tonic, **how, **_stamps(found.root, found.files)}
    make = functools.partial(_frames, read=found.read, polarities=polarities, how=how)
    images = cached(
        f"{found.root}_frames",
        parameters,
        lambda: {"frames": events.stacked(make, found.items, shape, workers, "reading recordings")},
    )["frames"]
    splits = (Split(images[part], found.labels[part]) for part in found.parts)
    return unnormalised(*splits, len(found.classes), found.words, found.classes)


def check_columns(field: str, value: str) -> None:
    """Raises: ConfigError unless t, x, y and p are named, each once."""
    if sorted(str(value)) != sorted("txyp"):
        raise ConfigError(f"{field} must be t, x, y and p in their order, as xytp, got {value!r}")


def check_sensor_size(field: str, value: Sequence[int]) -> None:
    """Raises: ConfigError unless it is a width and a height."""
    pair = isinstance(value, list | tuple) and len(value) == 2
    if not pair or not all(isinstance(each, numbers.Integral) and each > 0 for each in value):
        raise ConfigError(f"{field} must be the sensor's width and height, pixels, got {value!r}")


def _stamps(root: str, files: list[str]) -> dict:
    """What tells when frames must be made again."""
    versions = {"version": events.VERSION, "library": importlib.metadata.version("tonic")}
    return versions | {"files": stamps(root, files)}


def _frames(item: tuple, *, read: Callable, polarities: int, how: dict) -> np.ndarray:
    """Frames of a recording; a ConfigError names its file."""
    try:
        made = events.frames(read(*item), **how)
    except ValueError as error:
        raise ConfigError(f"{item[0]}: {error}") from None
    return made if polarities == 2 else made.sum(-1, keepdims=True)


def read_example(path: str, fields, timesteps: int) -> np.ndarray:
    """A recording as the data set "events" has it, (T, H, W, 2), for a network to predict.

    Args:
      fields: of `config.data`, as in training.
    Raises: ConfigError that names the file.
    """
    how = {name: fields[name] for name in ("sensor_size", "image_size", "time_window")}
    how |= {"timesteps": timesteps}
    return _frames((path, fields.columns), read=read, polarities=2, how=how)


def _in_folders(root: str, columns: str, seed: int, share: float) -> _Found:
    train, test, words = folder.list_splits(
        root, folder.TEST_NAMES, False, kind=RECORDINGS, drawn=(seed, share)
    )
    files = [part.path(index) for part in (train, test) for index in range(len(part.labels))]
    items, labels = [(path, columns) for path in files], np.concatenate([train.labels, test.labels])
    parts, classes = _at(len(train.labels)), tuple(train.classes)
    return _Found(root, files, items, read, labels, parts, words, classes, None)


def _at(first: int) -> tuple[slice, slice]:
    """The first of the items, and the others."""
    return np.s_[:first], np.s_[first:]


def read(path: str, columns: str = "xytp") -> np.ndarray:
    """Events of a file, (N,) with fields t, x, y and p, as the file has them.

    A .npy holds a structured array, or (N, 4) with the given columns. An .npz, .h5 or .hdf5 holds
    such an array, or one for each field, at its top or in a group "events". A .bin is N-MNIST's.

    Raises: ValueError for a file that can't be read, has no events, or lacks a field.
    """
    readers = {".aedat4": events.read_aedat4, ".bin": _read_bin}
    reader = readers.get(os.path.splitext(path)[1].lower(), _read_arrays)
    try:
        content = reader(path)
    except Exception as error:  # of many types
        why = getattr(error, "strerror", None) or crops.one_line(error)
        raise ValueError(f"cannot be read, is it whole? ({why})") from None
    names = list(content) if isinstance(content, dict) else content.dtype.names
    if names is None:
        if content.ndim != 2 or content.shape[1] != 4:
            raise ValueError(
                f"an array of shape {content.shape}; (N, 4) with columns {columns}, or (N,) with "
                "fields t, x, y, p, is allowed"
            )
        names, content = list(columns), dict(zip(columns, content.T, strict=True))
    fields = {}
    for field, known in FIELDS.items():
        name = next((name for name in names if name.lower() in known), None)
        if name is None:
            wanted = " or ".join(known)
            raise ValueError(f"no field {field} (named {wanted}) among {', '.join(names)}")
        fields[field] = content[name]
    return _structured(fields)


def _structured(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Fields (N,) as one array of events."""
    shapes = {name: value.shape for name, value in fields.items()}
    if len({*shapes.values()}) > 1 or len(shapes["t"]) != 1:
        raise ValueError(f"fields must be (N,) of one length, got {shapes}")
    if shapes["t"] == (0,):
        raise ValueError("no events, at least 1 is needed")
    made = np.empty(shapes["t"], [(name, value.dtype) for name, value in fields.items()])
    for name, value in fields.items():
        made[name] = value
    return made


def _read_bin(path: str) -> np.ndarray:
    from tonic.io import events_struct, read_mnist_file

    if odd := os.path.getsize(path) % 5:
        raise ValueError(f"events have 5 bytes, at its end are {odd}")
    return read_mnist_file(path, dtype=events_struct)


def _read_arrays(path: str) -> dict[str, np.ndarray] | np.ndarray:
    """The array or the fields of a file of NumPy's or HDF5; what else there is is not read."""
    if path.lower().endswith((".npy", ".npz")):
        with open(path, "rb") as file:
            return _arrays(np.load(file))
    import h5py

    with h5py.File(path) as file:
        return _arrays(file)


def _arrays(node: Any) -> dict[str, np.ndarray] | np.ndarray:
    while isinstance(node, Mapping) and ("events" in node or len(node) == 1):
        node = node["events"] if "events" in node else next(iter(node.values()))
    if not isinstance(node, Mapping):
        return np.asarray(node[()])
    known = {name for names in FIELDS.values() for name in names}
    return {n: np.asarray(node[n][()]) if n.lower() in known else None for n in node}


def find_tonic(field: str, name: str) -> Callable[..., Dataset]:
    """The loader of "tonic:NAME".

    Raises: ConfigError with the nearest known name, if there is nothing of that name.
    """
    from tonic import datasets

    try:
        checks.one_of(field, name, [TONIC + known for known in datasets.__all__])
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return functools.partial(load, tonic=name.removeprefix(TONIC))


def _of_tonic(name: str, directory: str, draw: Callable) -> _Found:
    """A set of tonic's in its own parts, or drawn ones. Classes are its names, or sorted labels."""
    from tonic import datasets

    takes = inspect.signature(getattr(datasets, name)).parameters
    needs = [key for key, value in takes.items() if value.default is value.empty]
    if needs != ["save_to"]:
        raise ConfigError(
            f"{TONIC}{name} needs {', '.join(needs)}; sets of recordings with a class each, as "
            f"{TONIC}NMNIST, are allowed"
        )
    values = {"train": (True, False), "split": ("train", "test")}
    key = next((key for key in values if key in takes), None)
    parts = [((key, value),) for value in values[key]] if key else [()]
    _open.cache_clear()  # files may have changed
    sets = [_open(name, directory, part) for part in parts]
    root = sets[0].location_on_system
    items = []
    for part, opened in zip(parts, sets, strict=True):
        paths = opened.data
        if not (isinstance(paths, list) and paths and isinstance(paths[0], str)):
            chosen = "".join(f"{key}={value}, " for key, value in part)
            paths = [os.path.join(root, f"{chosen}{i:07}") for i in range(len(opened))]
        # Sorted, since tonic lists some sets in the file system's order.
        items += sorted((path, name, directory, part, i) for i, path in enumerate(paths))
    files = sorted(os.path.join(at, file) for at, _, names in os.walk(root) for file in names)
    labels = cached(
        f"{root}_frames",
        {"labels of": name, **_stamps(root, files)},
        lambda: {"labels": np.array([_label(*item[1:]) for item in items])},
    )["labels"]
    names = getattr(sets[0], "classes", None)
    if names is None or labels.dtype.kind == "U":
        names, labels = np.unique(labels, return_inverse=True)
    elif isinstance(names, dict):
        names = sorted(names, key=names.get)
    classes = tuple(each.decode() if isinstance(each, bytes) else str(each) for each in names)
    parts, words = _at(len(sets[0])), "tonic's training and test sets"
    if len(sets) == 1:
        below = [os.fsencode(os.path.relpath(item[0], root)) for item in items]
        for_test, words = draw(below, labels, root=root)
        parts = ~for_test, for_test
    labels, size = labels.astype(np.int32), sets[0].sensor_size
    return _Found(root, files, items, _read_tonic, labels, parts, words, classes, size)


@functools.lru_cache(maxsize=2)  # in each process that reads
def _open(name: str, directory: str, part: tuple) -> Any:
    """tonic's data set, or a part of it, from files that are there."""
    from tonic import datasets

    class Present(getattr(datasets, name)):
        def download(self):
            raise FileNotFoundError

    Present.__name__ = name  # tonic names the folder by it
    arguments = [f"save_to={directory!r}", *(f"{key}={value!r}" for key, value in part)]
    call = f"tonic.datasets.{name}({', '.join(arguments)})"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return Present(directory, **dict(part))
    except (FileNotFoundError, SystemExit):
        at = os.path.join(directory, {"SMNIST": "smnist"}.get(name, name))
        raise ConfigError(
            f"{at}: the files of {TONIC}{name} are missing; {call} gets them"
        ) from None
    except Exception as error:  # of any type
        raise ConfigError(f"{directory}: {call} fails ({crops.one_line(error)})") from None


def _label(name: str, directory: str, part: tuple, index: int) -> int | str:
    opened = _open(name, directory, part)
    known = len(opened.targets) == len(opened)
    label = opened.targets[index] if known else opened[index][1]
    if not isinstance(label, numbers.Integral | str):
        raise ConfigError(
            f"{TONIC}{name} has labels of type {type(label).__name__}; integers and strings are "
            "allowed"
        )
    return label


def _read_tonic(path: str, name: str, directory: str, part: tuple, index: int) -> np.ndarray:
    try:
        found = np.asarray(_open(name, directory, part)[index][0]).reshape(-1)
    except Exception as error:  # of any type, where a file is damaged
        raise ValueError(f"cannot be read, is it whole? ({crops.one_line(error)})") from None
    fields = {field: found[field] for field in found.dtype.names}
    return events.in_order(_structured({"y": np.zeros(len(found), np.int64)} | fields))
