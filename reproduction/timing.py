"""Times of programs that run in turn, how a cost grows, and random images to run on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from lnm_jax import data

# A model that compiles at once, for short forms.
MLP = {"model.name": "mlp", "model.widths": (4,), "model.stem": None, "model.blocks": None}


class Time(NamedTuple):
    """Seconds of a program.

    Attributes:
      median: over rounds.
      spread: half the distance of the quartiles, as a share of the median.
    """

    median: float
    spread: float


def interleaved(programs: Mapping[str, Callable], rounds: int, repeat: int = 1) -> dict[str, Time]:
    """Times of programs that run in turn, so that what disturbs one disturbs all.

    In each round a program runs twice and the second run counts: the program before it may
    hold a core for a moment, or the caches.

    Args:
      programs: functions of nothing, by name. One that returns a float has measured its
        seconds itself.
      rounds: how often.
      repeat: runs that are started one behind the other and timed together, so that what it
        costs to start one on a GPU and to hear of its end does not count.
    """
    measured = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            jax.block_until_ready(program())
            start = time.perf_counter()
            for _ in range(repeat):
                result = program()
            jax.block_until_ready(result)
            elapsed = (time.perf_counter() - start) / repeat
            measured[name].append(result if isinstance(result, float) else elapsed)
    times = {}
    for name, values in measured.items():
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        times[name] = Time(float(median), float((high - low) / 2 / median))
    return times


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The power of the size that a cost grows with: the slope between their logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def random_images(count: int) -> data.Dataset:
    """Random images of CIFAR's shape, as training and test examples alike."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (count, 32, 32, 3)).astype(np.uint8)
    split = data.Split(images, (np.arange(count) % 10).astype(np.int32))
    mean, std = np.full(3, 120, np.float32), np.full(3, 60, np.float32)
    return data.Dataset(split, split, 10, mean, std, "random")
