"""Properties that hold for every neuron, whatever its parameters and currents."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import RESETS, VARIANTS, after_each, jitted, trained
from hypothesis import strategies as st

from lnm_jax import neurons
from lnm_jax.neurons import over_time

T, N = 4, 6
SETTINGS = hypothesis.settings(max_examples=15, deadline=None)
BOUNDED = [name for name in VARIANTS if name not in ("lnm-none",)]


@functools.cache
def compiled(variant, reset=0):
    """(parameters of a seed, trace, gradient of the parameters and currents), of one neuron."""
    neuron = neurons.build(**VARIANTS[variant], **RESETS[reset])

    def gradient(params, currents):
        return jax.grad(lambda *x: over_time.scan(neuron, *x).sum(), (0, 1))(params, currents)

    parts = functools.partial(trained, neuron), functools.partial(after_each, neuron), gradient
    return tuple(map(jax.jit, parts))


def arrays(limit):
    # Magnitudes from tiny to the limit, both signs, and 0.
    exponent = st.floats(-6, np.log10(limit))
    value = st.tuples(exponent, st.sampled_from([-1.0, 0.0, 1.0])).map(lambda x: x[1] * 10 ** x[0])
    return st.lists(value, min_size=T * N, max_size=T * N).map(
        lambda x: np.array(x, np.float32).reshape(T, N)
    )


@pytest.mark.parametrize("variant", BOUNDED)
@hypothesis.given(currents=arrays(1e6), seed=st.integers(0, 1000), reset=st.sampled_from([0, 2]))
@SETTINGS
def test_currents_up_to_a_million_give_no_nan(variant, currents, seed, reset):
    parameters, trace, gradient = compiled(variant, reset)
    params = parameters(seed)
    states, spikes = jax.device_get(trace(params, currents))
    assert np.isin(spikes, [0, 1]).all()
    for leaf in jax.tree.leaves((states, jax.device_get(gradient(params, currents)))):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("variant", VARIANTS)
@hypothesis.given(currents=arrays(3.0), order=st.permutations(range(N)))
@SETTINGS
def test_neurons_do_not_see_each_other(variant, currents, order):
    parameters, trace, _ = compiled(variant)
    params = parameters(0)
    spikes = np.asarray(trace(params, currents)[1])
    _, permuted = trace(params, currents[:, order])
    np.testing.assert_array_equal(permuted, spikes[:, order])
    # A batch equals its parts: each neuron alone, beside silent ones.
    alone = currents * (np.arange(N) == 2)
    np.testing.assert_array_equal(trace(params, alone)[1][:, 2], spikes[:, 2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_past_does_not_depend_on_the_future(variant):
    parameters, trace, _ = compiled(variant)
    params = parameters(0)
    currents = np.random.default_rng(0).normal(size=(T, N)).astype(np.float32)
    changed = currents + 5 * (np.arange(T) == T - 1).astype(np.float32)[:, None]
    spikes, wanted = (np.asarray(trace(params, x)[1])[:-1] for x in (changed, currents))
    np.testing.assert_array_equal(spikes, wanted)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_learnable_parameter_gets_a_gradient(variant):
    neuron = neurons.build(**VARIANTS[variant], surrogate="arctan")

    @jax.jit
    def gradient():
        currents = jax.random.normal(jax.random.key(1), (6, 200)) * 0.5 + 0.1
        weights = jax.random.normal(jax.random.key(2), currents.shape)
        loss = lambda p: (over_time.scan(neuron, p, currents) * weights).sum()
        return jax.grad(loss)(trained(neuron))

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient()):
        assert (np.asarray(leaf) != 0).all(), path


@pytest.mark.parametrize("variant", VARIANTS)
def test_defaults_rest_without_input_and_spike_with_it(variant):
    neuron = neurons.build(**VARIANTS[variant])
    params = neuron.init(jax.random.key(0))
    curve = jitted(functools.partial(neurons.f_i_curve, neuron), timesteps=60)
    rates = np.asarray(curve(params, jnp.array([-1.0, 0.0, 0.4, 0.7])))
    assert rates[0] == rates[1] == 0
    assert rates[3] > 0.2
    assert rates[3] >= rates[2]
