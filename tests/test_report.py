"""The report of a run: its page, its files and the command."""

import csv
import os
import re
import shutil
import sys

import exporting
import pytest

from lnm_jax import cli
from lnm_jax.analysis import page, report
from lnm_jax.training import experiment
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
    assert len(sources) == len(pictures) == 8
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    sections = ["Training", "Learned dynamics", "Names", "Firing", "Activity", "Health", "Energy"]
    assert re.findall("<h2>(.*?)</h2>", page) == [*sections, "Lower degrees"]


def test_csvs_hold_what_the_page_says(output, trained_run):
    page = (output / "report.html").read_text()

    def rows(name):
        return list(csv.DictReader((output / name).read_text().splitlines()))

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
                 "model.stem": 2, "model.widths": (2,)},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_network_is_reported(config, name):
    config.update_from_flattened_dict(KINDS[name])
    made = report.make(exporting.run_of(config), examples=40)
    html = made.html()
    assert "No evaluation is recorded in metrics.jsonl yet." in html
    if name == "channels":
        assert "T = 1: f is only ever evaluated at the starting potential" in html
        assert b"no potential but 0 was visited" in made.files["names.csv"]
        assert "<th>degree</th>" in html
    else:
        assert "These neurons have two variables" in html
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
