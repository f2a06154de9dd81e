"""The report of a run: what is recorded of it, and the page."""

import csv
import os
import re
import shutil

import exporting
import jax
import numpy as np
import pytest

from lnm_jax import data, neurons
from lnm_jax.analysis import __main__ as command
from lnm_jax.analysis import curves, degrees, dynamics, firing, naming, page, recording, report
from lnm_jax.training import experiment, finished

EXAMPLES = 100
pytestmark = pytest.mark.xdist_group("report")  # one process: they share a recording


def files(directory):
    """Every file below a directory with its time and size."""
    found = [os.path.join(place, name) for place, _, names in os.walk(directory) for name in names]
    return {path: (os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in found}


@pytest.fixture(scope="module")
def run(trained_run):
    return trained_run


@pytest.fixture(scope="module")
def recorded(run):
    return recording.record(run, examples=EXAMPLES)


def test_loading_gives_the_finished_run_and_leaves_it_as_it_is(run):
    before = files(run.directory)
    run = finished.load(run.directory)
    assert files(run.directory) == before
    assert int(run.state.step) == run.experiment.steps_until(2)
    found = experiment.evaluate(run.experiment, run.state.variables)
    assert found["accuracy"] == run.records[-1]["accuracy"]


def test_the_recording_counts_what_a_plain_pass_counts(run, recorded):
    # The layer's currents again, by the network itself, on the same examples in one batch.
    this, path = run.experiment, "stem_spike"
    split = data.subset(this.dataset.test, EXAMPLES)
    images = (split.images - this.dataset.mean) / this.dataset.std
    _, seen = this.model.apply(
        run.state.variables, images, capture_intermediates=lambda m, _: m.name in ("stem",),
        mutable=["intermediates", "rates"],
    )  # fmt: skip
    currents = np.asarray(seen["intermediates"]["stem"]["__call__"][0])
    currents = np.broadcast_to(currents, (2, *currents.shape))
    params = recording.neuron_params(run.state.params, path)
    states, spikes = neurons.trace(this.neuron, params, currents)
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
    assert received.mean == pytest.approx(float(spikes.mean()), rel=1e-5)
    flat = np.unique(np.round(np.asarray(currents[0]).ravel(), 4))
    assert np.isin(np.round(layer.currents[0, :50], 4), flat).mean() > 0.9


def test_examples_are_spread_over_the_split(run):
    test = run.experiment.dataset.test
    some = data.subset(test, 36)
    np.testing.assert_array_equal(some.labels, test.labels[::10])
    assert data.subset(test, 0) is test
    assert data.subset(test, 10**6) is test


def test_lower_degrees_keep_the_network_where_f_is_of_lower_degree(run, recorded):
    # Trained away from LIF by hand: of degree 2, so that the fit of degree 2 is exact.
    params = jax.tree.map(np.asarray, run.state.params)
    layers = {}
    for path, layer in recorded.layers.items():
        theta = np.array([-0.6, 0.5, 0.0], np.float32)
        params = degrees._with_theta(params, path, theta)
        layers[path] = layer._replace(params={"theta": theta})
    bent = run._replace(state=run.state.replace(params=params))
    found, figure = degrees.reduce(
        bent, recorded._replace(layers=layers), examples=EXAMPLES, loss=100.0
    )
    top, second, first = found.degrees
    assert [one.degree for one in found.degrees] == [3, 2, 1]
    assert second.accuracy == top.accuracy
    assert max(second.error.values()) < 1e-5 < min(first.error.values())
    assert first.energy.operations < second.energy.operations < top.energy.operations
    assert found.smallest == 1  # any loss is allowed
    assert len(figure.axes) == 3


def test_a_pictures_numbers_are_the_runs(run, recorded):
    facts, _ = dynamics.picture(run, recorded)
    path = "stem_spike"
    theta = run.state.params[path]["neuron"]["theta"]
    wanted = np.polyval([*theta[::-1], 0], np.clip(facts.u, -1, 1))
    np.testing.assert_allclose(facts.f[path], wanted, atol=1e-5)
    assert any(abs(point.u) < 1e-6 and point.stable for point in facts.rest[path])
    layer = recorded.layers[path]
    beyond = layer.visits[np.abs(layer.centres) > 1].sum() / layer.visits.sum()
    assert facts.extrapolated[path] == pytest.approx(beyond, abs=1e-3)


def test_a_legend_names_fixed_points_where_they_were_looked_for(run, recorded):
    def named(recording):
        _, drawn = dynamics.picture(run, recording)
        return {text.get_text() for text in drawn.legends[0].get_texts()}

    points = {"stable fixed point", "unstable"}
    assert points <= named(recorded)
    assert not points & named(None)


def test_a_layer_that_visits_nothing_is_said_to_in_one_line(run, recorded):
    dead = {
        path: layer._replace(visits=np.zeros_like(layer.visits), spikes=0 * layer.spikes)
        for path, layer in recorded.layers.items()
    }
    quiet = recorded._replace(layers=dead)
    found, _ = naming.picture(run, quiet)
    assert {name.reason for (name,) in found.values()} == {"no potential but 0 was visited"}
    facts, _ = dynamics.picture(run, quiet)
    assert set(facts.extrapolated.values()) == {None}
    with pytest.raises(ValueError, match="stem_spike: no potential but 0 was visited"):
        dead["stem_spike"].quantiles(0.5)


def test_traces_cross_the_threshold_where_they_spike(run, recorded):
    found, _ = firing.traces(run, recorded)
    for trace in found.values():
        np.testing.assert_array_equal(trace.spikes > 0, trace.potentials >= 0.5)


def test_curves_are_those_of_the_records(run):
    facts, drawn = curves.picture(run)
    tests = [record for record in run.records if record["split"] == "test"]
    assert facts.epochs.tolist() == [1, 2]
    assert facts.accuracy.tolist() == [record["accuracy"] for record in tests]
    # Steps of 480 of 1437 images.
    trains = [record["step"] for record in run.records if record["split"] == "train"]
    np.testing.assert_allclose(facts.train_epochs, np.array(trains) * 480 / 1437)
    assert len(drawn.axes) == 2


def test_columns_of_numbers_stand_right_and_empty_ones_are_left_out():
    rows = [{"mJ": "0.547", "none": "", "some": 1.0, "path": "stem"}]
    rows.append({"mJ": "13.725", "none": None, "some": "", "path": "1x"})
    made = page.Page("title")
    made.table(rows, file="rows")
    assert "<tr><th>mJ</th><th>some</th><th class=text>path</th></tr>" in made.html()
    assert made.files["rows.csv"] == b"mJ,none,some,path\n0.547,,1.0,stem\n13.725,,,1x\n"
    assert [page.number(x) for x in (27593.4, 9999.0, 0.25, 3)] == ["27593", "9999", "0.25", "3"]


@pytest.fixture(scope="module")
def output(run, tmp_path_factory):
    """The command's report; nothing of the run is changed."""
    output, before = tmp_path_factory.mktemp("report") / "here", files(run.directory)
    arguments = [run.directory, "--output", str(output), "--examples", str(EXAMPLES)]
    assert command.main(["report", *arguments]) == 0
    assert files(run.directory) == before
    return output


def test_the_page_is_self_contained_and_has_every_section(output):
    page = (output / "report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    sources = re.findall(r'src="([^"]{0,40})', page)
    pictures = [name for name in os.listdir(output) if name.endswith(".png")]
    assert len(sources) == len(pictures) == 8
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    sections = ["Training", "Learned dynamics", "Names", "Firing", "Activity", "Health", "Energy"]
    assert re.findall("<h2>(.*?)</h2>", page) == [*sections, "Lower degrees"]


def test_csvs_hold_what_the_page_says(output, run):
    page = (output / "report.html").read_text()

    def rows(name):
        return list(csv.DictReader((output / name).read_text().splitlines()))

    assert [row["path"] for row in rows("names.csv")] == run.experiment.spiking_layers()
    for row in rows("names.csv"):
        assert row["parameters"] in page
    assert [row["degree"] for row in rows("degrees.csv")] == ["3", "2", "1"]
    over_training = rows("activity_over_training.csv")
    found = [float(row["dead, %"]) for row in over_training if row["path"] == "stem_spike"]
    records = [record for record in run.records if record["split"] == "test"]
    assert found == [100 * record["dead"]["stem_spike"] for record in records]
    assert not [name for name in os.listdir(output) if name.endswith(".tmp")]


@pytest.mark.parametrize(
    "fields",
    [
        {"neuron.kind": "lnm_two_variable"},
        {"spiking.sharing": "channel", "timesteps": 1, "model.remat": "block", "model.stem": 2,
         "model.widths": (2,)},
        {"neuron.kind": "plif", "model.name": "vggsnn", "model.widths": ((4,),), "model.stem": None,
         "model.blocks": None},
    ],
    ids=lambda fields: next(iter(fields.values())),
)  # fmt: skip
def test_every_kind_of_network_is_reported(config, fields):
    config.update_from_flattened_dict(fields)
    made = report.make(exporting.run_of(config), examples=40)
    html = made.html()
    assert "<h2>Lower degrees</h2>" in html
    assert "No evaluation is recorded in metrics.jsonl yet." in html
    if fields.get("timesteps") == 1:
        assert "T = 1: f is only ever evaluated at the starting potential" in html
        assert b"no potential but 0 was visited" in made.files["names.csv"]
    if config.neuron.kind == "lnm_two_variable":
        assert "These neurons have two variables" in html
    if config.neuron.kind == "plif":
        assert "Neurons of kind plif have no degree to reduce." in html


def refused(capsys, *arguments):
    """The one line of a refused command."""
    assert command.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_what_is_no_finished_run_is_said_in_one_line(run, tmp_path, capsys):
    assert "no run here (config.json is missing)" in refused(capsys, "report", str(tmp_path))
    copy = tmp_path / "copy"
    shutil.copytree(run.directory, copy)
    shutil.rmtree(copy / "checkpoints")
    assert "no checkpoint here" in refused(capsys, "report", str(copy))
    (copy / "config.json").write_text('{"seed": "one"}')
    assert "not a configuration of this version" in refused(capsys, "report", str(copy))
    (copy / "config.json").write_text("{")
    assert "not a configuration" in refused(capsys, "report", str(copy))


def test_bad_arguments_are_said_in_one_line(run, tmp_path, capsys):
    line = refused(capsys, "report", run.directory, "another")
    assert "a report is of one run, got 2: make one of each; reproduce.py compares" in line
    assert "--examples must be 0" in refused(capsys, "report", run.directory, "--examples", "-1")
    assert "--loss must be 0 or more" in refused(capsys, "report", run.directory, "--loss", "-1")
    assert "--help" in refused(capsys, "report", run.directory, "--exmples", "3")
    (tmp_path / "file").touch()
    line = refused(capsys, "report", run.directory, "--output", str(tmp_path / "file"))
    assert "exists and is not a directory" in line
