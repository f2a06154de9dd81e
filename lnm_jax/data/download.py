"""Downloads that resume, are tried again and are verified."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import pathlib
import time
import urllib.error
import urllib.request
from typing import NamedTuple

from lnm_jax.errors import ConfigError

CHUNK = 1 << 18
TRANSIENT = {408, 416, 429}  # and every 5xx


class Source(NamedTuple):
    """A file on the web.

    Attributes:
      url: http or https.
      size: in bytes.
      sha256: in hexadecimal digits.
    """

    url: str
    size: int
    sha256: str


class _BrokenError(Exception):
    """The download failed in a way that another attempt may mend."""


def _mismatch(path: os.PathLike | str, source: Source) -> str | None:
    """What is wrong with the file, in words."""
    size = os.path.getsize(path)
    if size != source.size:
        return f"expected {source.size} bytes, found {size}"
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == source.sha256 else f"expected SHA-256 {source.sha256}, found {found}"


def verify(path: os.PathLike | str, source: Source) -> None:
    """Raises ConfigError unless the file has the size and the SHA-256 of `source`."""
    try:
        wrong = _mismatch(path, source)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a file that can be read") from None
    if wrong:
        raise ConfigError(f"{path}: {wrong}; delete it and download {source.url} again")


def fetch(
    source: Source,
    target: os.PathLike | str,
    *,
    attempts: int = 5,
    timeout: float = 60.0,
    backoff: float = 1.0,
) -> None:
    """Downloads `source` to `target`, with a progress bar on a terminal, and verifies it.

    What has arrived is kept in `target`.part: the next attempt, or the next call, asks for the
    rest (HTTP Range) and starts again where the server sends the whole file all the same. A
    `target` that exists is only verified.

    Args:
      source: what to download.
      target: file to write; its directory exists. It appears when it is complete and verified.
      attempts: after timeouts, broken connections and errors of the server (5xx, 408, 429).
      timeout: seconds without a byte after which an attempt has failed.
      backoff: seconds before the second attempt, doubled before each further one.

    Raises: ConfigError if the attempts are used up, the server refuses (as 404), the file is
      not `source`, or it cannot be written.
    """
    target = pathlib.Path(target)
    if target.exists():
        verify(target, source)
        return
    part = target.with_name(target.name + ".part")
    failure = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(backoff * 2 ** (attempt - 1))
        try:
            resumed = _receive(source, part, timeout)
        except _BrokenError as error:
            failure = error
            continue
        failure = _mismatch(part, source)
        if failure is None:
            os.replace(part, target)
            return
        part.unlink()  # nothing that is added to it can mend it
        if not resumed:
            raise ConfigError(f"{source.url}: sent another file: {failure}; try again later")
    raise ConfigError(
        f"{source.url}: {failure}, {attempts} times; run the command again to resume, "
        "or get the file in another way and pass it as --archive"
    )


def _receive(source: Source, part: pathlib.Path, timeout: float) -> bool:
    """Adds to `part` what is missing of it; returns whether there was something before."""
    start = part.stat().st_size if part.exists() else 0
    if start >= source.size:
        return True  # verifying decides
    # Compressed in transit, ranges and sizes would not be those of the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "lnm_jax"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(source.url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the server's file ends before ours does
            part.unlink(missing_ok=True)
        if error.code in TRANSIENT or error.code >= 500:
            raise _BrokenError(f"HTTP {error.code} {error.reason}") from None
        raise ConfigError(
            f"{source.url}: HTTP {error.code} {error.reason}; "
            "get the file in another way and pass it as --archive"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from None
    with response:
        content_range = response.headers.get("Content-Range", "")
        if response.status != 206 or not content_range.startswith(f"bytes {start}-"):
            start = 0  # the server ignores ranges and sends the whole file
        _write(response, part, start, source)
    return bool(start)


def _write(response: http.client.HTTPResponse, part: pathlib.Path, start: int, source: Source):
    """Writes the response's bytes to `part` from `start` on, until source.size or an error."""
    from tqdm import tqdm

    have = start
    try:
        with (
            open(part, "r+b" if start else "wb") as file,
            # None: a bar on a terminal only.
            tqdm(
                desc=part.stem,
                total=source.size,
                initial=start,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            file.seek(start)
            # What a server sends beyond the size is not read: the checksum decides.
            while have < source.size:
                try:
                    chunk = response.read1(min(CHUNK, source.size - have))
                except (OSError, http.client.HTTPException) as error:
                    raise _BrokenError(_reason(error)) from None
                if not chunk:
                    raise _BrokenError(f"connection closed after {have} of {source.size} bytes")
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()  # gives a full disk its room back
        raise ConfigError(
            f"{part}: {error.strerror}; choose a --data-dir with room that can be written"
        ) from None


def _reason(error: Exception) -> str:
    """One line about a failed connection."""
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())
