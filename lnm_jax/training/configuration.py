"""Checks a whole configuration before anything is computed or written."""

from __future__ import annotations

import functools
import json

from lnm_jax import data, models, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.layers.spiking import SHARING
from lnm_jax.neurons import checks
from lnm_jax.training import parallel

# Fields that do not change what is computed: a run may be moved, renamed or watched.
PLACES = ("name", "directory", "progress")


def _text(field, value):
    if not isinstance(value, str):
        raise ValueError(f"{field} must be a string, got {value!r}")


def _name(field, value):
    _text(field, value)
    if value in (".", "..") or "/" in value or "\0" in value:
        raise ValueError(f"{field} must be the name of one directory, got {value!r}")


def _flag(field, value):
    if not isinstance(value, bool):
        raise ValueError(f"{field} must be true or false, got {value!r}")


def _optional(check):
    return lambda field, value: None if value is None else check(field, value)


def _all(check):
    def every(field, values):
        if not values:
            raise ValueError(f"{field} must name at least one stage, got {values!r}")
        for value in values:
            check(field, value)

    return every


_count = functools.partial(checks.whole, least=1)
_from_zero = functools.partial(checks.whole, least=0)
_not_negative = functools.partial(checks.at_least, least=0)
_share = functools.partial(checks.between, low=0, high=1)
_below_one = functools.partial(checks.from_below, low=0, high=1)

# Every field of configs/base.py; those of `neuron` are checked by the neuron's own factory.
RULES = {
    "name": _name,
    "directory": _text,
    "seed": _from_zero,
    "timesteps": _count,
    "epochs": _count,
    "label_smoothing": _below_one,
    "log_every": _count,
    "progress": _flag,
    "spiking.sharing": functools.partial(checks.one_of, names=SHARING),
    "spiking.window": _not_negative,
    "spiking.backend": functools.partial(checks.one_of, names=("auto", *neurons.BACKENDS)),
    "model.name": functools.partial(checks.one_of, names=models.MODELS),
    "model.stem": _optional(_count),
    "model.widths": _optional(_all(_count)),
    "model.blocks": _optional(_all(_count)),
    "model.head": _optional(_from_zero),
    "model.momentum": _share,
    "model.epsilon": checks.positive,
    "data.name": functools.partial(checks.one_of, names=data.DATASETS),
    "data.batch_size": _count,
    "data.eval_batch_size": _count,
    "data.crop_padding": _from_zero,
    "optimizer.learning_rate": _not_negative,
    "optimizer.neuron_learning_rate": _not_negative,
    "optimizer.momentum": _below_one,
    "optimizer.nesterov": _flag,
    "optimizer.weight_decay": _not_negative,
    "optimizer.neuron_weight_decay": _not_negative,
    "optimizer.warmup_epochs": _not_negative,
    "checkpoint.every_epochs": _count,
    "checkpoint.keep": _count,
}


def flatten(config) -> dict:
    """Dotted field names to values, e.g. "neuron.kind": "lnm"; `config` is a ConfigDict."""
    flat = {}
    for key, value in config.items():
        if hasattr(value, "items"):
            flat.update({f"{key}.{name}": leaf for name, leaf in flatten(value).items()})
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def validate(config) -> None:
    """Checks every field, and that the devices divide the batches.

    Raises: ConfigError, one line: the field, its value and what is allowed.
    """
    fields = flatten(config)
    try:
        for field, check in RULES.items():
            check(field, fields.pop(field))
        neuron = neurons.build(**config.neuron)
        if config.spiking.window and not neurons.one_variable(neuron):
            raise ValueError(
                "spiking.window must be 0 for a neuron of two variables, "
                f"got {config.spiking.window}"
            )
        models.stages(config.model.name, config.model.widths, config.model.blocks)
    except ValueError as error:
        prefix = "" if str(error).split()[0] in RULES else "neuron."
        raise ConfigError(f"config.{prefix}{error}") from None
    devices = parallel.device_count()
    for field in ("batch_size", "eval_batch_size"):
        size = config.data[field]
        if size % devices:
            raise ConfigError(
                f"config.data.{field} must be a multiple of the {devices} devices, got {size}"
            )
    if config.optimizer.warmup_epochs > config.epochs:
        raise ConfigError(
            f"config.optimizer.warmup_epochs must be at most config.epochs ({config.epochs}), "
            f"got {config.optimizer.warmup_epochs}"
        )


def differences(config, other) -> list[str]:
    """Fields, `PLACES` apart, in which two configurations differ, as "field: a, not b"."""
    ours, theirs = flatten(config), flatten(other)
    return [
        f"{field}: {theirs.get(field)!r}, not {ours.get(field)!r}"
        for field in sorted(ours | theirs)
        if field not in PLACES and ours.get(field) != theirs.get(field)
    ]


def to_json(config) -> str:
    """The configuration as data."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str, base):
    """The configuration that `to_json` wrote, over a locked `base` that knows every field.

    Raises: ConfigError for a field that base does not have, or a value of another type.
    """
    config = base.copy_and_resolve_references()
    config.lock()
    try:
        config.update(json.loads(text))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"config.json does not fit this version: {error}") from None
    return config
