"""Flax layers: what they own and how they fold time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import PARALLEL, trained

from lnm_jax import layers, neurons
from lnm_jax.layers import cpu_conv


def test_spiking_owns_theta_and_runs_the_neuron():
    neuron = neurons.lnm(degree=2)
    layer = layers.Spiking(neuron)
    currents = jax.random.normal(jax.random.key(1), (3, 2, 4, 4, 5))
    variables = jax.jit(layer.init)(jax.random.key(0), currents)
    assert jax.tree.map(jnp.shape, variables["params"]) == {"neuron": {"theta": (2,)}}
    spikes, sown = layer.apply(variables, currents, mutable=["rates", "spikes"])
    wanted = neurons.run(neuron, variables["params"]["neuron"], currents)
    np.testing.assert_array_equal(spikes, wanted)
    np.testing.assert_allclose(sown["rates"]["rate"], wanted.mean((0, 2, 3, 4)), rtol=1e-6)
    np.testing.assert_array_equal(sown["spikes"]["count"], wanted.sum(0))


def test_a_neuron_without_parameters_adds_none():
    layer = layers.Spiking(neurons.lif())
    variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((2, 1, 3)))
    assert not jax.tree.leaves(variables.get("params", {}))


def test_folding_time_is_undone_by_unfolding():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    assert layers.fold_time(x).shape == (6, 4)
    np.testing.assert_array_equal(layers.unfold_time(layers.fold_time(x), 2), x)


def test_conv_norm_normalises_over_batch_time_and_space():
    layer = layers.ConvNorm(6, stride=2)
    x = jax.random.normal(jax.random.key(0), (8, 6, 6, 3)) * 3 + 1
    variables = jax.jit(partial(layer.init, train=False))(jax.random.key(1), x)
    y, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.shape == (8, 3, 3, 6)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-3)
    raw = jax.lax.conv_general_dilated(
        x, variables["params"]["conv"]["kernel"], (2, 2), [(1, 1), (1, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    np.testing.assert_allclose(
        updates["batch_stats"]["norm"]["mean"], 0.1 * raw.mean((0, 1, 2)), rtol=1e-4, atol=1e-5
    )


def test_sharing_by_channel_gives_each_channel_its_own_neuron():
    layer = layers.Spiking(neurons.lnm(degree=2), sharing="channel")
    currents = jax.random.normal(jax.random.key(1), (4, 3, 5)) + 0.3
    variables = jax.jit(layer.init)(jax.random.key(0), currents)
    assert variables["params"]["neuron"]["theta"].shape == (2, 5)
    theta = jax.random.normal(jax.random.key(2), (2, 5))
    spikes = layer.apply({"params": {"neuron": {"theta": theta}}}, currents)
    for c in range(5):
        alone = neurons.run(neurons.lnm(degree=2), {"theta": theta[:, c]}, currents[..., c])
        np.testing.assert_array_equal(spikes[..., c], alone)


def test_a_fitted_window_follows_the_spread_of_the_potential():
    neuron = neurons.lif(decay=0.5, surrogate="triangle")
    layer = layers.Spiking(neuron, window=2.0, momentum=0.0)
    currents = 3 * jax.random.normal(jax.random.key(1), (4, 8, 100))
    variables = jax.jit(layer.init)(jax.random.key(0), currents)
    run = jax.jit(partial(layer.apply, train=True, mutable=["batch_stats"]))
    spikes, updates = run(variables, currents)
    trace = neurons.trace(neuron, {}, currents)
    np.testing.assert_array_equal(spikes, trace.spikes)  # the width is in the backward pass alone
    deviation = trace.v_in.std()
    np.testing.assert_allclose(updates["batch_stats"]["deviation"], deviation, rtol=1e-4)

    def gradient(layer, variables, **mode):
        return jax.grad(lambda x: layer.apply(variables, x, **mode).sum())(currents)

    # Evaluation uses the running deviation: the gradient is that of a fixed width.
    fixed = layers.Spiking(neurons.lif(decay=0.5, surrogate="triangle", width=2 * float(deviation)))
    params = {"params": variables["params"]}
    np.testing.assert_allclose(
        gradient(layer, params | updates), gradient(fixed, params), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("channels", [(3, 5), (64, 65)])  # narrow, and wide enough for Winograd
@pytest.mark.parametrize("size", [8, 6, 9])  # tiles of 4 and of 2 fit, of 2, none
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_convolutions_and_their_gradients_equal_the_native_ones(kernel, stride, size, channels):
    pad = (((kernel - 1) // 2,) * 2,) * 2
    x = jax.random.normal(jax.random.key(0), (2, size, 8, channels[0]))
    k = jax.random.normal(jax.random.key(1), (kernel, kernel, *channels))
    ours = lambda x, k: cpu_conv.convolve(x, k, (stride, stride), pad)
    native = lambda x, k: jax.lax.conv_general_dilated(
        x, k, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

    def compare(got, expected):
        np.testing.assert_allclose(got, expected, atol=1e-5 * float(jnp.abs(expected).max()))

    result, pullback = jax.vjp(native, x, k)
    gradient = jax.random.normal(jax.random.key(2), result.shape)
    with_gradients = jax.jit(lambda g, *a: (jax.vjp(ours, *a)[0], *jax.vjp(ours, *a)[1](g)))
    jax.tree.map(compare, with_gradients(gradient, x, k), (result, *pullback(gradient)))


@pytest.mark.parametrize("m", [2, 4])
def test_winograd_equals_the_convolution_and_its_gradient(m):
    key = jax.random.split(jax.random.key(2), 3)
    x = jax.random.normal(key[0], (2, 8, 12, 5))
    k, g = jax.random.normal(key[1], (3, 3, 5, 7)), jax.random.normal(key[2], (2, 8, 12, 7))
    native = lambda k: jax.lax.conv_general_dilated(
        x, k, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    with jax.default_matmul_precision("highest"):
        result, pullback = jax.vjp(native, k)
        ours = cpu_conv.winograd(x, k, m), cpu_conv.winograd_kernel_gradient(x, g, m)
    for got, expected in zip(ours, (result, *pullback(g)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("m", [2, 4])
def test_winograds_matrices_solve_the_one_dimensional_problem_exactly(m):
    data, kernel, result = cpu_conv.transforms(m)
    rng = np.random.default_rng(0)
    tile, weights = rng.normal(size=m + 2), rng.normal(size=3)
    filtered = [tile[i : i + 3] @ weights for i in range(m)]
    np.testing.assert_allclose(result @ ((kernel @ weights) * (data @ tile)), filtered, atol=1e-13)


def test_wide_layers_use_winograd_on_a_cpu_and_nowhere_else():
    x, wide = jnp.zeros((1, 8, 8, 64)), jnp.zeros((3, 3, 64, 64))
    convolve = jax.jit(lambda x, k: cpu_conv.convolve(x, k, (1, 1), ((1, 1), (1, 1))))
    for platform, products in (("cpu", 16), ("cuda", 0), ("tpu", 0)):
        program = convolve.trace(x, wide).lower(lowering_platforms=(platform,)).as_text()
        assert program.count("stablehlo.dot_general") in (products, products + 2), platform
        assert ("stablehlo.convolution" in program) == (products == 0), platform


@pytest.mark.parametrize("kind", [kind for kind in neurons.NEURONS if kind not in PARALLEL])
def test_a_recording_may_be_fed_in_pieces(kind):
    neuron = neurons.build(kind)
    params = trained(neuron)
    currents = 0.8 * jax.random.normal(jax.random.key(0), (12, 6, 3)) + 0.2
    whole, last = jax.jit(partial(neurons.run, neuron, return_state=True))(params, currents)
    state, pieces = None, []
    for piece in jnp.split(currents, [1, 5]):
        spikes, state = neurons.run(neuron, params, piece, state=state, return_state=True)
        pieces.append(spikes)
    np.testing.assert_array_equal(jnp.concatenate(pieces), whole)
    assert whole.any()
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_array_equal(
        neurons.run(neuron, params, currents[5:], state=jax.tree.map(lambda x: x, state)),
        neurons.run(neuron, params, currents[5:], state=state, backend="scan"),
    )


@pytest.mark.parametrize("fields", [{}, {"membrane_norm": True}, {"start": "learned"}], ids=str)
def test_a_layer_goes_on_from_its_state(fields):
    layer = layers.Spiking(neurons.lnm(), **fields)
    currents = 0.5 * jax.random.normal(jax.random.key(0), (7, 4, 3)) + 0.3
    variables = layer.init(jax.random.key(1), currents)
    assert "state" not in variables
    whole, pieces, state = layer.apply(variables, currents), [], {}
    for piece in jnp.split(currents, [2]):
        spikes, state = layer.apply({**variables, **state}, piece, mutable=["state"])
        pieces.append(spikes)
    np.testing.assert_array_equal(jnp.concatenate(pieces), whole)


def test_a_parallel_neuron_has_no_state_to_go_on_from():
    layer, currents = layers.Spiking(neurons.psn(timesteps=2)), jnp.ones((2, 1, 3))
    variables = layer.init(jax.random.key(0), currents)
    with pytest.raises(ValueError, match=r"a parallel neuron .* has no state"):
        layer.apply(variables, currents, mutable=["state"])
