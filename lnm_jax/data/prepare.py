"""Prepares CIFAR for TensorFlow Datasets, without TensorFlow.

python -m lnm_jax.data.prepare cifar10 --data-dir D                   downloads the archive
python -m lnm_jax.data.prepare cifar10 --data-dir D --archive FILE    uses this one
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import os
import pathlib
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lnm_jax.data import download, prepared
from lnm_jax.errors import ConfigError

NAMES = ("cifar10", "cifar100")
SHAPE = (3, 32, 32)  # of an image in the archive: channels come first
LARGEST = 1 << 28  # bytes of a member: the largest there is has 154 MB


def prepare(
    name: str,
    *,
    directory: os.PathLike | str,
    archive: os.PathLike | str | None = None,
    source: download.Source | None = None,
) -> bool:
    """Writes `directory`/`name`/<version> as the official builder reads it (array_record).

    Pixels, order and ids are those that the official builder prepares. It encodes images with
    TensorFlow; this gives it the same images as PNG made by Pillow. The directory appears when
    it is complete. Processes that prepare the same set wait for each other.

    Args:
      name: "cifar10" or "cifar100".
      directory: data_dir of TensorFlow Datasets.
      archive: the binary version as .tar.gz; None downloads it to `directory`/downloads.
      source: what the archive must be; None for what the official builder has registered.

    Returns: whether anything had to be done.
    Raises: ConfigError if the archive cannot be had, is not `source`, or is damaged; if
      `directory` cannot be written or is full.
    References: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    import tensorflow_datasets as tfds

    root = pathlib.Path(directory)
    with _written(root):
        root.mkdir(parents=True, exist_ok=True)
    # Where the builder works, out of sight of whoever looks for the finished set.
    work = root / f".{name}.preparing"
    with _lock(root / f".{name}.lock"):
        official = tfds.builder(name, data_dir=os.fspath(work))
        target = root / name / str(official.version)
        if (target / prepared.INFO).exists():
            prepared.open_builder(target)  # complains if it is there but cannot be read
            return False
        # The builder knows its files, but says so in a private field only.
        layout = official._cifar_info
        registered = official.url_infos[layout.url]
        source = source or download.Source(
            layout.url, int(registered.size), str(registered.checksum)
        )
        if archive is None:
            archive = root / "downloads" / source.url.rsplit("/", 1)[-1]
            with _written(root):
                archive.parent.mkdir(exist_ok=True)
                download.fetch(source, archive)
        else:
            download.verify(archive, source)
        files = _read(archive, layout)
        _check(archive, files, layout, official.info.features)
        try:
            with _written(root):
                shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
                _build(type(official), name, work, files)
                target.parent.mkdir(exist_ok=True)
                os.rename(work / name / target.name, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):
                target.parent.rmdir()  # only if it is empty
    return True


def _read(archive: os.PathLike | str, layout: Any) -> dict[str, bytes]:
    """The files that `layout` names. Nothing is unpacked to disk, so nothing can escape it."""
    wanted = {
        layout.prefix + name: name
        for name in (*layout.train_files, *layout.test_files, *layout.label_files)
    }
    files = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                # Regular files only: a link could name another file, of any name.
                if member.name in wanted and member.isreg() and member.size <= LARGEST:
                    files[wanted[member.name]] = tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{archive}: truncated or not a .tar.gz ({reason}); download it again"
        ) from None
    if missing := sorted(set(wanted.values()) - set(files)):
        raise ConfigError(
            f"{archive}: has no file {layout.prefix}{missing[0]}; take the binary version"
        )
    return files


def _check(archive: os.PathLike | str, files: dict, layout: Any, features: Any) -> None:
    """Raises ConfigError unless all records are whole and all labels have a name."""
    keys = layout.label_keys
    for key, name in zip(keys, layout.label_files, strict=True):
        names, classes = len(_names(files[name])), features[key].num_classes
        if names != classes:
            raise ConfigError(
                f"{archive}: {name} has {names} names, not {classes}; download it again"
            )
    for name in (*layout.train_files, *layout.test_files):
        length = len(keys) + int(np.prod(SHAPE))
        if not files[name] or len(files[name]) % length:
            raise ConfigError(
                f"{archive}: {name} has {len(files[name])} bytes, which are not whole records "
                f"of {length}; download it again"
            )
        labels = np.frombuffer(files[name], np.uint8).reshape(-1, length)[:, : len(keys)].max(0)
        for key, largest in zip(keys, labels, strict=True):
            if largest >= features[key].num_classes:
                raise ConfigError(
                    f"{archive}: {name} has a {key} {largest}, more than there are; "
                    "download it again"
                )


def _names(file: bytes) -> list[str]:
    return [name for name in file.decode("ascii", "replace").split("\n") if name]


def _png(image: np.ndarray) -> bytes:
    """A uint8 (H, W, C) image, losslessly."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _build(official: type, name: str, directory: pathlib.Path, files: dict[str, bytes]) -> None:
    """Runs the official builder in `directory` on `files` instead of a download."""
    import tensorflow_datasets as tfds

    class Cifar(official, skip_registration=True):
        VERSION = official.VERSION

        def _split_generators(self, dl_manager):
            layout = self._cifar_info
            for key, file in zip(layout.label_keys, layout.label_files, strict=True):
                self.info.features[key].names = _names(files[file])
            return {
                "train": self._generate_examples("train_", layout.train_files),
                "test": self._generate_examples("test_", layout.test_files),
            }

        def _generate_examples(self, split_prefix, filepaths):
            keys = self._cifar_info.label_keys
            data = np.frombuffer(b"".join(files[file] for file in filepaths), np.uint8)
            records = data.reshape(-1, len(keys) + int(np.prod(SHAPE)))
            # The key orders the examples: it is the official builder's.
            for index, record in enumerate(records):
                image = record[len(keys) :].reshape(SHAPE).transpose(1, 2, 0)
                example = {key: int(label) for key, label in zip(keys, record, strict=False)}
                example["id"] = f"{split_prefix}{index:05d}"
                example["image"] = _png(np.ascontiguousarray(image))
                yield index, example

    Cifar.name = name  # else it would be that of this class
    builder = Cifar(data_dir=os.fspath(directory), file_format="array_record")
    # It prints where it works, which is not where the set will be.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(
            download_dir=os.fspath(directory / "downloads"),
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )


@contextlib.contextmanager
def _written(directory: pathlib.Path) -> Iterator[None]:
    """Says in one line that `directory` cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # array_record raises the second
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise ConfigError(
            f"{directory}: {reason}; choose a --data-dir with room that can be written"
        ) from None


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    """Holds the lock; the system releases it when the process ends, however it does."""
    with contextlib.ExitStack() as stack:
        with _written(path.parent):
            file = stack.enter_context(open(path, "a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{path}: waiting for another process to prepare this", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="prepare", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data-dir", required=True, help="where prepared sets are kept")
    parser.add_argument("--archive", help="the downloaded .tar.gz, binary version")
    given = parser.parse_args(argv)
    try:
        done = prepare(given.name, directory=given.data_dir, archive=given.archive)
    except ConfigError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 2
    print(f"{given.name} {'is' if done else 'was already'} prepared in {given.data_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
