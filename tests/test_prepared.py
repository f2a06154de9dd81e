"""Reading prepared sets, written here by TensorFlow Datasets' own builder."""

import io
import logging
import os
import pickle

import numpy as np
import pytest

from lnm_jax.data import prepared, statistics
from lnm_jax.errors import ConfigError


def encode(image, form):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def write(name, directory, splits, file_format="array_record"):
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
    Synthetic(data_dir=directory, file_format=file_format).download_and_prepare(
        download_dir=directory / "downloads"
    )
    return directory / name / str(official.version)


def cifar(name, images=30):
    """Examples of both splits by id."""
    random = np.random.default_rng(0)
    splits = {}
    for split in ("train", "test"):
        splits[split] = [
            {
                "id": f"{split}_{i:05d}",
                "image": random.integers(0, 256, (32, 32, 3), dtype=np.uint8),
                "label": i % 10,
            }
            | ({"coarse_label": (i + 7) % 20} if name == "cifar100" else {})
            for i in range(images)
        ]
    return splits


def write_cifar(name, directory, splits):
    encoded = {
        split: [example | {"image": encode(example["image"], "PNG")} for example in examples]
        for split, examples in splits.items()
    }
    return write(name, directory, encoded)


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_as_tensorflow_datasets_reads_it(tmp_path, name, classes):
    import tensorflow_datasets as tfds

    write_cifar(name, tmp_path, cifar(name))
    dataset = prepared.load_cifar(name=name, directory=tmp_path)
    cached = prepared.load_cifar(name=name, directory=str(tmp_path))
    for split in ("train", "test"):
        official = list(tfds.data_source(name, split=split, data_dir=tmp_path, download=False))
        for found in (getattr(dataset, split), getattr(cached, split)):
            assert (found.images.dtype, found.labels.dtype) == (np.uint8, np.int32)
            np.testing.assert_array_equal(found.images, [e["image"] for e in official])
            np.testing.assert_array_equal(found.labels, [e["label"] for e in official])
    assert dataset.num_classes == classes
    np.testing.assert_array_equal(dataset.mean, statistics.STATISTICS[name].mean)


def test_decoded_images_are_kept_until_the_set_changes(tmp_path, monkeypatch):
    path = write_cifar("cifar10", tmp_path, cifar("cifar10"))
    decoded = []
    decode = prepared._decode
    monkeypatch.setattr(prepared, "_decode", lambda *args: decoded.append(args[1]) or decode(*args))

    def load():
        decoded.clear()
        images = prepared.load_cifar(name="cifar10", directory=tmp_path).train.images
        return images, list(decoded)

    first, what = load()
    assert what == ["train", "test"]
    assert load()[1] == []
    os.utime(path / "cifar10-train.array_record-00000-of-00001")  # written again
    assert load()[1] == ["train", "test"]
    cache = path / "lnm_jax-train-decoded.npz"
    cache.write_bytes(cache.read_bytes()[:-100])
    images, what = load()
    assert what == ["train"]
    np.testing.assert_array_equal(images, first)
    # Where nothing can be written, nothing is kept, and nothing is left over.
    for file in path.glob("lnm_jax*"):
        file.unlink()
    before = sorted(os.listdir(path))

    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(prepared.os, "replace", refuse)
    assert load()[1] == ["train", "test"]
    assert sorted(os.listdir(path)) == before


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_unprepared_directory_gets_the_command_to_run(tmp_path, name):
    command = f"python -m lnm_jax.data.prepare {name} --data-dir {tmp_path}"
    for directory in ("", name, f"{name}/3.0.2"):  # the last one without its information
        (tmp_path / directory).mkdir(exist_ok=True)
        with pytest.raises(ConfigError) as error:
            prepared.load_cifar(name=name, directory=tmp_path)
        assert str(error.value).endswith(command)
    with pytest.raises(ConfigError, match=r"not prepared here.*tfds build imagenet2012"):
        prepared.load_imagenet(directory=tmp_path, workers=0, skip_corrupt=False)


@pytest.mark.parametrize("damage", ["information", "truncated", "missing", "garbage"])
def test_a_damaged_set_is_named_in_one_line(tmp_path, damage):
    path = write_cifar("cifar10", tmp_path, cifar("cifar10"))
    file = path / "cifar10-test.array_record-00000-of-00001"
    if damage == "information":
        (path / "dataset_info.json").write_text("{")
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:70_000])
    elif damage == "garbage":
        file.write_bytes(bytes(file.stat().st_size))
    else:
        file.unlink()
    with pytest.raises(ConfigError, match=r"damaged .*delete this directory and prepare") as error:
        prepared.load_cifar(name="cifar10", directory=tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_the_newest_version_is_read(tmp_path):
    for version in ("3.0.2", "3.0.10", "3.0.9", "3.0.11.incomplete"):
        (tmp_path / "cifar10" / version).mkdir(parents=True)
        (tmp_path / "cifar10" / version / "dataset_info.json").touch()
    assert prepared.locate("cifar10", tmp_path).name == "3.0.10"


# --- ImageNet -------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Grey images of 20 i for image i; training image 4 of 12, and all of class 2, are corrupt."""
    splits = {}
    for split, images in (("train", 12), ("validation", 6)):
        splits[split] = [
            {
                "file_name": f"n{i % 3:08d}_{i}.JPEG",
                "image": encode(np.full((40 + i, 50, 3), 20 * i, np.uint8), "JPEG"),
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
    found = {}
    for index in range(len(stream.labels)):
        try:
            found[index] = round(stream.read(index, None).mean() / 20)
        except ConfigError:
            found[index] = None
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
    from PIL import Image

    def refuse(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image, "open", refuse)
    labels = load_imagenet(imagenet).train.labels
    assert sorted(labels) == sorted([0, 1, 2] * 4)
    assert labels.dtype == np.int32
    monkeypatch.setattr(prepared, "_records", refuse)
    np.testing.assert_array_equal(load_imagenet(imagenet).train.labels, labels)


def test_a_corrupt_image_is_named(imagenet):
    train = load_imagenet(imagenet).train
    corrupt = [index for index, image in images_of(train).items() if image is None]
    assert len(corrupt) == 5
    with pytest.raises(ConfigError, match=r"train image \d+ \(n\d+_\d+\.JPEG\).*skip_corrupt"):
        train.read(corrupt[0], None)


def test_another_image_of_the_class_stands_in_for_a_corrupt_one(imagenet, caplog):
    strict, skipping = load_imagenet(imagenet).train, load_imagenet(imagenet, True).train
    caplog.set_level(logging.WARNING)
    before, after = images_of(strict), images_of(skipping)
    assert after == images_of(skipping)  # always the same one
    for index, image in after.items():
        label = strict.labels[index]
        if before[index] is not None:
            assert image == before[index]
        elif label == 1:
            assert image % 3 == 1
        else:
            assert image is None  # no image of class 2 is left
    assert len(skipping.read.skipped) == 5
    assert len(caplog.records) == 5  # once an image
    with pytest.raises(ConfigError, match="every other image of its class"):
        skipping.read(int(np.flatnonzero(strict.labels == 2)[0]), None)
