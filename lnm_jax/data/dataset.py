"""What a data set is: arrays in memory, and what a model needs to know about them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Images (N, H, W, C), uint8 or float32, and labels (N,), int32, in a fixed order."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """A data set in memory.

    Attributes:
      train, test: its splits.
      num_classes: labels are 0 .. num_classes - 1.
      mean, std: of a training image's channels, (C,), in the images' unit.
      split: how train and test were divided, in words.
    """

    train: Split
    test: Split
    num_classes: int
    mean: np.ndarray
    std: np.ndarray
    split: str
