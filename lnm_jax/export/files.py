"""Writing a file or folder whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from lnm_jax.errors import ConfigError


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """A path to write to, in a scratch folder beside `path`, which it becomes at the end.

    Folders above are made if they are missing; what was at `path` is replaced.

    Raises: ConfigError if the file system refuses; then `path` is as it was.
    """
    parent, name = os.path.split(os.path.abspath(path))
    try:
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=parent) as scratch:
            new, old = os.path.join(scratch, name), os.path.join(scratch, f"{name}.old")
            yield new
            if os.path.isdir(path) and os.path.isdir(new):  # only empty ones can be replaced
                os.replace(path, old)
            os.replace(new, path)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"{path}: cannot be written ({reason}); choose another --output"
        ) from None
