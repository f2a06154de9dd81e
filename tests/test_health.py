"""Planted illnesses: each is named, and a healthy network has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY

from lnm_jax import cli, neurons
from lnm_jax.configs import digits
from lnm_jax.training import experiment, health, loop
from lnm_jax.training.health import Health, KernelHealth, LayerHealth, NormHealth

pytestmark = pytest.mark.xdist_group("health")  # one process: they share a run


def configured(directory, **fields):
    config = digits.get_config()
    config.directory, config.name = str(directory), "run"
    config.update_from_flattened_dict(TINY | {"epochs": 1, "model.head": 4} | fields)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return loop.train(configured(tmp_path_factory.mktemp("runs")))


def scaled(name, factor):
    """Multiplies every leaf of that name inside the network; statistics follow the kernels."""

    def times(tree, which, number):
        return jax.tree_util.tree_map_with_path(
            lambda path, x: x * number if path[-1].key == which else x, tree
        )

    def change(state):
        stats = state.batch_stats
        if name == "kernel":
            stats = times(times(stats, "mean", factor), "var", factor**2)
        return state.replace(params=times(state.params, name, factor), batch_stats=stats)

    return change


def off(state):
    """The spiking head's biases so low that it is dead."""
    head = {**state.params["head"], "bias": state.params["head"]["bias"] - 100}
    return state.replace(params={**state.params, "head": head})


def look(run, change=lambda state: state, **fields):
    """(configuration, health) of the run's network, changed or with other fields."""
    config = run.experiment.config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    this = experiment.build(config, run.experiment.dataset)
    return config, health.measure(this, change(jax.device_get(run.state)), examples=60)


def test_a_healthy_network_has_no_illness(run):
    config, found = look(run)
    assert health.illnesses(config, found) == []
    assert list(found.layers) == run.experiment.spiking_layers()
    assert next(iter(found.kernels)) == "stem/conv"
    for layer in found.layers.values():
        assert 0.2 < layer.window < 1
    for path, kernel in found.kernels.items():
        assert kernel.gradient > 0
        # Muon holds every kernel at sqrt(channels), and its steps have the rate's length.
        if path != "classifier":
            assert kernel.growth == pytest.approx(1, rel=1e-5)
            assert 0.02 < kernel.update < 0.06


RATE = "optimizer.learning_rate"
# Fields or parameters that make it ill, and what the sentence must have.
ILLNESSES = {
    "threshold too high": ({"neuron.threshold": 5.0}, None, "silent", "Lower config.neuron.thresh"),
    "scale too small": ({}, scaled("scale", 0.01), "norm: 0.005", "config.model.tdbn=0.5"),
    "nobody in the window": ({"neuron.width": 1e-4}, None, "window", "Raise config.neuron.width"),
    "kernels blown up": ({}, scaled("kernel", 1e3), "stem/conv", "Lower config.optimizer.learn"),
    "rate too low": ({RATE: 5e-4}, None, "too low", "Raise config.optimizer.learning_rate"),
    "rate too high": ({RATE: 5.0}, None, "too high", "Lower config.optimizer.learning_rate"),
    "biases run away": ({}, scaled("bias", 1e5), "biases have run away", "too high"),
    "dead head": ({}, off, "head_spike: 0 spikes", "100% of the neurons"),
}


@pytest.mark.parametrize("name", ILLNESSES)
def test_a_planted_illness_is_named_alone(run, name):
    fields, change, *words = ILLNESSES[name]
    sentences = health.illnesses(*look(run, change or (lambda state: state), **fields))
    assert len(sentences) == 1
    for word in words:
        assert word in sentences[0]


HEALTHY = Health(
    {"spike": LayerHealth(0.2, 0.0, 0.0, 0.3)},
    {"norm": NormHealth(0.5, 0.1)},
    {"conv": KernelHealth(1.0, 1.0, 0.1, 0.01)},
    50.0,
)


def sgd(health_, **fields):
    """Sentences on numbers, with SGD."""
    config = configured("unused", **{"optimizer.name": "sgd"} | fields)
    return health.illnesses(config, health_)


def with_kernel(**values):
    kernel = HEALTHY.kernels["conv"]._replace(**values)
    return HEALTHY._replace(kernels={"conv": kernel})


def with_layer(**values):
    return HEALTHY._replace(layers={"spike": HEALTHY.layers["spike"]._replace(**values)})


def test_small_steps_are_no_illness_where_nothing_is_left_to_learn():
    assert sgd(HEALTHY) == []
    slow = with_kernel(update=1e-5)
    assert "too low" in sgd(slow)[0]
    assert sgd(slow._replace(accuracy=99.0)) == []


def test_saturation_and_lost_gradients_are_named():
    assert "Saturated: spike: 60%" in sgd(with_layer(saturated=0.6, window=0.0))[0]
    assert "No gradient reaches conv" in sgd(with_kernel(gradient=0.0))[0]
    assert sgd(with_layer(window=None)) == []


def test_numbers_that_are_not_finite_are_ill():
    assert "blown up" in sgd(with_kernel(growth=np.nan))[0]


WINDOWS = [
    (neurons.lif(surrogate="rectangle", width=0.4), 0.2),
    (neurons.lif(surrogate="triangle", width=0.4), 0.36),  # a tenth of its height is left there
    (neurons.lnm(surrogate="rectangle", width=0.4), 0.2),
]


@pytest.mark.parametrize(("neuron", "reach"), WINDOWS)
def test_the_window_is_where_the_surrogate_lets_a_gradient_pass(neuron, reach):
    # One timestep from rest: v_in is the current.
    currents = jnp.linspace(-1, 2, 301)[None]
    inside = neurons.surrogate_window(neuron, neuron.init(jax.random.key(0)), currents)[0]
    np.testing.assert_array_equal(inside, np.abs(currents[0] - 0.5) < reach)


def test_the_window_follows_the_potential_over_time():
    neuron = neurons.lif(decay=1.0, width=0.2, surrogate="rectangle")
    inside = neurons.surrogate_window(neuron, {}, jnp.full((4, 1), 0.15))
    assert inside[:, 0].tolist() == [False, False, True, False]  # 0.15, 0.3, 0.45, 0.6


def test_training_warns_once_of_what_is_clearly_ill(tmp_path, caplog):
    loop.train(configured(tmp_path, **{"neuron.threshold": 50.0, "epochs": 2}))
    warned = [record for record in caplog.messages if "silent" in record]
    assert len(warned) == 1
    assert "after step 3" in warned[0]
    assert f"analysis health {tmp_path}/run" in warned[0]


def test_the_command_prints_tables_and_sentences(run, capsys):
    assert cli.analysis(["health", run.directory, "--examples", "60"]) == 0
    text = capsys.readouterr().out
    for word in ("stage_1_block_1/spike_2", "classifier", "window", "gradient", "clearly ill."):
        assert word in text


def test_what_cannot_be_looked_at_is_said_in_one_line(tmp_path, capsys):
    for arguments, words in (
        (["health", str(tmp_path / "none")], f"{tmp_path}/none: no run here"),
        (["health", str(tmp_path), "--examples", "-1"], "--examples must be 0 (all) or more"),
    ):
        assert cli.analysis(arguments) != 0
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_a_run_without_checkpoints_is_named(run, tmp_path, capsys):
    import os
    import shutil

    os.makedirs(tmp_path / "begun")
    shutil.copy(os.path.join(run.directory, "config.json"), tmp_path / "begun")
    assert cli.analysis(["health", str(tmp_path / "begun")]) != 0
    assert f"{tmp_path}/begun: no checkpoint here" in capsys.readouterr().err
