"""A trained network as a library: predictions, traces, data passed in Python, fine-tuning."""

import json
import os
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from PIL import Image

import lnm_jax
from lnm_jax import cli, data, layers, neurons
from lnm_jax.analysis.facts import of_run
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, loop, metrics


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def without_data(monkeypatch):
    """A data set that can't be loaded."""

    def load(*_, **__):
        raise AssertionError("the data set was loaded")

    monkeypatch.setattr(data, "load", load)


def test_a_run_predicts_without_its_data_set(trained_run, digits, without_data, tmp_path):
    run = lnm_jax.load(trained_run.directory)
    images, labels = digits.test.images, digits.test.labels
    said = run.predict(images)
    accuracy = 100 * (said.labels == labels).mean()
    assert accuracy == pytest.approx(trained_run.records[-1]["accuracy"])
    np.testing.assert_allclose(said.probabilities.sum(-1), 1, rtol=1e-5)
    assert said.classes == tuple("0123456789")
    one = run.predict(images[7])
    assert (one.labels, one.names) == (said.labels[7], str(said.labels[7]))
    as_float = run.predict(images[7].astype(np.float32) / 16)
    np.testing.assert_allclose(as_float.probabilities, said.probabilities[7], atol=1e-5)
    with pytest.raises(AssertionError, match="the data set was loaded"):
        run.evaluate()
    assert run.evaluate(digits)["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28, 1)), r"images must be \(8, 8, 1\) or \(B, 8, 8, 1\), got shape \(28"),
        (np.zeros((3, 8, 8, 3)), r"got shape \(3, 8, 8, 3\)"),
        (
            np.full((8, 8, 1), 200, np.uint8),
            r"from 0 to 16 or floats from 0 to 1.* from 200 to 200",
        ),
        (np.full((8, 8, 1), -0.5), "not normalised; got float64 from -0.5"),
        (np.full((8, 8, 1), np.nan), "must be finite"),
        (np.full((8, 8, 1), "a"), "integers or floats, got <U1"),
    ],
)
def test_images_that_are_not_as_in_training_are_refused(trained_run, images, message):
    with pytest.raises(ConfigError, match=message):
        trained_run.predict(images)


def test_a_trace_has_the_potentials_of_every_layer(trained_run, digits):
    traces = trained_run.trace(digits.test.images[:3])
    assert list(traces) == trained_run.experiment.spiking_layers()
    first = traces["stem_spike"]
    assert first.v_in.shape == (2, 3, 8, 8, 4)
    threshold = trained_run.config.neuron.threshold
    np.testing.assert_array_equal(first.spikes, first.v_in >= threshold)


def test_pictures_are_predicted_on_the_command_line(trained_run, digits, tmp_path, capsys):
    image, path = digits.test.images[0], tmp_path / "digit.png"
    Image.fromarray(np.rint(image[..., 0] * (255 / 16)).astype(np.uint8)).save(path)
    np.save(tmp_path / "two.npy", digits.test.images[:2])
    said = trained_run.predict(digits.test.images[:2])
    name, share = said.names[0], 100 * said.probabilities[0].max()
    arguments = [trained_run.directory, str(path), str(tmp_path / "two.npy"), "--top=1"]
    assert cli.predict(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: {name} ({share:.1f} %)"
    assert lines[1] == f"{tmp_path}/two.npy[0]: {name} ({share:.1f} %)"
    assert len(lines) == 3
    assert cli.predict([trained_run.directory, str(tmp_path / "no.png")]) == 2
    assert capsys.readouterr().err.endswith("no.png: cannot be read (No such file or directory)\n")
    (tmp_path / "bad.png").write_bytes(b"GIF")
    assert cli.predict([trained_run.directory, str(tmp_path / "bad.png")]) == 2
    assert "bad.png: not an image" in capsys.readouterr().err


class Net(nn.Module):
    """A stranger's network."""

    neuron: neurons.Neuron
    classes: int

    @nn.compact
    def __call__(self, x, train=False):
        x = x[None].repeat(2, 0)
        x = nn.Dense(8)(x.reshape(*x.shape[:2], -1))
        return nn.Dense(self.classes)(layers.Spiking(self.neuron, name="spike")(x).mean(0))


def three(digits):
    """The first three digits of the data set, by name."""
    chosen = [
        data.Split(split.images[split.labels < 3], split.labels[split.labels < 3])
        for split in (digits.train, digits.test)
    ]
    return digits._replace(train=chosen[0], test=chosen[1], num_classes=3, classes=("a", "b", "c"))


def test_data_a_neuron_and_a_network_may_be_passed_in_python(config, digits):
    neuron = neurons.lnm(degree=2)
    things = {"dataset": three(digits), "neuron": neuron, "model": Net(neuron, 3)}
    config.data.batch_size = 144
    run = lnm_jax.train(config, **things)
    assert run.records[-1]["epoch"] == 2
    assert [run.config.data.name, run.config.neuron.kind, run.config.model.name] == ["passed"] * 3
    with pytest.raises(ConfigError, match="the neuron of this run was passed in Python"):
        lnm_jax.load(run.directory)
    loaded = lnm_jax.load(run.directory, neuron=neuron, model=things["model"])
    assert set(loaded.predict(three(digits).test.images).names) <= {"a", "b", "c"}
    with pytest.raises(ConfigError, match="the dataset of this run was passed in Python"):
        loaded.evaluate()
    accuracy = loaded.evaluate(three(digits))["accuracy"]
    assert accuracy == pytest.approx(run.records[-1]["accuracy"])
    facts = dict(of_run(loaded))
    assert facts["data"].startswith("passed in Python: ")
    assert (facts["network"], facts["neurons"]) == ("Net", "lnm(degree=2)")
    assert "command" not in facts
    fewer = things["dataset"]._replace(train=data.subset(three(digits).train, 300))
    with pytest.raises(ConfigError, match=r"changed since the run began \(train: 300, not"):
        lnm_jax.train(config, **things | {"dataset": fewer})


def test_fine_tuning_makes_a_new_head_and_says_so(trained_run, config, digits, caplog):
    config.init_from, config.optimizer.learning_rate = trained_run.directory, 1e-9
    config.optimizer.sgd_learning_rate = config.optimizer.neuron_learning_rate = 1e-9
    config.epochs, config.data.batch_size = 1, 144
    run = lnm_jax.train(config, dataset=three(digits))
    assert caplog.messages == [
        f"config.init_from: made new, not as in {trained_run.directory}: classifier/bias, "
        "classifier/kernel"
    ]
    kernel = run.state.params["stem"]["conv"]["kernel"]
    np.testing.assert_allclose(kernel, trained_run.state.params["stem"]["conv"]["kernel"], 1e-5)
    config.init_from, config.init_parts = None, "neurons"
    with pytest.raises(ConfigError, match=r"init_parts must be all without init_from, got neurons"):
        lnm_jax.train(config, dataset=three(digits))
    config.name, config.init_from = "dynamics", trained_run.directory
    config.optimizer.neuron_learning_rate = 0.0
    run = lnm_jax.train(config, dataset=three(digits))
    theirs, ours = (x.state.params["stem_spike"]["neuron"] for x in (trained_run, run))
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)
    kernel = run.state.params["stem"]["conv"]["kernel"]
    assert np.abs(kernel - trained_run.state.params["stem"]["conv"]["kernel"]).max() > 0.1
    config.name, config.init_from = "other", os.path.dirname(run.directory)
    with pytest.raises(ConfigError, match=r"config.init_from: .* has no checkpoint"):
        lnm_jax.train(config, dataset=three(digits))


def test_integers_for_a_network_of_floats_are_refused(config, digits):
    parts = {name: getattr(digits, name) for name in ("train", "test")}
    parts = {k: x._replace(images=(x.images / 16).astype(np.float32)) for k, x in parts.items()}
    floats = digits._replace(**parts, mean=np.zeros(1), std=np.ones(1))
    config.epochs = 1
    run = lnm_jax.train(config, dataset=floats)
    with pytest.raises(ConfigError, match="floats in the unit of the data set, got uint8"):
        run.predict(digits.test.images)


def test_epochs_are_added_to_a_finished_run(config, capsys):
    config.epochs = 1
    first = loop.train(config)
    with pytest.raises(ConfigError, match=r"must_resume=True\), adds epochs"):
        loop.train(configuration.changed(config, epochs=2))
    for epochs, status, words in (
        ("0", 2, "--config.epochs=0: the run has 1; more can be added"),
        ("2", 0, "(epoch"),
    ):
        argv = ["train.py", f"--resume={first.directory}", f"--config.epochs={epochs}"]
        assert cli.main(argv) == status
        printed = capsys.readouterr()
        assert words in printed.out + printed.err
    tests = [r for r in metrics.read(first.directory) if r["split"] == "test"]
    assert [record["epoch"] for record in tests] == [1, 2]
    assert tests[0] == first.records[-1]
    assert configuration.read(first.directory).epochs == 2
    assert int(lnm_jax.load(first.directory).state.step) == 2 * int(first.state.step)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):  # (T, B, 16)
        spikes = layers.Spiking(neurons.lnm(surrogate="arctan"), name="spikes")
        return nn.Dense(2, name="outer")(spikes(nn.Dense(8, name="inner")(x))).mean(0)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.inner = nnx.Linear(16, 8, rngs=rngs)
        spikes = layers.Spiking(neurons.lnm(surrogate="arctan"))
        self.spikes = nnx.bridge.ToNNX(spikes, rngs).lazy_init(jnp.zeros((1, 1, 8)))
        self.outer = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.outer(self.spikes(self.inner(x))).mean(0)


def test_a_linen_and_an_nnx_network_of_a_stranger_train_to_the_same_loss():
    x = jax.random.normal(jax.random.key(0), (4, 20, 16))
    y = (x.mean((0, 2)) > 0).astype(jnp.int32)
    optimizer = optax.adam(0.02)
    entropy = lambda logits: optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    params = Linen().init(jax.random.key(1), x)["params"]
    other = Nnx(nnx.Rngs(0))
    nnx.update(other, params)  # the same names, the same start
    state, other_optimizer = optimizer.init(params), nnx.Optimizer(other, optimizer, wrt=nnx.Param)

    @jax.jit
    def step(params, state):
        loss = lambda params: entropy(Linen().apply({"params": params}, x))
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    @nnx.jit
    def other_step(other, other_optimizer):
        value, gradient = nnx.value_and_grad(lambda net: entropy(net(x)))(other)
        other_optimizer.update(other, gradient)
        return value

    for _ in range(10):
        params, state, value = step(params, state)
        other_value = other_step(other, other_optimizer)
    assert float(value) == pytest.approx(float(other_value), rel=1e-5)
    assert value < 0.6  # ln 2 is chance
    theta = nnx.to_pure_dict(nnx.state(other))["spikes"]["neuron"]["theta"]
    np.testing.assert_allclose(theta, params["spikes"]["neuron"]["theta"], atol=1e-6)
    assert abs(theta[1]) > 1e-3  # learned


def test_initialisation_returns_parameters_and_statistics_alone(trained_run):
    variables = jax.eval_shape(
        trained_run.model.init, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32)
    )
    assert set(variables) == {"params", "batch_stats"}


def test_check_says_whether_the_numbers_of_a_run_hold(config, capsys):
    run = loop.train(config)
    assert cli.analysis(["check", run.directory]) == 0
    lines = capsys.readouterr().out.splitlines()
    accuracy = f"accuracy {run.records[-1]['accuracy']:.2f} %"
    assert lines[0] == "holds  data: 1437 training and 360 test examples, as they were"
    assert lines[1].startswith(f"holds  last checkpoint, step 6: {accuracy} and loss")
    assert lines[2].startswith("holds  best checkpoint, step ")
    assert lines[3] == "holds  0 test examples are training examples too"
    assert lines[4].startswith("holds  operations: ")
    path = pathlib.Path(run.directory, metrics.FILE)
    last = json.loads(path.read_text().splitlines()[-1])
    changed = json.dumps(last | {"accuracy": 100.0})
    path.write_text(path.read_text().replace(json.dumps(last), changed))
    assert cli.analysis(["check", run.directory]) == 1
    printed = capsys.readouterr()
    assert "FAILS  last checkpoint, step 6: accuracy" in printed.out
    assert "recorded 100.00 %" in printed.out
    assert printed.err.endswith("of 5 do not hold\n")


def test_paths_as_people_type_them(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    config.directory, config.epochs = "~/my runs", 1
    run = loop.train(config)
    assert run.directory == str(tmp_path / "my runs" / "run")
    assert lnm_jax.load("~/my runs/run/").records == run.records
    odd = os.fsencode(tmp_path) + b"/caf\xe9"  # Latin-1: no UTF-8
    os.rename(tmp_path / "my runs", odd)
    link = tmp_path / "link"
    link.symlink_to(os.path.join(odd, b"run"))
    assert cli.main(["train.py", f"--resume={link}"]) == 0
    assert "no step was left to do" in capsys.readouterr().out
    assert cli.main(["train.py", f"--resume={os.fsdecode(odd)}/run"]) == 2
    assert "no UTF-8, which checkpoints need; link to it" in capsys.readouterr().err
    assert not os.path.exists("~")
