"""A run's directory: one configuration, never overwritten by another."""

from __future__ import annotations

import json
import logging
import os

from lnm_jax import data, files
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration
from lnm_jax.training.experiment import Experiment, changed_data

LOCK = ".lock"
DATA = "data.json"  # what is known of the data set, see `data.Info`


def check(config, *, resume: bool = False) -> None:
    """Checks that the configuration may use its directory.

    Args:
      resume: more epochs than the run had are no other configuration.
    Raises: ConfigError if it holds another configuration, or files that are not a run's.
    """
    directory = configuration.path_of(config)
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
    found = configuration.differences(config, own)
    if found and config.epochs > own.epochs and len(found) == 1:
        raise ConfigError(
            f"{directory}: holds a run of another configuration ({found[0]}); --resume, or "
            "train(config, must_resume=True), adds epochs; or choose another config.name"
        )
    if found:
        raise ConfigError(
            f"{directory}: holds a run of another configuration ({'; '.join(found)}); "
            "choose another config.name"
        )


def remark_on_data(config) -> str | None:
    """What to say of a run that began with data in another place, which may be other data.

    Returns: None if the place is the same, or if there is no run.
    """
    try:
        place = configuration.read(configuration.path_of(config)).data.directory
    except ConfigError:
        return None
    if place is None or os.path.realpath(place) == os.path.realpath(config.data.directory or ""):
        return None
    return f"its data were in {place}; other data need another directory or name"


def create(config) -> str:
    """Makes the directory, writes the configuration if it is new, and returns the path.

    Raises: ConfigError if it can't be written.
    """
    directory = configuration.path_of(config)
    with files.writing(directory):
        os.makedirs(directory, exist_ok=True)
        if not os.path.exists(path := os.path.join(directory, configuration.FILE)):
            files.write(path, configuration.to_json(config))
    return directory


def begin(config, this: Experiment, step: int) -> None:
    """Before a session: data.json, added epochs, data that were moved. What stays is not written.

    Args:
      this: the experiment.
      step: after which the session begins.
    Raises: ConfigError if it can't be written, or if the run began with other data and
      `config.data.accept_changes` is false.
    """
    directory = configuration.path_of(config)
    began, own = read_info(directory), configuration.read(directory)
    differ = began.differences(this.info) if began else []
    if differ and not config.data.accept_changes:
        raise changed_data(config, differ)
    labels = {name: label for label, name in enumerate(began.classes)} if began else {}
    for label, name in enumerate(this.info.classes):
        if labels.get(name, label) != label:  # the network would take one class for another
            raise ConfigError(
                f"{directory}: config.data: class {name} is label {label}, and was {labels[name]}, "
                "which can't be accepted; give its folders names of the same order"
            )
    path = os.path.join(directory, DATA)
    if differ or not began:
        facts = {"accepted": []}
        if began:
            with open(path) as file:
                facts["accepted"] = json.load(file)["accepted"]
            facts["accepted"].append({"step": step, "changes": differ})
            logging.warning("%s: data accepted with changes: %s", directory, "; ".join(differ))
        facts["in_both"] = data.in_both(this.dataset)
        if facts["in_both"]:
            logging.warning(
                "%s: %d test examples are training examples too", directory, facts["in_both"]
            )
        with files.writing(directory):
            files.write(path, json.dumps(this.info.to_json() | facts, indent=1) + "\n")
    new = {"epochs": config.epochs, "data.directory": config.data.directory}
    if new != {"epochs": own.epochs, "data.directory": own.data.directory}:
        if config.epochs > own.epochs:
            logging.warning("%s: %d epochs, %d before", directory, config.epochs, own.epochs)
        with files.writing(directory):
            text = configuration.to_json(configuration.changed(own, **new))
            files.write(os.path.join(directory, configuration.FILE), text)


def read_info(directory: str) -> data.Info | None:
    """What data.json says of the run's data set; None for a run older than that file.

    Raises: ConfigError if it is damaged.
    """
    path = os.path.join(directory, DATA)
    try:
        with open(path) as file:
            fields = json.load(file)
        return data.Info.from_json({name: fields[name] for name in data.Info._fields})
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
