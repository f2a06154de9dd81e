"""Drift families and fixed drifts: against float64 NumPy, at 0, at the start, at the knots."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import numpy_reference as reference
import pytest
from catalogue import LIF_AT_START, after_each
from hypothesis import strategies as st

from lnm_jax import neurons
from lnm_jax.neurons import drift

U = np.linspace(-1, 1, 101)
DECAY = 0.25


def cases():
    """(name, f, its parameters, u -> (f(u), f'(u)) in NumPy)."""
    draw = np.random.default_rng(7).normal

    def learned(family, **fields):
        return drift.learned(family, "clip", **{"limit": 1.0, "decay": DECAY} | fields)

    for degree in (1, 2, 3, 5, 8):
        theta = draw(0, 0.5, degree)
        wanted = functools.partial(reference.polynomial, theta)
        yield f"polynomial-{degree}", learned("polynomial", degree=degree), {"theta": theta}, wanted
        for limit in (1.0, 2.0):
            f = learned("chebyshev", degree=degree, limit=limit)
            wanted = functools.partial(reference.chebyshev, theta, limit=limit)
            yield f"chebyshev-{degree}-{limit}", f, {"theta": theta}, wanted
    for knots in (2, 3, 4, 7):
        theta = draw(0, 0.5, knots + 1)
        wanted = functools.partial(reference.spline, theta, limit=1.0)
        yield f"spline-{knots}", learned("spline", knots=knots), {"theta": theta}, wanted
    weights = {name: draw(0, 1, 5) for name in ("in", "bias", "out")}

    def mlp_with_line(u):
        value, slope = reference.mlp(weights, u)
        return value + (DECAY - 1) * u, slope + DECAY - 1

    yield "mlp", learned("mlp", hidden=5), weights, mlp_with_line
    f = drift.quadratic(a_0=0.75, v_c=0.25, limit=1.0)
    yield "quadratic", f, {}, lambda u: reference.quadratic(u, 0.75, 0.25)
    f = drift.exponential(decay=DECAY, delta_t=0.1, v_t=0.2, limit=1.0)
    yield "exponential", f, {}, lambda u: reference.exponential(u, DECAY, 0.1, 0.2)


CASES = {name: rest for name, *rest in cases()}


@pytest.mark.parametrize("name", CASES)
def test_drift_and_its_derivatives_equal_numpy(name):
    f, params, wanted = CASES[name]
    u = U[1:-1]  # at the clip itself the derivative is one-sided
    direction = jax.tree.map(np.cos, params)

    @jax.jit
    def all_of(params):
        total = lambda p: f.apply(p, jnp.asarray(U)).sum()
        slope = jax.vmap(jax.grad(lambda u: f.apply(params, u)))(jnp.asarray(u))
        ahead, behind = (
            total(jax.tree.map(lambda p, d: p + h * d, params, direction))  # noqa: B023
            for h in (1e-6, -1e-6)
        )
        along = jax.jvp(total, (params,), (direction,))[1] if params else 0.0
        return f.apply(params, jnp.asarray(u)), slope, along, (ahead - behind) / 2e-6

    with jax.enable_x64(True):
        value, slope, along, difference = jax.device_get(all_of(params))
    wanted_value, wanted_slope = wanted(u)
    np.testing.assert_allclose(value, wanted_value, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slope, wanted_slope, rtol=1e-9, atol=1e-10)
    # Over u symmetric around 0 odd powers sum to 0: the error is that of the largest terms.
    np.testing.assert_allclose(along, difference, rtol=1e-6, atol=1e-6)


@functools.cache
def compiled(family, bound):
    """(large parameters of a seed, f)."""
    f = drift.learned(family, bound, limit=1.0, degree=4, knots=6, hidden=5, decay=DECAY)

    def scattered(key):
        return jax.tree.map(lambda x: 3 * jax.random.normal(key, x.shape), f.init(key))

    return jax.jit(scattered), jax.jit(f.apply)


@hypothesis.given(seed=st.integers(0, 2**30), size=st.sampled_from([1, 3, 16, 37]))
@hypothesis.settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("family", drift.FAMILIES)
@pytest.mark.parametrize("bound", drift.BOUNDS)
def test_f_of_0_is_exactly_0_for_any_parameters(family, bound, seed, size):
    scattered, f = compiled(family, bound)
    np.testing.assert_array_equal(f(scattered(jax.random.key(seed)), np.zeros(size, np.float32)), 0)


@pytest.mark.parametrize("fields", LIF_AT_START, ids=str)
def test_learnable_neurons_start_exactly_as_lif(fields):
    @jax.jit
    def both():
        currents = jax.random.uniform(jax.random.key(3), (8, 500), minval=-0.7, maxval=0.9)
        neuron = neurons.build(**fields)
        own = after_each(neuron, neuron.init(jax.random.key(0)), currents)
        return own, after_each(neurons.lif(), {}, currents)

    (states, spikes), (lif_states, lif_spikes) = jax.device_get(both())
    np.testing.assert_array_equal(spikes, lif_spikes)
    assert np.abs(lif_states).max() <= 1
    np.testing.assert_allclose(jax.tree.leaves(states)[0], lif_states, atol=1e-6)
    assert 0.1 < spikes.mean() < 0.9


@pytest.mark.parametrize("knots", [3, 5, 9])
def test_the_spline_is_twice_continuously_differentiable_at_its_knots(knots):
    with jax.enable_x64(True):
        theta = jnp.asarray(np.random.default_rng(0).normal(size=knots + 1))
        g = lambda u: drift.spline(theta, u, 1.0)
        derivatives = [jax.jit(d) for d in (g, jax.grad(g), jax.grad(jax.grad(g)))]
        third = jax.jit(jax.grad(derivatives[2]))
        inner = np.linspace(-1, 1, knots)[1:-1]
        for knot in inner:
            for d in derivatives:
                assert abs(d(knot - 1e-9) - d(knot + 1e-9)) < 1e-5
        # It bends at its knots and nowhere else: the third derivative jumps there.
        assert max(abs(third(knot - 1e-6) - third(knot + 1e-6)) for knot in inner) > 0.1


def test_chebyshev_stays_in_its_interval_whatever_the_bound():
    # limit 2: T_k of u / 2, so that all potentials up to 2 are told apart.
    f = neurons.lnm(family="chebyshev", clip=2.0, degree=2)
    params = {"theta": jnp.array([0.0, 1.0])}  # T_2(u/2) - T_2(0) = u**2 / 2
    u = jnp.array([-3.0, -1.5, 0.5, 2.0, 3.0])
    np.testing.assert_allclose(
        neurons.drift_of(f, params, u), jnp.minimum(jnp.abs(u), 2) ** 2 / 2, rtol=1e-5
    )


def test_the_clips_derivative_is_1_up_to_its_ends_and_0_beyond():
    clipped = drift.clip(0.5)(lambda u: u)
    v = jnp.array([-np.inf, -0.7, -0.5, 0.0, 0.5, 0.7, np.nan])
    np.testing.assert_array_equal(clipped(v), [-0.5, -0.5, -0.5, 0, 0.5, 0.5, np.nan])
    np.testing.assert_array_equal(jax.vmap(jax.grad(clipped))(v), [0, 0, 1, 1, 1, 0, 1])


def test_the_linear_bound_continues_f_with_its_slope():
    theta = jnp.array([0.3, -0.4, 0.2])
    f = drift.tangent(1.0)(lambda u: drift.polynomial(theta, u))
    inside = lambda u: drift.polynomial(theta, u)
    slope = jax.grad(inside)
    for end in (-1.0, 1.0):
        for beyond in (0.5, 2.0):
            u = end * (1 + beyond)
            np.testing.assert_allclose(f(u), inside(end) + slope(end) * end * beyond, rtol=1e-6)
            np.testing.assert_allclose(jax.grad(f)(u), slope(end), rtol=1e-6)
    np.testing.assert_allclose(f(0.4), inside(0.4), rtol=1e-6)
    # What clip cannot tell apart, it can.
    assert f(2.0) != f(3.0)


@pytest.mark.parametrize("name", reference.PRIMITIVES)
def test_surrogates_are_the_derivative_of_their_primitive(name):
    spike, primitive = neurons.SURROGATES[name], reference.PRIMITIVES[name]
    both = jax.jit(jax.vmap(jax.value_and_grad(spike), (0, None)))
    x, h = np.linspace(-3, 3, 1201) + 1e-4, 1e-6  # clear of the kinks by 1e-4
    for width in (0.5, 1.0, 2.0):
        with jax.enable_x64(True):
            spikes, slope = jax.device_get(both(x, width))
        np.testing.assert_array_equal(spikes, x >= 0)
        wanted = (primitive(x + h, width) - primitive(x - h, width)) / (2 * h)
        np.testing.assert_allclose(slope, wanted, atol=1e-6)
        # Area 1: the primitive goes from 0 to 1.
        assert primitive(-1e9, width) == pytest.approx(0, abs=1e-6)
        assert primitive(1e9, width) == pytest.approx(1, abs=1e-6)
    assert spike(jnp.float32(0), 1.0) == 1  # at the threshold


def test_every_surrogate_that_is_not_random_has_a_primitive():
    assert set(reference.PRIMITIVES) == set(neurons.SURROGATES) - {"localzo"}
