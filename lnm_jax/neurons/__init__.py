"""Spiking neurons as pure functions. No Flax here: these run in any JAX program.

neuron = neurons.lnm(degree=3)
params = neuron.init(jax.random.key(0))
spikes = neurons.run(neuron, params, currents)  # (T, ...) -> (T, ...)
"""

from lnm_jax.neurons.backends import BACKENDS, run
from lnm_jax.neurons.bounding import BOUNDS
from lnm_jax.neurons.drift import FAMILIES, polynomial
from lnm_jax.neurons.dynamics import (
    before_firing,
    drift_of,
    f_i_curve,
    fit_degree,
    fixed_points,
    gain_of,
    integrate,
    spike_changes,
)
from lnm_jax.neurons.factories import (
    NEURONS,
    adex,
    build,
    eif,
    fields,
    firing_of,
    if_,
    lif,
    lnm,
    lnm_two_variable,
    plif,
    qif,
)
from lnm_jax.neurons.neuron import (
    Drift,
    Firing,
    Neuron,
    integrate_and_fire,
    one_variable,
    per_channel,
)
from lnm_jax.neurons.over_time import trace
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
    "Firing",
    "Neuron",
    "adex",
    "before_firing",
    "build",
    "drift_of",
    "eif",
    "f_i_curve",
    "fields",
    "firing_of",
    "fit_degree",
    "fixed_points",
    "gain_of",
    "if_",
    "integrate",
    "integrate_and_fire",
    "lif",
    "lnm",
    "lnm_two_variable",
    "one_variable",
    "per_channel",
    "plif",
    "polynomial",
    "qif",
    "run",
    "spike_changes",
    "trace",
    "with_derivative",
]
