"""What is recorded of a trained run, and its pictures."""

import os

import exporting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import after_each

from lnm_jax import data, neurons
from lnm_jax.analysis import (
    conclusion,
    degrees,
    dynamics,
    energy,
    firing,
    history,
    naming,
    recording,
)
from lnm_jax.errors import ConfigError

U = jnp.linspace(-2, 2, 41)
EXAMPLES = 100
pytestmark = pytest.mark.xdist_group("analysis")  # one process: they share a recording


@pytest.fixture(scope="module")
def recorded(trained_run):
    return recording.record(trained_run, examples=EXAMPLES)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"neuron.kind": "lif"},
        {"neuron.kind": "lnm_two_variable"},
        {"neuron.bound": "linear", "spiking.sharing": "channel", "spiking.window": 1.5},
    ],
    ids=str,
)
def test_every_kind_of_neuron_is_drawn(config, fields):
    config.update_from_flattened_dict(fields)
    run = exporting.run_of(config)
    curves = dynamics.learned_drifts(run, U)
    assert list(curves) == run.experiment.spiking_layers()
    params = run.state.params.get("stem_spike", {}).get("neuron", {})
    u = jnp.broadcast_to(U[:, None], (len(U), 4)) if "spiking.sharing" in fields else U
    wanted = neurons.drift_of(run.experiment.neuron, params, u)
    np.testing.assert_array_equal(curves["stem_spike"], wanted)
    os.makedirs(run.directory)
    with open(dynamics.save_picture(run), "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("kind", ["psn", "three functions"])
def test_a_neuron_without_f_leaves_no_picture(kind, config):
    config.neuron.kind = "psn" if kind == "psn" else "lif"
    run = exporting.run_of(config)
    if kind != "psn":
        lif = run.experiment.neuron
        plain = neurons.Neuron(lif.init, lif.reset, lif.step)
        run = run._replace(experiment=run.experiment._replace(neuron=plain))
    assert dynamics.save_picture(run) is None
    assert not os.path.exists(os.path.join(run.directory, dynamics.PICTURE))
    with pytest.raises(ConfigError, match=r"psn has no potential|lif has no integrate"):
        recording.record(run)


def test_neurons_with_membrane_norm_are_recorded_as_they_ran(config):
    config.spiking.membrane_norm = True
    run = exporting.run_of(config)
    sample = recording.record(run, examples=20).layers["stem_spike"].sample
    after = np.where(sample.spikes[0] > 0, 0, sample.v_in[0])  # the reset acts on v_in itself
    np.testing.assert_allclose(sample.before[1], after, atol=1e-6)
    assert ((sample.v_in >= 0.5) != (sample.spikes > 0)).any()
    assert "With membrane_norm" in degrees.refusal(run)


def test_the_recording_counts_what_a_plain_pass_counts(trained_run, recorded):
    # The layer's currents again, by the network itself, on the same examples in one batch.
    this, path = trained_run.experiment, "stem_spike"
    split = data.subset(this.dataset.test, EXAMPLES)
    images = (split.images - this.dataset.mean) / this.dataset.std
    _, seen = this.model.apply(
        trained_run.state.variables, images, capture_intermediates=lambda m, _: m.name in ("stem",),
        mutable=["intermediates", "rates"],
    )  # fmt: skip
    currents = np.asarray(seen["intermediates"]["stem"]["__call__"][0])
    currents = np.broadcast_to(currents, (2, *currents.shape))
    params = recording.neuron_params(trained_run.state.params, path)
    states, spikes = after_each(this.neuron, params, currents)
    u = np.concatenate([np.zeros_like(states[:1]), states[:-1]])
    layer = recorded.layers[path]
    assert recorded.examples == EXAMPLES
    assert layer.zeros == (u == 0).sum()
    assert layer.visits.sum() + layer.zeros == u.size
    wanted, _ = np.histogram(u[u != 0], layer.edges)
    assert np.abs(np.cumsum(layer.visits) - np.cumsum(wanted)).max() <= 20  # ties at bins' edges
    np.testing.assert_allclose(layer.low, u.min(), rtol=1e-5)
    np.testing.assert_array_equal(layer.spikes, np.asarray(spikes).sum((0, 1)))
    assert layer.dead == (layer.spikes == 0).mean()
    received = recorded.inputs["stage_1_block_1/conv_1/conv"]
    assert received.nonzero == pytest.approx(float(spikes.mean()), rel=1e-5)
    assert received.graded == 0
    averages = recorded.inputs["classifier"]  # of 64 spikes: 0 and 1 are rare
    assert averages.graded > 0.9 * averages.nonzero > 0
    assert recorded.of_ones == recorded.inputs
    flat = np.unique(np.round(np.asarray(currents[0]).ravel(), 4))
    assert np.isin(np.round(layer.sample.currents[0, :50], 4), flat).mean() > 0.9


def test_examples_are_spread_over_the_split(trained_run):
    test = trained_run.experiment.dataset.test
    some = data.subset(test, 36)
    np.testing.assert_array_equal(some.labels, test.labels[::10])
    assert data.subset(test, 0) is test
    assert data.subset(test, 10**6) is test


def test_lower_degrees_keep_the_network_where_f_is_of_lower_degree(trained_run, recorded):
    # Trained away from LIF by hand: of degree 2, so that the fit of degree 2 is exact.
    theta = np.array([-0.6, 0.5, 0.0], np.float32)
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: theta if path[-1].key == "theta" else x, trained_run.state.params
    )
    bent = trained_run._replace(state=trained_run.state.replace(params=params))
    layers = {p: layer._replace(params={"theta": theta}) for p, layer in recorded.layers.items()}
    bent_recording = recorded._replace(layers=layers)
    found, smallest, figure = degrees.reduce(bent, bent_recording, examples=EXAMPLES, loss=100.0)
    top, second, first = found
    assert [one.degree for one in found] == [3, 2, 1]
    assert second.accuracy == top.accuracy
    assert max(second.error.values()) < 1e-5 < min(first.error.values())
    assert first.energy.operations < second.energy.operations < top.energy.operations
    assert smallest == 1  # any loss is allowed
    assert len(figure.axes) == 3


def test_a_pictures_numbers_are_the_runs(trained_run, recorded):
    facts, _ = dynamics.picture(trained_run, recorded)
    path = "stem_spike"
    theta = trained_run.state.params[path]["neuron"]["theta"]
    wanted = np.polyval([*theta[::-1], 0], np.clip(facts.u, -1, 1))
    np.testing.assert_allclose(facts.f[path], wanted, atol=1e-5)
    assert any(abs(point.u) < 1e-6 and point.stable for point in facts.rest[path])
    layer = recorded.layers[path]
    beyond = layer.visits[np.abs(layer.centres) > 1].sum() / layer.visits.sum()
    assert facts.extrapolated[path] == pytest.approx(beyond, abs=1e-3)


def test_a_legend_names_fixed_points_where_they_were_looked_for(trained_run, recorded):
    def named(recording):
        _, drawn = dynamics.picture(trained_run, recording)
        return {text.get_text() for text in drawn.legends[0].get_texts()}

    points = {"stable fixed point", "unstable"}
    assert points <= named(recorded)
    assert not points & named(None)


def test_a_layer_that_visits_nothing_is_said_to_in_one_line(trained_run, recorded):
    dead = {
        path: layer._replace(visits=np.zeros_like(layer.visits), spikes=0 * layer.spikes)
        for path, layer in recorded.layers.items()
    }
    quiet = recorded._replace(layers=dead)
    found, _ = naming.picture(trained_run, quiet)
    assert {name.reason for (name,) in found.values()} == {"no potential but 0 was visited"}
    facts, _ = dynamics.picture(trained_run, quiet)
    assert set(facts.extrapolated.values()) == {None}
    with pytest.raises(ValueError, match="stem_spike: no potential but 0 was visited"):
        dead["stem_spike"].quantiles(0.5)


def test_traces_cross_the_threshold_where_they_spike(trained_run, recorded):
    rows, _ = firing.traces(trained_run, recorded)
    assert {row["path"] for row in rows} == set(recorded.layers)
    assert all(row["spike"] == (row["potential"] >= 0.5) for row in rows)


def test_curves_are_those_of_the_records(trained_run):
    rows, drawn = history.curves(trained_run)
    tests = [record for record in trained_run.records if record["split"] == "test"]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["accuracy"] for row in rows] == [record["accuracy"] for record in tests]
    # Steps of 480 of 1437 images.
    trains = [record["step"] for record in trained_run.records if record["split"] == "train"]
    lines = {line.get_label(): line for line in drawn.axes[1].lines}
    at = lines["training, its objective"].get_xdata()
    np.testing.assert_allclose(at, np.array(trains) * 480 / 1437)
    assert drawn.axes[0].get_ylim()[1] == 100
    plain = [record["cross_entropy"] for record in tests]
    assert [row["cross_entropy"] for row in rows] == plain
    np.testing.assert_array_equal(lines["test, cross-entropy"].get_ydata(), plain)
    assert ("test, training objective" in lines) == (trained_run.config.label_smoothing > 0)


def test_curves_of_earlier_records_have_the_loss_that_they_have(trained_run):
    records = [dict(record) for record in trained_run.records]
    del records[1]["cross_entropy"]  # of the first epoch; resumed later
    (old, new), drawn = history.curves(trained_run._replace(records=records))
    assert old["cross_entropy"] is None
    assert old["loss"] == records[1]["loss"]
    assert new["cross_entropy"] == records[-1]["cross_entropy"]
    assert len(drawn.axes[1].lines) == 3


@pytest.mark.parametrize("kind", ["lif", "plif"])
def test_what_is_a_lif_is_said_to_be_one(kind, config):
    """PLIF scales its current, and so does the LIF that is put in its place."""
    config.neuron.kind = kind
    run = exporting.run_of(config)
    seen = recording.record(run, examples=20)
    learned, where, less = conclusion.sentences(run, seen, naming.name_layers(run, seen), None)
    if kind == "lif":
        assert learned == "The neurons learned nothing: those of kind lif have no parameters."
        decays = [found.decay for found in conclusion.replace(run, seen).values()]
        assert decays == pytest.approx([0.25] * len(decays))
    else:
        assert learned.startswith("The learned f, by name: 3 LIF, of decay 0.")
        assert "(config.neuron.decay: 0.25); least like a LIF is layer" in learned
    assert where == (
        "The shape of f matters in no layer: the nearest LIF neurons, on the same currents, would "
        "spike otherwise in 0 % of a layer's updates at most."
    )
    assert less.startswith("There is no simpler neuron")


def of_degrees(*accuracies):
    """Degrees from the highest down, of 1 mJ each."""
    top = len(accuracies)
    return [
        degrees.Degree(top - n, accuracy, {}, {}, energy.Energy(top - n, 0, 0))
        for n, accuracy in enumerate(accuracies)
    ]


def test_what_lower_degrees_cost_is_the_third_sentence(trained_run, recorded):
    names = naming.name_layers(trained_run, recorded)

    def less(found, smallest):
        return conclusion.sentences(trained_run, recorded, names, (found, smallest))[2]

    assert less(of_degrees(90.0, 90.5, 89.8), 1) == (
        "Degree 1 in place of 3, in all layers and without training again, has 89.80 % accuracy "
        "in place of 90.00 % on 100 examples, and takes 66.7 % less energy (Eq. 17)."
    )
    assert less(of_degrees(90.0, 80.0, 89.8), 3) == (
        "No lower degree keeps accuracy within 0.5 points: degree 2 in place of 3, in all layers "
        "and without training again, has 80.00 % accuracy in place of 90.00 % on 100 examples, and "
        "takes 33.3 % less energy (Eq. 17)."
    )


def test_where_f_matters_is_where_a_lif_would_spike_otherwise(trained_run, recorded):
    """Counted on a layer whose spikes are made the opposite of a LIF's in a quarter."""
    replaced = conclusion.replace(trained_run, recorded)
    assert set(replaced) == set(recorded.layers)
    first, *others = recorded.layers
    layers = dict(recorded.layers)
    sample = layers[first].sample
    quarter = np.arange(sample.spikes.shape[1]) % 4 == 0
    sample = sample._replace(spikes=np.where(quarter, 1 - sample.spikes, sample.spikes))
    layers[first] = layers[first]._replace(sample=sample)
    layers[others[0]] = layers[others[0]]._replace(visits=np.zeros_like(layers[first].visits))
    quiet = recorded._replace(layers=layers)
    again = conclusion.replace(trained_run, quiet)
    assert again[first].changed == pytest.approx(0.25 + replaced[first].changed, abs=0.01)
    assert others[0] not in again
    names = naming.name_layers(trained_run, quiet)
    reduced = of_degrees(90.0, 90.0, 90.0), 1
    learned, where, _ = conclusion.sentences(trained_run, quiet, names, reduced)
    silent = f"Nothing is known of layer 2 ({others[0]}): no potential but 0 was visited."
    assert learned.endswith(silent)
    assert where.startswith(f"The shape of f matters most in layer 1 ({first}): the nearest LIF")
    assert f"otherwise in {100 * again[first].changed:.2g} % of its updates" in where
