"""The compared methods: against their equations in NumPy, and their published special cases."""

import functools

import comparator_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import GRADED, after_each, jitted, trained

from lnm_jax import neurons
from lnm_jax.neurons import kernel, over_time, surrogate

T, N = 6, 40
WIDTH = 0.7  # of the sigmoid surrogate, whose slope is nowhere 0


def slope(x):
    share = reference.s(x / WIDTH)
    return share * (1 - share) / WIDTH


SMOOTH = {"surrogate": "sigmoid", "width": WIDTH}
# Each: the neuron, its reference, and the fields that the reference takes.
METHODS = {
    "clif": (neurons.clif(**SMOOTH), reference.clif, {"decay": 0.5, "threshold": 1.0}),
    "clif-recipe": (
        neurons.build("clif", decay=0.25, threshold=0.5, **SMOOTH),
        reference.clif,
        {"decay": 0.25, "threshold": 0.5},
    ),
    "glif": (neurons.glif(timesteps=T, **SMOOTH), reference.glif, {}),
    "glif-in-two-steps": (neurons.glif(timesteps=T, **SMOOTH), reference.glif_in_two_steps, {}),
    "glif-fewer-conductances": (neurons.glif(timesteps=2, **SMOOTH), reference.glif, {}),
    "ternary": (neurons.ternary(**SMOOTH), reference.ternary, {"decay": 0.25, "threshold": 0.5}),
    "ternary-amplitude": (
        neurons.ternary(learn_amplitude=True, gate_gradient=False, decay=0.5, **SMOOTH),
        reference.ternary,
        {"decay": 0.5, "threshold": 0.5, "gate_gradient": False},
    ),
    "diet": (neurons.diet(decay=0.8, surrogate_gain=1.0, **SMOOTH), reference.diet, {}),
    "tc_lif": (
        neurons.tc_lif(dendrite_reset=0.6, **SMOOTH),
        reference.tc_lif,
        {"threshold": 1.0, "dendrite_reset": 0.6},
    ),
    "ts_lif": (
        neurons.ts_lif(threshold=0.4, **SMOOTH),
        reference.ts_lif,
        {"threshold": 0.4, "dendrite_reset": 0.5},
    ),
    "lsg": (neurons.lsg(), reference.lsg, {"threshold": 0.5}),
    "psn": (neurons.psn(timesteps=T, threshold=0.2, **SMOOTH), reference.psn, {}),
    "masked_psn": (
        neurons.masked_psn(timesteps=T, order=3, masking=0.75, threshold=0.2, **SMOOTH),
        reference.masked_psn,
        {"order": 3, "masking": 0.75},
    ),
    "sliding_psn": (neurons.sliding_psn(order=3, **SMOOTH), reference.sliding_psn, {}),
}


def over(neuron):
    """(params, currents) -> spikes."""
    return functools.partial(neurons.run, neuron, backend="scan")


def assert_equal_to(method, neuron, params, slope, fields):
    """Spikes are the reference's, all of them, and so is the derivative along a direction."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        currents = rng.normal(0.5, 0.8, (T, N))
        cotangent = rng.normal(size=(T, N))
        direction = jax.tree.map(lambda x: rng.normal(size=x.shape), (params, currents))

        @jax.jit
        def both(params, currents, cotangent):
            spikes, pullback = jax.vjp(over(neuron), params, currents)
            return spikes, pullback(cotangent)

        spikes, gradient = jax.device_get(both(params, currents, cotangent))
    wanted, derivative = reference.directional(
        method, slope, (params, currents), direction, cotangent, **fields
    )
    np.testing.assert_array_equal(spikes, wanted)
    assert 0.1 < (spikes != 0).mean() < 0.9
    parts = jax.tree.map(lambda a, b: (a * b).sum(), gradient, direction)
    np.testing.assert_allclose(sum(jax.tree.leaves(parts)), derivative, rtol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_spikes_and_gradients_are_those_of_the_equations(name):
    neuron, method, fields = METHODS[name]
    assert_equal_to(method, neuron, trained(neuron), slope, fields)


def run(neuron, params, currents):
    return np.asarray(jitted(over(neuron))(params, np.asarray(currents, np.float32)))


def currents_of(low=None, seed=1):
    currents = np.random.default_rng(seed).normal(0.4, 0.6, (T, N))
    return currents if low is None else np.maximum(currents, low)


def test_clif_without_its_memory_is_lif_with_a_soft_reset():
    clif, lif = neurons.clif(), neurons.lif(decay=0.5, threshold=1.0, reset="soft")
    v, state = lif.reset((N,)), (jnp.zeros(N), jnp.full(N, -1e30))  # s(m) = 0
    both = jax.jit(lambda state, v, i: (clif.step({}, state, i), lif.step({}, v, i)))
    for current in 2 * currents_of().astype(np.float32):
        (state, spikes), (v, wanted) = both(state, v, current)
        np.testing.assert_array_equal(spikes, wanted)
        np.testing.assert_array_equal(state[0], v)


def test_ternary_is_lif_where_nothing_is_negative_and_odd_in_its_currents():
    neuron, currents = neurons.ternary(), currents_of()
    positive = currents_of(low=0.0)
    np.testing.assert_array_equal(run(neuron, {}, positive), run(neurons.lif(), {}, positive))
    spikes = run(neuron, {}, currents)
    np.testing.assert_array_equal(run(neuron, {}, -currents), -spikes)
    assert set(np.unique(spikes)) == {-1, 0, 1}
    amplified = neurons.ternary(learn_amplitude=True)
    np.testing.assert_array_equal(run(amplified, {"amplitude": -0.5}, currents), -0.5 * spikes)


def slopes(neuron, params, u):
    """dz/du of one timestep at potentials u."""
    return jitted(jax.grad(lambda u, p: over_time.scan(neuron, p, u[None]).sum()))(u, params)


def test_the_ternary_surrogate_is_a_hard_tanhs():
    u = np.array([-1.1, -0.9, -0.5, -0.1, 0.1, 0.5, 0.9, 1.1], np.float32)
    np.testing.assert_array_equal(slopes(neurons.ternary(), {}, u), np.abs(u) < 1)


def test_lsg_widens_its_rectangle_by_the_leak():
    neuron = neurons.lsg(threshold=0.4)
    u = np.linspace(-0.6, 1.4, 81, dtype=np.float32) + 0.001
    for w, b in ((-100.0, 0.0), (0.0, 0.5)):
        width = 2 * 0.4 * np.sqrt(1 + b**2)
        wanted = (np.abs(u - 0.4) < width / 2) / width
        assert 0 < (wanted > 0).sum() < len(u)
        np.testing.assert_allclose(slopes(neuron, {"w": w}, u), wanted, rtol=1e-6)
    # A width from outside, as `layers.Spiking` fits it, goes before its own.
    np.testing.assert_array_equal(slopes(neuron, {"w": 0.0, "width": 0.1}, u).max(), 10)


def test_diet_and_lsg_start_as_lif_under_its_fields():
    recipe = {"decay": 0.25, "threshold": 0.5, "surrogate": "rectangle", "width": 1.0}
    currents = jnp.asarray(currents_of(), jnp.float32)
    diet = neurons.build("diet", **recipe, surrogate_gain=1.0)
    soft = neurons.lif(reset="soft")

    def both(neuron):
        params = neuron.init(jax.random.key(0))
        scan = lambda x: over_time.scan(neuron, params, x)
        return scan(currents), jax.grad(lambda x: scan(x).sum())(currents)

    for got, wanted in zip(*jax.jit(lambda: (both(diet), both(soft)))(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    published = neurons.build("diet", **recipe, surrogate_gain=0.3)
    np.testing.assert_allclose(slopes(published, published.init(None), np.float32([0.4])), 0.3)
    lsg = neurons.build("lsg", **recipe)
    params = lsg.init(jax.random.key(0))
    np.testing.assert_array_equal(run(lsg, params, currents), run(neurons.lif(), {}, currents))


def test_diets_surrogate_keeps_its_shape_over_the_learned_threshold():
    """As published: dz/dx = 0.3 max(0, 1 - |x|), x = u / theta - 1, away from where theta began."""
    neuron = neurons.diet(threshold=0.8, width=0.8)
    triangle = lambda x: 0.3 * np.maximum(0, 1 - np.abs(x))
    assert_equal_to(reference.diet, neuron, {"leak": 0.9, "theta": 1.2}, triangle, {})
    neuron, params = neurons.diet(threshold=2.0, width=2.0), {"leak": 1.0, "theta": 3.0}
    u = np.array([-0.5, 0.5, 2.0, 2.9, 3.1, 5.5, 6.5], np.float32)
    np.testing.assert_array_equal(run(neuron, params, u[None])[0], u >= 3)
    np.testing.assert_allclose(slopes(neuron, params, u), triangle(u / 3 - 1) / 3, rtol=1e-5)
    states, _ = after_each(neuron, params, jnp.array([[3.5], [0.0]]))
    assert states[-1, 0] == 0.5  # the reset takes theta


def test_diets_leak_is_at_most_1_and_keeps_its_gradient():
    neuron, currents = neurons.diet(), jnp.full((3, 1), 0.3)
    states = lambda leak: after_each(neuron, {"leak": leak, "theta": 5.0}, currents)[0]
    np.testing.assert_allclose(states(1.5)[:, 0], [0.3, 0.6, 0.9], rtol=1e-6)
    assert jax.grad(lambda leak: states(leak)[-1, 0])(1.5) == pytest.approx(0.9, rel=1e-6)


def test_a_sliding_psn_of_order_t_is_a_masked_one_with_equal_diagonals():
    sliding, masked = neurons.sliding_psn(order=T), neurons.masked_psn(order=T, timesteps=T)
    weights = np.random.default_rng(0).normal(size=T).astype(np.float32)
    lag = np.arange(T)[:, None] - np.arange(T)
    matrix = np.where(lag >= 0, weights[(T - 1 - lag) % T], 7.0)  # above the diagonal: masked
    spikes = run(sliding, {"weights": weights, "c": jnp.float32(-0.3)}, currents_of())
    wanted = run(masked, {"weights": matrix, "c": jnp.full(T, -0.3)}, currents_of())
    np.testing.assert_array_equal(spikes, wanted)
    assert 0.1 < spikes.mean() < 0.9
    np.testing.assert_array_equal(sliding.init(None)["weights"], 0.5 ** np.arange(T - 1, -1, -1))


def timesteps_seen(neuron, t):
    """The timesteps whose currents spikes at t depend on."""
    currents = jax.random.normal(jax.random.key(0), (T, N))
    params = neuron.init(jax.random.key(1))
    gradient = jax.jit(jax.grad(lambda x: neurons.run(neuron, params, x)[t].sum()))(currents)
    return np.flatnonzero(np.asarray(gradient).any(1)).tolist()


def test_masked_and_sliding_psns_see_the_last_timesteps_alone():
    assert timesteps_seen(neurons.psn(timesteps=T), 3) == list(range(T))
    assert timesteps_seen(neurons.masked_psn(timesteps=T, order=2), 3) == [2, 3]
    assert timesteps_seen(neurons.sliding_psn(order=2), 3) == [2, 3]


def test_the_gaussian_is_the_mean_of_localzos_random_derivative():
    delta, draws = 0.5, 400_000
    r = np.abs(np.random.default_rng(0).normal(size=draws))
    for x in (0.0, 0.1, -0.4, 0.9, 1.6):
        samples = (np.abs(x) < delta * r) * r / (2 * delta)
        got = jax.grad(neurons.SURROGATES["gaussian"])(jnp.float32(x), delta)
        assert abs(got - samples.mean()) < 4 * samples.std() / draws**0.5


def test_localzo_draws_from_its_published_distribution():
    delta, draws = 0.5, 20_000
    rng = np.random.default_rng(0)
    r = np.abs(rng.normal(size=(draws, 5)))
    derivative = jax.jit(jax.grad(lambda x: neurons.SURROGATES["localzo"](x, delta).sum()))
    for centre in (0.0, 0.1, -0.4, 0.9):
        # So near that the distribution is the same, and each has bits of its own.
        x = np.linspace(centre - 0.01, centre + 0.01, draws, dtype=np.float32)
        got = np.asarray(derivative(x))
        samples = ((abs(centre) < delta * r) * r / (2 * delta)).mean(1)
        assert abs(got.mean() - samples.mean()) < 6 * samples.std() / draws**0.5
        assert got.std() == pytest.approx(samples.std(), rel=0.03)
        assert abs(np.corrcoef(got[:-1], got[1:])[0, 1]) < 0.03
    # A draw is of the potential, wherever and whenever a neuron has it.
    np.testing.assert_array_equal(derivative(x[::-1]), got[::-1])


def test_no_hash_makes_localzo_draw_infinity():
    """Of 16 million draws one is the last number: a step of a small network has more of them."""
    ends = surrogate._uniform(jnp.array([0, 2**32 - 1], jnp.uint32))
    assert 0 < ends[0] < ends[1] < 1
    assert np.isfinite(jax.lax.erf_inv(ends)).all()


@pytest.mark.usefixtures("pretend_gpu")
def test_localzo_runs_in_every_backend():
    lif = neurons.lif(surrogate="localzo", width=0.5)
    assert kernel.refusal(lif, {}, jnp.zeros((1, 3, 130))) is None
    currents = jnp.asarray(np.random.default_rng(0).normal(0.3, 0.5, (2, 9000)), jnp.float32)
    scan, recomputed = (
        jax.jit(jax.grad(lambda x, run=run: run(lif, {}, x).sum()))(currents).mean()
        for run in (over_time.scan, over_time.fused)
    )
    np.testing.assert_allclose(recomputed, scan, rtol=0.02)


@pytest.mark.parametrize("name", GRADED)
def test_graded_neurons_stay_finite_and_rest_without_input(name):
    neuron = neurons.build(**GRADED[name])
    params = trained(neuron)
    currents = jnp.array([-1e6, -3.0, 0.0, 1e-3, 3.0, 1e6]) * jnp.array([[1], [0], [1], [-1.0]])
    total = lambda params, currents: over_time.scan(neuron, params, currents).sum()
    both = jax.jit(lambda *x: (*after_each(neuron, *x), jax.grad(total, (0, 1))(*x)))
    states, spikes, gradient = jax.device_get(both(params, currents))
    for leaf in jax.tree.leaves((states, gradient)):
        assert np.isfinite(leaf).all()
    assert not spikes[:, 2].any()
    assert spikes[:, -1].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: neurons.glif(threshold=8.0), "threshold must be > 0 and < 1, .*got 8.0"),
        (lambda: neurons.glif(decay=0.0), "decay must be > 0 and < 1, .*got 0.0"),
        (lambda: neurons.glif(timesteps=0), "timesteps must be an integer >= 1, got 0"),
        (lambda: neurons.clif(decay=1.5), "decay must be between 0 and 1, got 1.5"),
        (lambda: neurons.clif(threshold=-1.0), "threshold must be a finite number > 0, got -1"),
        (lambda: neurons.ternary(surrogate="ternary"), "surrogate must be one of"),
        (lambda: neurons.diet(surrogate_gain=0), "surrogate_gain must be .* > 0, got 0"),
        (lambda: neurons.tc_lif(dendrite_reset=-1), "dendrite_reset must be >= 0, got -1"),
        (lambda: neurons.ts_lif(width=0), "width must be a finite number > 0, got 0"),
        (lambda: neurons.lsg(decay=1.0), "decay must be > 0 and < 1, got 1.0"),
        (lambda: neurons.masked_psn(order=0), "order must be an integer >= 1, got 0"),
        (lambda: neurons.masked_psn(masking=2), "masking must be between 0 and 1, got 2"),
        (
            lambda: neurons.psn(timesteps=4).integrate({}, jnp.zeros((3, 2))),
            r"must have T = 4 timesteps, got shape \(3, 2\)",
        ),
        (lambda: neurons.run(neurons.sliding_psn(), {}, jnp.zeros((3, 2), int)), "floating point"),
    ],
)
def test_bad_input_names_the_argument_and_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_build_hands_a_method_the_shared_fields_that_it_has():
    surrogate, gate = {"surrogate", "width"}, {"gate_gradient"}
    wanted = {
        "glif": {"timesteps", "decay", "threshold"} | surrogate,
        "clif": {"decay", "threshold"} | surrogate,
        "ternary": {"decay", "threshold", "learn_amplitude"} | surrogate | gate,
        "diet": {"decay", "threshold", "surrogate_gain"} | surrogate,
        "tc_lif": {"threshold", "dendrite_reset"} | surrogate | gate,
        "ts_lif": {"threshold", "dendrite_reset"} | surrogate | gate,
        "lsg": {"decay", "threshold", "reset", "v_reset"} | gate,
        "psn": {"timesteps", "threshold"} | surrogate,
        "masked_psn": {"timesteps", "threshold", "order", "masking"} | surrogate,
        "sliding_psn": {"threshold", "order"} | surrogate,
    }
    assert {kind: neurons.fields(kind) for kind in wanted} == wanted
    with pytest.raises(TypeError, match="reset"):
        neurons.clif(reset="hard")
    neuron, currents = neurons.build("clif", decay=0.5, threshold=1.0, reset="hard"), currents_of()
    np.testing.assert_array_equal(run(neuron, {}, currents), run(neurons.clif(), {}, currents))


# --- Starts, from the authors' code -----------------------------------------------------------


def test_glif_starts_at_its_published_values():
    params = neurons.per_channel(neurons.glif(timesteps=3), 400).init(jax.random.key(0))
    starts = {"tau": 0.25, "theta": 0.5, "subtracted": 0.5, "linear": 0.0625, "conductance": 0.5}
    for name, value in starts.items():
        np.testing.assert_allclose(reference.s(params[name]), value, rtol=1e-6, err_msg=name)
    assert params["conductance"].shape == (3, 400)
    gates = np.stack([params[name] for name in ("gate_leak", "gate_input", "gate_reset")])
    assert np.abs(gates).max() <= 0.1
    # Uniform: mean and deviation within 6 standard errors; each gate of each channel is its own.
    deviation = 0.2 / 12**0.5
    assert abs(gates.mean()) < 6 * deviation / gates.size**0.5
    assert abs(gates.std() - deviation) < 6 * deviation * (0.2 / gates.size) ** 0.5
    assert len(np.unique(gates)) > 0.99 * gates.size


STARTS = {
    "plif": (neurons.plif(decay=0.75), {"w": -np.log(3)}),  # tau = 4
    "lsg": (neurons.lsg(), {"w": np.log(0.2 / 0.8)}),
    "diet": (neurons.diet(), {"leak": 1, "theta": 1}),
    "ternary-amplitude": (neurons.ternary(learn_amplitude=True), {"amplitude": 1}),
    "tc_lif": (neurons.tc_lif(), {"c_1": 0, "c_2": 0}),
    "ts_lif": (
        neurons.ts_lif(),
        {"pp": 0.8, "p_input": 0.2, "qq": 0.3, "q_input": 0.7, "qp": 0.8, "pq": 0.1},
    ),
    "psn": (neurons.psn(timesteps=3, threshold=0.7), {"c": [-0.7] * 3}),
    "masked_psn": (neurons.masked_psn(timesteps=3, threshold=0.7), {"c": [-0.7] * 3}),
    "sliding_psn": (
        neurons.sliding_psn(order=3, threshold=0.7),
        {"weights": [0.25, 0.5, 1], "c": -0.7},
    ),
}
RANDOM = {"ts_lif": {"long", "short"}, "psn": {"weights"}, "masked_psn": {"weights"}}


@pytest.mark.parametrize("name", STARTS)
def test_constants_start_as_published(name):
    neuron, starts = STARTS[name]
    params = neuron.init(jax.random.key(0))
    assert set(params) == set(starts) | RANDOM.get(name, set())
    for key, value in starts.items():
        np.testing.assert_allclose(params[key], value, rtol=1e-6, err_msg=key)
        assert np.shape(params[key]) == np.shape(value)


@pytest.mark.parametrize("make", [neurons.psn, neurons.masked_psn])
def test_a_psns_weights_start_uniform_within_1_over_the_root_of_t(make):
    weights = np.asarray(make(timesteps=25).init(jax.random.key(0))["weights"])
    assert weights.shape == (25, 25)
    assert -0.2 <= weights.min() < -0.19 < 0.19 < weights.max() <= 0.2
    assert abs(weights.mean()) < 6 * 0.4 / 12**0.5 / 25


def test_ts_lifs_mixture_starts_normal():
    params = neurons.per_channel(neurons.ts_lif(), 800).init(jax.random.key(0))
    mixture = np.stack([params["long"], params["short"]])
    assert abs(mixture.mean()) < 6 / 40  # standard errors of 1600 draws
    assert abs(mixture.std() - 1) < 6 / (2 * 1600) ** 0.5
    assert abs(np.corrcoef(mixture)[0, 1]) < 6 / 800**0.5


# --- Inference ------------------------------------------------------------------------------

W, A = 0.7, 1 / (1 + np.exp(-0.7))  # a parameter and its logistic function
# Each: the neuron, its parameters, the LIF neuron that is left, and the factor of the currents.
FOLDS = {
    "plif": (neurons.plif(), {"w": W}, neurons.lif(decay=1 - A), A),
    "plif-unscaled": (neurons.plif(decay_input=False), {"w": W}, neurons.lif(decay=1 - A), 1),
    "diet": (
        neurons.diet(),
        {"leak": 0.8, "theta": 0.6},
        neurons.lif(decay=0.8, threshold=0.6, reset="soft"),
        1,
    ),
    "lsg": (neurons.lsg(), {"w": W}, neurons.lif(decay=A), 1),
}


@pytest.mark.parametrize("name", FOLDS)
def test_at_inference_a_lif_neuron_is_left(name):
    """The factor goes into the weights that make the currents."""
    neuron, params, lif, factor = FOLDS[name]
    params = jax.tree.map(jnp.float32, params)
    spikes = run(neuron, params, currents_of())
    np.testing.assert_array_equal(spikes, run(lif, {}, factor * currents_of()))
    assert 0.1 < spikes.mean() < 0.9
