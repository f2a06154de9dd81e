"""Data sets, batches and augmentation. Data-set libraries are imported where they are used."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

from lnm_jax import checks
from lnm_jax.data import digits, events, folder, prepared, recordings, simulated, tasks
from lnm_jax.data.batches import eval_batches, steps_until, train_batches
from lnm_jax.data.dataset import Dataset, Info, Split, Stream, check, in_both, info_of, subset
from lnm_jax.data.tasks import TEACHERS
from lnm_jax.errors import ConfigError

DATASETS = {
    "digits": digits.load,
    "digits_dvs": simulated.load_digits,
    "sequential_digits": digits.load_sequential,
    "permuted_digits": digits.load_permuted,
    "interval": tasks.interval,
    "identify": tasks.identify,
    "cifar10": functools.partial(prepared.load_cifar, name="cifar10"),
    "cifar100": functools.partial(prepared.load_cifar, name="cifar100"),
    "cifar10dvs": events.load,
    "events": recordings.load,
    "imagenet2012": prepared.load_imagenet,
    "folder": folder.load,
    "folder_dvs": simulated.load_folder,
}


def find(field: str, name: str) -> Callable[..., Dataset]:
    """The loader of that name: of `DATASETS`, "tonic:NAME", or an import path; see `checks.find`.

    Raises: ConfigError that begins with the field, with the nearest known name.
    """
    if str(name).startswith(recordings.TONIC):
        return recordings.find_tonic(field, name)
    return checks.find(field, name, DATASETS)


def load(name: str, **fields: Any) -> Dataset:
    """The data set of that name; its loader takes those fields that it has.

    Args:
      name: of `DATASETS`; "tonic:NMNIST", with any name of tonic.datasets; or the import path of
        anybody's own loader, "package.module:function": a function whose keyword arguments are
        fields of `config.data`, `timesteps` or `progress`, and which returns a `Dataset`.
      fields: one of None keeps the loader's default. `examples` is of every set: how many to
        train on, of those that the loader does not draw itself evenly spaced ones.

    Raises: ConfigError if the set needs a directory and got none or has fewer examples than asked
      for, as the loader does, or as `check` does.
    """
    loader = find("config.data.name", name)
    has = inspect.signature(loader).parameters
    given = {key: value for key, value in fields.items() if key in has and value is not None}
    if "directory" in given:
        given["directory"] = os.path.expanduser(given["directory"])
    directory = has.get("directory")
    if directory and directory.default is directory.empty and "directory" not in given:
        raise ConfigError(f"config.data.directory must say where {name} is, got None")
    found = check(loader(**given), f"config.data.name {name}: ")
    count = fields.get("examples")
    if count is None or "examples" in has:
        return found
    if not 0 < count <= (total := len(found.train.labels)):
        raise ConfigError(f"config.data.examples must be at most {total} of {name}, got {count}")
    digest = found.digest and f"{found.digest}, {count} examples"
    few = {"split": f"{found.split}, {count} of {total} to train on", "digest": digest}
    return found._replace(train=subset(found.train, count), **few)
