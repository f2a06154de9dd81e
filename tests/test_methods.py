"""Losses, norms and training schemes of the compared methods, against their definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import data, export, models, neurons
from lnm_jax.configs import digits
from lnm_jax.errors import ConfigError
from lnm_jax.layers import ConvNorm, Spiking
from lnm_jax.models.resnet import SideHead
from lnm_jax.training import configuration, experiment, loop, losses, schedules
from lnm_jax.training.steps import TrainState
from reproduction import arms, methods, settings

SETTING = settings.DIGITS
LABELS = np.array([2, 0, 1])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def hard(logits, smoothing=0.0):
    target = np.full(logits.shape, smoothing / logits.shape[-1])
    target[np.arange(len(LABELS)), LABELS] += 1 - smoothing
    return -(target * np.log(softmax(logits))).sum(-1)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(4, 3, 5))  # (T, B, K)


def build(**fields):
    config = digits.get_config()
    config.update_from_flattened_dict(fields)
    return losses.build(config)


# --- Losses ---------------------------------------------------------------------------------


def test_tet_is_the_mean_cross_entropy_of_timesteps_and_a_pull_to_a_mean(logits):
    got = losses.tet(jnp.asarray(logits), LABELS, smoothing=0.1, weight=0.05, mean=1.0)
    each = np.mean([hard(x, 0.1) for x in logits], 0)
    wanted = 0.95 * each + 0.05 * ((logits - 1) ** 2).mean((0, 2))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    loss = build(**{"loss.name": "tet"})
    hits, _ = loss.score(jnp.asarray(logits), LABELS)
    np.testing.assert_array_equal(hits, logits.mean(0).argmax(-1) == LABELS)


def test_without_weight_and_with_one_timestep_tet_is_cross_entropy(logits):
    one = jnp.asarray(logits[:1])
    got = losses.tet(one, LABELS, smoothing=0.0, weight=0.0, mean=1.0)
    np.testing.assert_allclose(got, hard(logits[0]), rtol=1e-5)


def test_im_loss_pulls_the_inner_blocks_alone():
    values = jnp.array([1.0, 2.0])
    currents = [jnp.float32(x) for x in (9.0, 0.5, 0.1, 9.0)]
    got = losses.im_loss(values, currents, weight=0.5, target=0.25)
    np.testing.assert_allclose(got, values + 0.5 * (0.25**2 + 0.15**2) / 2, rtol=1e-5)
    with pytest.raises(ValueError, match="at least 3 blocks, got 2"):
        losses.im_loss(values, currents[:2], weight=0.5, target=0.25)


def test_surrogate_module_loss_is_its_definition(logits):
    main, *side = logits[:3]
    got = losses.surrogate_module(
        jnp.asarray(main), LABELS, [jnp.asarray(x) for x in side],
        smoothing=0.0, weight=0.5, distillation=0.9, temperature=3.0,
    )  # fmt: skip
    p = [softmax(x / 3) for x in logits[:3]]

    def divergence(a, b):
        return (a * np.log(a / b)).sum(-1)

    values = (hard(main) + 0.5 * (hard(side[0]) + hard(side[1]))) / 2
    both = sum(divergence(p[0], x) + divergence(x, p[0]) for x in p[1:])
    np.testing.assert_allclose(got, 0.1 * values + 0.9 / 4 * both, rtol=1e-5)


def test_our_variant_of_shortcuts_fades_out(logits):
    main, *side = (jnp.asarray(x) for x in logits[:3])
    at = {
        progress: losses.shortcuts(main, LABELS, side, progress, smoothing=0.0, weight=0.6)
        for progress in (0.0, 0.5, 1.0)
    }
    branches = (hard(logits[1]) + hard(logits[2])) / 2
    np.testing.assert_allclose(at[0.0], 0.4 * hard(logits[0]) + 0.6 * branches, rtol=1e-5)
    np.testing.assert_allclose(at[0.5], 0.7 * hard(logits[0]) + 0.3 * branches, rtol=1e-5)
    np.testing.assert_allclose(at[1.0], hard(logits[0]), rtol=1e-5)


def test_without_its_terms_surrogate_module_learning_is_cross_entropy(logits):
    got = losses.surrogate_module(
        jnp.asarray(logits[0]), LABELS, [jnp.asarray(logits[1])],
        smoothing=0.0, weight=0.0, distillation=0.0, temperature=3.0,
    )  # fmt: skip
    np.testing.assert_allclose(got, hard(logits[0]), rtol=1e-5)


def test_no_gradient_reaches_what_a_divergence_is_measured_from(logits):
    def distilled(main, side):
        return losses.surrogate_module(
            main, LABELS, [side], smoothing=0.0, weight=0.0, distillation=1.0, temperature=1.0
        ).sum()

    main, side = jnp.asarray(logits[0]), jnp.asarray(logits[1])
    d_main, d_side = jax.grad(distilled, (0, 1))(main, side)
    p, q = softmax(logits[0]), softmax(logits[1])
    # The gradient of KL(sg(a) || b) with respect to b's logits is b - a.
    np.testing.assert_allclose(d_main, (p - q) / 2, atol=1e-6)
    np.testing.assert_allclose(d_side, (q - p) / 2, atol=1e-6)


def test_surrogate_module_takes_its_numbers_from_the_configuration(logits):
    loss = build(
        **{
            "loss.name": "surrogate_module",
            "loss.side_weight": 0.3,
            "loss.distillation": 0.6,
            "loss.temperature": 2.0,
            "label_smoothing": 0.2,
        }
    )
    main, *side = (jnp.asarray(x) for x in logits[:3])
    sown = {"side_logits": {"block_2": side[0], "block_5": side[1]}}
    wanted = losses.surrogate_module(
        main, LABELS, side, smoothing=0.2, weight=0.3, distillation=0.6, temperature=2.0
    )
    np.testing.assert_allclose(loss.minimised(main, LABELS, sown, 0.5), wanted, rtol=1e-6)
    np.testing.assert_allclose(loss.value(main, LABELS), hard(logits[0], 0.2), rtol=1e-5)


# --- Norms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [False, True])
def test_tebns_scale_multiplies_batch_norms_bias_too(train):
    rng = np.random.default_rng(0)
    x, cotangent = rng.normal(0.3, 1.5, (2, 3, 4, 2, 2, 5))  # (T, B, H, W, C) each
    p, gamma, beta, mean, var = np.array([0.5, -1.2, 2.0]), *rng.uniform(0.5, 2, (4, 5))
    layer = ConvNorm(5, kernel=1, norm="tebn", timesteps=3, dtype=jnp.float64)

    def apply(p, gamma, beta):
        params = {
            "conv": {"kernel": jnp.eye(5)[None, None]},  # BatchNorm sees the input
            "norm": {"scale": gamma, "bias": beta},
            "timestep_scale": p,
        }
        variables = {"params": params, "batch_stats": {"norm": {"mean": mean, "var": var}}}
        flat = x.reshape(-1, *x.shape[2:])
        return layer.apply(variables, flat, train=train, mutable=["batch_stats"])[0]

    with jax.enable_x64(True):
        found, pullback = jax.vjp(apply, *map(jnp.asarray, (p, gamma, beta)))
        gradient = pullback(cotangent.reshape(found.shape))
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


def membrane_norm(gate_gradient=True, **fields):
    """MPBN of LIF with a threshold of 0.5 and a rectangle of width 1."""
    given = {"threshold": 0.5, "gate_gradient": gate_gradient}
    return Spiking(neurons.lif(decay=0.25, **given), membrane_norm=True, **fields)


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
        currents, cotangent = (jnp.asarray(x) for x in rng.normal(0.3, 0.8, (2, 4, 6, 2, 2, 3)))
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
    params = layer.init(jax.random.key(0), currents)["params"]
    mean, var = np.array([0.2, -0.1, 0.0]), np.array([0.5, 1.0, 2.0])
    running = {"membrane_norm": {"mean": jnp.asarray(mean), "var": jnp.asarray(var)}}
    variables = {"params": params, "batch_stats": running}
    spikes, updates = layer.apply(variables, currents, train=True, mutable=["batch_stats"])
    v = 0.0
    for current, z in zip(currents, np.asarray(spikes), strict=True):
        u = 0.25 * v + current
        mean, var = 0.8 * mean + 0.2 * u.mean((0, 1, 2)), 0.8 * var + 0.2 * u.var((0, 1, 2))
        v = u * (1 - z)
    found = updates["batch_stats"]["membrane_norm"]
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["var"], var, rtol=1e-5)


# --- Networks -------------------------------------------------------------------------------


def network(**fields):
    fields = {"stem": 4, "widths": (4,), "blocks": (3,)} | fields
    return models.build("resnet_small", neuron=neurons.lnm(), num_classes=5, timesteps=3, **fields)


X = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))


def test_readouts_are_of_the_same_logits():
    model = network()
    variables = jax.jit(model.init)(jax.random.key(1), X)
    steps = model.clone(readout="steps").apply(variables, X)
    assert steps.shape == (3, 2, 5)
    np.testing.assert_allclose(model.apply(variables, X), steps.mean(0), rtol=1e-5, atol=1e-6)
    last = model.clone(readout="last").apply(variables, X)
    np.testing.assert_allclose(last, steps[-1], rtol=1e-5, atol=1e-6)
    assert (np.abs(steps[0] - steps[-1]) > 1e-3).any()


def test_tebn_starts_as_batch_norm_and_scales_each_timestep():
    plain, tebn = network(blocks=(1,)), network(blocks=(1,), norm="tebn")
    variables = jax.jit(plain.init)(jax.random.key(1), X)
    own = jax.jit(tebn.init)(jax.random.key(1), X)
    assert own["params"]["stem"]["timestep_scale"].tolist() == [1, 1, 1]
    wanted, updates = plain.apply(variables, X, train=True, mutable=["batch_stats"])
    got, own_updates = tebn.apply(own, X, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), own_updates, updates
    )
    # With a scale of 0 at a timestep, no current enters there.
    layer = neurons.lif(decay=0.0)
    model = tebn.clone(neuron=layer)
    off = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.at[1].set(0.0) if path[-1].key == "timestep_scale" else leaf,
        jax.jit(model.init)(jax.random.key(1), X),
    )
    steps = model.clone(readout="steps").apply(off, X, train=True, mutable=["batch_stats"])[0]
    bias = off["params"]["classifier"]["bias"]
    # Only identity shortcuts remain, and nothing fired before the first of them.
    np.testing.assert_allclose(steps[1], jnp.broadcast_to(bias, (2, 5)), atol=1e-6)
    with pytest.raises(ValueError, match="TEBN has a scale of each timestep"):
        export.fold_batch_norm(tebn, own)


def test_side_heads_see_the_blocks_they_are_named_for_and_leave_inference_alone():
    model = network(side_heads=(2,), side_features=6)
    variables = jax.jit(model.init)(jax.random.key(1), X)
    assert "side_head_2" in variables["params"]
    variables = {name: variables[name] for name in ("params", "batch_stats")}  # not what it sowed
    _, sown = model.apply(variables, X, train=True, mutable=["batch_stats", "side_logits"])
    assert jax.tree.map(jnp.shape, sown["side_logits"]) == {"block_2": (2, 5)}
    _, nothing = model.apply(variables, X, mutable=["side_logits"])
    assert not nothing
    staged = model.clone(remat="stage")
    _, again = staged.apply(variables, X, train=True, mutable=["batch_stats", "side_logits"])
    np.testing.assert_allclose(
        again["side_logits"]["block_2"], sown["side_logits"]["block_2"], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match="side_heads must be numbers of the 3 blocks, from 1"):
        network(side_heads=(4,))


def test_a_side_head_sees_mean_spikes_and_teaches_every_layer_before_it():
    model = network(blocks=(2,), side_heads=(1,), side_features=4)
    x = jax.random.normal(jax.random.key(2), (6, 8, 8, 1))  # six for BatchNorm over images alone
    variables = jax.jit(model.init)(jax.random.key(1), x)
    params, statistics = variables["params"], variables["batch_stats"]
    sown = ["batch_stats", "side_logits", "intermediates"]

    def side(params):
        given = {"params": params, "batch_stats": statistics}
        spiking = lambda module, _: isinstance(module, Spiking)
        _, found = model.apply(given, x, train=True, mutable=sown, capture_intermediates=spiking)
        logits = found["side_logits"]["block_1"]
        spikes = found["intermediates"]["stage_1_block_1"]["spike_2"]["__call__"][0]
        own = {name: tree["side_head_1"] for name, tree in given.items()}
        head = lambda x: SideHead(5, 4).apply(own, x, train=True, mutable=["batch_stats"])[0]
        weighted = jnp.cos(jnp.arange(30.0)).reshape(6, 5) * logits
        return weighted.sum(), (logits, head(spikes.mean(0)), head(spikes[-1]))

    gradient, (logits, of_mean, of_last) = jax.jit(jax.grad(side, has_aux=True))(params)
    np.testing.assert_allclose(logits, of_mean, rtol=1e-4, atol=1e-5)
    assert np.abs(logits - of_last).max() > 1e-2
    largest = lambda part: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(part))
    taught = {name for name, part in gradient.items() if largest(part) > 1e-3}
    assert taught == {"stem", "stem_spike", "stage_1_block_1", "side_head_1"}
    assert set(params) - taught == {"stage_1_block_2", "classifier"}


def test_a_side_head_has_the_authors_layers():
    head = SideHead(10)
    x = jax.ShapeDtypeStruct((2, 16, 16, 512), jnp.float32)
    params = jax.eval_shape(lambda key, x: head.init(key, x, train=False), jax.random.key(0), x)
    kernels = [
        leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params["params"])
        if path[-1].key == "kernel"
    ]
    assert sorted(kernels) == sorted(
        [
            (1, 1, 512, 256),
            (7, 7, 256, 256),
            (5, 5, 256, 256),
            (3, 3, 256, 256),
            (1024, 512),
            (512, 10),
        ]
    )


# --- Training -------------------------------------------------------------------------------


MLP = {"model.name": "mlp", "model.stem": None, "model.blocks": None, "model.widths": (4,)}


@pytest.mark.parametrize("arm", arms.METHODS, ids=lambda arm: arm.name)
def test_every_method_of_the_comparison_learns_by_a_line_of_a_configuration(arm, config):
    """A step's gradient; a small network that suits the method, since compiling takes the time."""
    fields = methods.fitted(arm, SETTING, "small").fields
    shape = {"model.blocks": (3,)} if build(**fields).collections else MLP
    config.update_from_flattened_dict(shape | fields)
    configuration.validate(config)
    this = experiment.build(config)
    state = this.init()
    batch = next(data.train_batches(this.dataset.train, 0, 8, 0, 1))
    found = jax.jit(jax.grad(lambda params: this.loss(params, state, batch)[0]))(state.params)
    for name, part in found.items():
        leaves = jax.tree.leaves(part)
        assert all(jnp.isfinite(leaf).all() for leaf in leaves), name
        assert not leaves or any(leaf.any() for leaf in leaves), name


def example(config, batch_size, **fields):
    """An experiment without augmentation, its first state, a batch, and the images of that."""
    config.update_from_flattened_dict({"data.crop_padding": 0} | fields)
    configuration.validate(config)
    this = experiment.build(config)
    batch = next(data.train_batches(this.dataset.train, 0, batch_size, 0, 1))
    images = (batch["image"] - this.dataset.mean) / this.dataset.std
    return this, this.init(), batch, jnp.asarray(images, jnp.float32)


def mean_cross_entropy(logits, batch, config):
    return float(losses.cross_entropy(logits, batch["label"], config.label_smoothing).mean())


def test_lts_learns_scores_and_predicts_by_the_last_timestep_alone(config):
    fields = MLP | {"loss.name": "last_step", "timesteps": 3, "neuron.kind": "if"}
    this, state, batch, images = example(config, 60, **fields)
    model = this.model.clone(readout="steps", axis_name=None)
    for train in (True, False):
        apply = jax.jit(
            lambda x, t=train: model.apply(state.variables, x, train=t, mutable=["batch_stats"])[0]
        )
        steps = apply(images)
        batch["label"] = np.asarray(steps[-1].argmax(-1))  # so that the last timestep is right
        last, mean = (mean_cross_entropy(x, batch, config) for x in (steps[-1], steps.mean(0)))
        assert abs(last - mean) > 1e-3
        if train:
            loss, ((hits, possible), _) = jax.jit(this.loss)(state.params, state, batch)
        else:
            given = {**batch, "mask": np.ones(60, np.float32)}
            sums = this.eval_step(state.variables, given)
            loss, hits, possible = sums["loss"] / 60, sums["hits"], sums["possible"]
            np.testing.assert_allclose(
                this.model.apply(state.variables, images), steps[-1], atol=1e-5
            )
        assert loss == pytest.approx(last, rel=1e-5)
        assert hits == possible == 60 > (steps.mean(0).argmax(-1) == batch["label"]).sum()


def test_blocks_are_in_the_order_they_run_in_stages_of_ten_and_more():
    loss = build(**{"loss.name": "im_loss", "loss.im_weight": 1.0})
    means = {f"stage_1_block_{number}": {"mean": float(number)} for number in range(1, 13)}
    values = loss.minimised(jnp.zeros((2, 3)), jnp.array([0, 1]), {"currents": means}, 0.0)
    inner = np.arange(2, 12) - 0.5 / 4
    np.testing.assert_allclose(values - np.log(3), (inner**2).mean(), rtol=1e-5)


def test_im_loss_centres_what_the_inner_blocks_neurons_receive(config):
    shape = {"model.blocks": (1, 2, 1), "model.widths": (4, 4, 4)}
    fields = shape | {"loss.name": "im_loss", "loss.im_weight": 3.0, "timesteps": 3}
    this, state, batch, images = example(config, 8, **fields)
    model, rng = this.model.clone(axis_name=None), np.random.default_rng(0)
    biased = lambda path, x: x + rng.normal(0.3, 0.3, x.shape) * (path[-1].key == "bias")
    state = state.replace(params=jax.tree.map_with_path(biased, state.params))
    inner = lambda module, _: isinstance(module, ConvNorm | Spiking)

    @jax.jit
    def found(state):
        seen = model.apply(
            state.variables, images, train=True, capture_intermediates=inner,
            mutable=["batch_stats", "currents", "intermediates"],
        )  # fmt: skip
        return this.loss(state.params, state, batch)[0], *seen

    loss, logits, seen = found(state)
    result = lambda *path: functools.reduce(dict.get, path, seen["intermediates"])["__call__"][0]
    names = ["stage_1_block_1", "stage_2_block_1", "stage_2_block_2", "stage_3_block_1"]
    shortcuts = [
        result("stem_spike"),
        result("stage_2_block_1", "shortcut"),
        result("stage_2_block_1", "spike_2"),
        result("stage_3_block_1", "shortcut"),
    ]
    means = [
        result(name, "conv_2").mean() + shortcut.mean()
        for name, shortcut in zip(names, shortcuts, strict=True)
    ]
    sown = [seen["currents"][name]["mean"] for name in names]
    np.testing.assert_allclose(sown, means, rtol=1e-4, atol=1e-6)
    term = np.mean([(mean - 0.5 / 3) ** 2 for mean in means[1:3]])
    wanted = mean_cross_entropy(logits, batch, config) + 3 * term
    assert loss == pytest.approx(float(wanted), rel=1e-5)


def test_our_variant_of_shortcuts_fades_with_the_steps_of_a_run(config):
    side = {"model.side_heads": (1,), "model.side_features": 2}
    fields = side | {"loss.name": "shortcuts_variant", "loss.side_weight": 0.6}
    this, state, batch, images = example(config, 8, **fields)
    model = this.model.clone(axis_name=None)
    at = jnp.array([0, 2, 5])  # of 2 epochs of 3 steps

    @jax.jit
    def found(state):
        seen = model.apply(
            state.variables, images, train=True, mutable=["batch_stats", "side_logits"]
        )
        step = lambda step: this.loss(state.params, state.replace(step=step), batch)[0]
        return jax.lax.map(step, at), *seen

    values, logits, sown = found(state)
    main = mean_cross_entropy(logits, batch, config)
    branch = mean_cross_entropy(sown["side_logits"]["block_1"], batch, config)
    assert abs(main - branch) > 1e-2
    share = 0.6 * (1 - at / 6)
    np.testing.assert_allclose(values, (1 - share) * main + share * branch, rtol=1e-5)


@pytest.mark.parametrize(("start", "chosen"), [(2.5, 2.1), (0.5, 0.25), (0.25, 0.125)])
def test_a_searched_temperature_falls_to_half_of_itself_at_most(start, chosen):
    """With a gradient that turns away from the differences as the temperature rises."""

    def loss(params, state, batch):
        weights, b = params["stem"]["kernel"], state.batch_stats["spike"]["temperature"]
        surrogate = jnp.cos(b) * weights[0] + jnp.sin(b) * weights[1]
        return (surrogate + jax.lax.stop_gradient(weights[0] - surrogate),)

    state = TrainState(
        step=0, opt_state=(), window={}, skipped=0, skipped_in_row=0,
        params={"stem": {"kernel": jnp.array([0.5, 1.0])}},
        batch_stats={"spike": {"temperature": jnp.float32(start)}},
    )  # fmt: skip
    adapt = schedules.temperature(
        loss, ("stem", "kernel"), change=0.4, epsilon=0.1, weights=0, axis_name=None
    )
    assert schedules.read(adapt(state, {})) == {"temperature": pytest.approx(chosen, rel=1e-6)}


def test_a_network_learns_by_one_of_them_and_is_read_as_it_predicts(config):
    fields = {"loss.name": "surrogate_module", "model.side_heads": (1,), "model.side_features": 4}
    config.update_from_flattened_dict({"epochs": 1, "model.norm": "tebn"} | fields)
    run = loop.train(config)
    last = run.records[-1]
    assert last["split"] == "test"
    assert np.isfinite(last["loss"])
    # What the run predicts is what was evaluated.
    this = run.experiment
    found = experiment.evaluate(this, run.state.variables)
    assert found["accuracy"] == pytest.approx(last["accuracy"])
    images = (this.dataset.test.images - this.dataset.mean) / this.dataset.std
    predicted = this.model.apply(jax.device_get(run.state.variables), jnp.asarray(images))
    accuracy = 100 * (np.asarray(predicted).argmax(-1) == this.dataset.test.labels).mean()
    assert accuracy == pytest.approx(last["accuracy"], abs=0.6)  # a tie or two in float32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("surrogate_module", "needs config.model.side_heads"),
        ("im_loss", "at least 3 blocks, got 1"),
    ],
)
def test_a_scheme_without_what_it_needs_is_refused(name, message, config):
    config.loss.name = name
    with pytest.raises(ConfigError, match=message):
        loop.train(config)
