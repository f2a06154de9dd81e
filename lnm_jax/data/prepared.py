"""CIFAR and ImageNet as TensorFlow Datasets prepares them (array_record), without TensorFlow."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lnm_jax.data import corrupt
from lnm_jax.data.dataset import Dataset, Split, Stream
from lnm_jax.errors import ConfigError

INFO = "dataset_info.json"  # TensorFlow Datasets writes it last
IMAGENET = "imagenet2012"
CHUNK = 256  # records read at a time

_log = logging.getLogger(__name__)


def locate(name: str, directory: os.PathLike | str) -> pathlib.Path | None:
    """The newest prepared version `directory`/`name`/<version>, or None."""
    found = [path.parent for path in pathlib.Path(directory).glob(f"{name}/*/{INFO}")]
    found = [path for path in found if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def open_builder(path: pathlib.Path) -> Any:
    """The builder of a prepared version, able to give data sources.

    Raises: ConfigError if it is damaged or holds another format than array_record.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(path)
        form = builder.info.file_format.value
    except Exception as error:  # of many types: it parses JSON, protocol buffers, versions
        raise _damaged(path, error) from None
    if form != "array_record":
        raise ConfigError(
            f"{path}: prepared as {form}, which needs TensorFlow; prepare it as array_record "
            "in another directory"
        )
    return builder


def load_cifar(*, name: str, directory: os.PathLike | str) -> Dataset:
    """CIFAR-10 or CIFAR-100 in memory: 50,000 and 10,000 images of 32x32x3, uint8.

    Decoding takes a while, so the decoded arrays are kept next to the prepared set, if that can
    be written, and read again as long as the set is the same.

    Args:
      name: "cifar10", or "cifar100" with its 100 fine labels.
      directory: data_dir of TensorFlow Datasets, with `name`/<version>.

    Raises: ConfigError if the set is not prepared, or is damaged.
    References: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    # Here, as statistics can be run as a command, which Python warns of if it is imported before.
    from lnm_jax.data.statistics import STATISTICS

    path = locate(name, directory)
    if path is None:
        raise ConfigError(
            f"{directory}: {name} is not prepared here; run "
            f"python -m lnm_jax.data.prepare {name} --data-dir {directory}"
        )
    builder = open_builder(path)
    splits = {}
    for split in ("train", "test"):
        decode = functools.partial(_decode, builder, split)
        splits[split] = Split(**_cached(path, f"{split}-decoded", decode))
    return Dataset(
        **splits,
        num_classes=builder.info.features["label"].num_classes,
        **STATISTICS[name]._asdict(),
        split="the official training and test sets",
    )


def load_imagenet(
    *,
    directory: os.PathLike | str,
    image_size: int = 224,
    workers: int = 0,
    skip_corrupt: bool = False,
) -> Dataset:
    """ImageNet (ILSVRC 2012), streamed; the validation set is the test split.

    All records are read once for their labels, which are then kept next to the prepared set, if
    that can be written.

    Args:
      directory: data_dir of TensorFlow Datasets, with imagenet2012/<version>.
      image_size: of the examples, (image_size, image_size, 3), in pixels.
      workers: see `Stream`.
      skip_corrupt: whether the next image of the same class stands in for one that cannot be
        decoded, which is logged and counted; else reading it is an error.

    Raises: ConfigError if the set is not prepared, or is damaged.
    References: Russakovsky et al. (2015), ImageNet large scale visual recognition challenge.
    """
    # As in `load_cifar`.
    from lnm_jax.data.statistics import STATISTICS

    path = locate(IMAGENET, directory)
    if path is None:
        raise ConfigError(
            f"{directory}: {IMAGENET} is not prepared here; with TensorFlow installed run tfds "
            f"build {IMAGENET} --data_dir={directory} --file_format=array_record, or give a tree "
            "train/<wnid>, val/<wnid>"
        )
    builder = open_builder(path)

    def stream(split: str) -> Stream:
        read_labels = functools.partial(_labels, builder, split)
        labels = _cached(path, f"{split}-labels", read_labels)["labels"]
        reader = corrupt.Reader(_Read(path, split, image_size), labels, skip_corrupt)
        return Stream(reader, labels, (image_size, image_size, 3), workers)

    return Dataset(
        train=stream("train"),
        test=stream("validation"),
        num_classes=builder.info.features["label"].num_classes,
        **STATISTICS[IMAGENET]._asdict(),
        split="the official training set; the official validation set is the test set",
    )


class _Read:
    """`corrupt.Read` of a prepared split.

    Each process opens the files when it reads its first image.
    """

    def __init__(self, path: pathlib.Path, split: str, image_size: int):
        self.path, self.split, self.image_size = path, split, image_size
        self._source: Any = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_source": None}

    def __call__(self, index: int, rng: np.random.Generator | None) -> np.ndarray:
        from lnm_jax.data import jpeg

        if self._source is None:
            self._source = _source(open_builder(self.path), self.split)
        try:
            record = self._source[index]
        except Exception as error:  # array_record's, of no particular type
            raise _damaged(self.path, error) from None
        name = f"{self.path}: {self.split} image {index} ({record['file_name'].decode()})"
        return jpeg.read(record["image"], name, self.image_size, rng)


def _source(builder: Any, split: str) -> Any:
    """Records with encoded images."""
    import tensorflow_datasets as tfds

    if split not in builder.info.splits:
        raise ConfigError(f"{builder.data_dir}: has no split {split}; prepare it again")
    return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def _records(builder: Any, split: str) -> Iterator[dict]:
    """All records in order, with encoded images and a progress bar on a terminal."""
    from tqdm import tqdm

    path = pathlib.Path(builder.data_dir)
    try:
        source = _source(builder, split)
        images = len(source)
        with tqdm(desc=f"{path.parent.name} {split}", total=images, disable=None) as bar:
            for start in range(0, images, CHUNK):
                chunk = source.__getitems__(list(range(start, min(start + CHUNK, images))))
                yield from chunk
                bar.update(len(chunk))
    except ConfigError:
        raise
    except Exception as error:  # array_record's, of no particular type
        raise _damaged(path, error) from None


def _labels(builder: Any, split: str) -> dict[str, np.ndarray]:
    labels = [record["label"] for record in _records(builder, split)]
    return {"labels": np.array(labels, np.int32)}


def _decode(builder: Any, split: str) -> dict[str, np.ndarray]:
    from PIL import Image

    number = builder.info.splits[split].num_examples
    images = np.empty((number, *builder.info.features["image"].shape), np.uint8)
    labels = np.empty(number, np.int32)
    for index, record in enumerate(_records(builder, split)):
        images[index] = Image.open(io.BytesIO(record["image"]))
        labels[index] = record["label"]
    return {"images": images, "labels": labels}


def _cached(
    path: pathlib.Path, name: str, read: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `read` returns, kept as `path`/lnm_jax-`name`.npz until the prepared files change."""
    cache = path / f"lnm_jax-{name}.npz"
    files = sorted(file for file in path.iterdir() if "array_record" in file.name)
    stats = [(file.name, file.stat()) for file in files]
    key = str((path.name, [(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]))
    try:
        with open(cache, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["key"]) == key:
                return {part: arrays[part] for part in arrays.files if part != "key"}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("%s: not used, as it cannot be read (%s)", cache, error)
    arrays = read()
    partial = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            np.savez(file, key=key, **arrays)
        os.replace(partial, cache)
    except OSError as error:
        _log.info("%s: not kept (%s)", cache, error)
        with contextlib.suppress(OSError):
            partial.unlink()
    return arrays


def _damaged(path: pathlib.Path, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ConfigError(f"{path}: damaged ({reason}); delete this directory and prepare it again")
