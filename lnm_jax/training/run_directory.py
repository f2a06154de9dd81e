"""A run's directory: one configuration, never overwritten by another."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import platform

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
    with writing(directory):
        os.makedirs(directory, exist_ok=True)
        if not os.path.exists(os.path.join(directory, configuration.FILE)):
            write(directory, configuration.FILE, configuration.to_json(config))
    return directory


@contextlib.contextmanager
def writing(directory: str):
    """Turns what a file system says to writing into a ConfigError."""
    try:
        yield
    except OSError as error:
        gone = "" if os.path.isdir(directory) else "; the directory is gone"
        raise ConfigError(f"{directory}: cannot be written ({error.strerror}{gone})") from None


@contextlib.contextmanager
def locked(directory: str):
    """Keeps other processes from training in the directory.

    The kernel drops the lock when this process ends, however it ends.

    Raises: ConfigError if another one holds it.
    """
    path = os.path.join(directory, LOCK)
    with writing(directory):
        file = open(path, "a+")  # noqa: SIM115 closed below, which drops the lock
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigError(
                f"{directory}: process {holder} trains here; choose another config.name"
            ) from None
        except OSError:  # a file system without locks, as some of clusters are
            yield
            return
        with writing(directory):
            file.truncate(0)
            file.write(f"{os.getpid()} on {platform.node()}\n")
            file.flush()
        yield


def write(directory: str, name: str, text: str) -> None:
    """Writes a small file whole or not at all."""
    path = os.path.join(directory, name)
    with open(path + ".tmp", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)
