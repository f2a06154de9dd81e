"""Image folders: train/<class>/* and test/<class>/*, in memory or streamed.

Classes are the directories' names, sorted. Links are followed wherever they lead, since image
sets are often linked into place. Hidden files, files that are no images by their extension and
directories inside a class are left out and counted in `Dataset.split`.
"""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from lnm_jax.data import crops
from lnm_jax.data.dataset import Dataset, Split, Stream, mean_std
from lnm_jax.errors import ConfigError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
TEST_NAMES = ("test", "val", "validation")
Decode = Callable[[bytes, str], np.ndarray]  # (content, name) -> (H, W, 3), uint8
Read = Callable[[int, np.random.Generator | None], np.ndarray]  # see `Stream`
SAMPLE = 1024  # training images that tell a stream's mean and standard deviation

_log = logging.getLogger(__name__)


def load(
    *,
    directory: str,
    image_size: int | None = None,
    skip_corrupt: bool = False,
    workers: int = 0,
    memory_limit: float = 4.0,
    progress: bool = True,
) -> Dataset:
    """A tree of images, train/<class>/* and test/<class>/*, as RGB.

    A set that fits is decoded into memory once; a larger one is streamed, with random resized
    crops and flips for training and centre crops for evaluation.

    Args:
      directory: has train/ and test/; val/ or validation/ serve where there is no test/.
      image_size: pixels a side. In memory, the short side is resized to it and the centre cut
        out. None: every image has the first one's size, and the set must fit into memory.
      skip_corrupt: leaves out images that can't be decoded, and counts them in `Dataset.split`.
        A stream, which meets them when it reads, takes the class's next readable image
        instead, so that labels hold, and logs it once a file in each process.
      workers: processes that read a stream ahead; 0 reads in threads.
      memory_limit: GiB that the decoded images of both splits may take together.
      progress: shows a bar in a terminal while decoding takes longer than two seconds.
    Returns: mean and std are exact over training images in memory; of a stream they are those
      of the centre crops of at most 1,024 training images, evenly spaced in its order.
    Raises: ConfigError that names the missing directory, the class that only one split has, the
      class without images, or the file that is corrupt, unreadable or of another size.
    """
    train, test = list_splits(directory, TEST_NAMES, skip_corrupt)
    if image_size is None:
        decode = crops.decode
        images = (train.decoded(index, decode) for index in range(len(train.labels)))
        shape = next((image.shape for image in images if image is not None), None)
        if shape is None:
            raise ConfigError(f"{train.directory}: every image of it is corrupt")
    else:
        decode = functools.partial(crops.read, size=image_size, rng=None, fraction=1)
        shape = (image_size, image_size, 3)
    size = (len(train.labels) + len(test.labels)) * math.prod(shape) / 2**30
    if size > memory_limit:
        if image_size is None:
            raise ConfigError(
                f"{directory}: {size:.3g} GiB decoded, more than config.data.memory_limit="
                f"{memory_limit:g}; set config.data.image_size to stream it, or raise the limit"
            )
        dataset = streamed(train, test, image_size, workers, mean=None, std=None)
        last = len(train.labels) - 1
        indices = np.linspace(0, last, min(SAMPLE, last + 1)).astype(int).tolist()
        centre = functools.partial(dataset.train.read, rng=None)
        centres = _in_threads(centre, indices, "sampling", progress)
        mean, std = mean_std(np.stack(list(centres)))
        return dataset._replace(mean=mean, std=std)
    train_split, train_lost = _decode_all(train, decode, shape, progress)
    test_split, test_lost = _decode_all(test, decode, shape, progress)
    mean, std = mean_std(train_split.images)
    words = _describe(train, test)
    if skip_corrupt:
        words += f"; corrupt and left out: {train_lost} for training, {test_lost} for test"
    return Dataset(train_split, test_split, len(train.classes), mean, std, words)


def read_or_next(
    index: int, rng: np.random.Generator | None, *, read: Read, labels: np.ndarray
) -> np.ndarray:
    """The image of that index, or in place of a corrupt one the next readable of its class.

    Next in the order of indices and round, so that the label holds; each corrupt one is logged
    once a process.
    Args: read, which raises CorruptImageError, and labels of all images.
    """
    alike = np.flatnonzero(labels == labels[index])
    for other in np.roll(alike, -int(np.searchsorted(alike, index))).tolist():
        try:
            return read(other, rng)
        except crops.CorruptImageError as error:
            problem = error.args[0]
            _warn_skipped(problem)
    raise ConfigError(f"{problem}, as is every other image of its class; replace one")


def stream(read: Read, labels: np.ndarray, size: int, workers: int, skip_corrupt: bool) -> Stream:
    """Examples (size, size, 3), read by `read_or_next` if corrupt ones are skipped."""
    if skip_corrupt:
        read = functools.partial(read_or_next, read=read, labels=labels)
    return Stream(read, labels, (size, size, 3), workers)


@functools.cache  # once an image
def _warn_skipped(problem: str) -> None:
    _log.warning("%s; skipped", problem)


class _Files(NamedTuple):
    """The images of a split, class by class, each class in the order of the names.

    Names are bytes in one array: a million strings would take seconds and hundreds of megabytes
    to send to each worker.
    """

    directory: str
    classes: list[str]
    names: np.ndarray  # (N,), as the file system spells them
    labels: np.ndarray  # (N,), int32
    ignored: int  # entries that are no images
    skip_corrupt: bool

    def path(self, index: int) -> str:
        name = os.fsdecode(self.names[index].item())
        return os.path.join(self.directory, self.classes[self.labels[index]], name)

    def read(self, index: int, decode: Decode) -> np.ndarray:
        """An image. Raises: ConfigError if it can't be read, CorruptImageError."""
        path = self.path(index)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; make it readable") from None
        return decode(data, path)

    def crop(self, index: int, rng: np.random.Generator | None, size: int) -> np.ndarray:
        """`Stream.read` of the split."""
        return self.read(index, functools.partial(crops.read, size=size, rng=rng))

    def decoded(self, index: int, decode: Decode) -> np.ndarray | None:
        """An image; None if it is corrupt and such images are skipped."""
        try:
            return self.read(index, decode)
        except crops.CorruptImageError:
            if not self.skip_corrupt:
                raise
            return None


def list_splits(
    directory: str, test_names: tuple[str, ...], skip_corrupt: bool
) -> tuple[_Files, _Files]:
    """The images of train/ and of the first of test_names that is there, as `load` describes."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    test_name = next((name for name in test_names if name in names), test_names[0])
    paths = [os.path.join(directory, name) for name in ("train", test_name)]
    for path in (directory, *paths):
        if not os.path.isdir(path):
            wanted = f"images belong in train/<class>/ and {test_name}/<class>/"
            raise ConfigError(f"{path}: no such directory; {wanted}")
    train, test = (_list(path, skip_corrupt) for path in paths)
    if differ := sorted(set(train.classes) ^ set(test.classes)):
        some = ", ".join(differ[:5]) + (", ..." if len(differ) > 5 else "")
        raise ConfigError(f"{directory}: only one of train/ and {test_name}/ has class {some}")
    return train, test


def _list(directory: str, skip_corrupt: bool) -> _Files:
    classes, names, counts, ignored = [], [], [], 0
    for entry in _entries(directory):
        if entry.name.startswith(".") or not entry.is_dir():
            ignored += 1
            continue
        files = _entries(entry.path)
        images = [os.fsencode(file.name) for file in files if _is_image(file)]
        if not images:
            raise ConfigError(f"{entry.path}: no images ({', '.join(EXTENSIONS)}) in this class")
        classes.append(entry.name)
        names += images
        counts.append(len(images))
        ignored += len(files) - len(images)
    if not classes:
        raise ConfigError(f"{directory}: no class directories; images belong in <class>/ here")
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    return _Files(directory, classes, np.array(names), labels, ignored, skip_corrupt)


def _is_image(entry: os.DirEntry) -> bool:
    name = entry.name.lower()
    return name.endswith(EXTENSIONS) and not name.startswith(".") and not entry.is_dir()


def _entries(directory: str) -> list[os.DirEntry]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}; make it readable") from None


def _describe(train: _Files, test: _Files) -> str:
    names = (os.path.basename(files.directory) for files in (train, test))
    words = "directories " + " and ".join(names)
    if ignored := train.ignored + test.ignored:
        words += f"; not images and ignored: {ignored}"
    return words


def streamed(
    train: _Files, test: _Files, image_size: int, workers: int, *, mean: np.ndarray, std: np.ndarray
) -> Dataset:
    """Files of `list_splits` as streams; None for mean and std leaves them to the caller."""
    splits = []
    for files in (train, test):
        read = functools.partial(files.crop, size=image_size)
        splits.append(stream(read, files.labels, image_size, workers, files.skip_corrupt))
    words = _describe(train, test)
    if train.skip_corrupt:
        words += "; a corrupt image is replaced by the next of its class"
    return Dataset(*splits, len(train.classes), mean, std, words)


def _decode_all(
    files: _Files, decode: Decode, shape: tuple[int, int, int], progress: bool
) -> tuple[Split, int]:
    """A split in memory, and how many corrupt images were left out."""
    images = np.empty((len(files.labels), *shape), np.uint8)
    kept = []
    read = functools.partial(files.decoded, decode=decode)
    what = f"reading {os.path.basename(files.directory)}"
    for index, image in enumerate(_in_threads(read, range(len(images)), what, progress)):
        if image is None:
            continue
        if image.shape != shape:
            raise ConfigError(
                f"{files.path(index)}: {image.shape[1]}x{image.shape[0]} pixels, but the first"
                f" image has {shape[1]}x{shape[0]}; set config.data.image_size"
            )
        images[len(kept)] = image
        kept.append(index)
    labels = files.labels[kept]
    for label in np.setdiff1d(files.labels, labels):
        path = os.path.join(files.directory, files.classes[label])
        raise ConfigError(f"{path}: every image of it is corrupt")
    return Split(images[: len(kept)], labels), len(images) - len(kept)


def _in_threads(function: Callable, items: Sequence, what: str, progress: bool) -> Iterator:
    """The function's results in order, by a thread a core: Pillow decodes without Python's lock."""
    from tqdm import tqdm

    disable = None if progress else True  # None: if there is no terminal
    bar = functools.partial(tqdm, desc=what, disable=disable, delay=2, unit=" images")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # its map ends with the first error, or Ctrl-C
        yield from bar(pool.map(function, items), total=len(items))
