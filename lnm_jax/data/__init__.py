"""Data sets, batches and augmentation. Data-set libraries are imported where they are used."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from lnm_jax.data import (
    batches,
    digits,
    digits_dvs,
    events,
    folder,
    identify,
    interval,
    prepared,
    streaming,
)
from lnm_jax.data.batches import steps_until
from lnm_jax.data.dataset import Dataset, Split, Stream, subset
from lnm_jax.data.identify import TEACHERS
from lnm_jax.errors import ConfigError


def _imagenet(*, directory, image_size=224, skip_corrupt=False, workers=0) -> Dataset:
    """ImageNet as TensorFlow Datasets prepares it if that is there, else as a folder tree."""
    load_it = folder.load_imagenet_tree
    if prepared.locate("imagenet2012", directory):
        load_it = prepared.load_imagenet
    return load_it(
        directory=directory, image_size=image_size, skip_corrupt=skip_corrupt, workers=workers
    )


DATASETS = {
    "digits": digits.load,
    "digits_dvs": digits_dvs.load,
    "interval": interval.load,
    "identify": identify.load,
    "cifar10": functools.partial(prepared.load_cifar, name="cifar10"),
    "cifar100": functools.partial(prepared.load_cifar, name="cifar100"),
    "cifar10dvs": events.load,
    "imagenet2012": _imagenet,
    "folder": folder.load,
}


def load(name: str, **fields: Any) -> Dataset:
    """The data set of that name; its loader takes those fields that it has.

    A field of None keeps the loader's default.

    Raises: ConfigError if the set needs a directory and got none, or as the loader does.
    """
    loader = DATASETS[name]
    has = inspect.signature(loader).parameters
    given = {key: value for key, value in fields.items() if key in has and value is not None}
    if "directory" in has and "directory" not in given:
        raise ConfigError(f"config.data.directory must say where {name} is, got None")
    return loader(**given)


def train_batches(split: Split | Stream, *args, **kwargs) -> Iterator[dict]:
    """Training batches of either kind of split; see `batches.train_batches`."""
    room = streaming if isinstance(split, Stream) else batches
    return room.train_batches(split, *args, **kwargs)


def eval_batches(split: Split | Stream, *args, **kwargs) -> Iterator[dict]:
    """Evaluation batches of either kind of split; see `batches.eval_batches`."""
    room = streaming if isinstance(split, Stream) else batches
    return room.eval_batches(split, *args, **kwargs)


__all__ = [
    "DATASETS",
    "TEACHERS",
    "Dataset",
    "Split",
    "Stream",
    "eval_batches",
    "load",
    "steps_until",
    "subset",
    "train_batches",
]
