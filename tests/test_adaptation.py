"""Numbers that training changes once an epoch: masked PSN's masking, Dspike's temperature."""

import functools
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import jitted
from conftest import TINY

from lnm_jax import data, export, models, neurons
from lnm_jax.analysis import recording
from lnm_jax.configs import digits
from lnm_jax.errors import ConfigError
from lnm_jax.layers import Spiking
from lnm_jax.neurons import surrogate
from lnm_jax.training import configuration, experiment, loop, schedules
from lnm_jax.training.steps import TrainState
from reproduction.settings import PUBLISHED

SMALL = {"model.name": "mlp", "model.stem": None, "model.blocks": None, "model.widths": (3,)}
DSPIKE = {"neuron.kind": "lif", "neuron.surrogate": "dspike"}
SEARCH = DSPIKE | {"adaptation.temperature": True, "adaptation.weights": 8}
MASKED = {"neuron.kind": "masked_psn", "neuron.order": 1, "adaptation.masking": 1.0}
T = 4
CURRENTS = jax.random.normal(jax.random.key(1), (T, 3, 2, 2, 5))


def configured(**fields):
    config = digits.get_config()
    config.update_from_flattened_dict(TINY | PUBLISHED | fields)
    configuration.validate(config)
    return config


def set_to(tree, name, value):
    """The tree with every leaf of that name set to the value."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.float32(value) if path[-1].key == name else x, tree
    )


def trained(tmp_path, **fields):
    """A run of a small network."""
    config = configured(**SMALL | fields)
    config.directory, config.name = str(tmp_path), "run"
    return loop.train(config)


def assert_folds(run):
    """What is exported predicts the same without the numbers of a schedule."""
    variables = jax.device_get(run.state.variables)
    images = jnp.asarray(run.experiment.dataset.test.images[:50] / 16.0)
    model, folded = export.fold_batch_norm(run.experiment.model, variables)
    np.testing.assert_allclose(
        jitted(model.apply)(folded, images),
        jitted(run.experiment.model.apply)(variables, images),
        atol=1e-4,
    )


# --- Masking --------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2, 9, 17])
def test_masking_rises_as_in_the_authors_code(epochs):
    this = experiment.build(configured(epochs=epochs, **MASKED | {"adaptation.masking": 0.125}))
    state = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), jax.eval_shape(this.init))
    last = this.steps_until(epochs - 1)
    assert last == 3 * (epochs - 1)  # no step belongs to two epochs' ends
    for epoch in range(epochs):
        at = state.replace(step=jnp.int32(this.steps_until(epoch)))
        found = schedules.masking(0.125, last)(at, {})
        wanted = min(8 * epoch / (epochs - 1), 1) if epochs > 1 else 1
        assert schedules.read(found) == {"masking": pytest.approx(wanted, abs=1e-7)}
    assert schedules.read(found) == {"masking": 1}
    old, new = (set_to(x.batch_stats, "masking", 0) for x in (at, found))
    jax.tree.map(np.testing.assert_array_equal, old, new)  # nothing else changes


@pytest.mark.parametrize("train", [False, True])
def test_a_layer_is_a_psn_at_masking_0_and_a_masked_one_at_1(train):
    fields = {"timesteps": T, "threshold": 0.2}
    masked = functools.partial(neurons.masked_psn, order=2, **fields)
    layer = Spiking(masked(), scheduled=(("masking", 0.0),))
    variables = jitted(layer.init)(jax.random.key(0), CURRENTS)
    assert variables["batch_stats"] == {"masking": 0}
    params = variables["params"]["neuron"]
    wanted = {
        value: neurons.run(neuron, params, CURRENTS)
        for value, neuron in ((0, neurons.psn(**fields)), (0.5, masked(masking=0.5)), (1, masked()))
    }
    assert (wanted[0] != wanted[1]).mean() > 0.05
    apply = jitted(layer.apply, train=train, mutable=["batch_stats"])
    for value, spikes in wanted.items():
        found, after = apply(set_to(variables, "masking", value), CURRENTS)
        np.testing.assert_array_equal(found, spikes)
        assert after["batch_stats"] == {"masking": value}  # a step keeps it


def test_a_masked_psn_is_trained_and_evaluated_under_its_masking(tmp_path):
    run = trained(tmp_path, **MASKED | {"epochs": 3})
    tests = [record for record in run.records if record["split"] == "test"]
    assert [record["masking"] for record in tests] == [0, 0.5, 1]
    assert all("masking" not in record for record in run.records if record["split"] == "train")
    variables = jax.device_get(run.state.variables)
    built = {
        name: experiment.build(configured(**SMALL | fields))
        for name, fields in {
            "scheduled": MASKED,
            "masked": MASKED | {"adaptation.masking": 0.0},
            "psn": {"neuron.kind": "psn"},
        }.items()
    }
    loss = lambda name, at=variables: experiment.evaluate(built[name], at)["loss"]
    assert loss("scheduled") == tests[-1]["loss"] == loss("masked") != loss("psn")
    assert loss("scheduled", set_to(variables, "masking", 0)) == loss("psn")
    assert_folds(run)
    with pytest.raises(ValueError, match=r"must be 1 before it is folded, is 0.25"):
        export.fold_batch_norm(run.experiment.model, set_to(variables, "masking", 0.25))


# --- Temperature ----------------------------------------------------------------------------


def gradient(neuron):
    """(params, currents) -> (spikes, the gradient of their weighted sum by the currents)."""

    def both(params, currents):
        weights = jnp.cos(jnp.arange(currents.size)).reshape(currents.shape)
        spikes, pullback = jax.vjp(lambda x: neurons.run(neuron, params, x), currents)
        return spikes, pullback(weights)[0]

    return jax.jit(both)


@pytest.mark.parametrize(
    "kind", [kind for kind in neurons.NEURONS if "surrogate" in neurons.fields(kind)]
)
def test_every_neuron_with_a_surrogate_takes_the_temperature(kind, monkeypatch):
    currents = CURRENTS[:2, :, 0, 0]
    neuron = neurons.build(kind, surrogate="dspike", timesteps=2)
    params = neuron.init(jax.random.key(0))
    found = gradient(neuron)
    spikes, published = found({**params, "temperature": jnp.float32(2.5)}, currents)
    same, other = found({**params, "temperature": jnp.float32(0.5)}, currents)
    np.testing.assert_array_equal(same, spikes)
    assert np.abs(other - published).max() > 0.05
    monkeypatch.setattr(surrogate, "DSPIKE_TEMPERATURE", 0.5)  # as if it were the fixed one
    spikes, wanted = found(params, currents)
    np.testing.assert_array_equal(same, spikes)
    np.testing.assert_allclose(other, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["ternary", "diet", "lif"])
def test_ternary_and_compared_neurons_take_a_fitted_width_too(kind):
    currents = CURRENTS[:2, :, 0, 0]
    params, found = neurons.build(kind).init(jax.random.key(0)), gradient(neurons.build(kind))
    fitted = found({**params, "width": jnp.float32(0.3)}, currents)[1]
    np.testing.assert_allclose(
        fitted, gradient(neurons.build(kind, width=0.3))(params, currents)[1], rtol=1e-5
    )
    assert (fitted != found(params, currents)[1]).any()


@pytest.mark.parametrize("normalised", [False, True])
def test_a_layers_temperature_is_in_its_gradient_alone(normalised):
    neuron = neurons.lif(surrogate="dspike")
    layer = Spiking(
        neuron, sharing="channel", scheduled=(("temperature", 2.5),), membrane_norm=normalised
    )
    variables = jitted(layer.init)(jax.random.key(0), CURRENTS)
    both = jax.jit(jax.value_and_grad(lambda x, given: (layer.apply(given, x) * jnp.cos(x)).sum()))
    one, d_one = both(CURRENTS, variables)
    two, d_two = both(CURRENTS, set_to(variables, "temperature", 0.5))
    assert one == two
    assert np.abs(d_one - d_two).max() > 0.05


@functools.cache
def small_network():
    """(state, batch, loss and gradient of the first layer's kernel and a temperature)."""
    this = experiment.build(configured(**SEARCH | SMALL))
    state = jax.device_get(this.init())
    batch = next(data.train_batches(this.dataset.train, 0, 32, 0, 1))

    def loss(kernel, temperature):
        first = {**state.params["dense_1"], "conv": {"kernel": kernel}}
        at = state.replace(batch_stats=set_to(state.batch_stats, "temperature", temperature))
        return this.loss({**state.params, "dense_1": first}, at, batch)[0]

    return state, batch, jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize(
    ("start", "change", "weights", "chosen"),
    [(2.5, 0.5, 0, 3.0), (8.0, 2.0, 0, 8.0), (12.0, 0.5, 0, 11.5), (2.5, 0.2, 60, 2.7)],
)
def test_the_search_keeps_the_temperature_of_the_largest_cosine(start, change, weights, chosen):
    """One weight after the other is moved; a layer's temperature is tested above."""
    state, batch, loss = small_network()
    own = {"adaptation.change": change, "adaptation.weights": weights, "adaptation.epsilon": 0.05}
    this = experiment.build(configured(**SEARCH | SMALL | own))
    at = state.replace(batch_stats=set_to(state.batch_stats, "temperature", start))
    found = schedules.read(jax.device_get(this.adapt(at, batch)))["temperature"]

    kernel = state.params["dense_1"]["conv"]["kernel"]
    e = 0.05 * np.sqrt((kernel.astype(np.float64) ** 2).mean())
    taken = np.arange(kernel.size)
    if weights:
        taken = np.random.default_rng(0).permutation(kernel.size)[:weights]
    true = []
    for place in taken:
        unit = np.eye(1, kernel.size, place, dtype=np.float32).reshape(kernel.shape)
        one, other = (float(loss(kernel + sign * e * unit, start)[0]) for sign in (1, -1))
        true.append((one - other) / (2 * e))
    cosines = {}
    for b in (start, start + change, start - change):
        slope = np.asarray(loss(kernel, b)[1]).ravel()[taken]
        cosines[b] = slope @ true / np.linalg.norm(slope) / np.linalg.norm(true)
    best, second = sorted(cosines.values())[:-3:-1]
    assert best - second > 1e-5, cosines  # no matter of rounding
    assert max(cosines, key=cosines.get) == chosen, cosines
    assert found == pytest.approx(chosen)


def state_at(temperature):
    return TrainState(
        step=0, opt_state=(), window={}, skipped=0, skipped_in_row=0,
        params={"stem": {"kernel": jnp.array([0.5, 1.0])}},
        batch_stats={"spike": {"temperature": jnp.float32(temperature)}},
    )  # fmt: skip


def adapting(loss, axis_name=None):
    """The search, with a loss of two weights, the temperature and a batch."""

    def loss_fn(params, state, batch):
        weights, b = params["stem"]["kernel"], state.batch_stats["spike"]["temperature"]
        return (loss(weights, b, batch),)

    return schedules.temperature(
        loss_fn, ("stem", "kernel"), change=0.4, epsilon=0.1, weights=0, axis_name=axis_name
    )


def turning(weights, b, true):
    """A loss true @ weights whose gradient has the angle b."""
    surrogate = jnp.cos(b) * weights[0] + jnp.sin(b) * weights[1]
    return surrogate + jax.lax.stop_gradient(true @ weights - surrogate)


@pytest.mark.parametrize(
    ("loss", "start", "chosen"),
    [
        # To half of itself at most.
        (turning, 2.5, 2.1),
        (turning, 0.5, 0.25),
        (turning, 0.25, 0.125),
        # Nothing finite speaks against b: no difference, none finite, no gradient beside b.
        (lambda w, b, _: 0 * b * w.sum(), 2.5, 2.5),
        (lambda w, b, _: jnp.nan * b * w.sum(), 2.5, 2.5),
        (lambda w, b, _: jnp.sqrt((2.6 - b) * (b - 2.4)) * w.sum(), 2.5, 2.5),
    ],
)
def test_the_search_falls_by_half_at_most_and_keeps_what_nothing_speaks_against(
    loss, start, chosen
):
    found = adapting(loss)(state_at(start), jnp.array([1.0, 0.0]))
    assert schedules.read(found) == {"temperature": pytest.approx(chosen, rel=1e-6)}


def test_devices_search_as_one():
    """A device alone would follow the angle of its own batch."""
    true = jnp.array([[np.cos(2.9), np.sin(2.9)], [10 * np.cos(2.1), 10 * np.sin(2.1)]])
    for axis_name, chosen in ((None, [2.9, 2.1]), ("devices", [2.1, 2.1])):
        adapt = jax.vmap(adapting(turning, axis_name), (None, 0), axis_name="devices")
        found = adapt(state_at(2.5), true).batch_stats["spike"]["temperature"]
        np.testing.assert_allclose(found, chosen, rtol=1e-6)


@pytest.mark.parametrize("name", ["resnet_small", "vggsnn", "mlp"])
def test_the_first_layer_is_found_in_every_network(name):
    model = models.build(name, neuron=neurons.lif(), num_classes=3, timesteps=2)
    shape = (1, *models.INPUTS[name])
    first = models.counts(model, shape)[0].path
    assert first == {"vggsnn": "conv_1/conv", "mlp": "dense_1/conv"}.get(name, "stem/conv")


# --- Runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a searched temperature and a checkpoint of every step; tests only read it."""
    composed = {"spiking.window": 1.5, "spiking.sharing": "channel", "model.remat": "block"}
    keep = {"checkpoint.every_steps": 1, "checkpoint.keep": 9, "epochs": 3}
    return trained(tmp_path_factory.mktemp("runs"), **SEARCH | composed | keep)


def test_a_search_is_recorded_once_an_epoch(run):
    found = [r["temperature"] for r in run.records if r["split"] == "test"]
    for before, after in zip([2.5, *found], found, strict=False):
        assert min(abs(after - before - change) for change in (0, 0.2, -0.2)) < 1e-6
    assert len(set(found)) > 1
    assert schedules.read(run.state) == {"temperature": found[-1]}


@pytest.mark.parametrize("step", [3, 4])  # before an epoch's first step, and within an epoch
def test_a_run_that_was_stopped_goes_on_bit_for_bit(step, run, tmp_path):
    shutil.copytree(run.directory, tmp_path / "run")
    kept = [r for r in run.records if r["step"] <= step]
    lines = "".join(json.dumps(record) + "\n" for record in kept)
    (tmp_path / "run" / "metrics.jsonl").write_text(lines)
    for name in os.listdir(tmp_path / "run" / "checkpoints"):
        if int(name) > step:
            shutil.rmtree(tmp_path / "run" / "checkpoints" / name)
    config = run.experiment.config.copy_and_resolve_references()
    config.directory = str(tmp_path)
    again = loop.train(config)
    assert again.images_per_second is not None  # it had steps to do
    jax.tree.map(np.testing.assert_array_equal, again.state, run.state)
    assert again.records == run.records


def test_a_searched_run_is_analysed_and_folds(run):
    seen = recording.record(run, examples=20)
    assert list(seen.layers) == run.experiment.spiking_layers()
    assert_folds(run)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"adaptation.masking": 0.5}, "masking must be 0 for neuron.kind lnm, got 0.5"),
        ({**MASKED, "adaptation.masking": 1.5}, "masking must be between 0 and 1, got 1.5"),
        ({"adaptation.temperature": True}, "must be false for neuron.surrogate rectangle, got"),
        ({**SEARCH, "neuron.kind": "lsg"}, "temperature must be false for neuron.kind lsg, got"),
        ({**SEARCH, "adaptation.change": 0.0}, r"change must be a finite number > 0, got 0.0"),
        ({**SEARCH, "adaptation.epsilon": -1.0}, r"epsilon must be a finite number > 0, got -1.0"),
        ({**SEARCH, "adaptation.weights": -1}, "weights must be an integer >= 0, got -1"),
        (
            {**SEARCH, "model.name": "recorded_layer"},
            "temperature must be false for model.name recorded_layer, got True",
        ),
    ],
)
def test_a_field_that_nothing_would_use_is_refused(fields, message):
    with pytest.raises(ConfigError, match=r"^config\.adaptation\..*" + message):
        configured(**fields)


def test_other_runs_change_nothing_between_epochs():
    this = experiment.build(configured(**DSPIKE))
    assert this.adapt is None
    assert schedules.read(jax.eval_shape(this.init)) == {}
