"""Events of a camera as frames; CIFAR10-DVS, read by tonic and cached on disk."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import math
import multiprocessing
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from xml.etree import ElementTree

import numpy as np

from lnm_jax.data import folder
from lnm_jax.data.dataset import Dataset, Split, positive, unnormalised
from lnm_jax.errors import ConfigError
from lnm_jax.files import cached, stamps

SOURCE = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SENSOR = (128, 128)  # of CIFAR10-DVS: width and height, pixels
SIMULATED = b"SIMULATED"  # the first word of README.txt beside recordings that are
VERSION = 2  # of the frames: raised when the same recording gives others
AEDAT4 = folder.Kind("recordings", (".aedat4",))
MAGIC = b"#!AER-DAT4.0\r\n"
SECONDS = 100_000  # times with fractions that span less than this, in microseconds, are seconds
MANY = 100  # events, from which on most of a recording's time is not between two of them
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
    train, test, ignored = _recordings(root)
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
    split += folder.left_out(ignored, AEDAT4)
    parts = np.s_[: len(train)], np.s_[len(train) :]
    splits = (Split(images[part], labels[part]) for part in parts)
    return unnormalised(*splits, len(CLASSES), split, CLASSES)


def frames(
    events: np.ndarray,
    *,
    sensor_size: tuple[int, int],
    timesteps: int,
    image_size: int | None = None,
    time_window: int | None = None,
) -> np.ndarray:
    """Counts events in `timesteps` equal parts of the recording, and resizes the counts.

    A recording lasts from its first event to its last. As in tonic's ToFrame each part ends before
    its stop, so the last event is in none, nor are those of the last `timesteps` - 1 microseconds
    where the duration is no multiple. No events give frames of zeros.

    A resized pixel is the mean count of the sensor's pixels under its area, those at its edge by
    the share that is under it (128 to 48: 8/3 x 8/3 pixels). So every event counts once, and
    a frame's mean does not depend on its size. Above 2,048 float16 rounds.

    Args:
      events: (N,) with fields t (microseconds, in order), x, y (pixels), and p: 0 (OFF) and 1 (ON),
        or -1 and 1.
      sensor_size: width and height, pixels.
      image_size: of a frame's longer side, pixels; None for the sensor's.
      time_window: microseconds from the first event that are divided; None for the recording.
    Returns: (T, H, W, 2), float16, events per sensor pixel; OFF, then ON. See `frame_size`.
    Raises: ValueError, one line: the event, its value and what is allowed.
    References: https://tonic.readthedocs.io, transforms.ToFrame(n_time_bins), which counts in 16
      bits.
    """
    events = np.asarray(events)
    _check(events, sensor_size)
    width, height = sensor_size
    rows, columns = frame_size(sensor_size, image_size)
    if not len(events):
        return np.zeros((timesteps, rows, columns, 2), np.float16)
    part = _part(events["t"], timesteps, time_window)
    t, x, y = (events[name].astype(np.int64) for name in "txy")
    frame = (t - t[0]) // part
    t = t if time_window is None else t[frame < timesteps]
    if len(t) >= MANY and (gap := np.diff(t)).max() > 0.9 * (t[-1] - t[0]):
        last = int(gap.argmax())  # all other events would be in one frame
        raise ValueError(
            f"times jump from {t[last]} to {t[last + 1]}, over 90 % of the recording, as those of "
            "a damaged clock do; cut it before"
        )
    place = ((2 * frame + (events["p"] > 0)) * height + y) * width + x
    shape = (timesteps, 2, height, width)
    counts = np.bincount(place[frame < timesteps], minlength=math.prod(shape)).reshape(shape)
    if image_size is not None:
        counts = _means(_means(counts, columns).swapaxes(2, 3), rows).swapaxes(2, 3)
    if (most := counts.max()) > np.finfo(np.float16).max:
        raise ValueError(f"{most:.0f} events of a pixel in a timestep; at most 65504 are allowed")
    return counts.transpose(0, 2, 3, 1).astype(np.float16)


def frame_size(sensor_size: tuple[int, int], image_size: int | None) -> tuple[int, int]:
    """Height and width of a frame in the sensor's proportions; image_size is the longer one's."""
    width, height = sensor_size
    share = (image_size or max(sensor_size)) / max(sensor_size)
    return max(1, round(share * height)), max(1, round(share * width))


def _check(events: np.ndarray, sensor_size: tuple[int, int]) -> None:
    """Raises: ValueError for fields, places or polarities that are not those of `frames`."""
    names = events.dtype.names or ()
    if events.ndim != 1 or not {*"txyp"} <= {*names}:
        raise ValueError(
            f"events must be a structured array (N,) with fields t, x, y, p; got shape "
            f"{events.shape}, {'fields ' + ', '.join(names) if names else 'no fields'}"
        )

    def refuse(wrong: np.ndarray, field: str, allowed: str) -> None:
        for index in np.flatnonzero(wrong)[:1].tolist():
            raise ValueError(f"event {index} has {field} = {events[field][index]}, {allowed}")

    for name in "txyp":
        if events.dtype[name].kind not in ("biuf" if name == "p" else "iuf"):
            raise ValueError(f"events must be numbers, got {events.dtype[name]} for {name}")
    for name, size in zip("xy", sensor_size, strict=True):
        value, sensor = events[name], "x".join(map(str, sensor_size))
        allowed = f"outside of the {sensor} sensor: whole numbers from 0 to {size - 1}"
        refuse(~((value >= 0) & (value < size) & (value % 1 == 0)), name, allowed)
    p = events["p"]
    off = -1 if (p == -1).any() else 0
    refuse((p != off) & (p != 1), "p", "not a polarity: 0 and 1, or -1 and 1")


def _part(t: np.ndarray, timesteps: int, time_window: int | None) -> int:
    """Microseconds of a timestep.

    Raises: ValueError for times that go back, are no microseconds or do not fill the timesteps.
    """
    for index in (np.flatnonzero(~(t[1:] >= t[:-1]))[:1] + 1).tolist():
        raise ValueError(f"event {index} goes back in time, from t = {t[index - 1]} to {t[index]}")
    first, last = t[[0, -1]].tolist()
    seconds = last - first < SECONDS and (t % 1 != 0).any()
    if seconds or not timesteps <= last - first < 2**62:
        raise ValueError(
            f"times from {first} to {last} must be microseconds, not seconds, and last at least "
            f"timesteps = {timesteps}"
        )
    duration = int(last - first)
    if time_window is not None and not timesteps <= time_window <= duration:
        raise ValueError(
            f"time_window = {time_window} microseconds must be from timesteps = {timesteps} to the "
            f"recording's {duration}"
        )
    return (time_window or duration) // timesteps


def in_order(events: np.ndarray) -> np.ndarray:
    """The events sorted by time: those of published recordings may not be."""
    if (events["t"][1:] < events["t"][:-1]).any():
        events = events[np.argsort(events["t"], kind="stable")]
    return events


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


def _recordings(root: str) -> tuple[list, list, int]:
    """(path, label) of the training and test recordings, class after class, by number.

    And how many other entries there are.
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

    if not os.path.isdir(root):
        raise problem("No such file or directory")
    found, ignored = {}, 0
    for entry in folder.entries(root):
        inside = folder.entries(entry.path) if folder.is_class(entry) else []
        files = sorted((file.name for file in inside if AEDAT4.has(file)), key=number)
        if files:
            found[entry.name] = files
            ignored += len(inside) - len(files)
        elif entry.name != "README.txt":
            ignored += 1
    if not found:
        raise problem("no recordings")
    if wrong := sorted({*found} ^ {*CLASSES}):
        raise problem("missing or unknown class folder: " + ", ".join(wrong))
    train, test = [], []
    for label, name in enumerate(CLASSES):
        those = [(os.path.join(root, name, file), label) for file in found[name]]
        if len(those) < 2:
            raise ConfigError(f"{those[0][0]}: the only recording of its class; two or more needed")
        kept = max(1, round(len(those) / 10))
        train += those[:-kept]
        test += those[-kept:]
    return train, test, ignored


def _read(path: str, *, timesteps: int, image_size: int) -> np.ndarray:
    """Frames of one recording; a ConfigError names a file that is not whole."""
    try:
        events = in_order(read_aedat4(path))
        return frames(events, sensor_size=SENSOR, timesteps=timesteps, image_size=image_size)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; unpack it from {SOURCE}") from error


def read_aedat4(path: str) -> np.ndarray:
    """Events of a recording, (N,) with fields t, x, y and p.

    Raises: ValueError that says what is wrong with a file that is not whole.
    """
    from tonic.io import read_aedat4

    _check_header(path)
    try:
        events = read_aedat4(path)
        events.dtype.names = ("t", "x", "y", "p")
        return events
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # aedat's panics, of damaged headers, are no Exception
        why = str(error).split("\n")[0] or type(error).__name__
        raise ValueError(f"cut off or damaged ({why})") from error


def _check_header(path: str) -> None:
    """Makes sure that a file has a header and that its XML description is well-formed.

    aedat 2.3 aborts the process on some descriptions that are not, with no exception to catch.

    Raises: ValueError.
    """
    try:
        with open(path, "rb") as file:
            magic, size = file.read(len(MAGIC)), file.read(4)
            header = file.read(min(int.from_bytes(size, "little"), MAX_HEADER))
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if magic != MAGIC:
        raise ValueError("not an AEDAT4 recording")
    start, stop = header.find(b"<dv"), header.rfind(b"</dv>")
    try:
        ElementTree.fromstring(header[max(start, 0) : stop + len(b"</dv>")])
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError("the AEDAT4 header is cut off or damaged") from error
