"""Small tasks in which dynamics matter, drawn from a seed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import neurons
from lnm_jax.data.dataset import Dataset, Split, positive, unnormalised
from lnm_jax.errors import ConfigError

DELAYS = (4, 7, 10, 13, 16, 19)  # timesteps between the pulses: the classes
LAST_START = 8  # of the first pulse
LENGTH = 2  # timesteps of a pulse
GROUP = 8  # channels that carry one pulse
IN_PULSE, NOISE = 0.6, 0.02  # spikes per channel and timestep
INTERVAL_TEST = 2000

INPUTS, NEURONS = 20, 16
RATE = 0.15  # spikes of an input per timestep
SYNAPSE = 0.6  # share of an input's trace that is kept per timestep
CURRENT = (0.1, 0.2)  # mean and standard deviation of what the neurons receive
IDENTIFY_TEST = 200
# f = 1.2 u (u - 0.25), and an exponential onset that a cubic can follow.
TEACHERS = {
    "qif": lambda: neurons.qif(a_0=1.2, v_c=0.25),
    "eif": lambda: neurons.eif(delta_t=0.3, v_t=0.2),
    "lif": lambda: neurons.lif(),
}


def interval(*, timesteps: int = 30, examples: int = 4000, seed: int = 0) -> Dataset:
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
    positive(examples=examples)
    needed = LAST_START + max(DELAYS) + LENGTH
    if timesteps < needed:
        raise ConfigError(f"config.timesteps must be at least {needed} here, got {timesteps}")
    rng = np.random.default_rng(seed)
    train, test = (_pulses(rng, count, timesteps) for count in (examples, INTERVAL_TEST))
    classes = (f"{delay} timesteps" for delay in DELAYS)
    return unnormalised(train, test, len(DELAYS), f"drawn with seed {seed}", classes)


def _pulses(rng: np.random.Generator, count: int, timesteps: int) -> Split:
    labels = rng.permutation(np.arange(count) % len(DELAYS))
    first = rng.integers(0, LAST_START + 1, count)
    starts = np.stack([first, first + np.array(DELAYS)[labels]], 1)
    since = np.arange(timesteps)[None, :, None] - starts[:, None, :]  # (N, T, groups)
    chance = np.where((since >= 0) & (since < LENGTH), IN_PULSE, NOISE)
    spikes = rng.random((count, timesteps, 2, GROUP)) < chance[..., None]
    images = spikes.reshape(count, timesteps, 1, 1, 2 * GROUP).astype(np.uint8)
    return Split(images, labels.astype(np.int32))


def identify(
    *, timesteps: int = 100, examples: int = 200, teacher: str = "qif", seed: int = 0
) -> Dataset:
    """Trials of 16 unknown neurons of one kind behind random weights, driven by 20 Poisson inputs.

    Images are (N, T, 1, 1, 20 + 16), float32: the filtered input spikes, then the recorded
    spikes, which the model resets with. Labels are the recorded spikes, (N, T, 16), uint8.
    Weights and dynamics are not in the data set. 200 test trials beside the training ones.

    Args:
      timesteps: T of a trial.
      examples: trials to train on.
      teacher: kind of the recorded neurons: qif, eif, or lif as a control.
      seed: of weights and inputs.
    Raises: ConfigError for sizes that are not positive.
    """
    positive(timesteps=timesteps, examples=examples)
    rng = np.random.default_rng(seed)
    arrived = rng.random((examples + IDENTIFY_TEST, timesteps, INPUTS)) < RATE
    traces = np.zeros(arrived.shape, np.float32)
    kept = np.zeros(arrived.shape[::2], np.float32)
    for t in range(timesteps):
        kept = SYNAPSE * kept + arrived[:, t]
        traces[:, t] = kept
    currents = traces @ rng.standard_normal((INPUTS, NEURONS)).astype(np.float32)
    mean, deviation = currents.mean((0, 1)), currents.std((0, 1))
    currents = CURRENT[0] + CURRENT[1] * (currents - mean) / deviation
    neuron = TEACHERS[teacher]()
    run = jax.jit(lambda currents: neurons.run(neuron, {}, currents, backend="scan"))
    spikes = np.asarray(run(jnp.asarray(currents.swapaxes(0, 1)))).swapaxes(0, 1)
    images = np.concatenate([traces, spikes], -1)[:, :, None, None].astype(np.float32)
    labels = spikes.astype(np.uint8)
    train, test = (
        Split(images[part], labels[part]) for part in (np.s_[:examples], np.s_[examples:])
    )
    dataset = unnormalised(train, test, NEURONS, f"{teacher} neurons, drawn with seed {seed}")
    return dataset._replace(digest="drawn")  # a spike may hang on the machine's rounding
