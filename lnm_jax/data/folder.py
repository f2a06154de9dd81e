"""Image folders: train/<class>/* and test/<class>/*, in memory or streamed; ImageNet's tree.

Classes are the directories' names, sorted. Links are followed wherever they lead, since image
sets are often linked into place. Hidden files, files that are no images by their extension and
directories inside a class are left out and counted in `Dataset.split`.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from lnm_jax.data import corrupt, jpeg
from lnm_jax.data.dataset import Dataset, Split, Stream
from lnm_jax.errors import ConfigError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
TEST_NAMES = ("test", "val", "validation")
Decode = Callable[[bytes, str], np.ndarray]  # (content, name) -> (H, W, 3), uint8
SAMPLE = 1024  # training images that tell a stream's mean and standard deviation


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
    train, test = _list_splits(directory, TEST_NAMES, skip_corrupt)
    if image_size is None:
        decode, shape = jpeg.decode, _first_shape(train)
    else:
        decode = functools.partial(jpeg.read, size=image_size, rng=None, fraction=1)
        shape = (image_size, image_size, 3)
    size = (len(train.labels) + len(test.labels)) * math.prod(shape) / 2**30
    if size > memory_limit:
        if image_size is None:
            raise ConfigError(
                f"{directory}: {size:.3g} GiB decoded, more than config.data.memory_limit="
                f"{memory_limit:g}; set config.data.image_size to stream it, or raise the limit"
            )
        last = len(train.labels) - 1
        indices = np.linspace(0, last, min(SAMPLE, last + 1)).astype(int)
        sample = np.empty((len(indices), *shape), np.uint8)
        read = _reader(train, image_size)

        def fill(row):
            sample[row] = read(indices[row], None)

        _in_threads(fill, len(sample), "sampling", progress)
        return _streams(train, test, image_size, workers, *_statistics(sample))
    train_split, train_lost = _decode_all(train, decode, shape, progress)
    test_split, test_lost = _decode_all(test, decode, shape, progress)
    mean, std = _statistics(train_split.images)
    words = _describe(train, test)
    if skip_corrupt:
        words += f"; corrupt and left out: {train_lost} for training, {test_lost} for test"
    return Dataset(train_split, test_split, len(train.classes), mean, std, words)


def load_imagenet_tree(
    *, directory: str, image_size: int = 224, skip_corrupt: bool = False, workers: int = 0
) -> Dataset:
    """ImageNet as train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, streamed.

    Any subset of its classes will do; labels are positions among the sorted wnids.

    Args and Raises: as `load`.
    Returns: mean and std are the constants that published results use.
    """
    train, test = _list_splits(directory, ("val",), skip_corrupt)
    # Here, as statistics can be run as a command, which Python warns of if it is imported before.
    from lnm_jax.data.statistics import STATISTICS

    return _streams(train, test, image_size, workers, *STATISTICS["imagenet2012"])


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

    def decoded(self, index: int, decode: Decode) -> np.ndarray | None:
        """An image; None if it is corrupt and such images are skipped."""
        try:
            return self.read(index, decode)
        except corrupt.CorruptImageError as error:
            if self.skip_corrupt:
                return None
            raise error.advised() from None


class _Read(NamedTuple):
    """`corrupt.Read` of a split."""

    files: _Files
    size: int

    def __call__(self, index: int, rng: np.random.Generator | None) -> np.ndarray:
        return self.files.read(index, functools.partial(jpeg.read, size=self.size, rng=rng))


def _reader(files: _Files, size: int) -> corrupt.Reader:
    return corrupt.Reader(_Read(files, size), files.labels, files.skip_corrupt)


def _list_splits(
    directory: str, test_names: tuple[str, ...], skip_corrupt: bool
) -> tuple[_Files, _Files]:
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


def _streams(train, test, image_size, workers, mean, std) -> Dataset:
    shape = (image_size, image_size, 3)
    splits = [Stream(_reader(x, image_size), x.labels, shape, workers) for x in (train, test)]
    words = _describe(train, test)
    if train.skip_corrupt:
        words += "; a corrupt image is replaced by the next of its class"
    return Dataset(*splits, len(train.classes), mean, std, words)


def _first_shape(files: _Files) -> tuple[int, int, int]:
    for index in range(len(files.labels)):
        image = files.decoded(index, jpeg.decode)
        if image is not None:
            return image.shape
    raise ConfigError(f"{files.directory}: every image of it is corrupt")


def _decode_all(
    files: _Files, decode: Decode, shape: tuple[int, int, int], progress: bool
) -> tuple[Split, int]:
    """A split in memory, and how many corrupt images were left out."""
    images = np.empty((len(files.labels), *shape), np.uint8)
    kept = np.empty(len(images), bool)

    def fill(index):
        image = files.decoded(index, decode)
        kept[index] = image is not None
        if image is None:
            return
        if image.shape != shape:
            raise ConfigError(
                f"{files.path(index)}: {image.shape[1]}x{image.shape[0]} pixels, but the first"
                f" image has {shape[1]}x{shape[0]}; set config.data.image_size"
            )
        images[index] = image

    _in_threads(fill, len(images), f"reading {os.path.basename(files.directory)}", progress)
    labels, lost = files.labels[kept], int((~kept).sum())
    for label in np.setdiff1d(files.labels, labels):
        path = os.path.join(files.directory, files.classes[label])
        raise ConfigError(f"{path}: every image of it is corrupt")
    return Split(images[kept] if lost else images, labels), lost


def _in_threads(function: Callable[[int], None], count: int, what: str, progress: bool) -> None:
    """Calls function(0 .. count - 1), a thread a core: Pillow lets others run while it decodes."""
    from tqdm import tqdm

    def run(start):
        part = range(start, min(start + 64, count))
        for index in part:
            function(index)
        return len(part)

    executor = ThreadPoolExecutor(os.cpu_count())
    disable = None if progress else True  # None: if there is no terminal
    try:
        with tqdm(total=count, desc=what, disable=disable, delay=2, unit=" images") as bar:
            for done in executor.map(run, range(0, count, 64)):
                bar.update(done)
    finally:  # the first error, or Ctrl-C, ends it
        executor.shutdown(cancel_futures=True)


def _statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, (C,), float32, exact: from a histogram."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for image in images:
        for channel, count in enumerate(counts):
            count += np.bincount(image[..., channel].ravel(), minlength=256)
    share = counts / counts.sum(1, keepdims=True)
    values = np.arange(256)
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(1)
    std = np.where(variance > 0, np.sqrt(variance), 1)  # a constant channel is only centred
    return mean.astype(np.float32), std.astype(np.float32)
