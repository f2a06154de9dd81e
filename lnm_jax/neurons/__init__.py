"""Spiking neurons as pure functions. No Flax here: these run in any JAX program.

neuron = neurons.lnm(degree=3)
params = neuron.init(jax.random.key(0))
spikes = neurons.run(neuron, params, currents)  # (T, ...) -> (T, ...)
"""

from lnm_jax.neurons.bounding import BOUNDS
from lnm_jax.neurons.drift import FAMILIES, polynomial
from lnm_jax.neurons.factories import NEURONS, build, fields, lif, lnm
from lnm_jax.neurons.neuron import Drift, Neuron, integrate_and_fire
from lnm_jax.neurons.over_time import BACKENDS, run, trace
from lnm_jax.neurons.reset import RESETS
from lnm_jax.neurons.surrogate import SURROGATES, with_derivative

__all__ = [
    "BACKENDS",
    "BOUNDS",
    "FAMILIES",
    "NEURONS",
    "RESETS",
    "SURROGATES",
    "Drift",
    "Neuron",
    "build",
    "fields",
    "integrate_and_fire",
    "lif",
    "lnm",
    "polynomial",
    "run",
    "trace",
    "with_derivative",
]
