"""What changes a run's numbers beside its configuration: jax's own settings, kept with the run."""

from __future__ import annotations

import json
import os

import jax

from lnm_jax import files
from lnm_jax.errors import ConfigError

FILE = "environment.json"  # in a run's directory
# Of `jax.config`; the environment variables are the same in capitals. Under another value the same
# configuration draws other random numbers, or computes in another precision.
SETTINGS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_enable_x64",
    "jax_default_matmul_precision",
)


def now() -> dict:
    """The settings, and what changes rounding alone: jax's version, XLA's flags, the platform."""
    settings = {name: getattr(jax.config, name) for name in SETTINGS}
    told = {"jax": jax.__version__, "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
    return settings | told | {"platform": jax.default_backend()}


def read(directory: str) -> dict:
    """What a run began with; empty for a run older than the file.

    Raises: ConfigError if the file is damaged.
    """
    path = os.path.join(directory, FILE)
    try:
        with open(path) as file:
            return dict(json.load(file))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())})") from None


def check(directory: str) -> None:
    """Checks that a run may go on, or start, with this process's settings.

    Raises: ConfigError if it began with others, if what it began with is damaged, or for
      settings with which nothing trains.
    """
    if jax.config.jax_numpy_dtype_promotion != "standard":
        raise ConfigError(
            "jax_numpy_dtype_promotion must be standard, since Flax and optax need it, got "
            f"{jax.config.jax_numpy_dtype_promotion}"
        )
    began = read(directory)
    for name in SETTINGS:
        value = getattr(jax.config, name)
        if began.get(name, value) != value:
            raise ConfigError(
                f"{directory}: began with {name} {began[name]}, got {value}; set {name.upper()} as "
                "it was, or choose another config.name"
            )


def write(directory: str) -> None:
    """Writes the file if it is not there: a run that is older than it goes on as it is now."""
    path = os.path.join(directory, FILE)
    if not os.path.exists(path):
        files.write(path, json.dumps(now(), indent=1) + "\n")
