"""Checks a whole configuration before anything is computed or written."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re

from lnm_jax import data, models, neurons
from lnm_jax.checks import find
from lnm_jax.errors import ConfigError
from lnm_jax.layers import INITIALISATIONS, NORMS, spiking
from lnm_jax.neurons import checks
from lnm_jax.training import losses, optimizer, parallel

FILE = "config.json"  # in a run's directory

# Fields that do not change what is computed: a run may be moved, renamed, watched, saved more
# often, or go on with other devices.
BOOKKEEPING_FIELDS = (
    "name",
    "directory",
    "progress",
    "stop_after_non_finite",
    "data.directory",
    "data.workers",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "distributed.enabled",
    "distributed.address",
    "distributed.processes",
    "distributed.process",
    "distributed.timeout",
)


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


def _stages(field, values):
    """Numbers of layers or channels, a stage each; VGG's groups are sequences themselves."""
    if not values:
        raise ValueError(f"{field} must name at least one stage, got {values!r}")
    for value in values:
        if isinstance(value, list | tuple):
            _stages(field, value)
        else:
            checks.whole(field, value, least=1)


def _numbers(field, values):
    for value in values:
        checks.whole(field, value, least=1)


_count = functools.partial(checks.whole, least=1)
_from_zero = functools.partial(checks.whole, least=0)
_not_negative = functools.partial(checks.at_least, least=0)
_finite = functools.partial(checks.between, low=-1e30, high=1e30)
_share = functools.partial(checks.between, low=0, high=1)
_below_one = functools.partial(checks.from_below, low=0, high=1)

POOLS = ("max", "average", "none")

# Every field of lnm_jax/configs/base.py; those of `neuron` are checked by the neuron's own factory.
RULES = {
    "name": _name,
    "directory": _text,
    "seed": _from_zero,
    "timesteps": _count,
    "compute_dtype": functools.partial(checks.one_of, names=("float32", "bfloat16")),
    "epochs": _count,
    "label_smoothing": _below_one,
    "log_every": _count,
    "stop_after_non_finite": _count,
    "progress": _flag,
    "spiking.sharing": functools.partial(checks.one_of, names=spiking.SHARING),
    "spiking.window": _not_negative,
    "spiking.start": functools.partial(checks.one_of, names=spiking.STARTS),
    "spiking.membrane_norm": _flag,
    "spiking.backend": functools.partial(checks.one_of, names=("auto", *neurons.BACKENDS)),
    "model.name": functools.partial(checks.one_of, names=models.MODELS),
    "model.stem": _optional(_count),
    "model.stem_kernel": _optional(_count),
    "model.stem_stride": _optional(_count),
    "model.stem_pool": _optional(functools.partial(checks.one_of, names=POOLS)),
    "model.widths": _optional(_stages),
    "model.blocks": _optional(_stages),
    "model.pooling": _optional(functools.partial(checks.one_of, names=("average", "max"))),
    "model.head": _optional(_from_zero),
    "model.side_heads": _optional(_numbers),
    "model.side_features": _optional(_count),
    "model.shortcut": _optional(functools.partial(checks.one_of, names=models.SHORTCUTS)),
    "model.initialisation": functools.partial(checks.one_of, names=INITIALISATIONS),
    "model.remat": functools.partial(checks.one_of, names=models.REMAT),
    "model.momentum": _share,
    "model.epsilon": checks.positive,
    "model.norm": functools.partial(checks.one_of, names=NORMS),
    "model.tdbn": _not_negative,
    "loss.name": functools.partial(checks.one_of, names=losses.LOSSES),
    "loss.tet_weight": _share,
    "loss.tet_mean": _finite,
    "loss.im_weight": _not_negative,
    "loss.side_weight": _not_negative,
    "loss.distillation": _share,
    "loss.temperature": checks.positive,
    "loss.sharpness": checks.positive,
    "adaptation.masking": _share,
    "adaptation.temperature": _flag,
    "adaptation.change": checks.positive,
    "adaptation.epsilon": checks.positive,
    "adaptation.weights": _from_zero,
    "data.name": functools.partial(find, table=data.DATASETS),
    "data.directory": _optional(_text),
    "data.image_size": _optional(_count),
    "data.skip_corrupt": _flag,
    "data.workers": _from_zero,
    "data.memory_limit": checks.positive,
    "data.seed": _from_zero,
    "data.examples": _optional(_count),
    "data.teacher": functools.partial(checks.one_of, names=data.TEACHERS),
    "data.batch_size": _count,
    "data.eval_batch_size": _count,
    "data.crop_padding": _from_zero,
    "data.flip": _flag,
    "data.auto_augment": _flag,
    "data.cutout": _from_zero,
    "data.test_flip": _flag,
    "optimizer.name": functools.partial(checks.one_of, names=optimizer.RULES),
    "optimizer.learning_rate": _not_negative,
    "optimizer.sgd_learning_rate": _not_negative,
    "optimizer.neuron_learning_rate": _not_negative,
    "optimizer.decay": functools.partial(checks.one_of, names=optimizer.DECAYS),
    "optimizer.momentum": _below_one,
    "optimizer.nesterov": _flag,
    "optimizer.newton_schulz": _from_zero,
    "optimizer.fixed_norm": _flag,
    "optimizer.weight_decay": _not_negative,
    "optimizer.neuron_weight_decay": _not_negative,
    "optimizer.clip_norm": _not_negative,
    "optimizer.warmup_epochs": _not_negative,
    "checkpoint.every_epochs": _count,
    "checkpoint.every_steps": _from_zero,
    "checkpoint.every_minutes": _not_negative,
    "checkpoint.keep": _count,
    "distributed.enabled": _flag,
    "distributed.address": _optional(_text),
    "distributed.processes": _optional(_count),
    "distributed.process": _optional(_from_zero),
    "distributed.timeout": _count,
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


@contextlib.contextmanager
def _prefixed(prefix: str):
    """Turns a ValueError whose message starts with a field's name into a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{prefix}{error}") from None


def validate(config) -> None:
    """Checks every field, and that the devices divide the batches.

    Raises: ConfigError, one line: the field, its value and what is allowed.
    """
    validate_fields(config)
    devices = parallel.device_count()
    for field in ("batch_size", "eval_batch_size"):
        size = config.data[field]
        if size % devices:
            raise ConfigError(
                f"config.data.{field} must be a multiple of the {devices} devices, got {size}"
            )


def validate_fields(config) -> None:
    """Checks every field, and starts no device: the process may be the parent of those that train.

    Raises: ConfigError, as `validate`.
    """
    fields = flatten(config)
    with _prefixed("config."):
        for field, check in RULES.items():
            check(field, fields[field])
    with _prefixed("config.neuron."):
        neuron = neurons.build(**config.neuron, timesteps=config.timesteps)
    with _prefixed("config."):
        spiking.check(neuron, **config.spiking)
        losses.build(config)
        _check_adaptation(config, neuron)
        models.build(**config.model, neuron=neuron, num_classes=2, timesteps=config.timesteps)
    if config.optimizer.warmup_epochs > config.epochs:
        raise ConfigError(
            f"config.optimizer.warmup_epochs must be at most config.epochs ({config.epochs}), "
            f"got {config.optimizer.warmup_epochs}"
        )


def _check_adaptation(config, neuron) -> None:
    """Checks that what is to change between epochs is there."""
    kind, fields, reads = config.neuron.kind, config.adaptation, neuron.facts.reads
    if fields.masking and "masking" not in reads:
        raise ValueError(
            f"adaptation.masking must be 0 for neuron.kind {kind}, got {fields.masking}"
        )
    if not fields.temperature:
        return
    surrogate = config.neuron.surrogate
    for field, value, known in (
        ("neuron.surrogate", surrogate, surrogate == "dspike"),
        ("neuron.kind", kind, "temperature" in reads),
        ("model.name", config.model.name, config.model.name != "recorded_layer"),  # no surrogate
    ):
        if not known:
            raise ValueError(f"adaptation.temperature must be false for {field} {value}, got True")


def _defaults():
    from lnm_jax.configs import base  # which needs ml_collections

    return base.get_config()


def differences(config, other) -> list[str]:
    """Fields, but for bookkeeping, in which two configurations differ, as "field: a, not b"."""
    ours, theirs = flatten(config), flatten(other)
    return [
        f"{field}: {theirs.get(field)!r}, not {ours.get(field)!r}"
        for field in sorted(ours | theirs)
        if field not in BOOKKEEPING_FIELDS and ours.get(field) != theirs.get(field)
    ]


def derived_name(config) -> str:
    """A name that two runs share only if they compute the same, e.g. "digits-lnm-0-1f3a9c".

    Of the fields that are not at their defaults, so that a new field renames no run.
    """
    defaults = flatten(_defaults())
    changed = {
        field: value
        for field, value in flatten(config).items()
        if field not in BOOKKEEPING_FIELDS and value != defaults.get(field)
    }
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:6]
    names = (re.sub(r"[^\w.-]", "_", name) for name in (config.data.name, config.neuron.kind))
    return "-".join([*names, str(config.seed), digest])


def to_json(config) -> str:
    """The configuration as data."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def read(directory: str):
    """The locked configuration of the run in `directory`, wherever that was moved to.

    A field that the run does not name, since it is older than the field, has its default.

    Raises: ConfigError if there is none, or if it is not one of this version.
    """
    path = os.path.join(directory, FILE)
    config = _defaults()
    try:
        with open(path) as file:
            own = json.load(file)
    except OSError:
        raise ConfigError(f"{directory}: no run here ({FILE} is missing)") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a configuration ({error})") from None
    try:
        config.update(own)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not a configuration of this version ({reason})") from None
    config.directory, config.name = os.path.split(os.path.normpath(directory))
    return config
