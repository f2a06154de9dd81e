"""Reports on finished runs: what is recorded, and the page."""

import csv
import json
import os
import re
import shutil

import jax
import numpy as np
import pytest
from catalogue import after_each
from conftest import TINY

from lnm_jax import data
from lnm_jax.analysis import __main__ as command
from lnm_jax.analysis import (
    curves,
    degrees,
    dynamics,
    firing,
    names,
    page,
    recording,
    report,
    runs,
    side_by_side,
)
from lnm_jax.configs import digits
from lnm_jax.errors import ConfigError
from lnm_jax.training import experiment, loop, run_directory
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.run import load

EXAMPLES = 100
pytestmark = pytest.mark.xdist_group("report")  # one process: they share runs


def files(directory):
    """Every file below a directory with its time and size."""
    found = [os.path.join(place, name) for place, _, names in os.walk(directory) for name in names]
    return {path: (os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in found}


def configured(directory, name, **fields):
    config = digits.get_config()
    config.directory, config.name = str(directory), name
    config.update_from_flattened_dict(TINY | {"data.eval_batch_size": 60} | fields)
    return config


def untrained(config):
    """A run of one epoch whose steps did nothing: what a trained one leaves, without the time."""
    this = experiment.build(config)
    layers = this.spiking_layers()
    record = {"step": 3, "split": "test", "epoch": 1, "accuracy": 10.0, "loss": 2.3}
    record["rates"] = dict.fromkeys(layers, 0.1)
    directory = run_directory.path_of(config)
    return loop.Run(this, directory, this.init().replace(step=3), [record], 0.0, None)


def save(run, accuracy=10.0):
    """Writes an untrained run's directory."""
    directory = run_directory.create(run.experiment.config)
    with Checkpoints(os.path.join(directory, "checkpoints"), keep=1) as checkpoints:
        checkpoints.save(run.state.replace(step=np.int32(3)), accuracy=accuracy)
    records = [record | {"accuracy": accuracy} for record in run.records]
    with open(os.path.join(directory, "metrics.jsonl"), "w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs: lnm, trained; one, two (two seeds of an LNM) and lif, untrained."""
    folder = tmp_path_factory.mktemp("runs")
    loop.train(configured(folder, "lnm"))
    save(untrained(configured(folder, "one", seed=1)), accuracy=10.0)
    save(untrained(configured(folder, "two", seed=2)), accuracy=13.0)
    save(untrained(configured(folder, "lif", **{"neuron.kind": "lif"})))
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return load(str(folder / "lnm"))


@pytest.fixture(scope="module")
def recorded(run):
    return recording.record(run, examples=EXAMPLES)


def test_loading_gives_the_finished_run_and_leaves_it_as_it_is(folder):
    before = files(folder / "lnm")
    run = load(str(folder / "lnm"))
    assert files(folder / "lnm") == before
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
    found, _ = names.picture(run, quiet)
    assert {name.reason for (name,) in found.values()} == {"no potential but 0 was visited"}
    facts, _ = dynamics.picture(run, quiet)
    assert set(facts.extrapolated.values()) == {None}
    with pytest.raises(ValueError, match="stem_spike: no potential but 0 was visited"):
        dead["stem_spike"].quantiles(0.5)


def test_traces_cross_the_threshold_where_they_spike(run, recorded):
    found, _ = firing.traces(run, recorded)
    for trace in found.values():
        np.testing.assert_array_equal(trace.spikes > 0, trace.potentials >= 0.5)


def test_seeds_make_one_group_with_mean_and_sample_deviation(folder):
    loaded = runs.load_all([str(folder / name) for name in ("two", "lif", "one")])
    assert loaded[0].experiment.dataset is loaded[2].experiment.dataset
    groups, _ = curves.picture(loaded)
    assert [group.label for group in groups] == ["kind lnm", "kind lif"]
    assert [run.experiment.config.seed for run in groups[0].runs] == [1, 2]
    mean, deviation = curves.mean_and_deviation(groups[0].accuracy)
    assert mean.tolist() == [11.5]  # of 10 and 13
    assert deviation[0] == pytest.approx(4.5**0.5)
    assert np.isnan(curves.mean_and_deviation(groups[1].accuracy)[1]).all()


def test_a_mean_and_its_deviation_have_the_same_decimals():
    cases = {(51.94, 60.0): "55.97 ± 5.70", (0.3488, 0.3489): "0.3488 ± 0.0001", (56.4,): "56.40"}
    cases |= {(100.0, 100.0): "100.0 ± 0.0", (0.0,): "0.000", (float("nan"),): "n/a"}
    for values, text in cases.items():
        assert side_by_side.as_text(values) == text


def test_columns_of_numbers_stand_right_and_empty_ones_are_left_out():
    rows = [{"mJ": "0.547", "none": "", "some": 1.0, "path": "stem"}]
    rows.append({"mJ": "13.725", "none": "", "some": "", "path": "1x"})
    html = page.table(page.without_empty(rows))
    assert "<tr><th>mJ</th><th>some</th><th class=text>path</th></tr>" in html
    assert [page.number(x) for x in (27593.4, 9999.0, 0.25, 3)] == ["27593", "9999", "0.25", "3"]


@pytest.fixture(scope="module")
def output(folder, tmp_path_factory):
    """The command's report of the LNM and the LIF run, and what it left of the runs."""
    output, before = tmp_path_factory.mktemp("report") / "here", files(folder)
    arguments = [str(folder / "lnm"), str(folder / "lif"), "--output", str(output)]
    assert command.main(["report", *arguments, "--examples", str(EXAMPLES)]) == 0
    assert files(folder) == before
    return output


def test_the_page_is_self_contained(output):
    page = (output / "report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    sources = re.findall(r'src="([^"]{0,40})', page)
    pictures = [name for name in os.listdir(output) if name.endswith(".png")]
    assert len(sources) == len(pictures) == 16  # 7 of LNM, 6 of LIF, curves, 2 side by side
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert "Neurons of kind lif have no degree to reduce." in page
    assert "13.725" in page  # Table 3 stands beside ours


def test_csvs_hold_what_the_page_says(output, run):
    page = (output / "report.html").read_text()
    rows = list(csv.DictReader((output / "lnm-names.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == run.experiment.spiking_layers()
    for row in rows:
        assert row["parameters"] in page
    rows = list(csv.DictReader((output / "lnm-degrees.csv").read_text().splitlines()))
    assert [row["degree"] for row in rows] == ["3", "2", "1"]
    rows = csv.DictReader((output / "lnm-activity_over_training.csv").read_text().splitlines())
    found = [float(row["dead, %"]) for row in rows if row["path"] == "stem_spike"]
    records = [record for record in run.records if record["split"] == "test"]
    assert found == [100 * record["dead"]["stem_spike"] for record in records]
    rates_alone = (output / "lif-activity_over_training.csv").read_text().splitlines()[0]
    assert rates_alone == "path,epoch,spike rate"  # this run's metrics.jsonl has no shares
    assert not [name for name in os.listdir(output) if name.endswith(".tmp")]


@pytest.mark.parametrize(
    "fields",
    [
        {"neuron.kind": "lnm_two_variable"},
        {"spiking.sharing": "channel", "timesteps": 1, "model.remat": "block"},
        {"neuron.kind": "plif", "model.name": "vggsnn", "model.widths": ((4,),), "model.stem": None,
         "model.blocks": None},
    ],
    ids=lambda fields: next(iter(fields.values())),
)  # fmt: skip
def test_every_kind_of_network_is_reported(tmp_path, fields):
    config = configured(tmp_path, "run", epochs=1, **fields)
    if config.model.name == "vggsnn":
        config.data.name, config.data.image_size = "digits", None
    report_of = report.make([untrained(config)], examples=40)
    assert "<h2>Lower degrees</h2>" in report_of.html
    if fields.get("timesteps") == 1:
        assert "T = 1: f is only ever evaluated at the starting potential" in report_of.html
        assert b"no potential but 0 was visited" in report_of.files["names.csv"]
    if config.neuron.kind == "lnm_two_variable":
        assert "These neurons have two variables" in report_of.html


def refused(capsys, *arguments):
    """The one line of a refused command."""
    assert command.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_what_is_no_finished_run_is_said_in_one_line(folder, tmp_path, capsys):
    assert "no run here (config.json is missing)" in refused(capsys, "report", str(tmp_path))
    copy = tmp_path / "copy"
    shutil.copytree(folder / "lnm", copy)
    shutil.rmtree(copy / "checkpoints")
    assert "no checkpoint here" in refused(capsys, "report", str(copy))
    (copy / "config.json").write_text('{"seed": "one"}')
    assert "not a configuration of this version" in refused(capsys, "report", str(copy))
    (copy / "config.json").write_text("{")
    assert "not a configuration" in refused(capsys, "report", str(copy))


def test_bad_arguments_are_said_in_one_line(folder, tmp_path, capsys):
    lnm = str(folder / "lnm")
    assert "the same run was given twice" in refused(capsys, "report", lnm, lnm)
    assert "--examples must be 0" in refused(capsys, "report", lnm, "--examples", "-1")
    assert "--help" in refused(capsys, "report", lnm, "--exmples", "3")
    (tmp_path / "file").touch()
    line = refused(capsys, "report", lnm, "--output", str(tmp_path / "file"))
    assert "exists and is not a directory" in line


def test_different_architectures_are_refused_by_their_fields(folder, tmp_path):
    fields = {"model.stem": 6, "epochs": 1, "data.batch_size": 20}  # a batch is no architecture
    other = untrained(configured(tmp_path, "wider", **fields))
    with pytest.raises(ConfigError, match=r"different architectures \(model.stem: 4, not 6\)"):
        report.make([other, load(str(folder / "lnm"))])
