"""Files written whole or not at all, locks, and what a file system refuses, in one line."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator

from lnm_jax.errors import ConfigError


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
        gone = "; the directory is gone" if isinstance(error, FileNotFoundError) else ""
        line = f"{path}: cannot be written ({error.strerror or error}{gone})"
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


@contextlib.contextmanager
def locked(path: str, held: Callable[[str], str], *, wait: bool = False) -> Iterator[None]:
    """Keeps out other processes that lock the same file.

    The kernel drops the lock when this process ends, however it ends. File systems without
    locks, as some of clusters are, keep nobody out.

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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            line = held(file.read().strip() or "unknown")
            if not wait:
                raise ConfigError(line) from None
            print(line, file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # without locks
            yield
            return
        with writing(path):
            file.truncate(0)
            file.write(f"{os.getpid()} on {platform.node()}\n")
            file.flush()
        yield


def _sync(path: str) -> None:
    """Has a file, or those in a folder, on disk."""
    for folder, _, names in os.walk(path) if os.path.isdir(path) else [("", [], [path])]:
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())


def _remove(path: str) -> None:
    """Removes a file or a folder, if there is one."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
