"""Batches of a stream: what `batches` yields, read from disk ahead of time.

Batches are the same pure function of (seed, step), in the same order, however many threads or
processes read and wherever a run resumes. A training image's crop and flip are drawn from its
place in the endless stream of training images.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator

import numpy as np

from lnm_jax.data import batches
from lnm_jax.data.dataset import Stream

MAX_THREADS = 16  # each holds a batch, and Python's lock lets more do little


def train_batches(
    stream: Stream,
    seed: int,
    batch_size: int,
    start: int,
    stop: int,
    *,
    shard: tuple[int, int] = (0, 1),
) -> Iterator:
    """Batches of steps start .. stop - 1, as dicts of host arrays, cropped and flipped.

    Each has image (B, H, W, C), label (B,) and position (B,), the place in the whole batch.

    Args:
      stream: of training images; `stream.workers` processes read them, which take seconds to
        start, or with 0 this process's threads.
      seed, batch_size, start, stop: as `batches.train_batches` takes them.
      shard: see `batches.share`.
    Raises: ConfigError for a file that can't be read, or a batch that can't be shared equally.
    """
    rows = batches.share(batch_size, shard)
    return _iterate(_Training(stream, seed, batch_size, start, stop, rows), stream.workers)


def eval_batches(stream: Stream, batch_size: int, *, shard: tuple[int, int] = (0, 1)) -> Iterator:
    """Every image exactly once, in order, cropped at the centre; the last batch is padded.

    Each has image (B, H, W, C), label (B,) and mask (B,), 1 for an image and 0 for padding,
    which is black and of class 0.

    Args and Raises: as `train_batches`. Every shard has the same number of batches.
    """
    return _iterate(
        _Evaluation(stream, batch_size, batches.share(batch_size, shard)), stream.workers
    )


@dataclasses.dataclass(frozen=True)
class _Training:
    """Random access to training batches; it is sent to the workers."""

    stream: Stream
    seed: int
    batch_size: int
    start: int
    stop: int
    rows: slice

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __getitem__(self, i: int) -> dict:
        step, labels = self.start + i, self.stream.labels
        position = np.arange(self.batch_size, dtype=np.int32)[self.rows]
        chosen = batches.indices(self.seed, step, len(labels), self.batch_size)[self.rows]
        image = np.empty((len(chosen), *self.stream.shape), np.uint8)
        for row, (index, place) in enumerate(zip(chosen, position, strict=True)):
            # A spawn key keeps these draws apart from those of the epochs' permutations.
            draws = np.random.SeedSequence(
                self.seed, spawn_key=(step * self.batch_size + int(place),)
            )
            image[row] = self.stream.read(int(index), np.random.default_rng(draws))
        return {"image": image, "label": labels[chosen], "position": position}


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """Random access to evaluation batches; it is sent to the workers."""

    stream: Stream
    batch_size: int
    rows: slice

    def __len__(self) -> int:
        return -(-len(self.stream.labels) // self.batch_size)

    def __getitem__(self, i: int) -> dict:
        chosen = np.arange(i * self.batch_size, (i + 1) * self.batch_size)[self.rows]
        mask = chosen < len(self.stream.labels)
        image = np.zeros((len(chosen), *self.stream.shape), np.uint8)
        for row, index in enumerate(chosen[mask]):
            image[row] = self.stream.read(int(index), None)
        label = np.zeros(len(chosen), self.stream.labels.dtype)
        label[mask] = self.stream.labels[chosen[mask]]
        return {"image": image, "label": label, "mask": mask.astype(np.float32)}


def _iterate(source: _Training | _Evaluation, workers: int) -> Iterator:
    """The source's batches in order; threads and processes end with the generator."""
    import grain
    from absl import flags

    if not len(source):
        return
    if not flags.FLAGS.is_parsed():  # grain asks for flags of its own when it starts workers
        flags.FLAGS.mark_as_parsed()
    workers = min(workers, len(source))
    # In a worker one thread decodes while the process hands over the batch before.
    threads = 1 if workers else min(os.cpu_count() or 1, MAX_THREADS, len(source))
    ahead = grain.MapDataset.source(source).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
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
