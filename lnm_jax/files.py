"""Files written whole or not at all, locks, arrays kept, and what a file system refuses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from lnm_jax.errors import ConfigError

try:
    import fcntl
except ModuleNotFoundError:  # Windows, which says PermissionError where POSIX would block
    import msvcrt

    fcntl = None
HELD = BlockingIOError if fcntl else PermissionError


def reason(error: BaseException) -> str:
    """What an error says in one line: the system's reason if it is one of files."""
    text = " ".join(str(error).split())
    if code := re.search(r"os_error_code='(\d+)'|errno = (\d+)", text):  # tensorstore's, HDF5's
        return os.strerror(int(code[1] or code[2]))
    text = text.partition(" [tensorstore_spec=")[0][:300] or type(error).__name__
    return getattr(error, "strerror", None) or text


@contextlib.contextmanager
def writing(path: str, advice: str = "") -> Iterator[None]:
    """Turns what a file system says to writing `path` into a ConfigError.

    Args:
      path: a file or folder, named first in the line.
      advice: what to do about it, named last.
    """
    try:
        yield
    except OSError as error:
        line = f"{path}: cannot be written ({reason(error)})"
        raise ConfigError(f"{line}; {advice}" if advice else line) from None


@contextlib.contextmanager
def replacing(path: str, advice: str = "", *, several: bool = False) -> Iterator[str]:
    """A path to write a file or folder to, beside `path`, which it becomes at the end.

    Folders above are made if they are missing. What a killed process left is written over.

    Args:
      path: replaced if it exists.
      advice: see `writing`.
      several: other processes may write the same at the same time; the last one stays.
    Raises: ConfigError if the file system refuses; then `path` is as it was.
    """
    path = os.fspath(path).rstrip(os.sep) or path
    new = f"{path}.{uuid.uuid4().hex}.tmp" if several else f"{path}.tmp"
    old = f"{new}.old"
    with writing(path, advice):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        _remove(new)
        try:
            yield new
            _sync(new)
            if os.path.isdir(path) and os.path.isdir(new):  # only empty ones can be replaced
                os.replace(path, old)
            os.replace(new, path)
        finally:
            _remove(new)
            _remove(old)


def write(path: str, content: str | bytes, advice: str = "") -> None:
    """Writes a file as `replacing` does."""
    content = content.encode() if isinstance(content, str) else content
    with replacing(path, advice) as new, open(new, "wb") as file:
        file.write(content)


def lock(file, *, wait: bool = False) -> bool:
    """Locks an open file against whoever opens it too; returns whether it could.

    The system drops the lock when this process ends, however it ends.

    Args:
      file: open for writing.
      wait: until the one that has it ends.
    Raises: OSError on a file system without locks.
    """
    while True:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:  # a byte behind all content, which others may read
                file.seek(2**30)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        except HELD:
            if not wait:
                return False
            time.sleep(0.2)


@contextlib.contextmanager
def locked(path: str, held: Callable[[str], str], *, wait: bool = False) -> Iterator[None]:
    """Keeps out other processes that lock the same file.

    As `lock` does. File systems without locks, as some of clusters are, keep nobody out.

    Args:
      path: of the file, made if it is missing; it names who holds it.
      held: what to say of another process that holds it, which is named "42 on host".
      wait: says so and waits for it to end.
    Raises: ConfigError if another one holds it and `wait` is False, or the file can't be made.
    """
    with writing(path):
        file = open(path, "a+")  # noqa: SIM115 closed below, which drops the lock
    with file:
        try:
            if not lock(file):
                file.seek(0)
                line = held(file.read().strip() or "unknown")
                if not wait:
                    raise ConfigError(line)
                print(line, file=sys.stderr)
                lock(file, wait=True)
        except OSError:  # without locks
            yield
            return
        with writing(path):
            file.truncate(0)
            file.write(f"{os.getpid()} on {platform.node()}\n")
            file.flush()
        yield


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
    except Exception:  # not there, or not whole: foreign bytes do anything to a parser
        pass
    made = make()
    try:
        with replacing(path, several=True) as new, open(new, "xb") as file:
            np.savez(file, **made)
    except ConfigError as error:
        logging.warning("nothing is kept: %s", error)
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


def _sync(path: str) -> None:
    """Has a file, or those in a folder, on disk."""
    for folder, _, names in os.walk(path) if os.path.isdir(path) else [("", [], [path])]:
        for name in names:
            with open(os.path.join(folder, name), "rb+") as file:  # Windows syncs no other
                os.fsync(file.fileno())


def _remove(path: str) -> None:
    """Removes a file or a folder, if there is one."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
