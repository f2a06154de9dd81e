"""Image folders: train/<class>/* and test/<class>/*, or <class>/*, in memory or streamed.

Classes are the directories' names, sorted. Links are followed wherever they lead, since image
sets are often linked into place. Hidden files, files that are no images by their extension and
directories inside a class are left out and counted in `Dataset.split`. Recordings lie in the same
folders (`recordings`).
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from lnm_jax.data import crops
from lnm_jax.data.dataset import Dataset, Split, Stream, mean_std, selected
from lnm_jax.errors import ConfigError

TEST_NAMES = ("test", "val", "validation")
SIMULATED = "simulated_frames"  # what `simulated` keeps beside the classes
Decode = Callable[[bytes, str], np.ndarray]  # (content, name) -> (H, W, 3), uint8
Read = Callable[[int, np.random.Generator | None], np.ndarray]  # see `Stream`
SAMPLE = 1024  # training images that tell a stream's mean and standard deviation

_log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """What the files of a folder are: in words, and their extensions."""

    what: str
    extensions: tuple[str, ...]
    belong: str = "{what} belong in train/<class>/ and {test}/<class>/"

    def has(self, entry: os.DirEntry) -> bool:
        """Whether the entry of a class's directory is such a file."""
        name = entry.name.lower()
        return name.endswith(self.extensions) and not name.startswith(".") and not entry.is_dir()


IMAGES = Kind("images", (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"))


def load(
    *,
    directory: str,
    image_size: int | None = None,
    skip_corrupt: bool = False,
    workers: int = 0,
    memory_limit: float = 4.0,
    progress: bool = True,
    seed: int = 0,
    test_share: float = 0.2,
) -> Dataset:
    """A tree of images, train/<class>/* and test/<class>/*, or <class>/*, as RGB.

    A set that fits is decoded into memory once; a larger one is streamed, with random resized
    crops and flips for training. Test images are the same either way. Images are turned as their
    EXIF says.

    Args:
      directory: has train/ and test/; val/ or validation/ serve where there is no test/. Where
        there is none of them it has the classes, and `draw` splits each.
      image_size: pixels a side. In memory, the short side is resized to it and the centre cut
        out. None: every image has the first one's size, and the set must fit into memory.
      skip_corrupt: leaves out images that can't be decoded, and counts them in `Dataset.split`.
        A stream, which meets those for training when it reads, takes the class's next readable
        image instead, so that labels hold, and logs it once a file in each process.
      workers: processes that read a stream ahead; 0 reads in threads.
      memory_limit: GiB that the decoded images of both splits may take together.
      progress: shows a bar in a terminal while decoding takes longer than two seconds.
      seed, test_share: of the split that is drawn.
    Returns: mean and std are exact over training images in memory; of a stream they are those
      of the centre crops of at most 1,024 training images, evenly spaced in its order.
    Raises: ConfigError that names the missing directory, the class that only one split has, the
      class without images, or the file that is corrupt, unreadable or of another size.
    """
    drawn = (seed, test_share)
    train, test, words = list_splits(directory, TEST_NAMES, skip_corrupt, drawn=drawn)
    if image_size is None:
        decode = crops.decode
        images = (train.decoded(index, decode) for index in range(len(train.labels)))
        shape = next((image.shape for image in images if image is not None), None)
        if shape is None:
            raise ConfigError(f"{train.directory}: every image of it is corrupt")
    else:
        decode = functools.partial(crops.read, size=image_size, rng=None)
        shape = (image_size, image_size, 3)
    size = (len(train.labels) + len(test.labels)) * math.prod(shape) / 2**30
    if size > memory_limit:
        if image_size is None:
            raise ConfigError(
                f"{directory}: {size:.3g} GiB decoded, more than config.data.memory_limit="
                f"{memory_limit:g}; set config.data.image_size to stream it, or raise the limit"
            )
        sizes = (image_size, workers)
        dataset = streamed(train, test, words, *sizes, mean=None, std=None, progress=progress)
        last = len(train.labels) - 1
        indices = np.linspace(0, last, min(SAMPLE, last + 1)).astype(int).tolist()
        centre = functools.partial(dataset.train.read, rng=None)
        centres = _in_threads(centre, indices, "sampling", progress)
        mean, std = mean_std(np.stack(list(centres)))
        return dataset._replace(mean=mean, std=std)
    train_split, train_lost = _decode_all(train, decode, shape, progress)
    test_split, test_lost = _decode_all(test, decode, shape, progress)
    mean, std = mean_std(train_split.images)
    if skip_corrupt:
        words += f"; corrupt and left out: {train_lost} for training, {test_lost} for test"
    classes = tuple(train.classes)
    return Dataset(train_split, test_split, len(classes), mean, std, words, classes)


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


def without_corrupt(dataset: Dataset, progress: bool) -> Dataset:
    """A streamed set whose test images can all be read; each is read once to see.

    A corrupt one for training is replaced by `read_or_next`, which evaluation must not do: it would
    count the next one twice.

    Raises: ConfigError if no test image of a class can be read.
    """
    train, test = dataset.train, dataset.test

    def sound(index):
        try:
            test.read(index, None)
        except crops.CorruptImageError as error:
            _warn_skipped(error.args[0])
            return False
        return True

    seen = list(_in_threads(sound, range(len(test.labels)), "looking at test images", progress))
    kept = np.flatnonzero(seen)
    for label in np.setdiff1d(test.labels, test.labels[kept]).tolist():
        raise ConfigError(f"every test image of class {dataset.classes[label]} is corrupt")
    read = functools.partial(read_or_next, read=train.read, labels=train.labels)
    words = (
        f"corrupt and left out: {len(seen) - len(kept)} for test; one for training is replaced by "
        "the next of its class"
    )
    return dataset._replace(
        train=train._replace(read=read),
        test=selected(test, kept),
        split=f"{dataset.split}; {words}",
    )


@functools.cache  # once an image
def _warn_skipped(problem: str) -> None:
    _log.warning("%s; skipped", problem)


class _Files(NamedTuple):
    """The files of a split, class by class, each class in the order of the names.

    Names are bytes in one array: a million strings would take seconds and hundreds of megabytes
    to send to each worker.
    """

    directory: str
    classes: list[str]
    names: np.ndarray  # (N,), as the file system spells them
    labels: np.ndarray  # (N,), int32
    ignored: int  # entries that are not of the kind
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

    def crop(self, index: int, rng: np.random.Generator | None, **fields) -> np.ndarray:
        """`Stream.read` of the split; fields as of `crops.read`."""
        return self.read(index, functools.partial(crops.read, rng=rng, **fields))

    def decoded(self, index: int, decode: Decode) -> np.ndarray | None:
        """An image; None if it is corrupt and such images are skipped."""
        try:
            return self.read(index, decode)
        except crops.CorruptImageError:
            if not self.skip_corrupt:
                raise
            return None


def list_splits(
    directory: str,
    test_names: tuple[str, ...],
    skip_corrupt: bool,
    *,
    kind: Kind = IMAGES,
    drawn: tuple[int, float] | None = None,
) -> tuple[_Files, _Files, str]:
    """The files of train/ and of the first of test_names that is there, and the split in words.

    Args:
      drawn: seed and share of `draw`, where neither is there but classes are.
    """
    names = os.listdir(directory) if os.path.isdir(directory) else []
    test_name = next((name for name in test_names if name in names), test_names[0])
    paths = [os.path.join(directory, name) for name in ("train", test_name)]
    if drawn and not {"train", *test_names} & {*names} and _has_classes(directory, kind):
        files = _list(directory, skip_corrupt, kind)
        paths = map(files.path, range(len(files.labels)))
        below = [os.fsencode(os.path.relpath(path, directory)) for path in paths]
        for_test, words = draw(below, files.labels, *drawn, directory)
        parts = ((files.names[part], files.labels[part]) for part in (~for_test, for_test))
        train, test = (files._replace(names=names, labels=labels) for names, labels in parts)
        return train, test, words + left_out(files.ignored, kind)
    for path in (directory, *paths):
        if not os.path.isdir(path):
            wanted = kind.belong.format(what=kind.what, test=test_name)
            raise ConfigError(f"{path}: no such directory; {wanted}")
    train, test = (_list(path, skip_corrupt, kind) for path in paths)
    if differ := sorted(set(train.classes) ^ set(test.classes)):
        some = ", ".join(differ[:5]) + (", ..." if len(differ) > 5 else "")
        raise ConfigError(f"{directory}: only one of train/ and {test_name}/ has class {some}")
    words = f"directories train and {test_name}"
    words += left_out(train.ignored + test.ignored, kind)
    return train, test, words


def draw(
    names: Sequence[bytes], labels: np.ndarray, seed: int, share: float, root: str
) -> tuple[np.ndarray, str]:
    """Which files are for testing: a share of each class, at least one in both parts.

    Of each class those with the smallest hash of seed and name, so that a file more or less moves
    at most one other between the parts.

    Args:
      names: of the files, below root.
      labels: (N,).
    Returns: (N,), bool, True for testing; and the split in words.
    Raises: ConfigError that names the only file of a class.
    """
    hashes = np.array([hashlib.sha256(b"%d/%b" % (seed, name)).digest() for name in names], "S32")
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        those = np.flatnonzero(labels == label)
        if len(those) < 2:
            path = os.path.join(root, os.fsdecode(names[those[0]]))
            raise ConfigError(f"{path}: the only one of its class; at least 2 are needed to split")
        count = min(max(1, round(share * len(those))), len(those) - 1)
        test[those[np.argsort(hashes[those], kind="stable")[:count]]] = True
    words = f"drawn with seed {seed}, {100 * share:g} % of each class for testing"
    return test, f"{words}: {(~test).sum()} train, {test.sum()} test"


def _list(directory: str, skip_corrupt: bool, kind: Kind) -> _Files:
    classes, names, counts, ignored = [], [], [], 0
    for entry in entries(directory):
        if not is_class(entry):
            ignored += 1
            continue
        files = entries(entry.path)
        found = [os.fsencode(file.name) for file in files if kind.has(file)]
        if not found:
            some = f"no {kind.what} ({', '.join(kind.extensions)})"
            raise ConfigError(f"{entry.path}: {some} in this class")
        classes.append(entry.name)
        names += found
        counts.append(len(found))
        ignored += len(files) - len(found)
    if not classes:
        wanted = f"{kind.what} belong in <class>/ here"
        raise ConfigError(f"{directory}: no class directories; {wanted}")
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    return _Files(directory, classes, np.array(names), labels, ignored, skip_corrupt)


def entries(directory: str) -> list[os.DirEntry]:
    """What is in a directory, by name. Raises: ConfigError if it can't be read."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}; make it readable") from None


def is_class(entry: os.DirEntry) -> bool:
    """Whether its entry is a class, by its name."""
    return entry.is_dir() and not entry.name.startswith(".") and entry.name != SIMULATED


def _has_classes(directory: str, kind: Kind) -> bool:
    folders = filter(is_class, entries(directory) if os.path.isdir(directory) else [])
    return any(kind.has(file) for folder in folders for file in entries(folder.path))


def left_out(count: int, kind: Kind) -> str:
    """In words, to end `Dataset.split`."""
    return f"; not {kind.what} and ignored: {count}" if count else ""


def streamed(
    train: _Files,
    test: _Files,
    words: str,
    image_size: int,
    workers: int,
    *,
    mean: np.ndarray,
    std: np.ndarray,
    progress: bool,
    fraction: float = 1.0,
    upright: bool = True,
) -> Dataset:
    """Files of `list_splits` as streams.

    Args:
      mean, std: None leaves them to the caller.
      fraction, upright: see `crops.read`.
    """
    fields = {"size": image_size, "fraction": fraction, "upright": upright}
    shape, classes = (image_size, image_size, 3), tuple(train.classes)
    splits = (
        Stream(functools.partial(files.crop, **fields), files.labels, shape, workers)
        for files in (train, test)
    )
    names = hashlib.blake2b(train.names, digest_size=8)
    names.update(test.names)
    facts = {"digest": names.hexdigest(), "eval_crop": fraction}
    dataset = Dataset(*splits, len(classes), mean, std, words, classes, **facts)
    return without_corrupt(dataset, progress) if train.skip_corrupt else dataset


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
