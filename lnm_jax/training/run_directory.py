"""A run's directory: one configuration, never overwritten by another."""

from __future__ import annotations

import logging
import os

from lnm_jax import files
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration

LOCK = ".lock"


def path_of(config) -> str:
    """The directory that a configuration runs in."""
    return os.path.join(config.directory, config.name or configuration.derived_name(config))


def check(config) -> None:
    """Checks that the configuration may use its directory.

    Raises: ConfigError if it holds another configuration, or files that are not a run's.
    """
    directory = path_of(config)
    if not os.path.exists(directory):
        return
    if not os.path.isdir(directory):
        raise ConfigError(f"{directory}: exists and is not a directory")
    if not os.path.exists(os.path.join(directory, configuration.FILE)):
        # A run that was killed while it wrote its first file may have left the half of it.
        if set(os.listdir(directory)) - {f"{configuration.FILE}.tmp", LOCK}:
            raise ConfigError(f"{directory}: exists and is not a run; choose another config.name")
        return
    found = configuration.differences(config, configuration.read(directory))
    if found:
        raise ConfigError(
            f"{directory}: holds a run of another configuration ({'; '.join(found)}); "
            "choose another config.name"
        )
    if remark := remark_on_data(config):
        logging.warning("%s: %s", directory, remark)


def remark_on_data(config) -> str | None:
    """What to say of a run that began with data in another place, which may be other data.

    Returns: None if the place is the same, or if there is no run.
    """
    try:
        place = configuration.read(path_of(config)).data.directory
    except ConfigError:
        return None
    if place is None or os.path.realpath(place) == os.path.realpath(config.data.directory or ""):
        return None
    return f"its data were in {place}; other data need another directory or name"


def create(config) -> str:
    """Makes the directory, writes the configuration if it is new, and returns the path.

    Raises: ConfigError if it can't be written.
    """
    directory = path_of(config)
    with files.writing(directory):
        os.makedirs(directory, exist_ok=True)
        if not os.path.exists(path := os.path.join(directory, configuration.FILE)):
            files.write(path, configuration.to_json(config))
    return directory


def locked(directory: str):
    """Keeps other processes from training in the directory, as a context manager.

    Raises: ConfigError if another one trains there.
    """
    return files.locked(
        os.path.join(directory, LOCK),
        lambda holder: f"{directory}: process {holder} trains here; choose another config.name",
    )
