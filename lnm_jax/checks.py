"""Checks of fields: each error names the field, the value and what is allowed.

A number that jax traces, as under vmap or grad over a neuron's field, passes: it has no value yet.
"""

from __future__ import annotations

import difflib
import importlib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from lnm_jax.errors import ConfigError


def traced(*values: Any) -> bool:
    """Whether one of the values is a number that jax traces."""
    return any(isinstance(value, jax.core.Tracer) for value in values)


def positive(field: str, value: float) -> None:
    """Raises ValueError unless value is a finite number above 0."""
    if not (traced(value) or (value > 0 and math.isfinite(value))):
        raise ValueError(f"{field} must be a finite number > 0, got {value}")


def at_least(field: str, value: float, least: float) -> None:
    """Raises ValueError unless value is finite and >= least."""
    if not (traced(value) or (value >= least and math.isfinite(value))):
        raise ValueError(f"{field} must be >= {least}, got {value}")


def integer(field: str, value: int, least: int, most: int = 2**31 - 1) -> None:
    """Raises ValueError unless value is an integer from least to most, by default an int32."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{field} must be an integer >= {least}, got {value!r}")
    if value > most:
        raise ValueError(f"{field} must be an integer <= {most}, got {value!r}")


# Of layers, coefficients, iterations: more is a slip of the keyboard, and would never compile.
MANY = 1000


def few(field: str, value: int, least: int) -> None:
    """Raises ValueError unless value is an integer from least to `MANY`."""
    integer(field, value, least, MANY)


def between(field: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless low <= value <= high."""
    if not (traced(value) or low <= value <= high):
        raise ValueError(f"{field} must be between {low} and {high}, got {value}")


def from_below(field: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless low <= value < high."""
    if not (traced(value) or low <= value < high):
        raise ValueError(f"{field} must be >= {low} and < {high}, got {value}")


def one_of(field: str, value: str, names: Iterable[str]) -> None:
    """Raises ValueError, with the nearest known name, unless value is in names."""
    names = list(names)
    if value not in names:
        near = [name for name in names if name.lower() == str(value).lower()]
        near = near or difflib.get_close_matches(str(value), names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{field} must be one of {', '.join(names)}; got {value!r}{hint}")


def find(field: str, name: str, table: Mapping[str, Any]) -> Any:
    """What a name stands for: an entry of the table, or an import path "package.module:attribute".

    Anybody's own thing is named by its import path, without an edit here: whoever loads the
    configuration imports it, a worker process or a resumed run as well.

    Raises: ConfigError, with the nearest known name, if there is nothing of that name.
    """
    if name in table:
        return table[name]
    module, colon, attribute = str(name).partition(":")
    if colon:
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, ValueError, AttributeError) as error:
            raise ConfigError(f"{field} is {name!r}, which can't be imported: {error}") from error
    try:
        one_of(field, name, table)
    except ValueError as error:
        raise ConfigError(f"{error}; or an import path package.module:name") from None
