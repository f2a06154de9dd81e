"""Recordings of an event camera as frames: CIFAR10-DVS through tonic, cached on disk."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import multiprocessing
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from xml.etree import ElementTree

import numpy as np

from lnm_jax.data.dataset import Dataset, Split, positive, unnormalised
from lnm_jax.errors import ConfigError
from lnm_jax.files import cached, stamps

SOURCE = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SENSOR = (128, 128)  # of CIFAR10-DVS: width and height, pixels
SIMULATED = b"SIMULATED"  # the first word of README.txt beside recordings that are
VERSION = 1  # of the frames: raised when the same recording gives others
MAGIC = b"#!AER-DAT4.0\r\n"
MAX_HEADER = 1 << 24  # bytes; a description is some thousand


def load(*, directory: str, timesteps: int = 10, image_size: int = 48, workers: int = 0) -> Dataset:
    """CIFAR10-DVS as frames in memory.

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
    root = os.path.join(os.path.abspath(os.path.expanduser(directory)), "CIFAR10DVS")
    train, test = _recordings(root)
    paths = [path for path, _ in train + test]
    labels = np.array([label for _, label in train + test], np.int32)
    read = functools.partial(_read, timesteps=timesteps, image_size=image_size)
    shape = (timesteps, image_size, image_size, 2)
    parameters = {
        "version": VERSION,
        "tonic": importlib.metadata.version("tonic"),
        "timesteps": timesteps,
        "image_size": image_size,
        "files": stamps(root, paths),
    }
    images = cached(
        f"{root}_frames",
        parameters,
        lambda: {"frames": stacked(read, paths, shape, workers, "reading recordings")},
    )["frames"]
    split = "first 90 % of each class train, last 10 % test"
    with contextlib.suppress(OSError), open(os.path.join(root, "README.txt"), "rb") as file:
        if file.readline().startswith(SIMULATED):
            split += ", simulated recordings"
    parts = np.s_[: len(train)], np.s_[len(train) :]
    splits = (Split(images[part], labels[part]) for part in parts)
    return unnormalised(*splits, len(CLASSES), split)


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


def stacked(
    function: Callable, items: Sequence, shape: tuple[int, ...], workers: int, label: str
) -> np.ndarray:
    """The frames of each item, (N, *shape), float16, with a progress bar on a terminal.

    Args:
      function: gives the frames of an item; of a module, or a partial of one, that other
        processes can import.
      shape: of one item's frames.
      workers: processes; 0 stays in this one.
      label: of the bar.
    """
    from tqdm import tqdm

    with contextlib.ExitStack() as stack:
        results = map(function, items)
        if workers:
            # Not forked: JAX runs threads, whose locks a forked process would inherit.
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            results = pool.map(function, items, chunksize=8)
        results = tqdm(results, total=len(items), desc=label, disable=None, leave=False)
        return np.fromiter(results, np.dtype((np.float16, shape)), len(items))


def _recordings(root: str) -> tuple[list, list]:
    """(path, label) of the training and test recordings, class after class, by number.

    Raises: ConfigError that says what is expected if a class is missing, unknown or too small.
    """

    def problem(what):
        return ConfigError(
            f"{root}: {what}; expected {root}/<class>/<number>.aedat4, the ten archives of "
            f"CIFAR10-DVS (Li et al. 2017) unpacked, from {SOURCE}"
        )

    def number(name):  # sorts 9.aedat4 before 10.aedat4
        parts = re.split(r"(\d+)", name)
        return [int(part) if part.isdecimal() else part for part in parts]

    try:
        found = {
            entry.name: sorted((x for x in os.listdir(entry) if x.endswith(".aedat4")), key=number)
            for entry in os.scandir(root)
            if entry.is_dir()
        }
    except OSError as error:
        raise problem(error.strerror) from error
    names = {name for name, files in found.items() if files}
    if not names:
        raise problem("no recordings")
    if wrong := sorted(names ^ set(CLASSES)):
        raise problem("missing or unknown class folder: " + ", ".join(wrong))
    train, test = [], []
    for label, name in enumerate(CLASSES):
        those = [(os.path.join(root, name, file), label) for file in found[name]]
        if len(those) < 2:
            raise ConfigError(f"{those[0][0]}: the only recording of its class; two or more needed")
        kept = max(1, round(len(those) / 10))
        train += those[:-kept]
        test += those[-kept:]
    return train, test


def _read(path: str, *, timesteps: int, image_size: int) -> np.ndarray:
    """Frames of one recording; a ConfigError names a file that is not whole."""
    from tonic.io import read_aedat4

    _check_header(path)
    try:
        events = read_aedat4(path)
        events.dtype.names = ("t", "x", "y", "p")
        return frames(events, sensor_size=SENSOR, timesteps=timesteps, image_size=image_size)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # aedat's panics, of damaged headers, are no Exception
        why = str(error).split("\n")[0] or type(error).__name__
        raise ConfigError(f"{path}: cut off or damaged ({why}); unpack it from {SOURCE}") from error


def _check_header(path: str) -> None:
    """Makes sure that a file has a header and that its XML description is well-formed.

    aedat 2.3 aborts the process on some descriptions that are not, with no exception to catch.

    Raises: ConfigError that names the file.
    """
    try:
        with open(path, "rb") as file:
            magic, size = file.read(len(MAGIC)), file.read(4)
            header = file.read(min(int.from_bytes(size, "little"), MAX_HEADER))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if magic != MAGIC:
        raise ConfigError(f"{path}: not an AEDAT4 recording; unpack the data set again")
    start, stop = header.find(b"<dv"), header.rfind(b"</dv>")
    try:
        ElementTree.fromstring(header[max(start, 0) : stop + len(b"</dv>")])
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(
            f"{path}: the AEDAT4 header is cut off or damaged; unpack the data set again"
        ) from error
