"""Batches in memory and from disk: their order, their workers, and what happens when one fails."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from lnm_jax import data
from lnm_jax.data import Split, Stream, batches
from lnm_jax.errors import ConfigError

BATCH = 6


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two classes, 7 training and 4 test images of each."""
    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 4)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.jpg")
    return root


def load(tree, workers=0):
    return data.load("imagenet2012", directory=str(tree), image_size=16, workers=workers)


def in_memory(split):
    """Evaluation's examples of a stream as a `Split`."""
    images = np.stack([split.read(i, None) for i in range(len(split.labels))])
    return Split(images, split.labels)


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert {name: x.dtype for name, x in a.items()} == {name: x.dtype for name, x in b.items()}
        jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def in_threads(tree):
    return list(data.train_batches(load(tree).train, 3, BATCH, 0, 7))


@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
def test_every_image_is_trained_on_once_an_epoch(batch_size):
    images, epochs = 23, 4
    steps = data.steps_until(epochs, images, batch_size)
    stream = np.concatenate([batches.indices(5, step, images, batch_size) for step in range(steps)])
    orders = stream[: images * epochs].reshape(epochs, images)
    for order in orders:
        assert sorted(order) == list(range(images))
    assert len({tuple(order) for order in orders}) == epochs  # a fresh order each epoch


def test_a_batch_depends_on_seed_and_step_alone():
    split = Split(np.arange(100).reshape(-1, 1, 1, 1), np.arange(100))
    from_start = list(data.train_batches(split, 1, 32, 0, 9))
    assert_equal(data.train_batches(split, 1, 32, 5, 9), from_start[5:])
    other = next(data.train_batches(split, 2, 32, 5, 6))
    assert (other["label"] != from_start[5]["label"]).any()
    np.testing.assert_array_equal(from_start[5]["label"], batches.indices(1, 5, 100, 32))
    np.testing.assert_array_equal(from_start[5]["image"].ravel(), from_start[5]["label"])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing_and_a_restart_continues(tree, in_threads, workers):
    stream = load(tree, workers).train
    assert_equal(data.train_batches(stream, 3, BATCH, 2, 7), in_threads[2:])
    assert list(data.train_batches(stream, 3, BATCH, 4, 4)) == []


def test_order_and_labels_are_those_of_batches_in_memory(tree, in_threads):
    expected = list(data.train_batches(in_memory(load(tree).train), 3, BATCH, 0, 7))
    without = lambda those: [batch | {"image": 0 * batch["image"]} for batch in those]
    assert_equal(without(in_threads), without(expected))


def test_an_image_is_cropped_anew_each_epoch(tree):
    stream = load(tree).train
    count = len(stream.labels)
    first, second = data.train_batches(stream, 0, count, 0, 2)
    images = [  # in the order of the split
        batch["image"][np.argsort(batches.indices(0, epoch, count, count))]
        for epoch, batch in enumerate((first, second))
    ]
    assert (images[0] != images[1]).any((1, 2, 3)).all()


@pytest.mark.parametrize(("batch_size", "workers"), [(3, 0), (8, 0), (20, 0), (3, 2)])
def test_evaluation_counts_every_image_once_from_disk_as_in_memory(tree, batch_size, workers):
    stream = load(tree, workers).test
    seen = list(data.eval_batches(stream, batch_size))
    assert {batch["image"].shape for batch in seen} == {(batch_size, 16, 16, 3)}  # one program
    whole = {name: np.concatenate([batch[name] for batch in seen]) for name in seen[0]}
    count, split = len(stream.labels), in_memory(stream)
    np.testing.assert_array_equal(whole["mask"], np.arange(len(whole["mask"])) < count)
    np.testing.assert_array_equal(whole["label"][:count], stream.labels)
    np.testing.assert_array_equal(whole["image"][:count], split.images)
    assert_equal(seen, data.eval_batches(split, batch_size))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", [Split, Stream])
def test_processes_share_every_batch_without_gap_or_overlap(tree, kind, count):
    train, test = (in_memory(s) if kind is Split else s for s in load(tree)[:2])
    join = lambda shards: [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shards, strict=True)
    ]
    shards = [(rank, count) for rank in range(count)]
    parts = [data.train_batches(train, 3, BATCH, 0, 7, shard=s) for s in shards]
    assert_equal(join(parts), data.train_batches(train, 3, BATCH, 0, 7))
    parts = [data.eval_batches(test, BATCH, shard=s) for s in shards]
    assert_equal(join(parts), data.eval_batches(test, BATCH))
    with pytest.raises(ConfigError, match="6 images cannot be shared by 4 processes"):
        next(data.train_batches(train, 0, BATCH, 0, 1, shard=(0, 4)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_file_is_named_wherever_it_is_read(tree, tmp_path, workers):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "cat").symlink_to(tree / split / "cat")
        (tmp_path / split / "dog").mkdir()
        (tmp_path / split / "dog" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match=r"dog/bad\.jpg: .*config\.data\.skip_corrupt") as error:
        list(data.train_batches(load(tmp_path, workers).train, 0, 8, 0, 2))
    assert "\n" not in str(error.value)


SCRIPT = """
import signal, sys
from lnm_jax import data

if __name__ == "__main__":
    # A shell may start tests with Ctrl-C ignored, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = data.load("imagenet2012", directory=sys.argv[1], image_size=16, workers=1).train
    for _ in data.train_batches(stream, 0, 4, 0, 10**6):
        print("read", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_trains(tree, tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tree)],
        cwd=os.getcwd(),
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "read\n"
    if end == signal.SIGINT:
        os.killpg(process.pid, end)  # as a terminal does
    else:
        process.kill()
    # Workers hold the pipe too: it closes when the last of them has ended.
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -end
    assert errors.count("Traceback") == (end == signal.SIGINT)  # workers print none
