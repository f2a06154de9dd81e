"""A run's directory: one configuration, never overwritten by another."""

from __future__ import annotations

import json
import logging
import os

from lnm_jax import data, files
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration

LOCK = ".lock"
DATA = "data.json"  # what is known of the data set, see `data.Info`


def path_of(config) -> str:
    """The directory that a configuration runs in."""
    return os.path.join(config.directory, config.name or configuration.derived_name(config))


def check(config, *, resume: bool = False) -> None:
    """Checks that the configuration may use its directory.

    Args:
      resume: more epochs than the run had are no other configuration.
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
    own = configuration.read(directory)
    if resume and config.epochs > own.epochs:
        own = configuration.changed(own, epochs=config.epochs)
    if found := configuration.differences(config, own):
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


def begin(config, info: data.Info) -> None:
    """Before the first step of a session: writes data.json if it is new, and added epochs.

    Args:
      info: of the data set.
    Raises: ConfigError if it can't be written, or if the run began with other data.
    """
    directory = path_of(config)
    began = read_info(directory)
    if differ := began.differences(info) if began else []:
        raise ConfigError(
            f"{directory}: config.data: {config.data.name} has changed since the run began "
            f"({'; '.join(differ)}); choose another config.name"
        )
    own = configuration.read(directory)
    with files.writing(directory):
        if not began:
            files.write(os.path.join(directory, DATA), json.dumps(info.to_json(), indent=1) + "\n")
        if config.epochs > own.epochs:
            longer = configuration.to_json(configuration.changed(own, epochs=config.epochs))
            files.write(os.path.join(directory, configuration.FILE), longer)
            logging.warning("%s: %d epochs, %d before", directory, config.epochs, own.epochs)


def read_info(directory: str) -> data.Info | None:
    """What data.json says of the run's data set; None for a run older than that file.

    Raises: ConfigError if it is damaged.
    """
    path = os.path.join(directory, DATA)
    try:
        with open(path) as file:
            return data.Info.from_json(json.load(file))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())})") from None


def locked(directory: str):
    """Keeps other processes from training in the directory, as a context manager.

    Raises: ConfigError if another one trains there.
    """
    return files.locked(
        os.path.join(directory, LOCK),
        lambda holder: f"{directory}: process {holder} trains here; choose another config.name",
    )
