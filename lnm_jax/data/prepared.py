"""CIFAR and ImageNet through TensorFlow Datasets, without TensorFlow.

Both are read from what TensorFlow Datasets prepared (array_record); CIFAR is also downloaded and
prepared by it. ImageNet is read from a folder tree where it is not prepared.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pathlib
import re
import sys
import tarfile
from typing import Any, NamedTuple

import numpy as np

from lnm_jax.data import crops, folder
from lnm_jax.data.dataset import Dataset, Split, Stream
from lnm_jax.errors import ConfigError
from lnm_jax.files import cached, lock, stamps

INFO = "dataset_info.json"  # TensorFlow Datasets writes it last
IMAGENET = "imagenet2012"
# How published scores read it: 224 of 256 pixels of the short side, and no turn by EXIF.
AS_PUBLISHED = {"fraction": 0.875, "upright": False}
CHUNK = 256  # records read at a time
RETRIES = 3  # of a download


class Archive(NamedTuple):
    """The binary version of a CIFAR, as its authors publish it."""

    url: str
    sha256: str
    train: tuple[str, ...]  # files of records: a byte for each label, then 3x32x32 grey values
    test: tuple[str, ...]
    labels: dict[str, str]  # the file of names of each label, in the order of a record's


ARCHIVES = {
    "cifar10": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        labels={"label": "batches.meta.txt"},
    ),
    "cifar100": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        train=("train.bin",),
        test=("test.bin",),
        labels={"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    ),
}


def _mean_std(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, np.ndarray]:
    return {"mean": np.array(mean, np.float32), "std": np.array(std, np.float32)}


MEAN_STD = {  # of a training image's channels, in grey values 0 to 255
    # Over the 50,000 training images, as `dataset.mean_std` computes them.
    "cifar10": _mean_std((125.30692, 122.95039, 113.86538), (62.99322, 62.08871, 66.70490)),
    "cifar100": _mean_std((129.30417, 124.06996, 112.43405), (68.17024, 65.39181, 70.41837)),
    # torchvision's (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225), which the field uses. They
    # were estimated from a sample of resized images: recomputing gives other digits.
    IMAGENET: _mean_std((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


def load_cifar(*, name: str, directory: str | os.PathLike) -> Dataset:
    """CIFAR-10 or CIFAR-100 in memory: 50,000 and 10,000 images of 32x32x3, uint8.

    The first call downloads and prepares the set if it is not there; see `prepare_cifar`. Decoding
    takes a while, so the decoded arrays are kept beside the prepared set, in
    <directory>/<name>/<version>/lnm_jax, until it changes.

    Args:
      name: "cifar10", or "cifar100" with its 100 fine labels.
      directory: data_dir of TensorFlow Datasets, with `name`/<version>.

    Raises: ConfigError if the set is damaged, or as `prepare_cifar` does.
    References: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    builder = _open(locate(name, directory) or prepare_cifar(name, directory))
    splits = {split: Split(**_kept(builder, split, images=True)) for split in ("train", "test")}
    return Dataset(
        **splits,
        num_classes=builder.info.features["label"].num_classes,
        **MEAN_STD[name],
        split="the official training and test sets",
        classes=tuple(builder.info.features["label"].names),
    )


def prepare_cifar(name: str, directory: str | os.PathLike) -> pathlib.Path:
    """Writes `directory`/`name`/<version> as the official builder reads it, and returns it.

    Pixels, order and ids are those that the official builder prepares. It encodes images with
    TensorFlow; this gives it the same images as PNG made by Pillow. The version appears when it
    is complete. Processes that prepare the same set wait for each other. The archive is kept in
    `directory`/downloads, and not downloaded if it is there already.

    Raises: ConfigError if the archive cannot be downloaded or is another one; if `directory`
      cannot be written or is full.
    """
    root = pathlib.Path(directory)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with open(root / f".{name}.lock", "a") as file:
            lock(file, wait=True)
            if locate(name, root) is None:
                _build(name, root, _download(ARCHIVES[name], root / "downloads"))
    except (OSError, RuntimeError) as error:  # array_record raises the second
        reason = getattr(error, "strerror", None) or crops.one_line(error)
        raise ConfigError(
            f"{root}: {reason}; set config.data.directory to one with room that can be written"
        ) from None
    return locate(name, root)


def _download(archive: Archive, downloads: pathlib.Path) -> str:
    """Path of the archive, downloaded if it is not there yet, and verified."""
    import pooch

    file = archive.url.rsplit("/", 1)[-1]
    shelf = pooch.create(
        downloads,
        base_url="",
        registry={file: archive.sha256},
        urls={file: archive.url},
        retry_if_failed=RETRIES,
    )
    try:
        return shelf.fetch(file, progressbar=sys.stderr.isatty())
    except (OSError, ValueError) as error:  # the second: another SHA-256
        if getattr(error, "strerror", None):  # not the server's: the system's, of a file
            raise
        there = ", where another or a damaged one is" if (downloads / file).exists() else ""
        raise ConfigError(
            f"{archive.url}: {crops.one_line(error)}; get the file in another way and put it in "
            f"{downloads}{there}"
        ) from None


def _build(name: str, root: pathlib.Path, path: str) -> None:
    """Runs the official builder on the archive at `path`, with images encoded by Pillow."""
    import tensorflow_datasets as tfds
    from PIL import Image

    archive = ARCHIVES[name]

    class Cifar(tfds.builder_cls(name), skip_registration=True):
        def _split_generators(self, dl_manager):
            with tarfile.open(path) as tar:
                files = {
                    os.path.basename(member.name): tar.extractfile(member).read()
                    for member in tar
                    if member.isfile()
                }
            for key, file in archive.labels.items():
                self.info.features[key].names = files[file].decode("ascii").split()
            return {
                split: self._generate_examples(split, b"".join(files[part] for part in parts))
                for split, parts in (("train", archive.train), ("test", archive.test))
            }

        def _generate_examples(self, split, data):
            labels = len(archive.labels)
            records = np.frombuffer(data, np.uint8).reshape(-1, labels + 3 * 32 * 32)
            # The key orders the examples: it is the official builder's.
            for index, record in enumerate(records):
                image = record[labels:].reshape(3, 32, 32).transpose(1, 2, 0)
                example = dict(zip(archive.labels, record[:labels].tolist(), strict=True))
                example["id"] = f"{split}_{index:05d}"
                example["image"] = Image.fromarray(np.ascontiguousarray(image))
                yield index, example

    Cifar.name = name  # else it would be that of this class
    builder = Cifar(data_dir=os.fspath(root), file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()):  # standard output is the command's
        builder.download_and_prepare()


def load_imagenet(
    *,
    directory: str | os.PathLike,
    image_size: int = 224,
    skip_corrupt: bool = False,
    workers: int = 0,
    progress: bool = True,
) -> Dataset:
    """ImageNet (ILSVRC 2012), streamed; the validation set is the test split.

    Read from imagenet2012/<version> as TensorFlow Datasets prepares it, where it is there, else
    from a tree train/<wnid>/*.JPEG, val/<wnid>/*.JPEG, of which any classes will do: labels are
    positions among the sorted wnids. All prepared records are read once for their labels, which
    are then kept beside them.

    Args:
      directory: data_dir of TensorFlow Datasets, or the tree.
      image_size: of the examples, (image_size, image_size, 3), in pixels.
      skip_corrupt, workers, progress: see `folder.load`.
    Returns: mean and std are the constants that published results use.
    Raises: ConfigError if neither is there, or the set is damaged.
    References: Russakovsky et al. (2015), ImageNet large scale visual recognition challenge.
    """
    path = locate(IMAGENET, directory)
    if path is None:
        splits = folder.list_splits(directory, ("val",), skip_corrupt)
        fields = MEAN_STD[IMAGENET] | AS_PUBLISHED
        return folder.streamed(*splits, image_size, workers, progress=progress, **fields)
    builder = _open(path)

    def stream(split: str) -> Stream:
        labels = _kept(builder, split, images=False)["labels"]
        read = functools.partial(_read, path=path, split=split, size=image_size)
        return Stream(read, labels, (image_size, image_size, 3), workers)

    dataset = Dataset(
        train=stream("train"),
        test=stream("validation"),
        num_classes=builder.info.features["label"].num_classes,
        **MEAN_STD[IMAGENET],
        split="the official training set; the official validation set is the test set",
        classes=tuple(builder.info.features["label"].names),
        eval_crop=AS_PUBLISHED["fraction"],
    )
    return folder.without_corrupt(dataset, progress) if skip_corrupt else dataset


def _read(
    index: int, rng: np.random.Generator | None, *, path: pathlib.Path, split: str, size: int
) -> np.ndarray:
    """`Stream.read` of a prepared split."""
    try:
        record = _opened(path, split)[index]
    except Exception as error:  # array_record's, of no particular type
        raise _damaged(path, error) from None
    name = f"{path}: {split} image {index} ({record['file_name'].decode()})"
    return crops.read(record["image"], name, size, rng, **AS_PUBLISHED)


@functools.lru_cache(maxsize=2)
def _opened(path: pathlib.Path, split: str) -> Any:
    """Each process opens the files when it reads its first image."""
    return _source(_open(path), split)


def locate(name: str, directory: str | os.PathLike) -> pathlib.Path | None:
    """The newest prepared version `directory`/`name`/<version>, or None."""
    found = [path.parent for path in pathlib.Path(directory).glob(f"{name}/*/{INFO}")]
    found = [path for path in found if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def _open(path: pathlib.Path) -> Any:
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


def _source(builder: Any, split: str) -> Any:
    """Records with encoded images."""
    import tensorflow_datasets as tfds

    return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def _kept(builder: Any, split: str, *, images: bool) -> dict[str, np.ndarray]:
    """Labels, and if asked decoded images, of a split, kept beside it until its files change."""
    from PIL import Image
    from tqdm import tqdm

    path = pathlib.Path(builder.data_dir)

    def make():
        made = {"labels": []} | ({"images": []} if images else {})
        try:
            source = _source(builder, split)
            total = len(source)
            with tqdm(desc=f"{path.parent.name} {split}", total=total, disable=None) as bar:
                for start in range(0, total, CHUNK):
                    chunk = source.__getitems__(list(range(start, min(start + CHUNK, total))))
                    made["labels"] += [np.int32(record["label"]) for record in chunk]
                    if images:
                        encoded = (io.BytesIO(record["image"]) for record in chunk)
                        made["images"] += [np.asarray(Image.open(file)) for file in encoded]
                    bar.update(len(chunk))
        except Exception as error:  # array_record's, of no particular type
            raise _damaged(path, error) from None
        return {name: np.stack(values) for name, values in made.items()}

    files = sorted(file for file in path.iterdir() if "array_record" in file.name)
    parameters = {"split": split, "images": images, "files": stamps(path, files)}
    return cached(path / "lnm_jax", parameters, make)


def _damaged(path: pathlib.Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path}: damaged ({crops.one_line(error)}); delete this directory and prepare it again"
    )
