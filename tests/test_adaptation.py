"""Numbers that training changes once an epoch: masked PSN's masking, Dspike's temperature."""

import functools
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import trained
from conftest import PUBLISHED, TINY

from lnm_jax import data, export, models, neurons
from lnm_jax.analysis import recording
from lnm_jax.configs import digits
from lnm_jax.errors import ConfigError
from lnm_jax.export import network
from lnm_jax.layers import Spiking
from lnm_jax.neurons import kernel, over_time, surrogate
from lnm_jax.training import configuration, experiment, loop, schedules

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


# --- Masking --------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2, 9, 17])
def test_masking_rises_as_in_the_authors_code(epochs):
    this = experiment.build(configured(epochs=epochs, **MASKED | {"adaptation.masking": 0.125}))
    state = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), jax.eval_shape(this.init))
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
    masked = neurons.masked_psn(order=2, **fields)
    layer = Spiking(masked, scheduled=(("masking", 0.0),))
    variables = layer.init(jax.random.key(0), CURRENTS)
    assert variables["batch_stats"] == {"masking": 0}
    params = variables["params"]["neuron"]
    psn = neurons.run(neurons.psn(**fields), params, CURRENTS)
    causal = neurons.run(masked, params, CURRENTS)
    assert (psn != causal).mean() > 0.05
    for value, wanted in ((0, psn), (1, causal)):
        given = {**variables, "batch_stats": {"masking": jnp.float32(value)}}
        spikes, after = layer.apply(given, CURRENTS, train=train, mutable=["batch_stats"])
        np.testing.assert_array_equal(spikes, wanted)
        assert after["batch_stats"] == {"masking": value}  # a step keeps it
    half = layer.apply(set_to(variables, "masking", 0.5), CURRENTS)
    np.testing.assert_array_equal(
        half, neurons.run(neurons.masked_psn(order=2, masking=0.5, **fields), params, CURRENTS)
    )


def test_a_masked_psn_is_trained_and_evaluated_under_its_masking(config):
    config.update_from_flattened_dict(MASKED | {"epochs": 3})
    run = loop.train(config)
    tests = [record for record in run.records if record["split"] == "test"]
    assert [record["masking"] for record in tests] == [0, 0.5, 1]
    assert all("masking" not in record for record in run.records if record["split"] == "train")

    def loss(variables, fields=MASKED):
        this = experiment.build(configured(**fields))
        return experiment.evaluate(this, variables)["loss"]

    variables = jax.device_get(run.state.variables)
    plain = {"neuron.kind": "psn"}
    assert loss(variables) == tests[-1]["loss"]
    assert loss(variables) == loss(variables, MASKED | {"adaptation.masking": 0.0})
    assert loss(set_to(variables, "masking", 0)) == loss(variables, plain)
    assert loss(variables) != loss(variables, plain)
    # What is folded has the masking that a neuron without a schedule has.
    images = jnp.asarray(run.experiment.dataset.test.images[:50] / 16.0)
    model, folded = export.fold_batch_norm(run.experiment.model, variables)
    np.testing.assert_allclose(
        model.apply(folded, images), run.experiment.model.apply(variables, images), atol=1e-4
    )
    with pytest.raises(ValueError, match=r"must be 1 before it is folded, is 0.25"):
        export.fold_batch_norm(run.experiment.model, set_to(variables, "masking", 0.25))


# --- Temperature ----------------------------------------------------------------------------

WITH_SURROGATE = [kind for kind in neurons.NEURONS if "surrogate" in neurons.fields(kind)]


def gradient(neuron, params, currents):
    """(spikes, the gradient of their weighted sum) with respect to the currents."""
    weights = jnp.cos(jnp.arange(currents.size)).reshape(currents.shape)

    @jax.jit
    def both(currents):
        spikes, pullback = jax.vjp(lambda x: neurons.run(neuron, params, x), currents)
        return spikes, pullback(weights)[0]

    return both(currents)


@pytest.mark.parametrize("kind", WITH_SURROGATE)
def test_every_neuron_with_a_surrogate_takes_the_temperature(kind, monkeypatch):
    currents = CURRENTS[:2, :, 0, 0]
    neuron = neurons.build(kind, surrogate="dspike", timesteps=2)
    params = neuron.init(jax.random.key(0))
    spikes, plain = gradient(neuron, params, currents)
    same, usual = gradient(neuron, {**params, "temperature": jnp.float32(2.5)}, currents)
    _, other = gradient(neuron, {**params, "temperature": jnp.float32(0.5)}, currents)
    np.testing.assert_array_equal(same, spikes)
    np.testing.assert_allclose(usual, plain, rtol=1e-5, atol=1e-6)
    assert np.abs(other - plain).max() > 0.05
    monkeypatch.setattr(surrogate, "DSPIKE_TEMPERATURE", 0.5)  # as if it were the fixed one
    _, wanted = gradient(neuron, params, currents)
    np.testing.assert_allclose(other, wanted, rtol=1e-5, atol=1e-6)


def test_ternary_and_compared_neurons_take_a_fitted_width_too():
    currents = CURRENTS[:2, :, 0, 0]
    for kind in ("ternary", "diet", "lif"):
        params = neurons.build(kind).init(jax.random.key(0))
        given = {**params, "width": jnp.float32(0.3)}
        _, found = gradient(neurons.build(kind), given, currents)
        _, wanted = gradient(neurons.build(kind, width=0.3), params, currents)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert (found != gradient(neurons.build(kind), params, currents)[1]).any()


@pytest.mark.parametrize("normalised", [False, True])
def test_a_layers_temperature_is_in_its_gradient_alone(normalised):
    neuron = neurons.lif(surrogate="dspike")
    layer = Spiking(
        neuron, sharing="channel", scheduled=(("temperature", 2.5),), membrane_norm=normalised
    )
    variables = layer.init(jax.random.key(0), CURRENTS)

    def both(value):
        given = set_to(variables, "temperature", value)
        return jax.value_and_grad(lambda x: (layer.apply(given, x) * jnp.cos(x)).sum())(CURRENTS)

    (one, d_one), (two, d_two) = both(2.5), both(0.5)
    assert one == two
    assert np.abs(d_one - d_two).max() > 0.05


@pytest.mark.parametrize("scope", ["layer", "channel"])
@pytest.mark.usefixtures("pretend_gpu")
def test_backends_agree_on_a_temperature_and_lower_for_cuda(scope):
    neuron, currents = neurons.plif(surrogate="dspike"), CURRENTS[:2, :, 0, 0]
    value = jnp.float32(1.5)
    if scope == "channel":
        neuron, value = neurons.per_channel(neuron, 5), jnp.linspace(0.5, 3, 5)
    params = {**trained(neuron), "temperature": value}
    found = []
    for run in (over_time.scan, over_time.fused, functools.partial(kernel.run, interpret=True)):
        spikes, pullback = jax.vjp(functools.partial(run, neuron), params, currents)
        found.append((spikes, *pullback(jnp.cos(spikes + currents))))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), other, found[0])
    assert not found[0][1]["temperature"].any()
    assert kernel.refusal(neuron, params, currents) is None


SMALL = {"model.name": "mlp", "model.stem": None, "model.blocks": None, "model.widths": (3,)}


@pytest.mark.parametrize(
    ("start", "change", "weights", "chosen"),
    [(2.5, 0.5, 0, 3.0), (8.0, 2.0, 0, 8.0), (12.0, 0.5, 0, 11.5), (2.5, 0.2, 60, 2.7)],
)
def test_the_search_keeps_the_temperature_of_the_largest_cosine(
    start, change, weights, chosen, monkeypatch
):
    """Against networks of a fixed temperature, one weight after the other."""
    own = {"adaptation.change": change, "adaptation.weights": weights, "adaptation.epsilon": 0.05}
    this = experiment.build(configured(**SEARCH | SMALL | own))
    batch = next(data.train_batches(this.dataset.train, 0, 32, 0, 1))
    state = this.init()
    state = state.replace(batch_stats=set_to(state.batch_stats, "temperature", start))
    found = schedules.read(jax.device_get(this.adapt(state, batch)))["temperature"]

    fixed = this.init()
    tried = [start, start + change, start - change]
    params = jax.device_get(fixed.params)
    kernel = params["dense_1"]["conv"]["kernel"]

    def loss_of_temperature(b):
        own = experiment.build(configured(**DSPIKE | SMALL)).loss

        @jax.jit
        def both(kernel):
            monkeypatch.setattr(surrogate, "DSPIKE_TEMPERATURE", b)  # while it is traced

            def loss(kernel):
                conv = {"dense_1": {**params["dense_1"], "conv": {"kernel": kernel}}}
                return own({**params, **conv}, fixed, batch)[0]

            return jax.value_and_grad(loss)(kernel)

        return both

    losses = {b: loss_of_temperature(b) for b in tried}
    e = 0.05 * np.sqrt((kernel.astype(np.float64) ** 2).mean())
    taken = np.arange(kernel.size)
    if weights:
        taken = np.random.default_rng(0).permutation(kernel.size)[:weights]
    true = []
    for place in taken:
        unit = np.eye(1, kernel.size, place, dtype=np.float32).reshape(kernel.shape)
        one, other = (float(losses[start](kernel + sign * e * unit)[0]) for sign in (1, -1))
        true.append((one - other) / (2 * e))
    cosines = {}
    for b in tried:
        slope = np.asarray(losses[b](kernel)[1]).ravel()[taken]
        cosines[b] = slope @ true / np.linalg.norm(slope) / np.linalg.norm(true)
    best, second = sorted(cosines.values())[:-3:-1]
    assert best - second > 1e-5, cosines  # no matter of rounding
    assert max(cosines, key=cosines.get) == chosen, cosines
    assert found == pytest.approx(chosen)


@pytest.mark.parametrize(
    "slope", [lambda b: 0 * b, lambda b: jnp.nan * b, lambda b: jnp.sqrt((2.6 - b) * (b - 2.4))]
)
def test_the_search_keeps_a_temperature_that_nothing_finite_speaks_against(slope):
    """No difference, none that is finite, and gradients that are not finite beside b."""
    kernel = ("stem", "conv", "kernel")

    def loss(params, state, batch):
        b = state.batch_stats["stem_spike"]["temperature"]
        return (slope(b) * params["stem"]["conv"]["kernel"].sum(),)

    state = experiment.build(configured(**SEARCH)).init()
    adapt = schedules.temperature(loss, kernel, change=0.2, epsilon=0.1, weights=3, axis_name=None)
    assert schedules.read(adapt(state, {})) == {"temperature": 2.5}


@pytest.mark.parametrize("name", ["resnet_small", "vggsnn", "mlp"])
def test_the_first_layer_is_found_in_every_network(name):
    model = models.build(name, neuron=neurons.lif(), num_classes=3, timesteps=2)
    shape = (1, *models.INPUTS[name])
    first = models.counts(model, shape)[0].path
    assert first == {"vggsnn": "conv_1/conv", "mlp": "dense_1/conv"}.get(name, "stem/conv")


# --- Runs -----------------------------------------------------------------------------------

COMPOSED = {"spiking.window": 1.5, "spiking.sharing": "channel", "model.remat": "block"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a searched temperature and a checkpoint of every step; tests only read it."""
    keep = {"checkpoint.every_steps": 1, "checkpoint.keep": 9}
    config = configured(**SEARCH | COMPOSED | keep | {"epochs": 3})
    config.directory, config.name = str(tmp_path_factory.mktemp("runs")), "run"
    return loop.train(config)


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


def test_a_searched_run_is_analysed_and_exported(run):
    seen = recording.record(run, examples=20)
    assert list(seen.layers) == run.experiment.spiking_layers()
    found = network.prepare(run)
    assert network.accuracy(found) == pytest.approx(run.records[-1]["accuracy"], abs=0.6)


def finish(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


@pytest.mark.xdist_group("devices")
def test_two_devices_search_and_mask_as_one(command, tmp_path):
    fields = {**PUBLISHED, **SEARCH, **MASKED, "adaptation.epsilon": 0.3, "epochs": 2}
    flags = [f"--config.{field}={value}" for field, value in fields.items()]
    finish(command("--config.name=one", *flags))
    finish(command("--config.name=two", *flags, devices=2))
    assert not (tmp_path / "runs" / "one" / "dynamics.png").exists()  # it has no f
    found = []
    for name in ("one", "two"):
        lines = (tmp_path / "runs" / name / "metrics.jsonl").read_text().splitlines()
        found.append([r for r in map(json.loads, lines) if r["split"] == "test"])
    names = ("temperature", "masking")
    assert found[0][0]["temperature"] == pytest.approx(2.7)  # it moved
    for ours, theirs in zip(*found, strict=True):
        assert [ours[name] for name in names] == [theirs[name] for name in names]
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-3)


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
