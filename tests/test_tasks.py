"""The small tasks in which dynamics matter: their data, and learning from recorded spikes."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import after_each

from lnm_jax import data, models, neurons
from lnm_jax.data import tasks
from lnm_jax.errors import ConfigError
from lnm_jax.layers import Recorded
from lnm_jax.training import losses


def test_the_class_is_the_time_between_the_pulses_and_the_seed_draws_them():
    pulses, again = (tasks.interval(examples=1200) for _ in range(2))
    images = pulses.train.images.reshape(1200, 30, 2, 8).sum(-1)
    assert pulses.train.images.dtype == np.uint8
    assert set(np.unique(pulses.train.images)) == {0, 1}
    for label, delay in enumerate(tasks.DELAYS):
        some = images[pulses.train.labels == label]
        assert len(some) == 200  # all classes are equally frequent
        # The product of both groups' spikes, summed over time, peaks at the delay.
        together = [
            (some[:, : 30 - lag, 0] * some[:, lag:, 1]).sum(1, dtype=float).mean()
            for lag in range(20)
        ]
        assert np.argmax(together) == delay
    rate = images.mean((0, 1)) / 8
    expected = tasks.NOISE + (tasks.IN_PULSE - tasks.NOISE) * tasks.LENGTH / 30
    np.testing.assert_allclose(rate, expected, rtol=0.03)
    other = tasks.interval(examples=1200, seed=1)
    np.testing.assert_array_equal(pulses.train.images, again.train.images)
    assert (pulses.train.images != other.train.images).any()
    assert (pulses.test.images[:1200] != pulses.train.images).any()


def test_recordings_are_those_of_the_teacher():
    recorded = tasks.identify(examples=4, teacher="eif", timesteps=50, seed=2)
    images, labels = recorded.train
    assert (images.shape, labels.shape) == ((4, 50, 1, 1, 36), (4, 50, 16))
    np.testing.assert_array_equal(images[:, :, 0, 0, 20:], labels)
    assert 0.02 < labels.mean() < 0.5
    # A trace is a geometric sum of the input's spikes.
    traces = images[:, :, 0, 0, :20]
    arrived = traces[:, 1:] - 0.6 * traces[:, :-1]
    np.testing.assert_allclose(arrived * (arrived - 1), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("interval", {"timesteps": 28}, "config.timesteps must be at least 29 here, got 28"),
        ("interval", {"examples": 0}, "examples = 0: must be at least 1"),
        ("identify", {"timesteps": 0}, "timesteps = 0: must be at least 1"),
    ],
)
def test_sizes_that_make_no_task_are_refused(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        data.load(name, **fields)


@pytest.mark.parametrize("kind", ["lnm", "plif", "eif"])
def test_with_its_own_spikes_a_recorded_layer_integrates_as_the_free_one(kind):
    neuron = neurons.build(kind)
    params = neuron.init(jax.random.key(0))
    currents = 0.4 * jax.random.normal(jax.random.key(1), (12, 3, 4))
    states, spikes = after_each(neuron, params, currents)
    variables = {"params": {"neuron": params}}
    v_in = Recorded(neuron).apply(variables, currents, spikes)
    np.testing.assert_allclose((v_in >= 0.5), spikes)
    silent = np.asarray(spikes) == 0
    np.testing.assert_allclose(np.asarray(v_in)[silent], np.asarray(states)[silent], atol=1e-4)


def test_given_spikes_reset_and_own_ones_do_not():
    neuron = neurons.lif(decay=1.0)
    currents, given = jnp.full((4, 1), 0.4), jnp.array([0.0, 0, 1, 0])[:, None]
    v_in = Recorded(neuron).apply({"params": {"neuron": {}}}, currents, given)
    np.testing.assert_allclose(v_in[:, 0], [0.4, 0.8, 1.2, 0.4], atol=1e-5)


def test_f1_and_cross_entropy_of_spikes_are_their_definitions():
    rng = np.random.default_rng(0)
    v_in, spikes = rng.normal(0.5, 0.2, (3, 5, 4)), rng.integers(0, 2, (3, 5, 4))
    hits, possible = losses.f1(jnp.asarray(v_in), jnp.asarray(spikes), threshold=0.5)
    from sklearn.metrics import f1_score

    for example in range(3):
        wanted = f1_score(spikes[example].ravel(), (v_in[example] >= 0.5).ravel())
        assert float(hits[example] / possible[example]) == pytest.approx(wanted, rel=1e-5)
    p = 1 / (1 + np.exp(-(v_in - 0.5) / 0.05))
    wanted = -(spikes * np.log(p) + (1 - spikes) * np.log1p(-p)).mean((1, 2))
    got = losses.spike_cross_entropy(
        jnp.asarray(v_in), jnp.asarray(spikes), threshold=0.5, sharpness=0.05
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


@pytest.mark.parametrize("name", ["interval", "identify"])
def test_a_task_is_trained_and_read_back(name, tmp_path):
    from lnm_jax.training import loop
    from lnm_jax.training.run import load, summarise

    config = importlib.import_module(f"lnm_jax.configs.{name}").get_config()
    sizes = {"interval": 300, "identify": 100}
    config.update_from_flattened_dict(
        {"epochs": 2, "directory": str(tmp_path), "name": "run", "progress": False}
        | {"data.examples": sizes[name], "data.batch_size": 50, "checkpoint.every_epochs": 1}
        | ({"model.widths": (8,)} if name == "interval" else {})  # compiling is what takes time
    )
    run = loop.train(config)
    tests = [record for record in run.records if record["split"] == "test"]
    assert name == "interval" or tests[-1]["loss"] < tests[0]["loss"]
    assert 0 < tests[-1]["accuracy"] < 100
    assert summarise(load(run.directory))["epochs"] == 2


def test_an_mlp_is_dense_layers_of_the_flat_example():
    model = models.build(
        "mlp", neuron=neurons.lif(), num_classes=3, timesteps=2, widths=(5, 7), remat="block"
    )
    kinds = [(row.kind, row.weights, row.neurons) for row in models.counts(model, (1, 4, 4, 2))]
    assert kinds == [
        ("convolution", 160, 0),
        ("spiking", 0, 5),
        ("convolution", 35, 0),
        ("spiking", 0, 7),
        ("dense", 21, 0),
    ]
    x = jax.random.normal(jax.random.key(0), (6, 4, 4, 2))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    both = jax.jit(lambda x: (model.apply(variables, x), model.apply(variables, jnp.stack([x, x]))))
    np.testing.assert_allclose(*both(x), rtol=1e-5, atol=1e-6)
