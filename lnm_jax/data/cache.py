"""Arrays that take long to make, kept in a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import uuid
import zipfile
from collections.abc import Callable, Iterable

import numpy as np

from lnm_jax.errors import ConfigError

_log = logging.getLogger(__name__)


def cached(
    folder: str | os.PathLike, parameters: dict, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays from a file of `folder`, or made and kept there under a name of all parameters.

    A file that is not whole is made again. Where nothing can be kept the arrays are returned
    all the same, after a warning. The folder can be deleted at any time.

    Args:
      parameters: everything that decides about the arrays, as JSON has it.
      make: gives the arrays by name.
    """
    key = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:32]
    path = os.path.join(folder, f"{key}.npz")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        pass  # not there, or not whole: the file holds a checksum of each array
    made = make()
    temporary = f"{path}.{uuid.uuid4().hex}.part"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(temporary, "xb") as file:
            np.savez(file, **made)
        os.replace(temporary, path)
    except OSError as error:
        _log.warning("nothing is kept in %s: %s", folder, error.strerror)
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)
    return made


def stamps(root: str | os.PathLike, paths: Iterable[str | os.PathLike]) -> list:
    """Path below `root`, size and time of change of each file, to tell when one has changed.

    Raises: ConfigError for a file that is not there.
    """
    try:
        found = [(path, os.stat(path)) for path in paths]
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return [(os.path.relpath(path, root), s.st_size, s.st_mtime_ns) for path, s in found]
