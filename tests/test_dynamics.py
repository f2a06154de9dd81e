"""Drift, fixed points, f-I curves, lower degrees, and the fixed neurons of the literature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import VARIANTS, after_each, jitted, trained

from lnm_jax import neurons

U = jnp.linspace(-2, 2, 41)
CUBIC = {"theta": jnp.array([0.5, 1.0, -0.25])}


@pytest.mark.parametrize("reset", neurons.RESETS)
def test_drift_is_measured_from_the_neurons_own_step(reset):
    neuron = neurons.lnm(degree=3, reset=reset)
    wanted = neurons.polynomial(CUBIC["theta"], jnp.clip(U, -1, 1))
    np.testing.assert_allclose(neurons.drift_of(neuron, CUBIC, U), wanted, atol=1e-5)
    np.testing.assert_allclose(neurons.drift_of(neurons.lif(), {}, U), -0.75 * U, atol=1e-5)


def test_drift_of_several_variables_is_that_of_the_potential():
    neuron = neurons.lnm_two_variable()
    params = neuron.init(jax.random.key(0))
    wanted = -0.75 * jnp.clip(U, -1, 1)
    np.testing.assert_allclose(neurons.drift_of(neuron, params, U), wanted, atol=1e-5)


@pytest.mark.parametrize("decay_input", [True, False])
def test_drift_of_plif_is_its_leak_channel_by_channel_whether_or_not_the_current_is_scaled(
    decay_input,
):
    # From below the threshold to far above it, where a step spikes.
    neuron = neurons.per_channel(neurons.plif(decay_input=decay_input), 4)
    params = {"w": jnp.array([-7.0, -3.0, 0.0, 1.5])}
    u = jnp.stack([jnp.append(U, jnp.array([6.0, 40.0]))] * 4, 1)
    rates = jax.nn.sigmoid(params["w"])
    found = jitted(functools.partial(neurons.drift_of, neuron))(params, u)
    np.testing.assert_allclose(found, -rates * u, rtol=1e-5, atol=1e-5)
    wanted = rates if decay_input else 1
    np.testing.assert_array_equal(neurons.gain_of(neuron, params), wanted)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "glif"])  # a learned gain
def test_the_gain_is_1_to_the_bit_but_where_a_rate_scales(name):
    shared = neurons.build(**VARIANTS[name], v_reset=0.3)
    for neuron in (shared, neurons.per_channel(shared, 3)):
        params = trained(neuron)
        gain = {"plif": "w", "tc_lif": "c_2"}.get(name)
        wanted = jax.nn.sigmoid(params[gain]) if gain else 1
        found = jitted(functools.partial(neurons.gain_of, neuron))(params)
        np.testing.assert_array_equal(found, wanted)


def test_fixed_points_of_qif_are_rest_and_the_critical_potential():
    found = neurons.fixed_points(neurons.qif(a_0=0.8, v_c=0.3), {}, low=-0.9, high=0.9)
    np.testing.assert_allclose(found.u, [0, 0.3], atol=1e-5)
    # f' = a_0 (2u - v_c): 1 - 0.24 at rest, 1 + 0.24 at the critical potential.
    np.testing.assert_allclose(found.multiplier, [0.76, 1.24], atol=1e-3)
    np.testing.assert_array_equal(found.stable, [True, False])


def test_fixed_points_follow_the_current():
    found = neurons.fixed_points(neurons.lif(decay=0.5), {}, current=0.2)
    np.testing.assert_allclose(found.u, [0.4], atol=1e-6)
    assert not len(neurons.fixed_points(neurons.qif(), {}, current=0.5, low=-0.9).u)
    # PLIF rests at the current if it scales it, at 1/a of it if not.
    for scaled, rest in ((True, 0.2), (False, 0.4)):
        found = neurons.fixed_points(
            neurons.plif(decay_input=scaled), {"w": jnp.float32(0)}, current=0.2
        )
        np.testing.assert_allclose(found.u, [rest], atol=1e-6)
    with pytest.raises(ValueError, match="one variable"):
        neurons.fixed_points(neurons.adex(), {})


def test_f_i_curve_of_lif_is_its_exact_rate():
    # From 0 under constant I the potential is I, 1.5 I, 1.75 I, ...: it spikes every k steps.
    currents = jnp.array([0.2, 0.26, 0.3, 0.4, 0.6])
    rates = neurons.f_i_curve(neurons.lif(decay=0.5), {}, currents, timesteps=600)
    np.testing.assert_allclose(rates, [0, 1 / 5, 1 / 3, 1 / 2, 1], atol=2e-3)


def test_adex_adapts():
    currents = jnp.full((60, 1), 0.45)
    times = np.flatnonzero(neurons.run(neurons.adex(b=0.3, tau_w=10.0), {}, currents))
    intervals = np.diff(times)
    assert intervals[0] < intervals[2:].min()  # it fires fast at first, then slower
    plain = neurons.run(neurons.adex(a=0.0, b=0.0), {}, currents)
    np.testing.assert_array_equal(plain, neurons.run(neurons.eif(), {}, currents))


def test_plif_is_lif_with_a_scaled_current_and_learns_its_rate():
    currents = jax.random.normal(jax.random.key(0), (8, 50)) + 0.3
    neuron = neurons.plif(decay=0.4)
    params = neuron.init(jax.random.key(0))
    np.testing.assert_array_equal(
        neurons.run(neuron, params, currents),
        neurons.run(neurons.lif(decay=0.4), {}, 0.6 * currents),
    )
    unscaled = neurons.plif(decay=0.4, decay_input=False)
    np.testing.assert_array_equal(
        neurons.run(unscaled, params, currents), neurons.run(neurons.lif(decay=0.4), {}, currents)
    )


def test_soft_reset_subtracts_the_threshold():
    states, spikes = after_each(neurons.if_(reset="soft"), {}, jnp.array([0.7, 0.4, 0.0]))
    np.testing.assert_allclose(states, [0.2, 0.1, 0.1], atol=1e-6)
    np.testing.assert_array_equal(spikes, [1, 1, 0])


def test_the_two_variable_neuron_remembers_what_one_variable_forgets():
    neuron = neurons.lnm_two_variable(degree=1, w_decay=0.9, w_gain=0.5)
    params = neuron.init(jax.random.key(0))
    assert params["theta"].shape == (2,)  # u, w
    (v, w), _ = after_each(neuron, params, jnp.array([0.4, 0.0, 0.0]))
    np.testing.assert_allclose(w, [0, 0.2, 0.9 * 0.2 + 0.5 * 0.1], rtol=1e-5)
    np.testing.assert_allclose(v, [0.4, 0.1, 0.025], rtol=1e-5)  # LIF: w acts on nothing yet
    learned = {**params, "theta": jnp.array([-0.75, 1.0])}
    (v, _), _ = after_each(neuron, learned, jnp.array([0.4, 0.0, 0.0]))
    np.testing.assert_allclose(v[2], 0.25 * 0.1 + 0.2, rtol=1e-5)


def test_a_trace_shows_what_the_reset_hides():
    currents = jnp.array([[0.4, 0.9], [0.5, 0.1]])
    before, v_in, spikes, state = neurons.trace(neurons.lif(), {}, currents)
    np.testing.assert_allclose(before, [[0, 0], [0.4, 0]])
    np.testing.assert_allclose(v_in, [[0.4, 0.9], [0.6, 0.1]])
    np.testing.assert_array_equal(spikes, [[0, 1], [1, 0]])
    np.testing.assert_allclose(state, [0, 0.1])
    psn = neurons.psn(timesteps=2)
    params = {"weights": jnp.eye(2), "c": jnp.array([-0.5, 0.0])}
    before, v_in, spikes, state = neurons.trace(psn, params, currents)
    assert before is state is None
    np.testing.assert_allclose(v_in, currents - jnp.array([[0.5], [0.0]]))
    np.testing.assert_array_equal(spikes, [[0, 1], [1, 1]])


def test_a_neuron_of_three_functions_runs_and_has_no_f():
    neuron = neurons.Neuron(*neurons.lif()[:3])
    currents = jnp.array([0.4, 0.9])
    np.testing.assert_array_equal(neurons.run(neuron, {}, currents), [0, 1])
    assert neurons.trace(neuron, {}, currents).v_in is None
    for look in (neurons.drift_of, lambda *given: neurons.gain_of(*given[:2])):
        with pytest.raises(ValueError, match=r"f of a neuron needs `integrate`"):
            look(neuron, {}, currents)


def test_fit_degree_is_the_least_squares_polynomial_on_the_voltages():
    neuron, u = neurons.lnm(degree=3), np.random.default_rng(0).normal(0, 0.4, 500)
    fit = neurons.fit_degree(neuron, CUBIC, u, 2)
    bounded = np.clip(u, -1, 1)
    powers = np.stack([bounded, bounded**2], 1)
    wanted = 0.5 * bounded + bounded**2 - 0.25 * bounded**3
    expected, residual, *_ = np.linalg.lstsq(powers, wanted, rcond=None)
    np.testing.assert_allclose(fit.params["theta"], expected, rtol=1e-3)
    assert fit.error == pytest.approx(np.sqrt(residual[0] / 500), rel=1e-2)
    assert fit.changed is None
    got = neurons.drift_of(fit.neuron, fit.params, jnp.asarray(u, jnp.float32))
    np.testing.assert_allclose(got, powers @ expected, atol=1e-4)


def test_fit_degree_fits_each_channel_as_if_it_were_alone():
    neuron, u = neurons.lnm(degree=3), np.random.default_rng(0).normal(0, 0.4, (500, 2))
    theta = jnp.stack([CUBIC["theta"], 2 * CUBIC["theta"][::-1]], 1)
    both = neurons.fit_degree(neuron, {"theta": theta}, u, 2, currents=u[:10])
    alone = [neurons.fit_degree(neuron, {"theta": theta[:, c]}, u[:, c], 2) for c in (0, 1)]
    fitted = np.stack([fit.params["theta"] for fit in alone], 1)
    np.testing.assert_allclose(both.params["theta"], fitted, rtol=1e-5)
    assert both.error == pytest.approx(np.mean([fit.error for fit in alone]))
    assert 0 <= both.changed < 1


def test_fit_degree_counts_changed_spikes_and_changes_none_at_full_degree():
    neuron = neurons.lnm(degree=3)
    currents = jax.random.normal(jax.random.key(0), (6, 300)) * 0.5
    states, _ = after_each(neuron, CUBIC, currents)
    changes = {}
    for degree in (1, 2, 3):
        fit = neurons.fit_degree(neuron, CUBIC, states, degree, currents=currents)
        changes[degree] = fit.changed
        spikes = neurons.run(fit.neuron, fit.params, currents)
        assert fit.changed == pytest.approx((spikes != neurons.run(neuron, CUBIC, currents)).mean())
    assert changes[3] <= 1 / 1800 < changes[2] <= changes[1]


@pytest.mark.parametrize(
    ("params", "voltages", "degree", "message"),
    [
        (CUBIC, U, 0, "degree must be an integer >= 1, got 0"),
        (CUBIC, U, 4, "degree must be at most the neuron's 3, got 4"),
        (CUBIC, jnp.zeros(0), 2, "needs voltages, got none"),
        ({}, U, 1, r"theta of shape \(N,\)"),
    ],
)
def test_fit_degree_names_what_it_cannot_fit(params, voltages, degree, message):
    with pytest.raises(ValueError, match=message):
        neurons.fit_degree(neurons.lnm(), params, voltages, degree)


def test_the_fold_differs_below_the_bound_alone_and_is_counted():
    params = {"theta": jnp.array([-0.75, 0.0, 0.0])}
    folded = neurons.lnm(update="fold")
    quiet = jax.random.uniform(jax.random.key(0), (6, 200), minval=-0.7, maxval=0.9)
    assert neurons.spike_changes(neurons.lnm(), params, folded, params, quiet) == 0
    # v = -3 stays -3 + 0.75 under Eq. 10, and is -1 + 0.75 under Eq. 16's fold.
    currents = jnp.array([[-3.0], [1.0]])
    assert neurons.spike_changes(neurons.lnm(), params, folded, params, currents) == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: neurons.qif(a_0=0.0), "a_0 must be a finite number > 0"),
        (lambda: neurons.eif(delta_t=0.001), "delta_t must be > 0.01, got 0.001"),
        (lambda: neurons.adex(tau_w=0.5), "tau_w must be >= 1 timestep, got 0.5"),
        (lambda: neurons.plif(decay=1.0), "decay must be > 0 and < 1, got 1.0"),
        (lambda: neurons.lnm(family="spline", knots=1), "knots must be an integer >= 2, got 1"),
        (lambda: neurons.lnm(family="mlp", hidden=0), "hidden must be an integer >= 1, got 0"),
        (lambda: neurons.lnm(update="folded"), "update must be one of sum, fold"),
        (lambda: neurons.lnm_two_variable(bound="linear"), "bound must be one of clip, tanh, none"),
        (lambda: neurons.lnm_two_variable(w_decay=2.0), "w_decay must be between 0 and 1"),
    ],
)
def test_bad_fields_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
