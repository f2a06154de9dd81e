"""Flax layers: what they own, how they fold time, and convolutions, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import PARALLEL, jitted, trained

from lnm_jax import layers, neurons
from lnm_jax.layers import cpu_conv
from lnm_jax.layers.spiking import fold_membrane_norm

CURRENTS = 0.5 * jax.random.normal(jax.random.key(1), (4, 3, 2, 2, 5))


def initial(layer, *given, **fixed):
    return jitted(layer.init, **fixed)(jax.random.key(0), *given)


def test_spiking_owns_theta_and_runs_the_neuron():
    neuron = neurons.lnm(degree=2)
    layer = layers.Spiking(neuron)
    variables = initial(layer, CURRENTS)
    assert jax.tree.map(jnp.shape, variables["params"]) == {"neuron": {"theta": (2,)}}
    spikes, sown = jitted(layer.apply, mutable=["rates", "spikes"])(variables, CURRENTS)
    wanted = neurons.run(neuron, variables["params"]["neuron"], CURRENTS)
    np.testing.assert_array_equal(spikes, wanted)
    np.testing.assert_allclose(sown["rates"]["rate"], wanted.mean((0, 2, 3, 4)), rtol=1e-6)
    np.testing.assert_array_equal(sown["spikes"]["count"], wanted.sum(0))


def test_a_neuron_without_parameters_adds_none():
    variables = initial(layers.Spiking(neurons.lif()), jnp.zeros((2, 1, 3)))
    assert not jax.tree.leaves(variables.get("params", {}))


def test_sharing_by_channel_gives_each_channel_its_own_neuron():
    neuron = neurons.lnm(degree=2)
    layer = layers.Spiking(neuron, sharing="channel")
    assert initial(layer, CURRENTS)["params"]["neuron"]["theta"].shape == (2, 5)
    theta = jax.random.normal(jax.random.key(2), (2, 5))
    spikes = jitted(layer.apply)({"params": {"neuron": {"theta": theta}}}, CURRENTS)
    alone = jax.vmap(lambda t, i: neurons.run(neuron, {"theta": t}, i), (1, -1), -1)
    np.testing.assert_array_equal(spikes, alone(theta, CURRENTS))


def test_a_fitted_window_follows_the_spread_of_the_potential():
    neuron = neurons.lif(decay=0.5, surrogate="triangle")
    layer = layers.Spiking(neuron, window=2.0, momentum=0.0)
    currents = 3 * jax.random.normal(jax.random.key(1), (4, 8, 100))
    variables = initial(layer, currents)
    run = jitted(layer.apply, train=True, mutable=["batch_stats"])
    spikes, updates = run(variables, currents)
    trace = neurons.trace(neuron, {}, currents)
    np.testing.assert_array_equal(spikes, trace.spikes)  # the width is in the backward pass alone
    deviation = trace.v_in.std()
    np.testing.assert_allclose(updates["batch_stats"]["deviation"], deviation, rtol=1e-4)

    @jax.jit
    def gradients(variables, width):
        fixed = layers.Spiking(neuron).apply
        given = {"params": {"neuron": {**variables["params"].get("neuron", {}), "width": width}}}
        one = jax.grad(lambda x: layer.apply(variables, x).sum())(currents)
        return one, jax.grad(lambda x: fixed(given, x).sum())(currents)

    # Evaluation uses the running deviation: the gradient is that of a fixed width.
    found, wanted = gradients({**variables, **updates}, 2 * deviation)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in neurons.NEURONS if kind not in PARALLEL])
def test_a_recording_may_be_fed_in_pieces(kind):
    neuron = neurons.build(kind)
    currents = 0.8 * jax.random.normal(jax.random.key(0), (12, 6, 3)) + 0.2

    @jax.jit
    def both(params):
        whole = neurons.run(neuron, params, currents, return_state=True)
        state, pieces, backends = None, [], []
        for piece in jnp.split(currents, [1, 5]):
            backends = [
                neurons.run(neuron, params, piece, state=state, backend=backend)
                for backend in ("scan", "fused")
            ]
            spikes, state = neurons.run(neuron, params, piece, state=state, return_state=True)
            pieces.append(spikes)
        return whole, (jnp.concatenate(pieces), state), pieces[-1], backends

    (whole, last), (pieces, state), piece, backends = both(trained(neuron))
    np.testing.assert_array_equal(pieces, whole)
    assert whole.any()
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
    for spikes in backends:
        np.testing.assert_array_equal(spikes, piece)


@pytest.mark.parametrize("fields", [{}, {"membrane_norm": True}, {"start": "learned"}], ids=str)
def test_a_layer_goes_on_from_its_state(fields):
    layer = layers.Spiking(neurons.lnm(), **fields)
    currents = CURRENTS[:, :, 0, 0] + 0.3
    variables = initial(layer, currents)
    assert "state" not in variables

    @jax.jit
    def both(variables):
        pieces, state = [], {}
        for piece in jnp.split(currents, [1]):
            spikes, state = layer.apply({**variables, **state}, piece, mutable=["state"])
            pieces.append(spikes)
        return layer.apply(variables, currents), jnp.concatenate(pieces)

    np.testing.assert_array_equal(*both(variables))


def test_a_parallel_neuron_has_no_state_to_go_on_from():
    layer, currents = layers.Spiking(neurons.psn(timesteps=2)), jnp.ones((2, 1, 3))
    variables = jax.eval_shape(layer.init, jax.random.key(0), currents)
    with pytest.raises(ValueError, match=r"a parallel neuron .* has no state"):
        jax.eval_shape(lambda v: layer.apply(v, currents, mutable=["state"]), variables)


# --- A learned start (IMP), and BatchNorm before firing (MPBN) -------------------------------


def test_the_first_step_starts_from_the_learned_potential():
    layer = layers.Spiking(neurons.lnm(), start="learned", sharing="channel")
    variables = initial(layer, CURRENTS)
    v_0, neuron = variables["params"]["v_0"], neurons.per_channel(neurons.lnm(), 5)
    assert v_0.shape == (2, 2, 5)
    assert -0.2 <= v_0.min() < 0 < v_0.max() <= 0.2

    def got(v_0):
        return layer.apply({"params": {**variables["params"], "v_0": v_0}}, CURRENTS)

    def wanted(v_0):
        v, found = jnp.broadcast_to(v_0, CURRENTS.shape[1:]), []
        for current in CURRENTS:
            v, spikes = neuron.step(variables["params"]["neuron"], v, current)
            found.append(spikes)
        return jnp.stack(found)

    cotangent = jax.random.normal(jax.random.key(2), CURRENTS.shape)
    both = jax.jit(lambda v: [(f(v), *jax.vjp(f, v)[1](cotangent)) for f in (got, wanted)])
    (spikes, gradient), (stepped, own) = both(v_0)
    np.testing.assert_array_equal(spikes, stepped)
    assert (np.abs(own) > 0).any()
    np.testing.assert_allclose(gradient, own, rtol=1e-4, atol=1e-5)


def membrane_norm(gate_gradient=True, **fields):
    """MPBN of LIF with a threshold of 0.5 and a rectangle of width 1."""
    given = {"threshold": 0.5, "gate_gradient": gate_gradient}
    return layers.Spiking(neurons.lif(decay=0.25, **given), membrane_norm=True, **fields)


@pytest.mark.parametrize("gate_gradient", [False, True])
def test_mpbns_gradient_is_that_of_a_plain_loop(gate_gradient):
    """Through each timestep's statistics and, with gate_gradient, through the reset."""
    layer, rng = membrane_norm(gate_gradient), np.random.default_rng(0)

    def ours(currents, scale, bias):
        params = {"neuron": {}, "membrane_norm": {"scale": scale, "bias": bias}}
        return layer.apply({"params": params}, currents, train=True, mutable=["batch_stats"])[0]

    def spike(x):
        ramp = jnp.clip(x + 0.5, 0, 1)  # whose slope is the rectangle
        return ramp + jax.lax.stop_gradient((x >= 0) - ramp)

    def loop(currents, scale, bias):
        v, found = 0.0, []
        for current in currents:
            u = 0.25 * v + current
            deviation = jnp.sqrt(((u - u.mean((0, 1, 2))) ** 2).mean((0, 1, 2)) + 1e-5)
            z = spike(scale * (u - u.mean((0, 1, 2))) / deviation + bias - 0.5)
            v = u * (1 - (z if gate_gradient else jax.lax.stop_gradient(z)))
            found.append(z)
        return jnp.stack(found)

    with jax.enable_x64(True):
        currents, cotangent = (jnp.asarray(x) for x in rng.normal(0.3, 0.8, (2, 3, 6, 2, 2, 3)))
        arguments = currents, jnp.array([1.5, -0.7, 0.9]), jnp.array([0.1, -0.2, 0.3])
        both = jax.jit(lambda *a: [(f(*a), jax.vjp(f, *a)[1](cotangent)) for f in (ours, loop)])
        (spikes, gradient), (wanted, own) = jax.device_get(both(*arguments))
    np.testing.assert_allclose(spikes, wanted, atol=1e-12)
    assert 0.1 < spikes.mean() < 0.9
    for got, want in zip(gradient, own, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_mpbn_updates_its_running_statistics_at_every_timestep():
    currents = np.random.default_rng(0).normal(0.3, 0.8, (4, 6, 2, 2, 3)).astype(np.float32)
    layer = membrane_norm(momentum=0.8)
    mean, var = np.array([0.2, -0.1, 0.0]), np.array([0.5, 1.0, 2.0])
    running = {"membrane_norm": {"mean": jnp.asarray(mean), "var": jnp.asarray(var)}}
    variables = {**initial(layer, currents), "batch_stats": running}
    spikes, updates = jitted(layer.apply, train=True, mutable=["batch_stats"])(variables, currents)
    v = 0.0
    for current, z in zip(currents, np.asarray(spikes), strict=True):
        u = 0.25 * v + current
        mean, var = 0.8 * mean + 0.2 * u.mean((0, 1, 2)), 0.8 * var + 0.2 * u.var((0, 1, 2))
        v = u * (1 - z)
    found = updates["batch_stats"]["membrane_norm"]
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["var"], var, rtol=1e-5)


def test_mpbns_fold_fires_below_the_threshold_where_the_scale_is_negative():
    norm = {
        "scale": jnp.array([1.5, -0.7, 0.9, 2.0, -1.2]),
        "bias": jnp.array([0.1, -0.2, 0.0, 0.3, 0.2]),
    }
    running = {
        "mean": jnp.array([0.2, -0.1, 0.0, 0.1, 0.3]),
        "var": jnp.array([0.5, 1.0, 0.3, 2.0, 0.7]),
    }
    learned, statistics = {"neuron": {}, "membrane_norm": norm}, {"membrane_norm": running}
    params = fold_membrane_norm(learned, statistics, threshold=0.5, epsilon=1e-5)
    np.testing.assert_array_equal(params["sign"], [1, -1, 1, 1, -1])
    given = {"params": learned, "batch_stats": statistics}
    wanted = jitted(membrane_norm().apply)(given, CURRENTS)
    folded = jitted(membrane_norm(folded=True).apply)
    np.testing.assert_array_equal(folded({"params": params}, CURRENTS), wanted)
    wrong = {"params": {**params, "sign": jnp.ones(5)}}
    assert (folded(wrong, CURRENTS) != wanted).mean() > 0.1


@pytest.mark.parametrize("kind", ["ternary", "diet", "lsg"])
def test_neurons_that_fire_in_a_way_of_their_own_do_so_on_the_normalised_potential(kind):
    """With BatchNorm as the identity a layer is the neuron itself."""
    neuron = neurons.build(kind)
    layer = layers.Spiking(neuron, membrane_norm=True, epsilon=0.0)
    variables = initial(layer, CURRENTS)
    spikes = jitted(layer.apply)(variables, CURRENTS)
    wanted = neurons.run(neuron, variables["params"]["neuron"], CURRENTS)
    np.testing.assert_allclose(spikes, wanted)
    variables["params"]["membrane_norm"]["bias"] += 0.3
    assert (jitted(layer.apply)(variables, CURRENTS) != spikes).any()


# --- Convolutions and their norms ------------------------------------------------------------


def native(x, kernel, stride=1):
    pad = ((kernel.shape[0] - 1) // 2,) * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_folding_time_is_undone_by_unfolding():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    assert layers.fold_time(x).shape == (6, 4)
    np.testing.assert_array_equal(layers.unfold_time(layers.fold_time(x), 2), x)


def test_conv_norm_normalises_over_batch_time_and_space():
    layer = layers.ConvNorm(6, stride=2)
    x = jax.random.normal(jax.random.key(0), (8, 6, 6, 3)) * 3 + 1
    variables = initial(layer, x, train=False)
    y, updates = jitted(layer.apply, train=True, mutable=["batch_stats"])(variables, x)
    assert y.shape == (8, 3, 3, 6)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-3)
    mean = native(x, variables["params"]["conv"]["kernel"], 2).mean((0, 1, 2))
    np.testing.assert_allclose(
        updates["batch_stats"]["norm"]["mean"], 0.1 * mean, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("train", [False, True])
def test_tebns_scale_multiplies_batch_norms_bias_too(train):
    rng = np.random.default_rng(0)
    x, cotangent = rng.normal(0.3, 1.5, (2, 3, 4, 2, 2, 5))  # (T, B, H, W, C) each
    p, gamma, beta, mean, var = np.array([0.5, -1.2, 2.0]), *rng.uniform(0.5, 2, (4, 5))
    layer = layers.ConvNorm(5, kernel=1, norm="tebn", timesteps=3, dtype=jnp.float64)

    @jax.jit
    def both(*given):
        def apply(p, gamma, beta):
            params = {
                "conv": {"kernel": jnp.eye(5)[None, None]},  # BatchNorm sees the input
                "norm": {"scale": gamma, "bias": beta},
                "timestep_scale": p,
            }
            variables = {"params": params, "batch_stats": {"norm": {"mean": mean, "var": var}}}
            flat = x.reshape(-1, *x.shape[2:])
            return layer.apply(variables, flat, train=train, mutable=["batch_stats"])[0]

        found, pullback = jax.vjp(apply, *given)
        return found, pullback(cotangent.reshape(found.shape))

    with jax.enable_x64(True):
        found, gradient = jax.device_get(both(p, gamma, beta))
    if train:
        mean, var = x.mean((0, 1, 2, 3)), x.var((0, 1, 2, 3))
    normalised = (x - mean) / np.sqrt(var + 1e-5)
    each, factor = gamma * normalised + beta, p.reshape(3, 1, 1, 1, 1)
    np.testing.assert_allclose(found.reshape(x.shape), factor * each, rtol=1e-9, atol=1e-12)
    wanted = (
        (cotangent * each).sum((1, 2, 3, 4)),
        (factor * cotangent * normalised).sum((0, 1, 2, 3)),
        (factor * cotangent).sum((0, 1, 2, 3)),
    )
    for got, want in zip(gradient, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


# (kernel, stride), height, channels: narrow, or wide enough for Winograd; tiles fit into even ones.
CONVOLUTIONS = [
    *(((kernel, 2), size, (3, 5)) for kernel in (1, 3, 7) for size in (8, 9)),
    *(((3, 1), size, (64, 65)) for size in (8, 10, 9)),
    ((1, 1), 8, (64, 65)),
    ((3, 1), 8, (3, 5)),
    ((3, 2), 8, (64, 65)),
]


@pytest.mark.parametrize(("kind", "size", "channels"), CONVOLUTIONS)
def test_convolutions_and_their_gradients_equal_the_native_ones(kind, size, channels, monkeypatch):
    monkeypatch.setattr(cpu_conv, "PART", 2)  # of 3 images
    kernel, stride = kind
    pad = (((kernel - 1) // 2,) * 2,) * 2
    x = jax.random.normal(jax.random.key(0), (3, size, 8, channels[0]))
    k = jax.random.normal(jax.random.key(1), (kernel, kernel, *channels))
    ours = lambda x, k: cpu_conv.convolve(x, k, (stride, stride), pad)

    @jax.jit
    def both(x, k):
        wanted, pullback = jax.vjp(lambda x, k: native(x, k, stride), x, k)
        gradient = jax.random.normal(jax.random.key(2), wanted.shape)
        result, own = jax.vjp(ours, x, k)
        return (result, *own(gradient)), (wanted, *pullback(gradient))

    for got, expected in zip(*both(x, k), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_a_kernels_gradient_is_summed_over_parts_of_the_images_on_a_cpu_and_nowhere_else():
    x, kernel = jnp.zeros((2 * cpu_conv.PART + 1, 8, 8, 3)), jnp.zeros((3, 3, 3, 4))
    convolve = lambda k: cpu_conv.convolve(x, k, (2, 2), ((1, 1), (1, 1))).sum()
    gradient = jax.jit(jax.grad(convolve))
    for platform, parts in (("cpu", 3), ("cuda", 1), ("tpu", 1)):
        program = gradient.trace(kernel).lower(lowering_platforms=(platform,)).as_text()
        assert program.count("stablehlo.convolution") == parts, platform


def test_winograds_matrices_solve_the_one_dimensional_problem_exactly():
    rng = np.random.default_rng(0)
    tile, weights = rng.normal(size=4), rng.normal(size=3)
    product = (cpu_conv.KERNEL @ weights) * (cpu_conv.DATA @ tile)
    filtered = [tile[i : i + 3] @ weights for i in range(2)]
    np.testing.assert_allclose(cpu_conv.RESULT @ product, filtered, atol=1e-13)


def test_wide_layers_use_winograd_on_a_cpu_and_nowhere_else():
    x, wide = jnp.zeros((1, 8, 8, 64)), jnp.zeros((3, 3, 64, 64))
    convolve = jax.jit(lambda x, k: cpu_conv.convolve(x, k, (1, 1), ((1, 1), (1, 1))))
    for platform, products in (("cpu", 16), ("cuda", 0), ("tpu", 0)):
        program = convolve.trace(x, wide).lower(lowering_platforms=(platform,)).as_text()
        assert program.count("stablehlo.dot_general") in (products, products + 2), platform
        assert ("stablehlo.convolution" in program) == (products == 0), platform


def test_the_window_is_that_of_the_learned_start():
    layer = layers.Spiking(neurons.lif(width=0.4), start="learned")
    params, currents = (
        {"params": {"neuron": {}, "v_0": jnp.array([0.0, 2.0])}},
        jnp.zeros((1, 3, 2)),
    )
    far = layer.apply(params, currents, mutable=["window"])[1]["window"]["share"]
    np.testing.assert_array_equal(far, [0.5] * 3)  # 0.25 * 2 is at the threshold, 0 is not near it
