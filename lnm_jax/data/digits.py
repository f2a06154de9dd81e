"""Handwritten digits of the UCI repository, as embedded in scikit-learn: no download."""

import numpy as np

from lnm_jax.data.dataset import Dataset, Split, mean_std
from lnm_jax.errors import ConfigError

PIXELS = 64


def load() -> Dataset:
    """1,797 images of 8x8x1, grey values 0 to 16, as uint8; a fixed stratified 80/20 split.

    Returns: 1,437 training and 360 test images; every class has the same share in both.
    References: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels.astype(np.int32), test_size=0.2, stratify=labels, random_state=0
    )
    mean, std = mean_std(train_x)
    return Dataset(
        train=Split(train_x, train_y),
        test=Split(test_x, test_y),
        num_classes=10,
        mean=mean,
        std=std,
        split="stratified 80/20, fixed",
        classes=tuple(map(str, range(10))),
        white=16,
    )


def load_sequential(*, timesteps: int = PIXELS) -> Dataset:
    """The digits pixel by pixel, row after row from the top left: (N, 64, 1, 1, 1), as uint8.

    A network sees one grey value a timestep, and must keep what it saw: the small form of
    sequential MNIST (Le, Jaitly and Hinton 2015). Split, mean and deviation are those of `load`.

    Args:
      timesteps: 64, as there are pixels.
    Raises: ConfigError for another number.
    """
    return _in_order(timesteps, np.arange(PIXELS), "pixel by pixel")


def load_permuted(*, timesteps: int = PIXELS) -> Dataset:
    """As `load_sequential`, the pixels of all images in one random order, that of seed 0."""
    return _in_order(timesteps, np.random.default_rng(0).permutation(PIXELS), "pixels permuted")


def _in_order(timesteps, order, words):
    if timesteps != PIXELS:
        raise ConfigError(f"config.timesteps must be {PIXELS}, one a pixel, got {timesteps}")
    still = load()
    train, test = (
        split._replace(
            images=split.images.reshape(-1, PIXELS)[:, order].reshape(-1, PIXELS, 1, 1, 1)
        )
        for split in (still.train, still.test)
    )
    return still._replace(train=train, test=test, split=f"{still.split}, {words}")
