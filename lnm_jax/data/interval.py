"""The time between two pulses: a small task of event data in which dynamics matter."""

from __future__ import annotations

import numpy as np

from lnm_jax.data import events
from lnm_jax.data.dataset import Dataset, Split
from lnm_jax.errors import ConfigError

DELAYS = (4, 7, 10, 13, 16, 19)  # timesteps between the pulses: the classes
LAST_START = 8  # of the first pulse
LENGTH = 2  # timesteps of a pulse
GROUP = 8  # channels that carry one pulse
IN_PULSE, NOISE = 0.6, 0.02  # spikes per channel and timestep
TEST = 2000


def load(*, timesteps: int = 30, examples: int = 4000, seed: int = 0) -> Dataset:
    """Two pulses, each in a group of 8 channels of its own; the class is the time between them.

    Images are (N, T, 1, 1, 16), 0 or 1, as uint8. The first pulse starts at a random timestep
    of 0 .. 8, the second 4, 7, 10, 13, 16 or 19 later; a channel spikes with probability 0.6 in
    a pulse of its group, which lasts 2 timesteps, and 0.02 else. Classes are equally frequent up
    to one example. 2,000 test examples beside the training ones.

    Args:
      timesteps: T; at least 29, so that every pulse ends.
      examples: to train on.
      seed: of everything that is drawn, training and test examples.
    Raises: ConfigError for sizes that are too small.
    """
    events.positive(examples=examples)
    needed = LAST_START + max(DELAYS) + LENGTH
    if timesteps < needed:
        raise ConfigError(f"config.timesteps must be at least {needed} here, got {timesteps}")
    rng = np.random.default_rng(seed)
    splits = [_draw(rng, count, timesteps) for count in (examples, TEST)]
    return Dataset(
        train=splits[0],
        test=splits[1],
        num_classes=len(DELAYS),
        mean=np.zeros(2 * GROUP, np.float32),
        std=np.ones(2 * GROUP, np.float32),
        split=f"drawn with seed {seed}",
    )


def _draw(rng: np.random.Generator, count: int, timesteps: int) -> Split:
    labels = rng.permutation(np.arange(count) % len(DELAYS))
    first = rng.integers(0, LAST_START + 1, count)
    starts = np.stack([first, first + np.array(DELAYS)[labels]], 1)
    since = np.arange(timesteps)[None, :, None] - starts[:, None, :]  # (N, T, groups)
    chance = np.where((since >= 0) & (since < LENGTH), IN_PULSE, NOISE)
    spikes = rng.random((count, timesteps, 2, GROUP)) < chance[..., None]
    images = spikes.reshape(count, timesteps, 1, 1, 2 * GROUP).astype(np.uint8)
    return Split(images, labels.astype(np.int32))
