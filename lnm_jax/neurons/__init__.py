"""Spiking neurons as pure functions. No Flax here: these run in any JAX program.

neuron = neurons.lnm(degree=3)
params = neuron.init(jax.random.key(0))
spikes = neurons.run(neuron, params, currents)  # (T, ...) -> (T, ...)
"""

from lnm_jax.neurons.backends import BACKENDS, run
from lnm_jax.neurons.bounding import BOUNDS
from lnm_jax.neurons.clif import clif
from lnm_jax.neurons.diet import diet
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
    surrogate_window,
)
from lnm_jax.neurons.factories import (
    NEURONS,
    adex,
    build,
    eif,
    fields,
    fires_by_fields,
    firing_of,
    if_,
    lif,
    lnm,
    lnm_two_variable,
    plif,
    qif,
)
from lnm_jax.neurons.glif import glif
from lnm_jax.neurons.lsg import lsg
from lnm_jax.neurons.neuron import (
    Drift,
    Firing,
    Neuron,
    integrate_and_fire,
    one_variable,
    per_channel,
)
from lnm_jax.neurons.over_time import trace
from lnm_jax.neurons.psn import Parallel, masked_psn, psn, sliding_psn
from lnm_jax.neurons.reset import RESETS
from lnm_jax.neurons.surrogate import SURROGATES, with_derivative
from lnm_jax.neurons.tc_lif import tc_lif
from lnm_jax.neurons.ternary import ternary
from lnm_jax.neurons.ts_lif import ts_lif

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
    "Parallel",
    "adex",
    "before_firing",
    "build",
    "clif",
    "diet",
    "drift_of",
    "eif",
    "f_i_curve",
    "fields",
    "fires_by_fields",
    "firing_of",
    "fit_degree",
    "fixed_points",
    "gain_of",
    "glif",
    "if_",
    "integrate",
    "integrate_and_fire",
    "lif",
    "lnm",
    "lnm_two_variable",
    "lsg",
    "masked_psn",
    "one_variable",
    "per_channel",
    "plif",
    "polynomial",
    "psn",
    "qif",
    "run",
    "sliding_psn",
    "spike_changes",
    "surrogate_window",
    "tc_lif",
    "ternary",
    "trace",
    "ts_lif",
    "with_derivative",
]
