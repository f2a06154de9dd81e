"""Batches as a pure function of (seed, step): resuming needs the step and nothing else.

Training images are one endless stream, a fresh permutation an epoch, cut into batches. No
image is dropped at the end of an epoch: a batch may hold the last images of one epoch and the
first of the next, and each image is seen exactly once an epoch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np

from lnm_jax.data.dataset import Split
from lnm_jax.errors import ConfigError


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


def share(batch_size: int, shard: tuple[int, int]) -> slice:
    """Rows of a batch that one of several processes reads.

    Args: shard, (rank, count): the rank-th of count equal parts.
    Raises: ConfigError if the parts can't be equal.
    """
    rank, count = shard
    if batch_size % count:
        raise ConfigError(f"a batch of {batch_size} images cannot be shared by {count} processes")
    part = batch_size // count
    return slice(rank * part, (rank + 1) * part)


def train_batches(
    split: Split,
    seed: int,
    batch_size: int,
    start: int,
    stop: int,
    *,
    shard: tuple[int, int] = (0, 1),
) -> Iterator:
    """Batches of steps start .. stop - 1, as dicts of host arrays.

    Each has image (B, H, W, C), label (B,) and position (B,), the place in the whole batch,
    from which augmentation draws its randomness however many devices share the batch.

    Args:
      split: of training images.
      seed: of the order.
      batch_size: images of a whole batch.
      start, stop: steps.
      shard: see `share`.
    """
    rows = share(batch_size, shard)
    position = np.arange(batch_size, dtype=np.int32)[rows]
    for step in range(start, stop):
        chosen = indices(seed, step, len(split.labels), batch_size)[rows]
        yield {
            "image": split.images[chosen],
            "label": split.labels[chosen],
            "position": position,
        }


def eval_batches(split: Split, batch_size: int, *, shard: tuple[int, int] = (0, 1)) -> Iterator:
    """Every image exactly once, in order; the last batch is padded and masked.

    Each has image (B, H, W, C), label (B,) and mask (B,), 1 for an image and 0 for padding.
    """
    images = len(split.labels)
    rows = share(batch_size, shard)
    for start in range(0, images, batch_size):
        chosen = np.arange(start, start + batch_size)[rows]
        mask = chosen < images
        chosen = np.where(mask, chosen, 0)
        yield {
            "image": split.images[chosen],
            "label": split.labels[chosen],
            "mask": mask.astype(np.float32),
        }
