"""Checks of fields: each error names the field, the value and what is allowed."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from lnm_jax.errors import ConfigError


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
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(
        f"{field} must be one of {', '.join(table)}, or an import path package.module:name; "
        f"got {name!r}{hint}"
    )
