"""Batches of a stream: their order, their workers, and what happens when one fails."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from lnm_jax.data import batches, folder, streaming
from lnm_jax.data.dataset import Split
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


def load(tree, workers=0, **options):
    return folder.load_imagenet_tree(directory=str(tree), image_size=16, workers=workers, **options)


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert {name: x.dtype for name, x in a.items()} == {name: x.dtype for name, x in b.items()}
        jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def in_threads(tree):
    return list(streaming.train_batches(load(tree).train, 3, BATCH, 0, 7))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_and_a_restart_continues(tree, in_threads, workers):
    resumed = streaming.train_batches(load(tree, workers).train, 3, BATCH, 2, 7)
    assert_equal(resumed, in_threads[2:])


def test_order_and_labels_are_those_of_batches_in_memory(tree, in_threads):
    labels = load(tree).train.labels
    index = np.arange(len(labels)).reshape(-1, 1, 1, 1)
    expected = list(batches.train_batches(Split(index, labels), 3, BATCH, 0, 7))
    for ours, theirs in zip(in_threads, expected, strict=True):
        assert set(ours) == set(theirs)
        for name in ("label", "position"):
            np.testing.assert_array_equal(ours[name], theirs[name])
            assert ours[name].dtype == theirs[name].dtype


def test_an_image_is_cropped_anew_each_epoch(tree):
    stream = load(tree).train
    count = len(stream.labels)
    first, second = streaming.train_batches(stream, 0, count, 0, 2)
    images = [  # in the order of the split
        batch["image"][np.argsort(batches.indices(0, epoch, count, count))]
        for epoch, batch in enumerate((first, second))
    ]
    assert (images[0] != images[1]).any((1, 2, 3)).all()


@pytest.mark.parametrize(("batch_size", "workers"), [(3, 0), (8, 0), (20, 0), (3, 2)])
def test_evaluation_counts_every_image_once(tree, batch_size, workers):
    stream = load(tree, workers).test
    seen = list(streaming.eval_batches(stream, batch_size))
    assert {batch["image"].shape for batch in seen} == {(batch_size, 16, 16, 3)}
    whole = {name: np.concatenate([batch[name] for batch in seen]) for name in seen[0]}
    count = len(stream.labels)
    np.testing.assert_array_equal(whole["mask"], np.arange(len(whole["mask"])) < count)
    np.testing.assert_array_equal(whole["label"][:count], stream.labels)
    expected = np.stack([stream.read(i, None) for i in range(count)])
    np.testing.assert_array_equal(whole["image"][:count], expected)


@pytest.mark.parametrize("count", [2, 3])
def test_shards_put_together_are_the_batch(tree, in_threads, count):
    dataset = load(tree)
    join = lambda shards: [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shards, strict=True)
    ]
    shards = [(rank, count) for rank in range(count)]
    train = [streaming.train_batches(dataset.train, 3, BATCH, 0, 7, shard=s) for s in shards]
    assert_equal(join(train), in_threads)
    test = [streaming.eval_batches(dataset.test, BATCH, shard=s) for s in shards]
    assert_equal(join(test), streaming.eval_batches(dataset.test, BATCH))


def test_a_batch_that_cannot_be_shared_is_refused(tree):
    with pytest.raises(ConfigError, match="6 images cannot be shared by 4"):
        streaming.train_batches(load(tree).train, 0, BATCH, 0, 1, shard=(0, 4))


def test_no_step_is_no_batch(tree):
    assert list(streaming.train_batches(load(tree).train, 0, BATCH, 4, 4)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_file_is_named_wherever_it_is_read(tree, tmp_path, workers):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "cat").symlink_to(tree / split / "cat")
        (tmp_path / split / "dog").mkdir()
        (tmp_path / split / "dog" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match=r"dog/bad\.jpg: .*config\.data\.skip_corrupt") as error:
        list(streaming.train_batches(load(tmp_path, workers).train, 0, 8, 0, 2))
    assert "\n" not in str(error.value)


SCRIPT = """
import signal, sys
from lnm_jax.data import folder, streaming

if __name__ == "__main__":
    # A shell may start tests with Ctrl-C ignored, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = folder.load_imagenet_tree(directory=sys.argv[1], image_size=16, workers=1).train
    for _ in streaming.train_batches(stream, 0, 4, 0, 10**6):
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
