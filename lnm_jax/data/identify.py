"""Recordings of a layer of unknown neurons: what came in, and the spikes that went out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import neurons
from lnm_jax.data import events
from lnm_jax.data.dataset import Dataset, Split

INPUTS, NEURONS = 20, 16
RATE = 0.15  # spikes of an input per timestep
SYNAPSE = 0.6  # share of an input's trace that is kept per timestep
CURRENT = (0.1, 0.2)  # mean and standard deviation of what the neurons receive
TEST = 200
# f = 1.2 u (u - 0.25), and an exponential onset that a cubic can follow.
TEACHERS = {
    "qif": lambda: neurons.qif(a_0=1.2, v_c=0.25),
    "eif": lambda: neurons.eif(delta_t=0.3, v_t=0.2),
    "lif": lambda: neurons.lif(),
}


def load(
    *, timesteps: int = 100, examples: int = 200, teacher: str = "qif", seed: int = 0
) -> Dataset:
    """Trials of 16 neurons of one kind behind random weights, driven by 20 Poisson inputs.

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
    events.positive(timesteps=timesteps, examples=examples)
    rng = np.random.default_rng(seed)
    arrived = rng.random((examples + TEST, timesteps, INPUTS)) < RATE
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
    return Dataset(
        train=Split(images[:examples], labels[:examples]),
        test=Split(images[examples:], labels[examples:]),
        num_classes=NEURONS,
        mean=np.zeros(INPUTS + NEURONS, np.float32),
        std=np.ones(INPUTS + NEURONS, np.float32),
        split=f"{teacher} neurons, drawn with seed {seed}",
    )
