"""Mean and standard deviation of training images: the constants in use, and a command.

python -m lnm_jax.data.statistics cifar10 --data-dir D    recomputes them from the images
"""

from __future__ import annotations

import argparse
import inspect
import math
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lnm_jax.data.dataset import Split, Stream
from lnm_jax.errors import ConfigError

CHUNK = 500  # images


class Statistics(NamedTuple):
    """Of the training images' channels.

    Attributes:
      mean, std: (C,), float32, in grey values 0 to 255.
    """

    mean: np.ndarray
    std: np.ndarray


def _statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> Statistics:
    return Statistics(np.array(mean, np.float32), np.array(std, np.float32))


STATISTICS = {
    # Over the 50,000 training images, as this file's command computes them.
    "cifar10": _statistics((125.30692, 122.95039, 113.86538), (62.99322, 62.08871, 66.70490)),
    "cifar100": _statistics((129.30417, 124.06996, 112.43405), (68.17024, 65.39181, 70.41837)),
    # torchvision's (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225), which the field uses. They
    # were estimated from a sample of resized images: recomputing gives other digits.
    "imagenet2012": _statistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


def compute(split: Split | Stream) -> Statistics:
    """Exact mean and standard deviation of integer images, one chunk in memory at a time.

    Sums are integers, so neither order nor size of the split costs a digit.

    Args:
      split: (N, ..., C); of a stream, the examples as they are evaluated (centre crop).
    Raises: ConfigError if the images are not integers.
    """
    count, total, squares = 0, 0, 0
    for chunk in _chunks(split):
        if chunk.dtype.kind not in "iu":
            raise ConfigError(f"images of type {chunk.dtype}: grey values are integers")
        values = chunk.reshape(-1, chunk.shape[-1]).astype(np.int64)
        count += len(values)
        # Python's integers: they do not overflow.
        total = total + values.sum(0).astype(object)
        squares = squares + (values * values).sum(0).astype(object)
    variance = (count * squares - total * total) / count**2
    return _statistics(tuple(total / count), tuple(math.sqrt(value) for value in variance))


def _chunks(split: Split | Stream) -> Iterator[np.ndarray]:
    """The images in order, (at most CHUNK, ..., C)."""
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    images = len(split.labels)
    starts = range(0, images, CHUNK)
    if isinstance(split, Split):
        yield from (split.images[start : start + CHUNK] for start in starts)
        return
    with ThreadPoolExecutor() as pool:  # decoding an image releases Python's lock
        for start in tqdm(starts, unit_scale=CHUNK, unit=" images", disable=None):
            indices = range(start, min(start + CHUNK, images))
            yield np.stack(list(pool.map(lambda index: split.read(index, None), indices)))


def main(argv: list[str]) -> int:
    """Recomputes and prints; returns the exit status."""
    from lnm_jax.data import DATASETS

    parser = argparse.ArgumentParser(prog="statistics", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=DATASETS)
    parser.add_argument("--data-dir", help="where the data set is; not for embedded ones")
    parser.add_argument("--image-size", type=int, default=224, help="of streamed images")
    given = parser.parse_args(argv)
    values = {
        "directory": given.data_dir,
        "image_size": given.image_size,
        "workers": 0,
        "skip_corrupt": False,
    }
    load = DATASETS[given.name]
    takes = inspect.signature(load).parameters
    try:
        if "directory" in takes and given.data_dir is None:
            raise ConfigError(f"{given.name}: say where it is with --data-dir")
        dataset = load(**{name: value for name, value in values.items() if name in takes})
        found = compute(dataset.train)
    except ConfigError as error:
        print(f"statistics: {error}", file=sys.stderr)
        return 2
    for title, mean, std in (("computed", *found), ("in use", dataset.mean, dataset.std)):
        for label, channels in (("mean", mean), ("std", std)):
            numbers = ", ".join(f"{value:.5f}" for value in channels)
            print(f"{given.name} {title} {label}: {numbers}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
