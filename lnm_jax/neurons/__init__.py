"""Spiking neurons as pure functions.

No Flax here: these run in any JAX program.

  neuron = neurons.lnm(degree=3)
  params = neuron.init(jax.random.key(0))
  spikes = neurons.run(neuron, params, currents)  # (T, ...) -> (T, ...)
"""

from lnm_jax.neurons.checking import check
from lnm_jax.neurons.comparators import (
    clif,
    diet,
    glif,
    lsg,
    masked_psn,
    psn,
    sliding_psn,
    tc_lif,
    ternary,
    ts_lif,
)
from lnm_jax.neurons.drift import BOUNDS, FAMILIES, Drift, polynomial
from lnm_jax.neurons.dynamics import (
    drift_of,
    f_i_curve,
    fit_degree,
    fixed_points,
    gain_of,
    spike_changes,
    surrogate_window,
)
from lnm_jax.neurons.factories import (
    NEURONS,
    adex,
    build,
    eif,
    fields,
    if_,
    lif,
    lnm,
    lnm_two_variable,
    plif,
    qif,
)
from lnm_jax.neurons.firing import RESETS, Firing, FiringFields, factory, firing
from lnm_jax.neurons.neuron import (
    Facts,
    Neuron,
    Parallel,
    integrate_and_fire,
    one_variable,
    per_channel,
    potential,
    two_phase,
    with_potential,
)
from lnm_jax.neurons.over_time import BACKENDS, Trace, run, trace
from lnm_jax.neurons.surrogate import DSPIKE_TEMPERATURE, SURROGATES, with_derivative
