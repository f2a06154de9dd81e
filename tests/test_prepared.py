"""CIFAR from its archive to arrays, and ImageNet, as TensorFlow Datasets prepares them."""

import contextlib
import hashlib
import io
import logging
import os
import pickle
import resource
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pooch
import pytest
import requests
from PIL import Image

from lnm_jax.data import prepared
from lnm_jax.errors import ConfigError

CLASSES = {"cifar10": (10,), "cifar100": (20, 100)}  # of each label of a record


def records(name, images):
    """Files of a small CIFAR in the binary format: labels, then 3x32x32 grey values, a record."""
    archive, random = prepared.ARCHIVES[name], np.random.default_rng(0)
    files = {}
    for file in (*archive.train, *archive.test):
        files[file] = random.integers(0, 256, (images, len(CLASSES[name]) + 3072), np.uint8)
        files[file][:, : len(CLASSES[name])] %= np.array(CLASSES[name], np.uint8)
    return files


def pack(name, files):
    """The archive of these records, and names of the classes."""
    archive, buffer = prepared.ARCHIVES[name], io.BytesIO()
    files = {file: data.tobytes() for file, data in files.items()}
    for file, classes in zip(archive.labels.values(), CLASSES[name], strict=True):
        files[file] = ("\n".join(f"class{i}" for i in range(classes)) + "\n\n").encode()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for file, data in files.items():
            member = tarfile.TarInfo(f"cifar-binary/{file}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def publish(monkeypatch):
    """Makes an archive the one that is expected, at an address that nobody answers."""

    def publish(name, data):
        expected = prepared.ARCHIVES[name]._replace(
            url="http://127.0.0.1:9/archive.tar.gz", sha256=hashlib.sha256(data).hexdigest()
        )
        monkeypatch.setitem(prepared.ARCHIVES, name, expected)

    return publish


def shelve(directory, data):
    (directory / "downloads").mkdir()
    (directory / "downloads" / "archive.tar.gz").write_bytes(data)


@pytest.fixture
def archive(publish):
    """That of a CIFAR-10 of 30 images."""
    data = pack("cifar10", records("cifar10", 5))
    publish("cifar10", data)
    return data


@pytest.fixture
def small(tmp_path, archive):
    """A directory with the archive."""
    shelve(tmp_path, archive)
    return tmp_path


def load(directory):
    return prepared.load_cifar(name="cifar10", directory=directory)


def refused(directory):
    """The message, which is one line."""
    with pytest.raises(ConfigError) as error:
        load(directory)
    assert "\n" not in str(error.value)
    return str(error.value)


# Downloading


@pytest.fixture
def server(archive, monkeypatch):
    """Answers requests for the archive as the list says, a word a request, then well."""
    plan = []

    def download(self, url, output_file, pooch):
        how = plan.pop(0) if plan else "good"
        if how == "404":
            raise requests.HTTPError("404 Client Error: Not Found")
        with open(output_file, "wb") as file:
            file.write({"truncates": archive[:5000], "other": bytes(9)}.get(how, archive))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between attempts
    return plan


def test_cifar_is_downloaded_once_whatever_the_server_does(server, tmp_path):
    server += ["truncates", "404", "other"]
    for _ in range(2):
        dataset = load(tmp_path / "new")
        assert (len(dataset.train.labels), len(dataset.test.labels)) == (25, 5)
        assert (tmp_path / "new" / "downloads" / "archive.tar.gz").is_file()
        server[:] = ["good"]
    assert server == ["good"]  # nobody asked again


@pytest.mark.parametrize(
    ("how", "reason"), [("404", "404 Client Error"), ("other", "SHA256 hash of downloaded file")]
)
def test_a_download_that_fails_says_so_in_one_line(server, tmp_path, how, reason):
    server += [how] * (prepared.RETRIES + 2)
    message = refused(tmp_path)
    assert message.startswith(f"{prepared.ARCHIVES['cifar10'].url}: ")
    assert reason in message
    assert message.endswith(f"put it in {tmp_path / 'downloads'}")
    assert os.listdir(tmp_path / "downloads") == []
    assert server == [how]


def test_without_a_network_a_damaged_archive_is_named(small, monkeypatch):
    monkeypatch.setattr(prepared, "RETRIES", 0)
    path = small / "downloads" / "archive.tar.gz"
    path.write_bytes(path.read_bytes()[:-1])
    message = refused(small)
    assert "Connection refused" in message
    assert message.endswith(f"{small / 'downloads'}, where another or a damaged one is")


# Preparing


@pytest.mark.parametrize("name", CLASSES)
def test_the_official_builder_reads_what_is_prepared(tmp_path, publish, capsys, name):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import hashing

    files = records(name, 4)
    data = pack(name, files)
    publish(name, data)
    shelve(tmp_path, data)
    prepared.prepare_cifar(name, tmp_path)
    assert capsys.readouterr().out == ""

    archive, labels = prepared.ARCHIVES[name], len(CLASSES[name])
    sources = tfds.data_source(name, data_dir=tmp_path, download=False)
    ours, kept = (prepared.load_cifar(name=name, directory=str(tmp_path)) for _ in range(2))
    for split in ("train", "test"):
        rows = np.concatenate([files[file] for file in getattr(archive, split)])
        order = sorted(range(len(rows)), key=hashing.Hasher(split).hash_key)
        for index, example in zip(order, sources[split], strict=True):
            image = rows[index, labels:].reshape(3, 32, 32).transpose(1, 2, 0)
            np.testing.assert_array_equal(example["image"], image)
            assert example["id"].decode() == f"{split}_{index:05d}"
            assert example["label"] == rows[index, labels - 1]
            if name == "cifar100":
                assert example["coarse_label"] == rows[index, 0]
        for dataset in (ours, kept):
            images, found = getattr(dataset, split)
            assert (images.dtype, found.dtype) == (np.uint8, np.int32)
            np.testing.assert_array_equal(images, [e["image"] for e in sources[split]])
            np.testing.assert_array_equal(found, [e["label"] for e in sources[split]])
    info = tfds.builder(name, data_dir=tmp_path).info
    assert info.features["label"].names[1] == "class1"
    assert ours.num_classes == len(ours.classes) == CLASSES[name][-1]
    assert ours.classes[1] == "class1"
    np.testing.assert_array_equal(ours.mean, prepared.MEAN_STD[name]["mean"])


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_nothing_half_prepared(small, server, there):
    if not there:
        (small / "downloads" / "archive.tar.gz").unlink()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with contextlib.ExitStack() as stack:  # no more than a few records' worth, as a quota does
        stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
        message = refused(small)
    assert message.startswith(f"{small}: ")
    assert "File too large" in message
    assert message.endswith("set config.data.directory to one with room that can be written")
    assert len(load(small).train.labels) == 25


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file" / "d").startswith(
        f"{tmp_path / 'file' / 'd'}: Not a directory"
    )


def test_who_prepares_the_same_set_takes_turns(small, monkeypatch):
    build, builds = prepared._build, []
    monkeypatch.setattr(prepared, "_build", lambda *args: builds.append(args) or build(*args))
    # A lock belongs to who opened the file: to a thread as well as to a process.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(prepared.prepare_cifar, ["cifar10"] * 2, [small] * 2))
    assert len(builds) == 1


# Reading


def test_decoded_images_are_kept_until_the_set_changes(small, monkeypatch):
    read, source = [], prepared._source
    monkeypatch.setattr(prepared, "_source", lambda *args: read.append(args[1]) or source(*args))
    load(small)
    load(small)
    assert read == ["train", "test"]
    os.utime(small / "cifar10" / "3.0.2" / "cifar10-train.array_record-00000-of-00001")
    load(small)  # written again
    assert read == ["train", "test"] * 2


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("dataset_info.json", lambda data: b"{", "delete this directory and prepare"),
        ("test", lambda data: data[:-1000], "delete this directory and prepare"),
        ("test", lambda data: bytes(len(data)), "delete this directory and prepare"),
        ("test", lambda data: None, "delete this directory and prepare"),  # missing
        (
            "dataset_info.json",
            lambda data: data.replace(b"array_record", b"tfrecord"),
            "prepared as tfrecord",
        ),
    ],
)
def test_a_damaged_set_is_named_in_one_line(small, name, damage, expected):
    path = prepared.prepare_cifar("cifar10", small)
    file = path / name.replace("test", "cifar10-test.array_record-00000-of-00001")
    data = damage(file.read_bytes())
    file.write_bytes(data) if data else file.unlink()
    message = refused(small)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_the_newest_version_is_read(tmp_path):
    for version in ("3.0.2", "3.0.10", "3.0.9", "incomplete.ABCDEF_3.0.11"):
        (tmp_path / "cifar10" / version).mkdir(parents=True)
        (tmp_path / "cifar10" / version / "dataset_info.json").touch()
    assert prepared.locate("cifar10", tmp_path).name == "3.0.10"


# ImageNet


def encode(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()


def write(name, directory, splits):
    """Prepares examples under the features and the version of the official builder."""
    import tensorflow_datasets as tfds

    official = tfds.builder(name, data_dir=directory / "unused")

    class Synthetic(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = official.version

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=official.info.features)

        def _split_generators(self, dl_manager):
            return {split: iter(enumerate(examples)) for split, examples in splits.items()}

        def _generate_examples(self):
            raise AssertionError

    Synthetic.name = name
    Synthetic(data_dir=directory, file_format="array_record").download_and_prepare(
        download_dir=directory / "downloads"
    )
    return directory / name / str(official.version)


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Grey images of 20 i for image i; training image 4 of 12, and all of class 2, are corrupt."""
    splits = {}
    for split, images in (("train", 12), ("validation", 6)):
        splits[split] = [
            {
                "file_name": f"n{i % 3:08d}_{i}.JPEG",
                "image": encode(np.full((40 + i, 50, 3), 20 * i, np.uint8)),
                "label": i % 3,
            }
            for i in range(images)
        ]
    for example in (splits["train"][4], *splits["train"][2::3]):
        example["image"] = b"corrupt"
    write("imagenet2012", tmp_path, splits)
    return tmp_path


def load_imagenet(directory, skip_corrupt=False):
    return prepared.load_imagenet(
        directory=directory, image_size=32, workers=3, skip_corrupt=skip_corrupt
    )


def images_of(stream):
    """Which image (grey value / 20) stands at each readable index."""
    found = dict.fromkeys(range(len(stream.labels)))
    for index in found:
        with contextlib.suppress(ConfigError):
            found[index] = round(stream.read(index, None).mean() / 20)
    return found


def test_imagenet_is_streamed_with_its_labels(imagenet):
    dataset = load_imagenet(imagenet)
    assert (dataset.num_classes, dataset.test.workers) == (1000, 3)
    assert dataset.test.shape == (32, 32, 3)
    images = images_of(dataset.test)
    assert sorted(images.values()) == list(range(6))
    for index, image in images.items():
        assert dataset.test.labels[index] == image % 3
        example = dataset.test.read(index, np.random.default_rng(0))
        assert (example.shape, example.dtype) == ((32, 32, 3), np.uint8)
    # A worker process reads the same, from files that it opens itself.
    worker = dataset.test._replace(read=pickle.loads(pickle.dumps(dataset.test.read)))
    assert images_of(worker) == images


def test_reading_labels_decodes_no_image_and_happens_once(imagenet, monkeypatch):
    refuse = lambda *args, **kwargs: pytest.fail("read")
    monkeypatch.setattr(Image, "open", refuse)
    labels = load_imagenet(imagenet).train.labels
    assert sorted(labels) == sorted([0, 1, 2] * 4)
    assert labels.dtype == np.int32
    monkeypatch.setattr(prepared, "_source", refuse)
    np.testing.assert_array_equal(load_imagenet(imagenet).train.labels, labels)


def test_a_corrupt_image_is_named_or_another_of_its_class_stands_in(imagenet, caplog):
    strict, skipping = load_imagenet(imagenet).train, load_imagenet(imagenet, True).train
    caplog.set_level(logging.WARNING)
    before, after = images_of(strict), images_of(skipping)
    corrupt = [index for index, image in before.items() if image is None]
    assert len(corrupt) == 5
    with pytest.raises(ConfigError, match=r"train image \d+ \(n\d+_\d+\.JPEG\).*skip_corrupt"):
        strict.read(corrupt[0], None)
    assert after == images_of(skipping)  # always the same one
    for index, image in after.items():
        label = strict.labels[index]
        if before[index] is not None:
            assert image == before[index]
        elif label == 1:
            assert image % 3 == 1
        else:
            assert image is None  # no image of class 2 is left
    assert len(caplog.records) == 5  # once an image
    with pytest.raises(ConfigError, match="every other image of its class"):
        skipping.read(int(np.flatnonzero(strict.labels == 2)[0]), None)
