"""Properties that hold for every neuron, whatever its parameters and currents."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import RESETS, VARIANTS, after_each, trained
from hypothesis import strategies as st

from lnm_jax import neurons
from lnm_jax.neurons import over_time

T, N = 4, 6
SETTINGS = hypothesis.settings(max_examples=15, deadline=None)
BOUNDED = [name for name in VARIANTS if name not in ("lnm-none",)]


@functools.cache
def compiled(variant, reset):
    """(trace, gradient of the parameters and currents), compiled once for T x N currents."""
    neuron = neurons.build(**VARIANTS[variant], **RESETS[reset])

    def gradient(params, currents):
        return jax.grad(lambda *x: over_time.scan(neuron, *x).sum(), (0, 1))(params, currents)

    return neuron, jax.jit(functools.partial(after_each, neuron)), jax.jit(gradient)


def arrays(limit):
    # Magnitudes from tiny to the limit, both signs, and 0.
    exponent = st.floats(-6, np.log10(limit))
    value = st.tuples(exponent, st.sampled_from([-1.0, 0.0, 1.0])).map(lambda x: x[1] * 10 ** x[0])
    return st.lists(value, min_size=T * N, max_size=T * N).map(
        lambda x: jnp.asarray(np.array(x, np.float32).reshape(T, N))
    )


@pytest.mark.parametrize("variant", BOUNDED)
@hypothesis.given(currents=arrays(1e6), seed=st.integers(0, 1000), reset=st.sampled_from([0, 2]))
@SETTINGS
def test_currents_up_to_a_million_give_no_nan(variant, currents, seed, reset):
    neuron, trace, gradient = compiled(variant, reset)
    params = trained(neuron, seed)
    states, spikes = trace(params, currents)
    assert np.isin(np.asarray(spikes), [0, 1]).all()
    for leaf in jax.tree.leaves((states, gradient(params, currents))):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("variant", VARIANTS)
@hypothesis.given(currents=arrays(3.0), order=st.permutations(range(N)))
@SETTINGS
def test_neurons_do_not_see_each_other(variant, currents, order):
    neuron, trace, _ = compiled(variant, 0)
    params = trained(neuron)
    _, spikes = trace(params, currents)
    _, permuted = trace(params, currents[:, jnp.array(order)])
    np.testing.assert_array_equal(permuted, spikes[:, jnp.array(order)])
    # A batch equals its parts: each neuron alone, beside silent ones.
    alone = jnp.zeros_like(currents).at[:, 2].set(currents[:, 2])
    np.testing.assert_array_equal(trace(params, alone)[1][:, 2], spikes[:, 2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_past_does_not_depend_on_the_future(variant):
    neuron, trace, _ = compiled(variant, 0)
    params = trained(neuron)
    currents = jax.random.normal(jax.random.key(0), (T, N))
    changed = currents.at[-1].add(5.0)
    np.testing.assert_array_equal(trace(params, changed)[1][:-1], trace(params, currents)[1][:-1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_learnable_parameter_gets_a_gradient(variant):
    neuron = neurons.build(**VARIANTS[variant], surrogate="arctan")
    params = trained(neuron)
    currents = jax.random.normal(jax.random.key(1), (6, 200)) * 0.5 + 0.1
    weights = jax.random.normal(jax.random.key(2), currents.shape)
    gradient = jax.jit(jax.grad(lambda p: (over_time.scan(neuron, p, currents) * weights).sum()))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert (np.asarray(leaf) != 0).all(), path


@pytest.mark.parametrize("variant", VARIANTS)
def test_defaults_rest_without_input_and_spike_with_it(variant):
    neuron = neurons.build(**VARIANTS[variant])
    params = neuron.init(jax.random.key(0))
    rates = neurons.f_i_curve(neuron, params, jnp.array([-1.0, 0.0, 0.4, 0.7]), timesteps=60)
    assert rates[0] == rates[1] == 0
    assert rates[3] > 0.2
    assert rates[3] >= rates[2]
