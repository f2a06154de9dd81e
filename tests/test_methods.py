"""Losses and training schemes of the compared methods, against their definitions."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import jitted

from lnm_jax import data
from lnm_jax.configs import digits
from lnm_jax.errors import ConfigError
from lnm_jax.export import network
from lnm_jax.layers import ConvNorm, Spiking
from lnm_jax.training import configuration, experiment, loop, losses, steps
from reproduction import compare, methods, settings

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


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_same_logits_have_one_cross_entropy_whatever_was_minimised(name, smoothing):
    loss = build(**{"loss.name": name, "label_smoothing": smoothing, "loss.tet_weight": 0.5})
    # The mean of two timesteps says 3/4 and 1/4, where the second is right. The rest is padding.
    steps_of = jnp.log(jnp.array([3.0, 1.0])) * jnp.array([2.0, 0.0])[:, None, None]
    outputs = jnp.broadcast_to(steps_of, (2, 2, 2))
    labels = jnp.array([1, 0])
    if name == "spike_trains":
        outputs, labels = jnp.zeros((2, 3, 1)), jnp.zeros((2, 3, 1), jnp.int32)
    elif loss.readout != "steps":
        outputs = outputs.mean(0)
    model = types.SimpleNamespace(apply=lambda *_, **__: (outputs, {"rates": {}, "spikes": {}}))
    step = steps.make_eval_step(model, prepare=lambda x: x, loss=loss, axis_name=None)
    batch = {"image": jnp.zeros((2, 1, 1, 1)), "label": labels, "mask": jnp.array([1.0, 0.0])}
    found = step({}, batch)
    if name == "spike_trains":
        assert "cross_entropy" not in found
        return
    assert found["cross_entropy"] == pytest.approx(np.log(4))
    # Half of the smoothing goes to the other class. TET: half of the timesteps', half a pull to 1.
    smooth = (1 - smoothing / 2) * np.log(4) + smoothing / 2 * np.log(4 / 3)
    if name == "tet":
        at = [np.log(10) - smoothing / 2 * np.log(9), np.log(2)]
        smooth = np.mean(at) / 2 + (3 + (np.log(9) - 1) ** 2) / 4 / 2
    assert found["loss"] == pytest.approx(smooth)


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


# --- Training -------------------------------------------------------------------------------


MLP = {"model.name": "mlp", "model.stem": None, "model.blocks": None, "model.widths": (4,)}


# Whose gradients are computed; those of every kind of neuron are in test_frozen.py.
COMPUTED = ("GLIF", "IMP + LTS", "Surrogate module", "Dspike, searched")


@pytest.mark.parametrize("method", methods.METHODS, ids=lambda method: method.name)
def test_every_method_of_the_comparison_learns_by_a_line_of_a_configuration(method, config):
    """A small network that suits the method takes a training step, for most of its shapes alone."""
    fields = compare.fitted(method, SETTING, "small").fields
    shape = {"model.blocks": (3,)} if build(**fields).collections else MLP
    config.update_from_flattened_dict(shape | fields)
    configuration.validate(config)
    this = experiment.build(config)
    batch = next(data.train_batches(this.dataset.train, 0, 8, 0, 1))
    state = jax.eval_shape(this.init)
    assert jax.eval_shape(this.train_step, state, batch)[0] == state
    assert (this.adapt is None) == (method.name not in ("masked PSN", "Dspike, searched"))
    if this.adapt is not None:
        assert jax.eval_shape(this.adapt, state, batch) == state
    if method.name in COMPUTED:
        state = this.init()
        found = jax.jit(jax.grad(lambda params: this.loss(params, state, batch)[0]))(state.params)
        for name, part in jax.device_get(found).items():
            leaves = jax.tree.leaves(part)
            assert all(np.isfinite(leaf).all() for leaf in leaves), name
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
            predicted = jitted(this.model.apply)(state.variables, images)
            np.testing.assert_allclose(predicted, steps[-1], atol=1e-5)
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


@pytest.mark.parametrize(
    ("field", "value"), [("spiking.start", "learned"), ("spiking.membrane_norm", True)]
)
def test_exports_refuse_a_method_that_they_cannot_express(field, value, config):
    config.update_from_flattened_dict({field: value})
    run = types.SimpleNamespace(experiment=experiment.build(config), directory="runs/run")
    with pytest.raises(ConfigError, match=field.split(".")[1]):
        network.prepare(run)


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
