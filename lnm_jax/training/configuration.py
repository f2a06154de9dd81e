"""Checks a whole configuration before anything is computed or written."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import pkgutil
import re
import shlex

import numpy as np

from lnm_jax import checks, data, models, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.layers import INITIALISATIONS, NORMS, spiking
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
    "data.accept_changes",
    "data.workers",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "distributed.enabled",
    "distributed.address",
    "distributed.processes",
    "distributed.process",
    "distributed.timeout",
)
# What a run may be resumed with: more epochs, and the data where they are now.
RESUMED_FIELDS = ("epochs", "data.directory", "data.accept_changes", "progress")


def _name(field, value):
    if value in (".", "..") or {"/", os.sep, "\0"} & set(value):
        raise ValueError(f"{field} must be the name of one directory, got {value!r}")


def _counts(field, values):
    """Numbers of layers or channels, one or a sequence; VGG's groups are sequences themselves."""
    if not isinstance(values, list | tuple):
        return checks.integer(field, values, least=1)
    for value in values:
        _counts(field, value)


def _stages(field, values):
    if not values:
        raise ValueError(f"{field} must name at least one stage, got {values!r}")
    _counts(field, values)


_from_zero = functools.partial(checks.integer, least=0)
_few = functools.partial(checks.few, least=0)
_epochs = functools.partial(checks.integer, least=1, most=1_000_000)
_seed = functools.partial(checks.integer, least=0, most=2**32 - 1)  # larger ones would wrap
_not_negative = functools.partial(checks.at_least, least=0)
_finite = functools.partial(checks.between, low=-1e30, high=1e30)
_share = functools.partial(checks.between, low=0, high=1)
_below_one = functools.partial(checks.from_below, low=0, high=1)


def _address(field, value):
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{field} must be host:port with a port from 1 to 65535, got {value!r}")


def _directory(field, value):
    if not value:
        raise ValueError(f"{field} must be a path, got ''")


def _part(field, value):
    if not 0 < value < 1:
        raise ValueError(f"{field} must be > 0 and < 1, got {value}")


# What a field's value may be, beside its type, which its default has. An unset field is not
# checked; those of `neuron` are checked by the neuron's own factory.
RANGES = {
    _name: ("name",),
    _directory: ("directory", "data.directory", "init_from"),
    _address: ("distributed.address",),
    _epochs: ("epochs",),
    _few: ("optimizer.newton_schulz",),
    _counts: (
        *("timesteps", "log_every", "stop_after_non_finite"),
        *("model.stem", "model.stem_kernel", "model.stem_stride", "model.side_heads"),
        *("model.side_features", "data.image_size", "data.examples", "data.batch_size"),
        *("data.time_window", "data.eval_batch_size", "checkpoint.every_epochs", "checkpoint.keep"),
        *("distributed.processes", "distributed.timeout"),
    ),
    _stages: ("model.widths", "model.blocks"),
    _seed: ("seed", "data.seed"),
    _from_zero: (
        *("model.head", "adaptation.weights", "data.workers"),
        *("data.crop_padding", "data.cutout"),
        *("checkpoint.every_steps", "distributed.process"),
    ),
    _not_negative: (
        *("spiking.window", "model.tdbn", "loss.im_weight", "loss.side_weight"),
        *("optimizer.learning_rate", "optimizer.sgd_learning_rate"),
        *("optimizer.neuron_learning_rate", "optimizer.weight_decay"),
        *("optimizer.neuron_weight_decay", "optimizer.clip_norm", "optimizer.warmup_epochs"),
        "checkpoint.every_minutes",
    ),
    checks.positive: (
        *("model.epsilon", "loss.temperature", "loss.sharpness", "adaptation.change"),
        *("adaptation.epsilon", "data.memory_limit"),
    ),
    _finite: ("loss.tet_mean",),
    _share: ("adaptation.masking",),
    _below_one: (  # at 1 no label, no gradient or no batch would count
        *("label_smoothing", "optimizer.momentum", "model.momentum"),
        *("loss.tet_weight", "loss.distillation"),
    ),
    _part: ("data.test_share",),
    data.recordings.check_sensor_size: ("data.sensor_size",),
    data.recordings.check_columns: ("data.columns",),
}
CHOICES = {
    "compute_dtype": ("float32", "bfloat16"),
    "init_parts": ("all", "neurons"),
    "spiking.sharing": spiking.SHARING,
    "spiking.start": spiking.STARTS,
    "spiking.backend": ("auto", *neurons.BACKENDS),
    "model.stem_pool": ("max", "average", "none"),
    "model.pooling": ("average", "max"),
    "model.shortcut": models.SHORTCUTS,
    "model.initialisation": INITIALISATIONS,
    "model.remat": models.REMAT,
    "model.norm": NORMS,
    "loss.name": losses.LOSSES,
    "data.teacher": data.TEACHERS,
    "optimizer.name": optimizer.RULES,
    "optimizer.decay": optimizer.DECAYS,
}
# Names of a table, or import paths: such a section may have fields of its own.
NAMES = {
    "neuron.kind": functools.partial(checks.find, table=neurons.NEURONS),
    "model.name": functools.partial(checks.find, table=models.MODELS),
    "data.name": data.find,
}
# What the type of a field's default is called, and what else may stand in a field of that type.
TYPES = {
    bool: ("true or false", bool),
    int: ("an integer", int),
    float: ("a number", float | int),
    str: ("a string", str),
    tuple: ("a sequence", tuple | list),
}
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
PASSED = "passed"  # in place of a name: the thing itself was an argument of `train`
ARGUMENTS = {"neuron": "neuron.kind", "model": "model.name", "dataset": "data.name"}


def flatten(config) -> dict:
    """Dotted field names to values, e.g. "neuron.kind": "lnm"; `config` is a ConfigDict."""
    flat = {}
    for key, value in config.items():
        if hasattr(value, "items"):
            flat.update({f"{key}.{name}": leaf for name, leaf in flatten(value).items()})
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def check_types(config) -> None:
    """Checks that every field of lnm_jax/configs/base.py is there and of its type.

    A ConfigDict does so where a field is set; but not in one that was made otherwise, nor for None.

    Raises: ConfigError, one line: the field, its value and what is allowed.
    """
    from ml_collections import ConfigDict

    if not isinstance(config, ConfigDict):
        raise ConfigError(
            "config must be a ConfigDict with the fields of lnm_jax.configs.base.get_config(), got "
            f"{type(config).__name__}"
        )
    found = flatten(config)
    defaults = _defaults()
    for field, default in flatten(defaults).items():
        section, _, key = field.rpartition(".")
        words, allowed = TYPES[(defaults[section] if section else defaults).get_type(key)]
        value = found.get(field, config)  # a section is no value
        if value is None and default is None:
            continue
        if isinstance(value, bool) != (allowed is bool) or not isinstance(value, allowed):
            got = "nothing" if value is config else " ".join(repr(value).split())[:80]
            unset = " or None" if default is None else ""
            raise ConfigError(f"config.{field} must be {words}{unset}, got {got}")
        if allowed == float | int and abs(value) > LARGEST:
            raise ConfigError(f"config.{field} must be at most {LARGEST:.1e}, got {value}")
        if allowed == float | int and 0 < abs(value) < SMALLEST:
            raise ConfigError(f"config.{field} must be 0 or of size {SMALLEST:.1e}, got {value}")


@contextlib.contextmanager
def _prefixed(prefix: str):
    """Turns a ValueError whose message starts with a field's name into a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{prefix}{error}") from None


def located(config):
    """The configuration with ~ in paths expanded, and with an absolute `data.directory`.

    Raises: ConfigError, see `check_types`.
    """
    check_types(config)
    paths = {"directory": os.path.expanduser(config.directory)}
    if config.init_from is not None:
        paths["init_from"] = os.path.expanduser(config.init_from)
    if "://" not in (config.data.directory or "://"):
        paths["data.directory"] = os.path.abspath(os.path.expanduser(config.data.directory))
    return changed(config, **paths)


def path_of(config) -> str:
    """The directory that a configuration runs in."""
    return os.path.join(config.directory, config.name or derived_name(config))


def changed(config, **fields):
    """A locked copy of a configuration with other values."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    return config.lock()


def passing(config, **things):
    """The configuration that says which things are passed in Python, not named by it.

    Args:
      things: neuron, model and dataset, None for those that are not passed.
    """
    passed = [name for name, thing in things.items() if thing is not None]
    return changed(config, **{ARGUMENTS[name]: PASSED for name in passed})


def check_passed(config, **things) -> None:
    """Raises: ConfigError if one of the things was passed to the run, and is None now."""
    fields = flatten(config)
    for name, thing in things.items():
        if thing is None and fields[ARGUMENTS[name]] == PASSED:
            raise ConfigError(
                f"config.{ARGUMENTS[name]}: the {name} of this run was passed in Python; pass it "
                f"again, as {name}= of lnm_jax.load or lnm_jax.train"
            )


def validate(config, **things) -> None:
    """Checks every field, and that the devices divide the batches.

    Args: as `validate_fields`.
    Raises: ConfigError, one line: the field, its value and what is allowed.
    """
    validate_fields(config, **things)
    devices = parallel.device_count()
    for field in ("batch_size", "eval_batch_size"):
        size = config.data[field]
        if size % devices:
            raise ConfigError(
                f"config.data.{field} must be a multiple of the {devices} devices, got {size}"
            )


def validate_fields(config, *, dataset=None, neuron=None, model=None) -> None:
    """Checks every field, and starts no device: the process may be the parent of those that train.

    Args:
      dataset, neuron, model: that are passed in Python, not named by the configuration.
    Raises: ConfigError, as `validate`.
    """
    check_types(config)
    fields = flatten(config)
    check_passed(config, dataset=dataset, neuron=neuron, model=model)
    with _prefixed("config."):
        for field, find in NAMES.items():
            if fields[field] != PASSED:
                find(field, fields[field])
        for field, names in CHOICES.items():
            if fields[field] is not None:
                checks.one_of(field, fields[field], names)
        for check, names in RANGES.items():
            for field in names:
                if fields[field] is not None:
                    check(field, fields[field])
        if config.init_from is None and config.init_parts != "all":
            raise ValueError(f"init_parts must be all without init_from, got {config.init_parts}")
    with _prefixed("config.neuron."):
        neuron = neuron or neurons.build(**config.neuron, timesteps=config.timesteps)
    with _prefixed("config."):
        spiking.check(neuron, **config.spiking)
        losses.build(config)
        _check_adaptation(config, neuron)
        if model is None:
            models.build(**config.model, neuron=neuron, num_classes=2, timesteps=config.timesteps)
    for field in ("address", "processes", "process"):
        if config.distributed[field] is not None and not config.distributed.enabled:
            raise ConfigError(f"config.distributed.enabled must be true beside {field}, got False")
    processes, process = config.distributed.processes, config.distributed.process
    if processes is not None and process is not None and process >= processes:
        raise ConfigError(
            f"config.distributed.process must be below the {processes} processes, got {process}"
        )
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


def command(config) -> str | None:
    """The command that makes the same run, in a directory of its own: the shortest there is.

    Of an experiment of `lnm_jax.configs` and the fields that differ from it. None if a field is
    in none of them, as those of neurons by import path are not, or if a thing was passed in Python.
    """
    from lnm_jax import configs

    def plain(flat):  # as a run that was read back has it: sequences are lists, however deep
        left_out = set(BOOKKEEPING_FIELDS) - {"data.directory"}
        return {k: v for k, v in json.loads(json.dumps(flat)).items() if k not in left_out}

    wanted, found = plain(flatten(config)), {}
    if PASSED in [wanted[field] for field in ARGUMENTS.values()]:
        return None
    for name in (module.name for module in pkgutil.iter_modules(configs.__path__)):
        preset = importlib.import_module(f"{configs.__name__}.{name}").get_config()
        preset = plain(flatten(preset))
        given = {field: value for field, value in wanted.items() if value != preset.get(field)}
        if wanted.keys() <= preset.keys() and None not in given.values():  # no flag unsets a field
            found[name] = given
    if not found:
        return None
    name = min(found, key=lambda name: (len(found[name]), name != "digits"))
    flags = [] if name == "digits" else [f"--config={name}"]  # train.py's own
    flags += [f"--config.{field}={_tuples(value)}" for field, value in found[name].items()]
    return shlex.join(["python", "train.py", *flags])


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


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
        for section, _, key in (field.partition(".") for field in NAMES):
            if ":" in str(own.get(section, {}).get(key)):
                config[section].unlock()
        config.update(own)
        config.lock()
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not a configuration of this version ({reason})") from None
    config.directory, config.name = os.path.split(os.path.normpath(directory))
    return config
