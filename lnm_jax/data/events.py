"""Recordings of an event camera as frames: CIFAR10-DVS through tonic, cached on disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
import multiprocessing
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from lnm_jax.data import aedat4
from lnm_jax.data.dataset import Dataset, Split
from lnm_jax.errors import ConfigError

log = logging.getLogger(__name__)

SOURCE = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"
SENSOR = (128, 128)  # of CIFAR10-DVS: width and height, pixels
SIMULATED = "SIMULATED"  # the first word of README.txt beside recordings that are
VERSION = 1  # of the frames: raised when the same recording gives others


def load(*, directory: str, timesteps: int = 10, image_size: int = 48, workers: int = 0) -> Dataset:
    """CIFAR10-DVS, or a simulated set in its layout, as frames in memory.

    Of each class, in the order of the files' numbers, the first 900 recordings train and the
    last 100 test: the split of Deng et al. (2022). Others (a random tenth, or the best of several)
    give other accuracies. A class of n recordings keeps the last round(n / 10), at least one.

    Images are (N, T, H, W, 2), see `frames`: float16, for a mean of counts has a fraction and
    10,000 recordings of 10 frames of 48x48 then take 0.9 GB instead of float32's 1.8. They are
    not normalised (mean 0, standard deviation 1), as is the field's practice.

    The first call reads the recordings, later ones the frames that it left in
    <directory>/CIFAR10DVS_frames, which can be deleted at any time.

    Args:
      directory: holds CIFAR10DVS/<class>/<number>.aedat4.
      timesteps: frames of a recording.
      image_size: height and width of a frame, pixels.
      workers: processes that read recordings; 0 reads them in this one.
    Raises: ConfigError if no such recordings are there, one is damaged, or a class is missing.
    References: Li et al. (2017), CIFAR10-DVS, Frontiers in Neuroscience 11:309; Deng et al.
      (2022), Temporal Efficient Training, ICLR; tonic, https://tonic.readthedocs.io.
    """
    positive(timesteps=timesteps, image_size=image_size)
    directory = os.path.abspath(os.path.expanduser(directory))
    root = os.path.join(directory, "CIFAR10DVS")
    simulated = _is_simulated(root)
    classes = _classes(root, simulated)
    _listing.cache_clear()  # the files may be others than at the last call
    train, test = _split(_listing(directory, classes)[0])
    labelled = train + test
    read = functools.partial(
        _read, directory=directory, classes=classes, timesteps=timesteps, image_size=image_size
    )
    images = cached(
        directory + "/CIFAR10DVS_frames",
        {
            "version": VERSION,
            "tonic": importlib.metadata.version("tonic"),
            "timesteps": timesteps,
            "image_size": image_size,
            "files": [(os.path.relpath(path, root), *_stamp(path)) for path, _ in labelled],
        },
        (len(labelled), timesteps, image_size, image_size, 2),
        lambda: each(read, [path for path, _ in labelled], workers, "reading recordings"),
    )
    labels = np.array([label for _, label in labelled], np.int32)
    shares = ("900", "100") if len(labelled) == 10_000 else ("90 %", "10 %")
    split = "first {} of each class train, last {} test".format(*shares)
    return Dataset(
        train=Split(images[: len(train)], labels[: len(train)]),
        test=Split(images[len(train) :], labels[len(train) :]),
        num_classes=len(classes),
        mean=np.zeros(2, np.float32),
        std=np.ones(2, np.float32),
        split=split + (", simulated recordings" if simulated else ""),
    )


def frames(
    events: np.ndarray, *, sensor_size: tuple[int, int], timesteps: int, image_size: int
) -> np.ndarray:
    """Counts events in `timesteps` equal parts of the recording, and resizes the counts.

    A recording lasts from its first event to its last. tonic's ToFrame ends each part before its
    stop, so the last event is in none, nor are those of the last `timesteps` - 1 microseconds
    where the duration is no multiple. No events give frames of zeros.

    A resized pixel is the mean count of the sensor's pixels under its area, those at its edge by
    the share that is under it (128 to 48: 8/3 x 8/3 pixels). So every event counts once, and
    a frame's mean does not depend on its size.

    Args:
      events: (N,) with fields t (microseconds), x, y (pixels), p (ON).
      sensor_size: width and height, pixels.
    Returns: (T, image_size, image_size, 2), float16, events per sensor pixel; OFF, then ON.
    Raises: ValueError for an event outside of the sensor.
    References: https://tonic.readthedocs.io, transforms.ToFrame(n_time_bins).
    """
    from tonic.transforms import ToFrame

    width, height = sensor_size
    if len(events) and (events["x"].max() >= width or events["y"].max() >= height):
        raise ValueError(f"events outside of the {width}x{height} sensor")
    if (events["t"][1:] < events["t"][:-1]).any():  # ToFrame bisects the times
        events = events[np.argsort(events["t"], kind="stable")]
    counts = ToFrame(sensor_size=(width, height, 2), n_time_bins=timesteps)(events)
    resized = _means(_means(counts, image_size).swapaxes(2, 3), image_size)  # T, P, W, H
    return resized.transpose(0, 3, 2, 1).astype(np.float16)


def _means(values: np.ndarray, size: int) -> np.ndarray:
    """Means of `size` equal parts of the last axis, each pixel by the share that is in the part.

    From running sums: matrix products this small lose more to BLAS's threads than they win.
    """
    length = values.shape[-1]
    sums = np.zeros((*values.shape[:-1], length + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    edges = np.arange(size + 1) * length / size
    left = np.minimum(edges.astype(int), length - 1)
    below = sums[..., left]
    until = below + (edges - left) * (sums[..., left + 1] - below)
    return np.diff(until) * (size / length)


def each(function: Callable, items: Sequence, workers: int, label: str) -> Iterator:
    """Results of a function for each item, in order, with a progress bar on a terminal.

    Args:
      function: of a module, or a partial of one, that other processes can import.
      workers: processes; 0 stays in this one.
      label: of the bar.
    """
    from tqdm import tqdm

    bar = functools.partial(tqdm, total=len(items), desc=label, disable=None, leave=False)
    if workers == 0:
        yield from bar(map(function, items))
        return
    # Not forked: JAX runs threads, whose locks a forked process would inherit.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from bar(pool.map(function, items, chunksize=8))


def cached(
    folder: str, parameters: dict, shape: tuple[int, ...], make: Callable[[], Iterable[np.ndarray]]
) -> np.ndarray:
    """Frames from a file of `folder`, or made and kept there under a name of all parameters.

    Where they can't be kept the frames are returned all the same, after a warning.

    Args:
      parameters: everything that decides about the frames, as JSON has it.
      shape: of all frames.
      make: gives shape[0] arrays of shape[1:].
    Returns: frames, float16.
    """
    key = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:32]
    path = os.path.join(folder, f"{key}.npy")
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or not whole
        stored = np.load(path)
        if stored.shape == shape and stored.dtype == np.float16:
            return stored
    made = np.empty(shape, np.float16)
    for position, one in zip(range(len(made)), make(), strict=True):
        made[position] = one
    temporary = f"{path}.{uuid.uuid4().hex}.part"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(temporary, "xb") as file:
            np.save(file, made)
        os.replace(temporary, path)
    except OSError as error:
        log.warning("frames are not kept in %s: %s", folder, error.strerror)
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)
    return made


def positive(**fields: int) -> None:
    """Raises: ConfigError that names a field below 1."""
    for name, value in fields.items():
        if value < 1:
            raise ConfigError(f"{name} = {value}: must be at least 1")


def _is_simulated(root: str) -> bool:
    with contextlib.suppress(OSError), open(os.path.join(root, "README.txt"), "rb") as file:
        return file.readline().startswith(SIMULATED.encode())
    return False


def _classes(root: str, simulated: bool) -> tuple[str, ...]:
    """Folders that hold recordings, sorted: those of CIFAR-10 unless they are simulated."""
    from tonic.datasets import CIFAR10DVS

    try:
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        found = tuple(
            name
            for name in folders
            if any(file.endswith(".aedat4") for file in os.listdir(os.path.join(root, name)))
        )
    except OSError as error:
        raise ConfigError(_layout(root, error.strerror)) from error
    if not found:
        raise ConfigError(_layout(root, "no recordings"))
    if simulated:
        return found
    wrong = sorted(set(found) ^ set(CIFAR10DVS.classes))
    if wrong:
        raise ConfigError(_layout(root, "missing or unknown class folder: " + ", ".join(wrong)))
    return tuple(CIFAR10DVS.classes)


def _layout(root: str, problem: str) -> str:
    return (
        f"{root}: {problem}; expected {root}/<class>/<number>.aedat4, the ten archives of "
        f"CIFAR10-DVS (Li et al. 2017) unpacked, from {SOURCE}"
    )


@functools.lru_cache(maxsize=1)
def _listing(directory: str, classes: tuple[str, ...]):
    """tonic's data set of the files that are there, and the place of each path in it."""
    from tonic import datasets

    class CIFAR10DVS(datasets.CIFAR10DVS):  # tonic looks in a folder that is named as its class
        def _check_exists(self) -> bool:
            return True  # its own asks for the archive too, and else downloads

    CIFAR10DVS.classes = {name: label for label, name in enumerate(classes)}
    try:
        recordings = CIFAR10DVS(directory)
    except KeyError as error:
        raise ConfigError(
            f"{directory}/CIFAR10DVS: recordings in {error.args[0] or 'no class folder'}, "
            f"which is no class; move them away"
        ) from error
    return recordings, {path: place for place, path in enumerate(recordings.data)}


def _split(recordings) -> tuple[list, list]:
    """(path, label) of the training and test recordings, class after class."""
    by_class: dict[int, list[str]] = {}
    for path, label in zip(recordings.data, recordings.targets, strict=True):
        by_class.setdefault(label, []).append(path)
    train, test = [], []
    for label, paths in sorted(by_class.items()):
        if len(paths) < 2:
            raise ConfigError(f"{paths[0]}: the only recording of its class; two or more needed")
        paths.sort(key=number)
        kept = max(1, round(len(paths) / 10))
        train += [(path, label) for path in paths[:-kept]]
        test += [(path, label) for path in paths[-kept:]]
    return train, test


def number(path: str) -> list:
    """Sorts 9.aedat4 before 10.aedat4."""
    parts = re.split(r"(\d+)", os.path.basename(path))
    return [int(part) if part.isdecimal() else part for part in parts]


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    return status.st_size, status.st_mtime_ns


def _read(
    path: str, *, directory: str, classes: tuple[str, ...], timesteps: int, image_size: int
) -> np.ndarray:
    """Frames of one recording; a ConfigError names a file that is not whole."""
    aedat4.check(path)
    try:
        recordings, places = _listing(directory, classes)
        events, _ = recordings[places[path]]
        return frames(events, sensor_size=SENSOR, timesteps=timesteps, image_size=image_size)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # aedat's panics, of damaged headers, are no Exception
        why = str(error).split("\n")[0] or type(error).__name__
        raise ConfigError(f"{path}: cut off or damaged ({why}); unpack it from {SOURCE}") from error
