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
def compiled(variant):
    """(seed of parameters, currents) -> (spikes, states, gradients) of a neuron of either reset."""
    reset = RESETS[2 * ([*VARIANTS].index(variant) % 2)]
    neuron = neurons.build(**VARIANTS[variant], **reset)

    @jax.jit
    def run(seed, currents):
        params = trained(neuron, seed)
        gradient = jax.grad(lambda *x: over_time.scan(neuron, *x).sum(), (0, 1))
        states, spikes = after_each(neuron, params, currents)
        return spikes, states, gradient(params, currents)

    return lambda seed, currents: jax.device_get(run(seed, currents))


def arrays(limit):
    # Magnitudes from tiny to the limit, both signs, and 0.
    exponent = st.floats(-6, np.log10(limit))
    value = st.tuples(exponent, st.sampled_from([-1.0, 0.0, 1.0])).map(lambda x: x[1] * 10 ** x[0])
    return st.lists(value, min_size=T * N, max_size=T * N).map(
        lambda x: np.array(x, np.float32).reshape(T, N)
    )


@pytest.mark.parametrize("variant", BOUNDED)
@hypothesis.given(currents=arrays(1e6), seed=st.integers(0, 1000))
@SETTINGS
def test_currents_up_to_a_million_give_no_nan(variant, currents, seed):
    spikes, *others = compiled(variant)(seed, currents)
    assert np.isin(spikes, [0, 1]).all()
    for leaf in jax.tree.leaves(others):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("variant", VARIANTS)
@hypothesis.given(currents=arrays(3.0), order=st.permutations(range(N)))
@SETTINGS
def test_neurons_do_not_see_each_other(variant, currents, order):
    run = compiled(variant)
    spikes = run(0, currents)[0]
    np.testing.assert_array_equal(run(0, currents[:, order])[0], spikes[:, order])
    # A batch equals its parts: each neuron alone, beside silent ones.
    alone = currents * (np.arange(N) == 2)
    np.testing.assert_array_equal(run(0, alone)[0][:, 2], spikes[:, 2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_past_does_not_depend_on_the_future(variant):
    run = compiled(variant)
    currents = np.random.default_rng(0).normal(size=(T, N)).astype(np.float32)
    changed = currents + 5 * (np.arange(T) == T - 1).astype(np.float32)[:, None]
    spikes, wanted = (run(0, x)[0][:-1] for x in (changed, currents))
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
