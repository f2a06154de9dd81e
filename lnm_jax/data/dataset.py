"""What a data set is: examples in memory or read when needed, and what a model must know."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lnm_jax.errors import ConfigError


class Split(NamedTuple):
    """Examples in memory, in a fixed order.

    Attributes:
      images: (N, H, W, C), uint8 or float32; event frames (N, T, H, W, C).
      labels: (N,), int32.
    """

    images: np.ndarray
    labels: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.images.shape[1:]


class Stream(NamedTuple):
    """Examples that are read from disk when they are needed, in a fixed order.

    Attributes:
      read: (index, rng) -> one example (H, W, C), uint8. A NumPy generator asks for the
        random crop and flip of training, None for evaluation's centre crop. It can be pickled,
        so that worker processes can read.
      labels: (N,), int32.
      shape: of one example, (H, W, C).
      workers: processes that read ahead; 0 reads in threads of this one.
    """

    read: Callable[[int, np.random.Generator | None], np.ndarray]
    labels: np.ndarray
    shape: tuple[int, ...]
    workers: int


class Dataset(NamedTuple):
    """A data set.

    Attributes:
      train, test: its splits.
      num_classes: labels are 0 .. num_classes - 1.
      mean, std: of a training image's channels, (C,), in the images' unit.
      split: how train and test were divided, in words.
      classes: names of the labels in their order; empty if they have none.
      white: the largest value of a pixel, where pixels are integers.
      digest: that two sets share only if they hold the same; "" for that of the examples, or of
        the labels of a stream.
      eval_crop: share of the short side that the centre crop of a test image keeps, where they are
        cut from photographs.
    """

    train: Split | Stream
    test: Split | Stream
    num_classes: int
    mean: np.ndarray
    std: np.ndarray
    split: str
    classes: tuple[str, ...] = ()
    white: int = 255
    digest: str = ""
    eval_crop: float = 1.0


class Info(NamedTuple):
    """What is known of a data set without its examples: a network needs no more to be built.

    Attributes:
      shape: of one example, (H, W, C) or (T, H, W, C).
      dtype: of its numbers.
      streamed: whether training examples are read when they are needed.
      train, test: how many examples.
      num_classes, mean, std, split, classes, white, digest, eval_crop: as of `Dataset`.
    """

    shape: tuple[int, ...]
    dtype: str
    streamed: bool
    train: int
    test: int
    num_classes: int
    mean: np.ndarray
    std: np.ndarray
    split: str
    classes: tuple[str, ...]
    white: int
    digest: str
    eval_crop: float

    def to_json(self) -> dict:
        """As plain data; floats keep their value."""
        arrays = {name: np.asarray(getattr(self, name)).tolist() for name in ("mean", "std")}
        return self._asdict() | arrays

    @classmethod
    def from_json(cls, fields: dict) -> Info:
        """Raises: TypeError or ValueError if it is not one."""
        arrays = {name: np.array(fields[name], np.float32) for name in ("mean", "std")}
        tuples = {name: tuple(fields[name]) for name in ("shape", "classes")}
        return cls(**fields | arrays | tuples)

    def differences(self, other: Info) -> list[str]:
        """Fields in which two differ, as "train: 90, not 100"; of long ones where they differ."""
        ours, theirs = self.to_json(), other.to_json()
        found = []
        for name in (name for name in ours if json.dumps(ours[name]) != json.dumps(theirs[name])):
            one, two = theirs[name], ours[name]
            if name == "classes" and len(one) == len(two):
                place = next(
                    k for k, pair in enumerate(zip(one, two, strict=True)) if len({*pair}) > 1
                )
                name, one, two = f"class {place}", one[place], two[place]
            found.append(f"{name}: {one}, not {two}")
        others = [line for line in found if not line.startswith(("digest", "mean", "std"))]
        return others or found[-1:]  # examples alone: by their digest


def info_of(dataset: Dataset) -> Info:
    """What is known of a data set without its examples."""
    streamed = isinstance(dataset.train, Stream)
    dtype = "uint8" if streamed else str(dataset.train.images.dtype)
    sizes = len(dataset.train.labels), len(dataset.test.labels)
    digest = dataset.digest or digest_of(dataset.train, dataset.test)
    facts = dataset._replace(digest=digest)[2:]
    return Info(tuple(dataset.train.shape), dtype, streamed, *sizes, *facts)


def digest_of(*splits: Split | Stream) -> str:
    """Of all examples in memory with their labels; of streams, of their labels."""
    found = hashlib.blake2b(digest_size=8)
    for array in (array for split in splits for array in split if isinstance(array, np.ndarray)):
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def in_both(dataset: Dataset) -> int | None:
    """How many test examples are training examples too, by their digests; None for streams."""
    if isinstance(dataset.train, Stream) or isinstance(dataset.test, Stream):
        return None

    def digests(split):
        return [hashlib.blake2b(np.ascontiguousarray(x)).digest() for x in split.images]

    train = set(digests(dataset.train))
    return sum(digest in train for digest in digests(dataset.test))


def unnormalised(
    train: Split, test: Split, num_classes: int, split: str, classes: tuple[str, ...] = ()
) -> Dataset:
    """A data set whose examples are taken as they are: mean 0, standard deviation 1."""
    channels = train.shape[-1]
    mean, std = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    return Dataset(train, test, num_classes, mean, std, split, tuple(classes))


def check(dataset: Dataset, prefix: str = "") -> Dataset:
    """The data set, if it is one that can be trained on.

    Labels may also be spikes of `num_classes` recorded neurons, (N, T, num_classes), 0 or 1. Of
    images in memory 64 are looked at for numbers that are not finite.

    Args:
      prefix: of the message.
    Raises: ConfigError, one line: the split or field, the value and what is allowed.
    """
    for problem in _problems(dataset):
        raise ConfigError(prefix + problem)
    return dataset


def _problems(dataset: Dataset) -> Iterator[str]:
    """What is wrong; what comes after the first supposes that the first is right."""
    if not isinstance(dataset, Dataset):
        yield f"a data set must be a data.Dataset, got {type(dataset).__name__}"
    classes = dataset.num_classes
    if not isinstance(classes, int | np.integer) or classes < 1:
        yield f"num_classes must be an integer >= 1, got {classes!r}"
    if classes == 1 and np.ndim(dataset.train.labels) == 1:
        yield "num_classes must be at least 2 to learn from, got 1"
    train, test = dataset[:2]
    yield from _split_problems("train", train, classes)
    yield from _split_problems("test", test, classes)
    if _looks(train) != _looks(test):
        looks = "{} of {}, as those of train, got {} of {}".format(*_looks(train), *_looks(test))
        yield f"test images must be {looks}"
    if not isinstance(dataset.classes, tuple) or len(set(dataset.classes)) < len(dataset.classes):
        yield f"classes must be a tuple of different names, got {dataset.classes!r}"
    if len(dataset.classes) not in (0, classes):
        yield f"classes must name all {classes} or none, got {len(dataset.classes)} names"
    mean, std = (np.asarray(value) for value in (dataset.mean, dataset.std))
    for name, value in (("mean", mean), ("std", std)):
        if value.shape != train.shape[-1:] or not np.isfinite(value).all():
            count = train.shape[-1]
            yield f"{name} must be a finite number for each of C = {count}, got {value.tolist()}"
    if not (std > 0).all():
        yield f"std must be above 0, got {std.tolist()}"


def _split_problems(name: str, split: Split | Stream, classes: int) -> Iterator[str]:
    if not isinstance(split, Split | Stream):
        yield f"{name} must be a data.Split or data.Stream, got {type(split).__name__}"
    if isinstance(split, Split) and not isinstance(split.images, np.ndarray):
        yield f"{name} images must be a NumPy array, got {type(split.images).__name__}"
    (shape, dtype), labels = _looks(split), np.asarray(split.labels)
    if len(shape) not in (3, 4):
        yield f"{name} images must be (H, W, C) or (T, H, W, C) each, got {shape}"
    if dtype != np.uint8 and dtype.kind != "f":
        yield f"{name} images must be uint8 or floating-point, got {dtype}"
    spikes = labels.shape[1:] == (shape[0], classes)
    if labels.dtype.kind not in "iu" or not (labels.ndim == 1 or spikes):
        yield f"{name} labels must be N integers, got {labels.dtype} of shape {labels.shape}"
    if not len(labels):
        yield f"{name} has 0 examples, at least 1 is needed"
    last = 1 if spikes else classes - 1
    for place in np.argwhere((labels < 0) | (labels > last))[:1].tolist():
        yield f"{name} labels must be 0 to {last}, got {labels[*place]} for example {place[0]}"
    if isinstance(split, Split):
        if len(split.images) != len(labels):
            count = f"{len(split.images)} images and {len(labels)} labels"
            yield f"{name} must have a label an image, got {count}"
        for index in np.unique(np.linspace(0, len(labels) - 1, 64).astype(int)):
            if not np.isfinite(split.images[index]).all():
                yield f"{name} images must be finite, image {index} is not"


def _looks(split: Split | Stream) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an example."""
    dtype = np.uint8 if isinstance(split, Stream) else split.images.dtype
    return tuple(split.shape), np.dtype(dtype)


def mean_std(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, (C,), float32, exact: from a histogram.

    Args:
      images: (N, ..., C), uint8.
    """
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


def positive(**fields: int) -> None:
    """Raises: ConfigError that names a field below 1."""
    for name, value in fields.items():
        if value < 1:
            raise ConfigError(f"{name} = {value}: must be at least 1")


def subset(split: Split | Stream, count: int) -> Split | Stream:
    """`count` examples of a split, evenly spaced, so that sorted classes all come in.

    Args:
      count: how many; 0, or as many as there are, is all of them.
    """
    total = len(split.labels)
    if not 0 < count < total:
        return split
    return selected(split, np.arange(count) * total // count)


def selected(split: Split | Stream, chosen: np.ndarray) -> Split | Stream:
    """The examples of these indices, (N,), in this order."""
    if isinstance(split, Stream):
        read = functools.partial(_read_chosen, split.read, chosen)
        return split._replace(read=read, labels=split.labels[chosen])
    return split._replace(images=split.images[chosen], labels=split.labels[chosen])


def _read_chosen(read, chosen, index, rng):
    """At the module's level, so that worker processes can unpickle it."""
    return read(int(chosen[index]), rng)
