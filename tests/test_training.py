"""Training: groups, steps, metrics and the run directory, in this process."""

import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from lnm_jax import data, models, neurons
from lnm_jax.configs import base
from lnm_jax.errors import ConfigError
from lnm_jax.training import (
    configuration,
    environment,
    experiment,
    loop,
    losses,
    metrics,
    optimizer,
    parallel,
    run_directory,
)
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.run import as_text, load, summarise
from reproduction.settings import PUBLISHED


def flat(tree):
    return {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="module")
def params():
    leaf = jnp.array([1.0, -2.0])
    return {
        "stem": {"conv": {"kernel": leaf}, "norm": {"scale": leaf, "bias": leaf}},
        "spike": {"neuron": {"theta": leaf}},
        "classifier": {"kernel": leaf, "bias": leaf},
    }


def test_every_parameter_is_in_exactly_one_group(params):
    groups = flat(optimizer.label(params))
    assert set(groups) == set(flat(params))
    assert [path for path, group in groups.items() if group == "neurons"] == [
        "['spike']['neuron']['theta']"
    ]


def first_update(params, **fields):
    """What one step from zero gradients and then from unit gradients adds to the parameters."""
    config = base.get_config().optimizer
    config.update(fields)
    rates = optimizer.rate_schedules(optimizer.learning_rates(config), steps=10, warmup_steps=0)
    sgd = optimizer.make_optimizer(config, rates)
    zero, one = jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.ones_like, params)
    start = sgd.init(params)
    return flat(sgd.update(zero, start, params)[0]), flat(sgd.update(one, start, params)[0])


def test_each_group_has_its_own_learning_rate(params):
    _, moved = first_update(params, learning_rate=0.2, neuron_learning_rate=0.03, weight_decay=0.0)
    for path, update in moved.items():
        np.testing.assert_allclose(update, -0.03 if "neuron" in path else -0.2, rtol=1e-6)


@pytest.fixture(scope="module")
def network():
    """Parameters and gradients of a small ResNet with a spiking and a side head."""
    model = models.build(
        "resnet_small", neuron=neurons.lnm(), num_classes=3, timesteps=1, stem=4, widths=(4, 8),
        blocks=(2, 1), head=5, side_heads=(1,), side_features=4, shortcut="membrane",
    )  # fmt: skip
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return params, jax.tree.unflatten(tree, drawn)


def test_muon_has_three_groups_with_every_parameter_in_one(network):
    groups = flat(optimizer.label(network[0], rule="muon"))
    assert set(groups) == set(flat(network[0]))
    for path, group in groups.items():
        inner = path.endswith("['kernel']") and "['classifier']" not in path
        wanted = "kernels" if inner else "neurons" if "['neuron']" in path else "weights"
        assert group == wanted, path
    assert {"['head']['kernel']", "['side_head_1']['Dense_0']['kernel']"} <= {
        path for path, group in groups.items() if group == "kernels"
    }


def muon_steps(network, count=2, **fields):
    """Parameters before and after each of some steps with the same gradients."""
    config = base.get_config().optimizer
    config.update({"name": "muon", "nesterov": True, "learning_rate": 0.05} | fields)
    rates = {name: lambda _, x=x: x for name, x in optimizer.learning_rates(config).items()}
    rule = optimizer.make_optimizer(config, rates)
    params, grads = network
    state, seen = rule.init(params), [params]
    update = jax.jit(rule.update)
    for _ in range(count):
        updates, state = update(grads, state, seen[-1])
        seen.append(optax.apply_updates(seen[-1], updates))
    return seen


def test_muon_turns_kernels_by_an_orthogonal_step_and_holds_their_norm(network):
    _, before, after = map(flat, muon_steps(network))
    for path, group in flat(optimizer.label(network[0], rule="muon")).items():
        if group != "kernels":
            continue
        old, new = (x[path].reshape(-1, x[path].shape[-1]) for x in (before, after))
        gradient = np.asarray(flat(network[1])[path]).reshape(old.shape)
        channels = old.shape[-1]
        assert_norm = np.testing.assert_allclose
        assert_norm(np.linalg.norm(new), np.sqrt(channels), rtol=1e-5)
        # Undo the projection: the step is along the gradient's nearest orthogonal matrix.
        u, _, v = np.linalg.svd(gradient, full_matrices=False)
        scale = np.linalg.lstsq(
            np.stack([new.ravel(), (u @ v).ravel()], 1), np.ravel(old), rcond=None
        )[0]
        step = (old - scale[0] * new) / 0.05
        values = np.linalg.svd(step, compute_uv=False)
        assert (values > 0.5).all(), path
        assert (values < 1.3).all(), path
        assert (step * (u @ v)).sum() > 0.97 * np.linalg.norm(step) * np.linalg.norm(u @ v)


def test_without_orthogonalisation_a_step_has_the_same_length_along_the_gradient(network):
    fields = {"newton_schulz": 0, "fixed_norm": False, "weight_decay": 0.0}
    before, after = map(flat, muon_steps(network, 1, **fields))
    gradient = np.asarray(flat(network[1])["['head']['kernel']"])
    step = np.asarray(before["['head']['kernel']"] - after["['head']['kernel']"])
    wanted = 0.05 * np.sqrt(min(gradient.shape)) * gradient / np.linalg.norm(gradient)
    np.testing.assert_allclose(step, wanted, rtol=1e-4, atol=1e-7)


def test_muon_leaves_all_but_kernels_to_sgd_at_its_own_rates(network):
    fields = {"sgd_learning_rate": 0.2, "neuron_learning_rate": 0.03, "weight_decay": 0.0}
    before, after = map(flat, muon_steps(network, 1, **fields))
    for path, group in flat(optimizer.label(network[0], rule="muon")).items():
        if group != "kernels":
            rate = {"weights": 0.2, "neurons": 0.03}[group] * 1.9  # Nesterov's first step
            moved = before[path] - after[path]
            np.testing.assert_allclose(moved, rate * flat(network[1])[path], rtol=1e-4, atol=1e-6)


def test_clipping_does_not_change_what_muon_does(network):
    free, clipped = (flat(muon_steps(network, clip_norm=norm)[-1]) for norm in (0.0, 0.1))
    kernel = "['stage_1_block_1']['conv_1']['conv']['kernel']"
    np.testing.assert_allclose(free[kernel], clipped[kernel], rtol=1e-3, atol=1e-4)


def test_muon_needs_kernels_before_the_output_layer():
    model = models.build("recorded_layer", neuron=neurons.lnm(), num_classes=2, timesteps=3)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((3, 1, 1, 1, 5)))["params"]
    with pytest.raises(ConfigError, match=r"optimizer.name muon needs a model with kernels"):
        optimizer.label(params, rule="muon")


def test_muon_trains_in_bfloat16_and_holds_kernels_in_float32(config):
    config.compute_dtype = "bfloat16"
    state = loop.train(config).state
    kernel = state.params["stage_1_block_1"]["conv_1"]["conv"]["kernel"]
    assert kernel.dtype == np.float32
    assert int(state.skipped) == 0
    np.testing.assert_allclose(np.linalg.norm(kernel), 2, rtol=1e-5)  # of 4 channels


def test_weight_decay_acts_on_kernels_alone(params):
    decayed, _ = first_update(params, learning_rate=0.1, weight_decay=0.5)
    for path, update in decayed.items():
        wanted = -0.1 * 0.5 * flat(params)[path] if "kernel" in path else 0
        np.testing.assert_allclose(update, wanted, rtol=1e-6)
    decayed, _ = first_update(params, neuron_learning_rate=0.1, neuron_weight_decay=0.5)
    np.testing.assert_allclose(decayed["['spike']['neuron']['theta']"], [-0.05, 0.1], rtol=1e-6)


@pytest.mark.parametrize("rule", optimizer.RULES)
def test_potentials_scales_and_norms_of_compared_methods_do_not_decay(rule):
    """IMP, TEBN and MPBN in one network: its kernels decay, and nothing else of its tree."""
    model = models.build(
        "resnet_small", neuron=neurons.plif(), num_classes=3, timesteps=2, stem=2, widths=(2,),
        blocks=(1,), start="learned", norm="tebn", membrane_norm=True,
    )  # fmt: skip
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]
    params = jax.tree.map(lambda x: jnp.ones(x.shape), shapes)
    decayed, _ = first_update(params, name=rule, learning_rate=0.1, weight_decay=0.5)
    moved = {path for path, update in decayed.items() if update.any()}
    assert moved == {path for path in decayed if path.endswith("['kernel']")}
    spared = "".join(decayed.keys() - moved)
    for name in ("v_0", "timestep_scale", "membrane_norm']['scale", "membrane_norm']['bias"):
        assert f"['{name}']" in spared


def test_the_schedule_warms_up_and_ends_at_zero():
    rate = optimizer.schedule(0.4, steps=12, warmup_steps=2)
    np.testing.assert_allclose([rate(0), rate(1), rate(2)], [0, 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose([rate(7), rate(12)], [0.2, 0], atol=1e-7)  # half way, end
    assert optimizer.schedule(0.4, steps=12, warmup_steps=0)(0) == pytest.approx(0.4)
    linear = optimizer.schedule(0.4, steps=12, warmup_steps=2, decay="linear")
    np.testing.assert_allclose([linear(1), linear(2), linear(7), linear(12)], [0.2, 0.4, 0.2, 0])


def test_cross_entropy_equals_its_definition():
    logits = np.random.default_rng(0).normal(size=(4, 5))
    labels = np.array([0, 4, 2, 2])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = np.full((4, 5), 0.1 / 5)
    target[np.arange(4), labels] += 0.9
    np.testing.assert_allclose(
        losses.cross_entropy(jnp.asarray(logits), labels, 0.1),
        -(target * log_p).sum(-1),
        rtol=1e-5,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained tiny run, shared: tests only read it."""
    from conftest import TINY

    from lnm_jax.configs import digits

    config = digits.get_config()
    config.directory, config.name = str(tmp_path_factory.mktemp("runs")), "shared"
    config.update_from_flattened_dict(TINY)
    return loop.train(config)


def test_a_run_leaves_its_files_and_numbers(run):
    names = os.listdir(run.directory)
    assert {"config.json", "metrics.jsonl", "checkpoints"} <= set(names)
    assert any(name.startswith("events.out.tfevents") for name in names)
    config = json.loads(pathlib.Path(run.directory, "config.json").read_text())
    assert config["neuron"]["kind"] == "lnm"
    splits = [(record["step"], record["split"]) for record in run.records]
    assert splits == [(2, "train"), (3, "test"), (4, "train"), (6, "train"), (6, "test")]
    facts = summarise(run)
    assert list(facts["rates"]) == run.experiment.spiking_layers()
    assert all(0 < rate < 1 for rate in facts["rates"].values())
    assert facts["accuracy_best"] >= facts["accuracy_last"] > 0
    last = run.records[-1]
    names = [name for name in last if name in ("loss", "cross_entropy")]
    assert [facts[f"{name}_last"] for name in names] == [last["loss"], last["cross_entropy"]]


def test_theta_is_learned_and_starts_as_lif(run):
    start = flat(run.experiment.init().params)
    end = flat(run.state.params)
    thetas = [path for path in start if "theta" in path]
    assert len(thetas) == 3
    for path in thetas:
        np.testing.assert_array_equal(start[path], np.float32([-0.75, 0, 0]))
        assert not np.array_equal(start[path], end[path])


def test_evaluation_does_not_depend_on_the_batch_size(run):
    results = []
    for size in (360, 7):
        config = run.experiment.config.copy_and_resolve_references()
        config.data.eval_batch_size = size
        results.append(experiment.evaluate(experiment.build(config), run.state.variables))
    assert results[0]["accuracy"] == results[1]["accuracy"] == run.records[-1]["accuracy"]
    np.testing.assert_allclose(results[0]["loss"], results[1]["loss"], rtol=1e-5)
    for path, rate in results[0]["rates"].items():
        assert rate == pytest.approx(results[1]["rates"][path], rel=1e-5)


def test_mirrored_test_images_are_reported_apart(run):
    config = run.experiment.config.copy_and_resolve_references()
    config.data.test_flip = True
    this = experiment.build(config, run.experiment.dataset)
    test, variables = this.dataset.test, run.state.variables
    images = (test.images - this.dataset.mean) / this.dataset.std
    apply = jax.jit(this.model.apply)
    params = {**run.state.params, "classifier": dict(run.state.params["classifier"])}
    variables = variables | {"params": params}
    # No class is preferred, so that predictions differ between images.
    mean = np.asarray(apply(variables, images)).mean(0)
    params["classifier"]["bias"] = params["classifier"]["bias"] - mean
    plain, mirrored = (np.asarray(apply(variables, x)) for x in (images, images[:, :, ::-1]))
    together = (plain + mirrored).argmax(-1)
    differ = together != plain.argmax(-1)  # of those images, labels that the two together give
    split = data.Split(test.images[differ], together[differ].astype(np.int32))
    found = experiment.evaluate(this, variables, split)
    assert (found["accuracy"], found["accuracy_flip"]) == (0, 100)
    wanted = found["accuracy_flip"]
    record = run.records[-1] | {"accuracy_flip": found["accuracy_flip"]}
    text = as_text(run._replace(records=[record]))
    assert f"last {wanted:.2f} % with mirrored images as well" in text


def test_the_logged_window_is_the_mean_of_its_steps(run):
    this = run.experiment
    state = parallel.replicate(this.init())
    seen = []
    for batch in data.train_batches(this.dataset.train, 0, 480, 0, 4):
        state, step_metrics = this.train_step(state, batch)
        seen.append(float(step_metrics["loss"]))
    logged = [record["loss"] for record in run.records if record["split"] == "train"]
    np.testing.assert_allclose([np.mean(seen[:2]), np.mean(seen[2:4])], logged[:2], rtol=1e-6)


def test_the_logged_rate_is_what_the_optimizer_used(config, monkeypatch):
    """At each step, of weights and of neurons: with warm-up, a step left out and epochs added."""
    config.update_from_flattened_dict(PUBLISHED)
    config.optimizer.update({"momentum": 0.0, "weight_decay": 0.0, "warmup_epochs": 1.0})
    config.log_every = 1
    digits = data.load("digits")
    train = digits.train._replace(images=digits.train.images.astype(np.float32))
    dataset = digits._replace(
        train=train, test=data.Split(digits.test.images.astype(np.float32), digits.test.labels)
    )
    used, build = {}, experiment.build

    def watched(*args, **things):
        this = build(*args, **things)
        gradient = jax.jit(jax.grad(this.loss, has_aux=True))

        def step(state, batch):
            before = jax.device_get(state)
            number = int(before.step) + 1
            if number == 4:
                batch = batch | {"image": batch["image"] * np.nan}
            gradients, _ = gradient(before.params, before, batch)
            state, values = this.train_step(state, batch)
            moved = jax.tree.map(np.subtract, before.params, jax.device_get(state.params))
            leaves, gradients = map(jax.tree_util.tree_leaves_with_path, (moved, gradients))
            for name in ("neurons", "weights"):
                pairs = [
                    (np.ravel(x), np.ravel(g))
                    for (path, x), (_, g) in zip(leaves, gradients, strict=True)
                    if optimizer.group(path) == name
                ]
                x, g = map(np.concatenate, zip(*pairs, strict=True))
                used[number, name] = None if number == 4 else x @ g / (g @ g)
                assert number != 4 or not x.any()
            return state, values

        return this._replace(train_step=step)

    monkeypatch.setattr(experiment, "build", watched)
    fields = config.optimizer
    loop.train(config, dataset=dataset)
    config.epochs = 3
    records = loop.train(config, dataset=dataset, must_resume=True).records
    logged = {x["step"]: x["learning_rate"] for x in records if x["split"] == "train"}
    assert list(logged) == list(range(1, 10))
    highest = {"neurons": fields.neuron_learning_rate, "weights": fields.learning_rate}
    for (number, group), rate in used.items():
        if rate is not None:
            wanted = logged[number] * highest[group] / fields.learning_rate
            np.testing.assert_allclose(rate, wanted, rtol=1e-3, atol=1e-8)
    assert logged[1] == 0
    assert max(logged.values()) == pytest.approx(fields.learning_rate)


def test_nothing_is_compiled_after_the_first_steps(run):
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    this = experiment.build(run.experiment.config)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state = parallel.replicate(this.init())
        for step, batch in enumerate(data.train_batches(this.dataset.train, 0, 480, 0, 4)):
            state, _ = this.train_step(state, batch)
            experiment.evaluate(this, state.variables)
            float(state.window["loss"])
            if step == 0:
                assert compiled  # the listener does hear compilations
                compiled.clear()
        assert not compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_runs_of_other_seeds_and_rates_share_their_programs(run):
    def programs(**fields):
        config = run.experiment.config.copy_and_resolve_references()
        config.update_from_flattened_dict(fields)
        this = experiment.build(config, run.experiment.dataset)
        batch = next(data.train_batches(this.dataset.train, 0, 480, 0, 1))
        return this.train_step.lower(parallel.replicate(this.init()), batch).as_text()

    mine = programs()
    others = {"optimizer.learning_rate": 0.3, "optimizer.neuron_learning_rate": 0.2}
    assert programs(seed=7, **others) == mine
    assert programs(**{"optimizer.momentum": 0.8}) != mine  # texts do tell programs apart


def test_checkpoints_restore_the_last_state_exactly(run):
    with Checkpoints(os.path.join(run.directory, "checkpoints"), keep=2) as checkpoints:
        restored = checkpoints.restore(run.experiment.init())
        assert checkpoints.latest == 6
        assert checkpoints.best in (3, 6)
    jax.tree.map(np.testing.assert_array_equal, restored, jax.device_get(run.state))


def test_a_finished_run_is_read_and_not_trained_again(run):
    def files():
        paths = pathlib.Path(run.directory).rglob("*")
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}

    before = files()
    again = loop.train(run.experiment.config)
    assert files() == before
    assert again.images_per_second is None
    assert again.steps == 0
    assert again.records == run.records
    jax.tree.map(np.testing.assert_array_equal, again.state, run.state)


def test_the_summary_on_the_screen_has_what_was_measured(run):
    text = as_text(run)
    facts = summarise(run)
    for piece in (
        f"last {facts['accuracy_last']:.2f} %",
        f"best {facts['accuracy_best']:.2f} %",
        f"test loss       cross-entropy {facts['cross_entropy_last']:.4g} nats, training ",
        "stage_1_block_1/spike_2",
        "images/s",
        run.directory,
        "events.*",
        "360 test images",
    ):
        assert piece in text
    earlier = [{k: v for k, v in r.items() if k != "cross_entropy"} for r in run.records]
    text = as_text(run._replace(records=earlier))
    assert f"test loss       training objective {facts['loss_last']:.4g} nats\n" in text


def test_records_after_the_restored_step_are_written_again(tmp_path):
    with metrics.Writer(str(tmp_path), step=0) as writer:
        for step in (1, 2, 3):
            writer.write({"step": step, "split": "train", "loss": step / 3})
    path = tmp_path / metrics.FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 4, "spl')  # killed while it wrote
    assert [record["step"] for record in metrics.read(str(tmp_path))] == [1, 2, 3]
    with metrics.Writer(str(tmp_path), step=1) as writer:
        for step in (2, 3):
            writer.write({"step": step, "split": "train", "loss": step / 3})
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "bad", [b"\0\0\0\0\n", b'{"step": 2, "split": "tr\xff"}\n', b'{"step": 2, "spl\n', b"3\n"]
)
def test_a_damaged_line_of_metrics_is_named_wherever_it_is_read(bad, run, config, tmp_path):
    shutil.copytree(run.directory, tmp_path / "run")
    path = tmp_path / "run" / metrics.FILE
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(b"".join([lines[0], bad, *lines[1:]]))
    for read in (lambda: load(str(tmp_path / "run")), lambda: loop.train(config)):
        with pytest.raises(ConfigError) as error:
            read()
        message = str(error.value)
        assert message.startswith(f"{path}: line 2 is damaged (")
        assert message.endswith(
            "; put a copy of the file back, or delete the line to go on without its numbers"
        )
        assert "\n" not in message


OTHERS = {  # settings of jax that change a run's numbers: how to have another, and its value
    "jax_default_prng_impl": (lambda: jax.default_prng_impl("rbg"), "threefry2x32", "rbg"),
    "jax_enable_x64": (lambda: jax.enable_x64(True), "False", "True"),
    "jax_default_matmul_precision": (
        lambda: jax.default_matmul_precision("bfloat16"), "None", "bfloat16",
    ),
    "jax_threefry_partitionable": (lambda: jax.threefry_partitionable(False), "True", "False"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_goes_on_with_the_settings_of_jax_that_it_began_with_alone(name, run, tmp_path):
    other, began, value = OTHERS[name]
    path = pathlib.Path(run.directory, "environment.json")
    kept = json.loads(path.read_text())
    assert kept["jax"] == jax.__version__
    assert kept["platform"] == "cpu"
    with other(), pytest.raises(ConfigError) as error:
        loop.train(run.experiment.config)
    assert str(error.value) == (
        f"{run.directory}: began with {name} {began}, got {value}; set {name.upper()} as it was, "
        "or choose another config.name"
    )
    with other():
        assert load(run.directory).records == run.records  # looking is free
        environment.write(str(tmp_path))
        environment.check(str(tmp_path))
    (tmp_path / "environment.json").write_text("[")
    with pytest.raises(ConfigError, match=r"/environment.json: damaged \("):
        environment.check(str(tmp_path))


def test_a_step_keeps_the_types_of_the_state_with_x64_too(run):
    """Else its checkpoint is of another model than the state before the first step."""
    with jax.enable_x64(True):
        this = experiment.build(run.config, run.experiment.dataset)
        state = jax.eval_shape(this.init)
        batch = next(data.train_batches(this.dataset.train, 0, 480, 0, 1))
        after, _ = this.train_step.lower(state, batch).out_info
    types = lambda tree: {path: x.dtype for path, x in flat(tree).items()}
    assert types(after) == types(state)


def test_dtypes_that_nothing_trains_with_are_refused(run):
    with jax.numpy_dtype_promotion("strict"), pytest.raises(ConfigError, match=r"got strict$"):
        loop.train(run.experiment.config)


def test_records_that_are_lost_are_told(run, config, tmp_path, caplog):
    shutil.copytree(run.directory, tmp_path / "run")
    path = tmp_path / "run" / metrics.FILE
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:-3])  # the last one is torn
    told = (
        f"{tmp_path}/run: metrics.jsonl: 1 of 5 records until step 6 are missing, 1 of them "
        "evaluations, the first that of step 6 (test)"
    )
    load(str(tmp_path / "run"))
    loop.train(config)
    assert [message for message in caplog.messages if "missing" in message] == [told] * 2
    path.unlink()
    with pytest.raises(ConfigError) as error:
        summarise(loop.train(config))
    assert str(error.value) == f"{path}: no evaluation is in it; put a copy of the file back"


def test_the_best_epoch_is_one_and_the_same_everywhere(config, monkeypatch, caplog):
    """The first of equals, and it has a checkpoint, whatever checkpoint.every_epochs is."""
    given, evaluate = iter((50.0, 70.0, 70.0, 60.0)), experiment.evaluate
    monkeypatch.setattr(
        experiment,
        "evaluate",
        lambda *args, **more: evaluate(*args, **more) | {"accuracy": next(given)},
    )
    config.epochs, config.checkpoint.every_epochs, config.checkpoint.keep = 4, 4, 1
    run = loop.train(config)
    facts = summarise(run)
    assert (facts["accuracy_best"], facts["epoch_best"], facts["accuracy_last"]) == (70, 2, 60)
    assert metrics.best(run.records)["step"] == 6
    assert int(load(run.directory, best=True).state.step) == 6
    assert not caplog.messages
    shutil.rmtree(os.path.join(run.directory, "checkpoints", "6"))
    assert int(load(run.directory, best=True).state.step) == 12
    assert caplog.messages == [
        f"{run.directory}: no checkpoint is left of the best epoch, 2 with 70.00 %; this is step 12"
    ]


def test_every_number_and_every_choice_has_a_rule():
    fields = configuration.flatten(base.get_config())
    own = {f"neuron.{name}" for kind in neurons.NEURONS for name in neurons.fields(kind)}
    own -= {"neuron.timesteps"}  # config.timesteps
    ruled = [*configuration.CHOICES, *configuration.NAMES, *sum(configuration.RANGES.values(), ())]
    assert len(ruled) == len(set(ruled))
    free = {"directory", "init_from", "data.directory", "distributed.address"}
    free |= {field for field, value in fields.items() if isinstance(value, bool)} - own
    assert set(fields) == {*ruled, *own, *free}


def test_a_configuration_survives_its_file(config, tmp_path):
    file = tmp_path / "run" / "config.json"
    run_directory.create(config)
    again = configuration.read(str(file.parent))
    assert configuration.flatten(again) == configuration.flatten(config)
    assert again.is_locked
    assert neurons.build(**again.neuron)
    for text, message in (
        ('{"timestep": 3}', r"not a configuration of this version \(.*timestep"),
        ('{"timesteps": "four"}', "not a configuration of this version"),
        ('{"times', r"config.json: not a configuration \("),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            configuration.read(str(file.parent))


def test_a_run_older_than_a_field_has_its_default_and_its_own_values(config):
    """In a resume too, whatever the defaults of the command line's experiment are."""
    directory = pathlib.Path(run_directory.create(config))
    own = json.loads((directory / "config.json").read_text())
    del own["optimizer"]["decay"], own["checkpoint"]
    (directory / "config.json").write_text(json.dumps(own))
    again = configuration.read(str(directory))
    assert config.optimizer.decay == "linear"  # the digits' own
    assert again.optimizer.decay == "cosine"
    assert again.checkpoint.keep == 2
    assert again.optimizer.name == "muon"
    with pytest.raises(ConfigError, match=r"another .* \(optimizer.decay: 'cosine', not"):
        run_directory.check(config)


def test_derived_names_differ_where_results_may(config, monkeypatch):
    config.name = ""
    name = configuration.derived_name(config)
    assert name.startswith("digits-lnm-0-")
    config.progress = True
    assert configuration.derived_name(config) == name
    default = base.get_config()

    def with_a_new_field():
        return ConfigDict({**default.to_dict(), "novel": 1})

    with monkeypatch.context() as patch, config.unlocked():
        patch.setattr(base, "get_config", with_a_new_field)
        config.novel = 1
        assert configuration.derived_name(config) == name  # a new field renames no run
        config.novel = 2
        assert configuration.derived_name(config) != name
        del config.novel
    config.optimizer.learning_rate = 0.07
    assert configuration.derived_name(config) != name


def test_a_run_of_data_elsewhere_is_pointed_at(config, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    config.data.name, config.data.directory = "folder", str(here)
    run_directory.create(config)
    (tmp_path / "link").symlink_to(here)
    for same in (here, tmp_path / "link"):
        config.data.directory = str(same)
        assert run_directory.remark_on_data(config) is None
    config.data.directory = str(there)
    remark = f"its data were in {here}; other data need another directory or name"
    assert run_directory.remark_on_data(config) == remark


def test_another_configuration_never_enters_a_run_directory(run):
    config = run.experiment.config.copy_and_resolve_references()
    config.neuron.kind = "lif"
    with pytest.raises(ConfigError, match=r"another configuration \(neuron.kind: 'lnm', not 'lif'"):
        loop.train(config)


def test_a_foreign_directory_is_left_alone(config):
    os.mkdir(configuration.path_of(config))
    with open(os.path.join(configuration.path_of(config), "thesis.tex"), "w") as file:
        file.write("important")
    with pytest.raises(ConfigError, match="is not a run"):
        loop.train(config)
    assert os.listdir(configuration.path_of(config)) == ["thesis.tex"]


OWN = """
import flax.linen as nn
from lnm_jax import layers, neurons
from lnm_jax.configs import digits

def leaky(alpha: float = 0.5, threshold: float = 1.0):
    fires = neurons.firing(threshold=threshold)
    return neurons.two_phase(
        lambda key: {}, fires.initial, lambda params, v, current: alpha * v + current, fires.fire
    )

class Net(nn.Module):
    neuron: neurons.Neuron
    num_classes: int
    timesteps: int
    hidden: int = 8

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dense(self.hidden)(x.reshape(len(x), -1))
        spikes = layers.Spiking(self.neuron, name="spike")(x[None].repeat(self.timesteps, 0))
        return nn.Dense(self.num_classes, name="classifier")(spikes).mean(0)

def get_config():
    config = digits.get_config()
    config.epochs, config.timesteps, config.optimizer.name = 1, 2, "sgd"
    config.neuron.kind, config.model.name = "own_things:leaky", "own_things:Net"
    with config.unlocked():
        config.neuron.alpha, config.model.hidden = 0.75, 5
    return config
"""


def test_an_own_neuron_and_net_by_import_path_with_fields_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "own_things.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own_things

    config = own_things.get_config()
    config.directory, config.progress = str(tmp_path), False
    assert configuration.derived_name(config).startswith("digits-own_things_leaky-0-")
    run = loop.train(config)
    assert run.state.params["Dense_0"]["kernel"].shape == (64, 5)
    again = configuration.read(run.directory)
    assert (again.neuron.alpha, again.model.hidden) == (0.75, 5)
    assert loop.train(again).records == run.records
    config.neuron.kind = "own_things:none"
    with pytest.raises(ConfigError, match=r"config.neuron.kind is 'own_things:none', which can't"):
        configuration.validate(config)


def test_a_session_of_one_step_has_trained(config):
    config.epochs, config.data.examples = 1, config.data.batch_size
    run = loop.train(config)
    assert (run.steps, run.images_per_second) == (1, None)
    assert "no step was left" not in as_text(run)
    again = loop.train(config)
    assert again.steps == 0
    assert "no step was left" in as_text(again)
