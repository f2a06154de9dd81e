"""The report of a run: its page, its files and the command."""

import csv
import os
import re
import shlex
import shutil
import sys

import exporting
import jax
import numpy as np
import pytest

import lnm_jax
from lnm_jax import cli, data
from lnm_jax.analysis import page, report
from lnm_jax.configs import base
from lnm_jax.training import configuration, experiment
from lnm_jax.training.run import load

EXAMPLES = 100
pytestmark = pytest.mark.xdist_group("report")  # one process: they share a report


def files(directory):
    """Every file below a directory with its time and size."""
    found = [os.path.join(place, name) for place, _, names in os.walk(directory) for name in names]
    return {path: (os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in found}


def test_loading_gives_the_finished_run_and_leaves_it_as_it_is(trained_run):
    before = files(trained_run.directory)
    run = load(trained_run.directory)
    assert files(run.directory) == before
    assert int(run.state.step) == run.experiment.steps_until(2)
    found = experiment.evaluate(run.experiment, run.state.variables)
    assert found["accuracy"] == run.records[-1]["accuracy"]


def test_columns_of_numbers_stand_right_and_empty_ones_are_left_out():
    rows = [{"mJ": "0.547", "none": "", "some": 1.0, "path": "stem"}]
    rows.append({"mJ": "13.725", "none": None, "some": "", "path": "1x"})
    made = page.Page("title")
    made.table(rows, file="rows")
    assert "<tr><th>mJ</th><th>some</th><th class=text>path</th></tr>" in made.html()
    assert made.files["rows.csv"] == b"mJ,none,some,path\n0.547,,1.0,stem\n13.725,,,1x\n"
    assert [page.number(x) for x in (27593.4, 9999.0, 0.25, 3)] == ["27593", "9999", "0.25", "3"]


@pytest.fixture(scope="module")
def output(trained_run, tmp_path_factory):
    """The command's report; nothing of the run is changed."""
    output, before = tmp_path_factory.mktemp("report") / "here", files(trained_run.directory)
    arguments = [trained_run.directory, "--output", str(output), "--examples", str(EXAMPLES)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lnm-report", *arguments])
        assert cli.report() == 0
    assert files(trained_run.directory) == before
    return output


def test_the_page_is_self_contained_and_has_every_section(output):
    page = (output / "report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    sources = re.findall(r'src="([^"]{0,40})', page)
    pictures = [name for name in os.listdir(output) if name.endswith(".png")]
    assert len(sources) == len(pictures) == 9
    assert page.count('<source media="(max-width: 640px)" srcset="data:image/png;base64,iVBOR') == 9
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    sections = ["Training", "Confusion", "Learned dynamics", "Names", "Firing", "Activity"]
    assert re.findall("<h2>(.*?)</h2>", page) == [*sections, "Health", "Energy", "Lower degrees"]


@pytest.fixture(scope="module")
def rows(output):
    return lambda name: list(csv.DictReader((output / name).read_text().splitlines()))


def test_the_page_opens_with_three_sentences_and_what_the_run_is(output, rows, trained_run):
    page = (output / "report.html").read_text()
    learned, where, less = re.findall("<p>(.*?)</p>", page)[:3]
    assert learned.startswith("The learned f, by name: ")
    assert where.startswith("The shape of f matters ")
    full, *lower = rows("degrees.csv")
    below = next(row for row in lower if row["degree"] in less)
    assert f"egree {below['degree']} in place of 3, in all layers" in less
    for row in (full, below):
        assert f"{float(row['accuracy, %']):.2f} %" in less
    facts = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["accuracy"] == f"{float(full['accuracy, %']):.2f} % of 100 test examples"
    assert facts["seed"] == "0"
    assert facts["data"] == "digits: 1,437 and 360 examples, stratified 80/20, fixed"
    sizes = [leaf.size for leaf in jax.tree.leaves(trained_run.state.params)]
    # Three spiking layers of degree 3.
    assert facts["parameters"] == f"{sum(sizes) - 9:,} of the network, 9 of its neurons"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d( to .*)?", facts["trained"])
    assert f", by lnm_jax {lnm_jax.__version__} and jax {jax.__version__}" in facts["report"]
    assert facts["command"].startswith("python train.py --config.data.batch_size=480 ")


def test_a_confusion_matrix_counts_every_example_once(output, rows, trained_run):
    matrix = [[int(row[f"predicted {n}"]) for n in range(10)] for row in rows("confusion.csv")]
    labels = data.subset(trained_run.experiment.dataset.test, EXAMPLES).labels
    np.testing.assert_array_equal(np.sum(matrix, 1), np.bincount(labels))
    accuracy = float(rows("degrees.csv")[0]["accuracy, %"])
    assert np.trace(matrix) == pytest.approx(accuracy * EXAMPLES / 100)


LINES = [
    "",
    "--config=cifar10_fast '--config.data.directory=/my data' --config.epochs=3",
    "'--config.model.widths=((4,), (8, 8))' --config.neuron.kind=lif --config.progress=False",
]


@pytest.mark.parametrize("line", LINES)
def test_the_command_makes_the_same_configuration(line):
    config, _ = cli.parse(["train.py", *shlex.split(line)])
    wanted = f"python train.py {line}".removesuffix(" --config.progress=False").strip()
    assert configuration.command(config) == wanted  # a bar on the screen changes no run


def test_what_no_flag_can_say_has_no_command():
    config = base.get_config()
    with config.unlocked():
        config.neuron.own = 1
    assert configuration.command(config) is None


def test_csvs_hold_what_the_page_says(output, rows, trained_run):
    page = (output / "report.html").read_text()
    assert [row["path"] for row in rows("names.csv")] == trained_run.experiment.spiking_layers()
    for row in rows("names.csv"):
        assert row["parameters"] in page
    assert [row["degree"] for row in rows("degrees.csv")] == ["3", "2", "1"]
    over_training = rows("activity_over_training.csv")
    found = [float(row["dead, %"]) for row in over_training if row["path"] == "stem_spike"]
    records = [record for record in trained_run.records if record["split"] == "test"]
    assert found == [100 * record["dead"]["stem_spike"] for record in records]
    assert not [name for name in os.listdir(output) if name.endswith(".tmp")]


KINDS = {
    "two variables": {"neuron.kind": "lnm_two_variable", "model.name": "vggsnn",
                      "model.widths": ((4,),), "model.stem": None, "model.blocks": None},
    "channels": {"spiking.sharing": "channel", "timesteps": 1, "model.remat": "block",
                 "model.stem": 2, "model.widths": (2,),
                 "model.side_heads": (1,), "model.side_features": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_network_is_reported(config, name):
    config.update_from_flattened_dict(KINDS[name])
    made = report.make(exporting.run_of(config), examples=40)  # in no directory
    html = made.html()
    assert "No evaluation is recorded in metrics.jsonl yet." in html
    if name == "channels":
        # 18 + 3 x 2 x 2 of BatchNorm + 2 x 36 + 30; 3 x 2 of 3; a side head of 438.
        assert "<dd>132 of the network, 18 of its neurons; 438 more in training alone</dd>" in html
        assert "side_head_1/Conv_0" in html  # Health is about training
        assert b"side_head" not in made.files["energy.csv"]
        assert "T = 1: f is only ever evaluated at the starting potential" in html
        assert b"no potential but 0 was visited" in made.files["names.csv"]
        assert "<th>degree</th>" in html
        assert "What f became cannot be said (layer 1 (stem_spike): no potential but 0 was" in html
        assert "; T = 1, where f is evaluated at the start alone)." in html
        assert (
            "Where the shape of f matters was not measured: no potential but 0 was visited" in html
        )
    else:
        assert "These neurons have two variables" in html
        assert "not measured: neurons of several variables do not spike by f alone." in html
        assert re.search(r"LIF neurons would take [0-9.]+ % less energy at equal spike rates", html)
        assert "Neurons of kind lnm_two_variable have no degree to reduce." in html


@pytest.fixture
def refused(capsys):
    """The one line of a refused report of a directory."""
    return lambda run, *more: exporting.refused(capsys, cli.analysis, "report", str(run), *more)


def test_what_is_no_finished_run_is_said_in_one_line(trained_run, tmp_path, refused):
    assert "no run here (config.json is missing)" in refused(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(trained_run.directory, copy)
    shutil.rmtree(copy / "checkpoints")
    assert "no checkpoint here" in refused(copy)
    (copy / "config.json").write_text('{"seed": "one"}')
    assert "not a configuration of this version" in refused(copy)
    (copy / "config.json").write_text("{")
    assert "not a configuration" in refused(copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["another"], "a report is of one run, got 2: make one of each; reproduce.py compares"),
        (["--examples", "-1"], "--examples must be 0"),
        (["--loss", "-1"], "--loss must be 0 or more"),
        (["--exmples", "3"], "--help"),
        (["--output", __file__], "exists and is not a directory"),
    ],
)
def test_bad_arguments_are_said_in_one_line(arguments, message, trained_run, refused):
    assert message in refused(trained_run.directory, *arguments)
