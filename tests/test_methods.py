"""Losses, norms and training schemes of the compared methods, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits
from lnm_jax import data, export, models, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.models.side_head import SideHead
from lnm_jax.training import configuration, experiment, loop, losses
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


@pytest.mark.parametrize("arm", arms.METHODS, ids=lambda arm: arm.name)
def test_every_method_of_the_comparison_is_a_line_of_a_configuration(arm, config):
    """Its gradient is traced for a whole training step; nothing is compiled."""
    fields = methods.fitted(arm, SETTING, "small").fields
    config.update_from_flattened_dict({"model.blocks": (3,)} | fields)
    configuration.validate(config)
    this = experiment.build(config)
    state = jax.eval_shape(this.init)
    batch = next(data.train_batches(this.dataset.train, 0, 8, 0, 1))

    def gradient(state):
        return jax.grad(lambda params: this.loss(params, state, batch)[0])(state.params)

    found = jax.eval_shape(gradient, state)
    assert jax.tree.structure(found) == jax.tree.structure(state.params)


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
