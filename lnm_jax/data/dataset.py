"""What a data set is: examples in memory or read when needed, and what a model must know."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
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
    """

    train: Split | Stream
    test: Split | Stream
    num_classes: int
    mean: np.ndarray
    std: np.ndarray
    split: str
    classes: tuple[str, ...] = ()
    white: int = 255


class Info(NamedTuple):
    """What is known of a data set without its examples: a network needs no more to be built.

    Attributes:
      shape: of one example, (H, W, C) or (T, H, W, C).
      dtype: of its numbers.
      streamed: whether training examples are read when they are needed.
      train, test: how many examples.
      num_classes, mean, std, split, classes, white: as of `Dataset`.
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
        """Fields in which two differ, as "train: 90, not 100"."""
        ours, theirs = self.to_json(), other.to_json()
        return [
            f"{name}: {theirs[name]}, not {ours[name]}"
            for name in ours
            if json.dumps(ours[name]) != json.dumps(theirs[name])
        ]


def info_of(dataset: Dataset) -> Info:
    """What is known of a data set without its examples."""
    streamed = isinstance(dataset.train, Stream)
    dtype = "uint8" if streamed else str(dataset.train.images.dtype)
    sizes = len(dataset.train.labels), len(dataset.test.labels)
    return Info(tuple(dataset.train.shape), dtype, streamed, *sizes, *dataset[2:])


def unnormalised(train: Split, test: Split, num_classes: int, split: str) -> Dataset:
    """A data set whose examples are taken as they are: mean 0, standard deviation 1."""
    channels = train.shape[-1]
    mean, std = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    return Dataset(train, test, num_classes, mean, std, split)


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
    chosen = np.arange(count) * total // count
    if isinstance(split, Stream):
        read = functools.partial(_read_chosen, split.read, chosen)
        return split._replace(read=read, labels=split.labels[chosen])
    return split._replace(images=split.images[chosen], labels=split.labels[chosen])


def _read_chosen(read, chosen, index, rng):
    """At the module's level, so that worker processes can unpickle it."""
    return read(int(chosen[index]), rng)
