"""The neurons room: against a float64 reference, and its contract."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import after_each

from lnm_jax import neurons

HERE = pathlib.Path(__file__).parent
CASES = json.loads((HERE / "lnm_golden.json").read_text())
GOLDEN = np.load(HERE / "lnm_golden.npz")
CURRENTS = jnp.asarray(np.random.default_rng(0).normal(0.2, 0.5, (6, 4, 3)), jnp.float32)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward_equal_algorithm_1(name, dtype, tolerance):
    fields = {key: value for key, value in CASES[name].items() if key not in "TN"}
    with jax.enable_x64(dtype == "float64"):
        neuron = neurons.lnm(degree=CASES[name]["N"], **fields)
        theta, currents, cotangent = (
            jnp.asarray(GOLDEN[f"{name}/{key}"], dtype)
            for key in ("theta", "currents", "cotangent")
        )

        @jax.jit
        def both(theta, currents, cotangent):
            run = lambda theta, currents: neurons.run(neuron, {"theta": theta}, currents)
            spikes, pullback = jax.vjp(run, theta, currents)
            v_in = neurons.trace(neuron, {"theta": theta}, currents).v_in
            return spikes, v_in, pullback(cotangent)

        spikes, v_in, (d_theta, d_currents) = both(theta, currents, cotangent)
        assert spikes.dtype == d_theta.dtype == d_currents.dtype == dtype
        np.testing.assert_array_equal(spikes, GOLDEN[f"{name}/spikes"])
        # Beside the relative error, rounding of the largest terms where a sum nearly cancels.
        for got, want in (v_in, "v_in"), (d_theta, "d_theta"), (d_currents, "d_currents"):
            want = GOLDEN[f"{name}/{want}"]
            np.testing.assert_allclose(got, want, tolerance, tolerance * 0.01 * np.abs(want).max())


@pytest.mark.parametrize("degree", [1, 2, 3, 5, 8])
def test_a_new_lnm_spikes_exactly_as_lif_inside_the_bound(degree):
    lnm, lif = neurons.lnm(degree=degree), neurons.lif()
    params = lnm.init(jax.random.key(0))
    assert params["theta"].shape == (degree,)
    currents = jnp.clip(CURRENTS, -0.7, None)  # decay 0.25: potentials stay above -1
    states, spikes = after_each(lnm, params, currents)
    assert jnp.abs(states).max() <= 1
    np.testing.assert_array_equal(spikes, neurons.run(lif, {}, currents))
    assert 0.1 < spikes.mean() < 0.9


def test_lif_follows_its_equation_step_by_step():
    v, expected = 0.0, []
    for current in (0.4, 0.45, 0.1, 0.3):
        v = 0.25 * v + current
        expected.append(float(v >= 0.5))
        v = 0.0 if v >= 0.5 else v
    spikes = neurons.run(neurons.lif(), {}, jnp.array([0.4, 0.45, 0.1, 0.3]))
    np.testing.assert_array_equal(spikes, expected)
    assert expected == [0, 1, 0, 0]


def gradient(**fields):
    """d(sum of spikes)/d(currents) of a LIF for two currents, the first of which spikes."""
    run = lambda currents: neurons.run(neurons.lif(**fields), {}, currents).sum()
    return jax.grad(run)(jnp.array([0.6, 0.3]))


def test_gate_gradient_is_algorithm_1s_or_the_full_one():
    # Rectangle of width 1: both derivatives are 1. After a spike Algorithm 1 stops there; the
    # full gradient also sees v = v_in (1 - z): dv/dI = (1 - z) - v_in = -0.6, kept by 0.25.
    np.testing.assert_allclose(gradient(), [1, 1])
    np.testing.assert_allclose(gradient(gate_gradient=True), [1 - 0.25 * 0.6, 1], rtol=1e-6)


def test_surrogates_have_their_published_shape():
    grad = lambda name, width, x: float(jax.grad(neurons.SURROGATES[name])(jnp.float32(x), width))
    assert [grad("rectangle", 1.0, x) for x in (-0.6, -0.5, -0.4, 0.4, 0.5)] == [0, 0, 1, 1, 0]
    assert [grad("rectangle", 2.0, x) for x in (-0.9, 0.9, 1.1)] == [0.5, 0.5, 0]
    assert [grad("triangle", 0.5, x) for x in (-0.5, 0.0, 0.25, 0.6)] == [0, 2, 1, 0]


def test_potentials_stay_float32_under_bfloat16_currents():
    neuron = neurons.lif(decay=1.0, threshold=100.0)
    currents = jnp.full((300, 1), 0.01, jnp.bfloat16)
    states, spikes = after_each(neuron, {}, currents)
    assert states.dtype == jnp.float32
    assert spikes.dtype == jnp.bfloat16
    # In bfloat16 the sum would stop growing near 2, where 0.01 is half a unit.
    np.testing.assert_allclose(states[-1], 300 * float(currents[0, 0]), rtol=1e-4)


def test_rolled_and_unrolled_scans_agree():
    currents = jnp.tile(CURRENTS, (20, 1, 1))  # T = 120, rolled
    neuron = neurons.lnm()
    params = {"theta": jnp.array([-0.5, 0.3, -0.2])}
    states, spikes = after_each(neuron, params, currents)
    v = neuron.reset(currents.shape[1:], jnp.float32)
    for t in range(8):
        v, z = neuron.step(params, v, currents[t])
        np.testing.assert_allclose(states[t], v, rtol=1e-6)
        np.testing.assert_array_equal(spikes[t], z)
    assert spikes.shape == currents.shape


def test_a_neuron_of_ones_own_is_three_functions():
    def step(params, state, current):
        u, w = state
        u = u + current - w
        z = (u > 1).astype(u.dtype)
        return (u * (1 - z), 0.5 * w + params["b"] * z), z

    start = lambda shape, dtype=jnp.float32: (jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
    adaptive = neurons.Neuron(lambda key: {"b": jnp.float32(0.4)}, start, step)
    params = adaptive.init(jax.random.key(0))
    spikes = neurons.run(adaptive, params, jnp.full((20, 2), 0.6))
    plain = neurons.run(adaptive, {"b": 0.0}, jnp.full((20, 2), 0.6))
    assert 0 < spikes.sum() < plain.sum()  # it adapts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: neurons.lnm(degree=0), "degree must be an integer >= 1, got 0"),
        (lambda: neurons.lnm(degree=2.5), "degree must be an integer >= 1, got 2.5"),
        (
            lambda: neurons.lnm(family="polynomal"),
            "family must be .*'polynomal'.*did you mean 'polynomial'",
        ),
        (lambda: neurons.lnm(bound="cut"), "bound must be one of clip, tanh"),
        (lambda: neurons.lnm(clip=0.0), "clip must be a finite number > 0, got 0"),
        (lambda: neurons.lif(decay=1.5), "decay must be between 0 and 1, got 1.5"),
        (lambda: neurons.lif(decay=float("nan")), "decay must be between 0 and 1, got nan"),
        (lambda: neurons.lif(threshold=-1), "threshold must be a finite number > 0, got -1"),
        (lambda: neurons.lif(v_reset=0.5), "v_reset must be below the threshold 0.5, got 0.5"),
        (lambda: neurons.lif(surrogate="rect"), "surrogate must be .*did you mean 'rectangle'"),
        (lambda: neurons.lif(reset="softly"), "reset must be one of"),
        (lambda: neurons.lif(width=0), "width must be a finite number > 0, got 0"),
        (lambda: neurons.build("liff"), "kind must be one of lnm, .*did you mean 'lif'"),
        (lambda: neurons.build("lif", degre=3), "did you mean 'degree'"),
        (lambda: neurons.run(neurons.lif(), {}, jnp.zeros((0, 3))), r"T >= 1, got shape \(0, 3\)"),
        (lambda: neurons.run(neurons.lif(), {}, jnp.zeros(())), r"time leading.*got shape \(\)"),
        (lambda: neurons.run(neurons.lif(), {}, jnp.zeros((2, 3), int)), r"floating.*\(2, 3\)"),
        (lambda: neurons.run(neurons.lif(), {}, CURRENTS, backend="loop"), "backend must be one"),
        (
            lambda: neurons.run(neurons.lnm(), {"theta": jnp.zeros(2)}, CURRENTS),
            r"theta must have 3 entries, got shape \(2,\)",
        ),
        (lambda: neurons.polynomial(jnp.zeros(0), CURRENTS), "N >= 1"),
    ],
)
def test_bad_input_names_the_argument_and_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_build_gives_a_baseline_that_differs_in_kind_alone():
    fields = {"degree": 5, "decay": 0.5, "threshold": 0.7}
    spikes = neurons.run(neurons.build("lif", **fields), {}, CURRENTS)
    wanted = neurons.run(neurons.lif(decay=0.5, threshold=0.7), {}, CURRENTS)
    np.testing.assert_array_equal(spikes, wanted)
    assert neurons.build("lnm", **fields).init(jax.random.key(0))["theta"].shape == (5,)


# --- Neurons of one's own ---------------------------------------------------------------------


def three_functions(**changed):
    surrogate = neurons.SURROGATES["arctan"]

    def step(params, v, current):
        v = params["keep"] * v + current
        spikes = surrogate(v - 1)
        return v * (1 - spikes), spikes

    functions = {
        "init": lambda key: {"keep": jnp.float32(0.5)},
        "reset": lambda shape, dtype: jnp.zeros(shape, dtype),
        "step": step,
    }
    return neurons.Neuron(**functions | changed)


def stepping(result):
    """A neuron whose step returns `result(v, spikes, surrogate)`."""
    surrogate = neurons.SURROGATES["arctan"]

    def step(params, v, current):
        v = params["keep"] * v + current
        spikes = surrogate(v - 1)
        return result(jnp.where(spikes > 0, 0, v), spikes, v)

    return three_functions(step=step)


LIF = neurons.lif()
WRONG = {
    "seems to return .spikes, state": stepping(lambda v, z, v_in: (z, v)),
    r"must return \(state, spikes\), got ArrayImpl": stepping(lambda v, z, v_in: z),
    "the gradient of the spikes is 0": stepping(lambda v, z, v_in: (v, jax.lax.stop_gradient(z))),
    r"like the currents, float32\[2, 5, 8\], got bool": stepping(lambda v, z, x: (v, x > 1)),
    "current of one neuron changed others": stepping(lambda v, z, x: (v - v.mean(), z)),
    "numbers that are not finite": stepping(lambda v, z, x: (jnp.log(x - 1), z)),
    "spikes must be 0 or 1, got 0.5": stepping(lambda v, z, x: (v, 0 * z + 0.5)),
    "spikes at every timestep without any current": stepping(lambda v, z, x: (v, 1 + 0 * z)),
    "no spike in 20 timesteps for constant currents up to 10": stepping(lambda v, z, x: (v, 0 * z)),
    "starts at a potential of 65 in magnitude": three_functions(
        reset=lambda shape, dtype: jnp.full(shape, -65, dtype)
    ),
    r"of that shape and dtype, float32\[2, 5, 8\], got int32": three_functions(
        reset=lambda shape, dtype: jnp.zeros(shape, jnp.int32)
    ),
    r"params\['keep'\] must be floating point, got int32": three_functions(
        init=lambda key: {"keep": jnp.int32(1)}
    ),
    "facts.threshold is 1.0, but": LIF._replace(facts=LIF.facts._replace(threshold=1.0)),
    r"facts.drift gives f\(-1\) = 0.5, but": LIF._replace(
        facts=LIF.facts._replace(drift=neurons.lif(decay=0.5).facts.drift)
    ),
    "must give the spikes of step": LIF._replace(step=neurons.lif(decay=0.9).step),
}


@pytest.mark.parametrize("problem", WRONG)
def test_check_says_what_is_wrong_with_a_neuron(problem):
    with pytest.raises(ValueError, match=problem):
        neurons.check(WRONG[problem])


@pytest.mark.parametrize("kind", ["lnm", "plif", "adex", "glif", "ternary"])
def test_check_finds_nothing_wrong_with_neurons_that_are_right(kind):
    neurons.check(neurons.build(kind, timesteps=20))


def test_a_neuron_prints_as_its_call_and_names_itself_in_errors():
    assert repr(neurons.lnm(degree=5, reset="soft")) == "lnm(degree=5, reset='soft')"
    assert repr(neurons.psn(timesteps=4)) == "psn(timesteps=4)"
    with pytest.raises(TypeError, match=r"lnm\(\) takes.* got 'treshold' \(did you mean 'thresho"):
        neurons.lnm(treshold=1)


@pytest.mark.parametrize("backend", neurons.BACKENDS)
def test_numbers_of_a_neuron_may_be_traced(backend):
    def count(decay, threshold):
        fields = {"decay": decay, "threshold": threshold, "surrogate": "arctan"}
        return neurons.run(neurons.lif(**fields), {}, CURRENTS, backend=backend).sum()

    decays, thresholds = jnp.array([0.2, 0.9]), jnp.array([0.3, 1.0])
    wanted = [count(*pair) for pair in ((0.2, 0.3), (0.9, 1.0))]
    np.testing.assert_array_equal(jax.vmap(count)(decays, thresholds), wanted)
    low, high = count(0.5, 0.5 + 1e-2), count(0.5, 0.5 - 1e-2)
    assert jax.grad(count, 1)(0.5, 0.5) < 0 <= high - low
    with pytest.raises(TypeError, match=r"forward-mode.*custom_vjp"):
        jax.jvp(lambda x: neurons.run(LIF, {}, x, backend=backend), (CURRENTS,), (CURRENTS,))
