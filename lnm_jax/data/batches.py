"""Batches as a pure function of (seed, step): resuming needs the step and nothing else.

Training images are one endless stream, a fresh permutation an epoch, cut into batches. No
image is dropped at the end of an epoch: a batch may hold the last images of one epoch and the
first of the next, and each image is seen exactly once an epoch.

A batch is read by its number, from memory or from disk; what is on disk is read ahead by threads
or processes, whose number changes nothing.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np

from lnm_jax.data.dataset import Split, Stream
from lnm_jax.errors import ConfigError

MAX_THREADS = 16  # each holds a batch, and Python's lock lets more do little


def steps_until(epochs: float, images: int, batch_size: int) -> int:
    """Training steps after which `epochs` passes over `images` are complete."""
    return math.ceil(epochs * images / batch_size)


@functools.lru_cache(maxsize=2)  # a batch may touch two epochs
def permutation(seed: int, epoch: int, images: int) -> np.ndarray:
    """Order of the images in an epoch, (images,), read-only."""
    order = np.random.default_rng((seed, epoch)).permutation(images)
    order.flags.writeable = False
    return order


def indices(seed: int, step: int, images: int, batch_size: int) -> np.ndarray:
    """Images of a training step, (batch_size,), as positions in the split."""
    stream = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = stream // images
    parts = [
        permutation(seed, int(epoch), images)[stream[epochs == epoch] % images]
        for epoch in np.unique(epochs)
    ]
    return np.concatenate(parts)


def process_slice(batch_size: int, shard: tuple[int, int]) -> slice:
    """Rows of a batch that the rank-th of `count` processes reads: shard is (rank, count).

    Raises: ConfigError if the parts can't be equal.
    """
    rank, count = shard
    if batch_size % count:
        raise ConfigError(f"a batch of {batch_size} images cannot be shared by {count} processes")
    part = batch_size // count
    return slice(rank * part, (rank + 1) * part)


def train_batches(
    split: Split | Stream,
    seed: int,
    batch_size: int,
    start: int,
    stop: int,
    *,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[dict]:
    """Batches of steps start .. stop - 1, as dicts of host arrays.

    Each has image (B, H, W, C), label (B,) and position (B,), the place in the whole batch,
    from which augmentation draws its randomness however many devices share the batch. Images of
    a `Stream` are cropped and flipped, as drawn from their place in the endless stream.

    Args:
      split: of training images; `Stream.workers` processes read a stream, which take seconds to
        start, or with 0 this process's threads.
      seed: of the order.
      batch_size: images of a whole batch.
      start, stop: steps.
      shard: see `process_slice`.
    Raises: ConfigError for a file that can't be read, or a batch that can't be shared equally.
    """
    rows = process_slice(batch_size, shard)
    read = functools.partial(
        _training_batch, split=split, seed=seed, batch_size=batch_size, rows=rows
    )
    return _in_order(read, range(start, stop), split)


def eval_batches(
    split: Split | Stream, batch_size: int, *, shard: tuple[int, int] = (0, 1)
) -> Iterator[dict]:
    """Every image exactly once, in order; the last batch is padded and masked.

    Each has image (B, H, W, C), label (B,) and mask (B,), 1 for an image and 0 for padding,
    which is zeros of class 0. Images of a `Stream` are cropped at the centre.

    Args and Raises: as `train_batches`. Every shard has the same number of batches.
    """
    rows = process_slice(batch_size, shard)
    read = functools.partial(_evaluation_batch, split=split, batch_size=batch_size, rows=rows)
    return _in_order(read, range(-(-len(split.labels) // batch_size)), split)


def _training_batch(
    step: int, *, split: Split | Stream, seed: int, batch_size: int, rows: slice
) -> dict:
    chosen = indices(seed, step, len(split.labels), batch_size)[rows]
    position = np.arange(batch_size, dtype=np.int32)[rows]
    if isinstance(split, Split):
        image = split.images[chosen]
    else:
        image = np.empty((len(chosen), *split.shape), np.uint8)
        for row, (index, place) in enumerate(zip(chosen.tolist(), position.tolist(), strict=True)):
            # A spawn key keeps these draws apart from those of the epochs' permutations.
            draws = np.random.SeedSequence(seed, spawn_key=(step * batch_size + place,))
            image[row] = split.read(index, np.random.default_rng(draws))
    return {"image": image, "label": split.labels[chosen], "position": position}


def _evaluation_batch(number: int, *, split: Split | Stream, batch_size: int, rows: slice) -> dict:
    chosen = np.arange(number * batch_size, (number + 1) * batch_size)[rows]
    mask = chosen < len(split.labels)
    label = np.zeros((len(chosen), *split.labels.shape[1:]), split.labels.dtype)
    label[mask] = split.labels[chosen[mask]]
    if isinstance(split, Split):
        image = np.zeros((len(chosen), *split.shape), split.images.dtype)
        image[mask] = split.images[chosen[mask]]
    else:
        image = np.zeros((len(chosen), *split.shape), np.uint8)
        for row, index in enumerate(chosen[mask].tolist()):
            image[row] = split.read(index, None)
    return {"image": image, "label": label, "mask": mask.astype(np.float32)}


def _in_order(read: Callable[[int], dict], numbers: range, split: Split | Stream) -> Iterator[dict]:
    """The batches of these numbers; threads and processes end with the generator."""
    if isinstance(split, Split):
        yield from map(read, numbers)
        return
    import grain
    from absl import flags

    if not numbers:
        return
    if not flags.FLAGS.is_parsed():  # grain asks for flags of its own when it starts workers
        flags.FLAGS.mark_as_parsed()
    workers = min(split.workers, len(numbers))
    # In a worker one thread decodes while the process hands over the batch before.
    threads = 1 if workers else min(os.cpu_count() or 1, MAX_THREADS, len(numbers))
    ahead = (
        grain.MapDataset.source(numbers)
        .map(read)
        .to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
    )
    if workers:
        # Through pipes: shared memory is a few per cent faster, but containers have little of it,
        # and what is in flight when a run is interrupted would stay behind.
        ahead = grain.experimental.WithOptionsIterDataset(
            ahead, grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        )
        ahead = ahead.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1),
            worker_init_fn=_start_worker,
        )
    iterator = iter(ahead)
    try:
        yield from iterator
    finally:
        iterator.close()


def _start_worker(index: int, count: int) -> None:
    """Runs in a worker before it reads."""
    import multiprocessing
    import signal
    import threading

    # Ctrl-C reaches every process of the terminal; the one that trains ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent():  # which may be killed before it can end its workers
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
