"""The reproduction command: what it chooses, runs once, compares and prints."""

import csv
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import reproduce
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration
from reproduction import (
    arms,
    campaign,
    commands,
    comparison,
    methods,
    settings,
    statistics,
    writing,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Small enough for a test, on every command's data.
QUICK = ["--epochs=1", "--seeds=1", "--tuning-seeds=0"]
TINY = ["--set=model.widths=(4,)", "--set=data.batch_size=480", "--set=timesteps=2"]
DIGITS = [*QUICK, *TINY, "--set=model.blocks=(1,)", "--set=model.stem=4"]


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder of runs, so that each is trained once for all tests."""
    return tmp_path_factory.mktemp("runs")


def test_table_1_prints_published_beside_measured_and_repeats_nothing(runs, capsys):
    command = ["table1", f"--directory={runs}", "--rows=LIF,degree 3", *DIGITS]
    assert reproduce.main(command) == 0
    rows = rows_of(runs / "table1-smoke.csv")
    assert [row["method"] for row in rows] == ["LIF", "PLIF", "LNM, degree 3"]
    assert rows[0]["published, %"] == "96.20 ± 0.20 % (CIFAR-10, ResNet-19, T = 4)"
    assert rows[2]["published, %"] == "97.01 ± 0.04 % (CIFAR-10, ResNet-19, T = 4)"
    for row in rows:
        assert (row["data"], row["scale"], row["epochs"], row["T"]) == ("digits", "smoke", "1", "2")
        assert 0 < float(row["accuracy, %"]) < 100
        assert "cpu" in row["device"]
    measured = [float(row["accuracy, %"]) for row in rows]
    difference = float(rows[2]["minus LIF"])
    assert difference == pytest.approx(measured[2] - measured[0], abs=0.02)
    text = capsys.readouterr().out
    assert "0 of 3 runs are there, 3 to go" in text
    assert (runs / "table1-smoke.md").read_text() in text
    stamps = {path: path.stat().st_mtime_ns for path in runs.rglob("summary.json")}
    assert len(stamps) == 3
    assert reproduce.main(command) == 0
    assert "to go" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("summary.json")} == stamps


@pytest.mark.parametrize(
    ("name", "more", "figure"),
    [
        ("table3", [*DIGITS, "--rows=digits, small"], False),
        ("table5", DIGITS, False),
        ("figure1", [*DIGITS, "--rows=degree 1"], True),
        ("figure2", DIGITS, True),
        ("overhead", DIGITS, False),
        ("compare", [*DIGITS, "--rows=LNM, degree 3,LTS$", "--skip=LTS$"], False),
        ("interval", [*QUICK, "--set=data.examples=100", "--set=model.widths=(4,)"], False),
        ("identify", [*QUICK, "--set=data.examples=50", "--rows=QIF"], False),
    ],
)
def test_every_command_makes_its_table(name, more, figure, runs, capsys):
    if name == "table3":
        more = [*DIGITS, "--rows=digits small ResNet"]
    assert reproduce.main([name, f"--directory={runs}", *more]) == 0
    rows = rows_of(runs / f"{name}-smoke.csv")
    assert rows
    assert "| --- |" in capsys.readouterr().out
    assert (runs / f"{name}-smoke.png").exists() == figure
    if name == "table3":
        assert rows[1]["MACs a neuron"] == "3"
        assert "0.570 mJ, overhead 4.20 %" not in rows[0]["published"]
    if name == "table5":
        assert {row["published, %"].split(" %")[0] for row in rows} == {
            "80.52 ± 0.08",
            "80.61 ± 0.09",
            "80.70 ± 0.14",
        }
    if name == "figure2":
        assert [row["#"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
        assert rows[0]["published (ResNet-34, by eye)"] == "cubic"
    if name == "compare":
        assert [row["method"] for row in rows] == ["LIF", "LNM, degree 3"]
        assert rows[0]["step time / LIF"] == rows[0]["memory / LIF"] == "1.00"
        assert float(rows[1]["step time / LIF"]) > 0
    if name == "overhead":
        assert rows[0]["published, training"] == "42 %"
        ratio = float(rows[0]["LNM step, ms"]) / float(rows[0]["LIF step, ms"])
        assert float(rows[0]["training overhead, %"]) == pytest.approx(
            100 * (ratio - 1), abs=0.2 * ratio * 100 / float(rows[0]["LIF step, ms"])
        )


def test_events_are_trained_in_their_smoke_form(runs):
    """The cache of simulated digits is the user's; other tests make it too."""
    command = ["table2", f"--directory={runs}", *QUICK, "--rows=VGGSNN LIF"]
    more = ["--set=model.widths=((2,),)", "--set=timesteps=2", "--set=data.batch_size=480"]
    assert reproduce.main([*command, *more]) == 0
    rows = rows_of(runs / "table2-smoke.csv")
    assert rows[0]["published, %"] == "75.10 ± 1.31 % (CIFAR-10 DVS, VGGSNN, T = 10)"
    assert "simulated" in rows[0]["note"]


# --- Choosing -------------------------------------------------------------------------------


class Pretended(campaign.Campaign):
    """A campaign whose accuracies are a function of the job's fields; it counts what it ran."""

    def __init__(self, accuracy):
        super().__init__("nowhere", say=lambda line: None)
        self.accuracy, self.ran = accuracy, []

    def run(self, wanted):
        found = {}
        for job in dict.fromkeys(wanted):
            fields = dict(job.fields)
            self.ran.append(fields)
            value = self.accuracy(fields)
            if value is None:
                self.failed[job] = "exit 3: not finite"
            else:
                found[job] = campaign.Result("d", value, value, 1, 1.0, "1 cpu")
        return found


class Asked(campaign.Campaign):
    """A campaign that notes the jobs that it would train."""

    def __init__(self, directory):
        super().__init__(str(directory), say=lambda line: None)
        self.asked = []

    def _one(self, job):
        self.asked.append(job)
        self.failed[job] = "exit 1: not run"


def test_each_method_gets_its_own_best_rate_and_decay_together():
    """A rate that is best at one decay need not be best at another."""
    best = {("lif", 0.25): 0.1, ("lif", 1.0): 0.05, ("plif", 0.25): 0.02}

    def accuracy(fields):
        decay = fields.get("neuron.decay", 0.25)
        rate = best.get((fields["neuron.kind"], decay), 0.1)
        off = abs(fields["optimizer.learning_rate"] - rate)
        return 90 - 10 * off + decay + (fields["seed"] < 1000) * 5

    runs = Pretended(accuracy)
    outcomes = comparison.compare(
        runs,
        settings.DIGITS,
        (arms.LIF, arms.BEST_LIF, arms.PLIF),
        seeds=range(2),
        tuning_seeds=1,
        more={},
    )
    assert [outcome.chosen for outcome in outcomes] == [
        {"optimizer.learning_rate": 0.1},
        {"optimizer.learning_rate": 0.05, "neuron.decay": 1.0},
        {"optimizer.learning_rate": 0.02},
    ]
    tuned = [fields for fields in runs.ran if fields["seed"] >= 1000]
    reported = [fields for fields in runs.ran if fields["seed"] < 1000]
    assert {fields["seed"] for fields in tuned} == {1000}
    assert {fields["seed"] for fields in reported} == {0, 1}
    assert all(fields["optimizer.learning_rate"] in (0.1, 0.05, 0.02) for fields in reported)


def test_nothing_is_chosen_of_what_every_run_has_and_equal_rows_are_one():
    runs = Pretended(lambda fields: fields["optimizer.learning_rate"])
    those = (arms.LIF, arms.BEST_LIF, arms.PLIF)

    def chosen(tuning_seeds, **more):
        more = {name.replace("__", "."): value for name, value in more.items()}
        outcomes = comparison.compare(
            runs, settings.DIGITS, those, seeds=range(3, 5), tuning_seeds=tuning_seeds, more=more
        )
        return {outcome.arm.name: sorted(outcome.chosen) for outcome in outcomes}

    rate, decay = comparison.RATE, "neuron.decay"
    assert chosen(1) == {"LIF": [rate], "LIF, best decay": [decay, rate], "PLIF": [rate]}
    assert chosen(1, optimizer__learning_rate=0.3)["LIF, best decay"] == [decay]
    assert chosen(1, neuron__decay=0.9) == {"LIF": [rate], "PLIF": [rate]}
    runs.ran.clear()
    assert chosen(0, optimizer__learning_rate=0.3) == {"LIF": [], "PLIF": []}
    assert {fields["seed"] for fields in runs.ran} == {3, 4}


def test_rows_are_named_by_parts_and_whole_names():
    setting, names = settings.DIGITS, [arm.name for arm in arms.METHODS]

    def found(rows, skip=""):
        options = commands.Options(
            "smoke", range(1), 0, None, reproduce.parts(rows), {}, reproduce.parts(skip)
        )
        return [arm.name for arm in arms.METHODS if commands.asked_for(options, setting, arm)]

    assert found("") == names
    assert found("LIF$,lif, best decay") == ["LIF", "LIF, best decay"]
    assert found("LNM, degree 3,PSN$") == ["PSN", "LNM, degree 3"]
    assert found("small ResNet TET$") == found("digits small resnet TET$") == ["TET"]
    assert found("VGGSNN TET$") == []
    assert found("TET", skip="TET$") == ["LocalZO + TET", "LNM + TET"]
    assert "LNM + TET" in found("small resnet", skip="LNM, degree 3")


def test_a_table_says_what_was_tried_what_failed_and_what_is_no_row_of_its_own(tmp_path):
    def accuracy(fields):
        if fields.get("optimizer.learning_rate") == 0.1:
            return None
        return 80.0 + fields["seed"] % 1000 + fields.get("neuron.decay", 0.25)

    def made(tuning_seeds, *those, **fields):
        runs = Pretended(accuracy)
        options = commands.Options("smoke", range(2), tuning_seeds, None, those, fields)
        return runs, commands.COMMANDS["table1"](runs, options)

    runs, table = made(1, "LIF")
    best = {row["method"]: row for row in table.rows}["LIF, best decay"]
    assert best["chosen"] == "learning_rate 0.02, decay 1.0"
    assert best["by seed, %"] == "0: 81.00, 1: 82.00"
    assert best["minus LIF"].startswith("+0.75")
    assert best["minus LIF, best decay"] == ""
    assert table.rows[0]["minus LIF, best decay"].startswith("-0.75")
    where = "digits, small ResNet, T = 4"
    assert f"\n- {where}: optimizer.learning_rate 0.02, 0.05, 0.1\n" in table.remarks[0]
    assert f"{where}: neuron.decay 0.25, 0.5, 0.75, 0.9, 1.0 (LIF, best decay)" in table.remarks[0]
    # A rate that cannot be trained costs a line of the note, and is no run that failed.
    assert table.rows[0]["note"] == "not chosen from, learning_rate 0.1: exit 3: not finite"
    assert not runs.failed

    runs, table = made(0)
    assert len(table.rows) == 4
    wanted = f'{where}: "LIF, best decay" has the fields of the row "LIF", as nothing else is tried'
    assert table.remarks[0].startswith(wanted)
    with pytest.raises(ConfigError, match=r"--set neuron\.kind: it is what makes the row 'LIF'"):
        made(0, **{"neuron.kind": "lnm"})


def test_settings_with_other_rows_make_one_table(tmp_path):
    """LIF at its best decay is asked for in one of them alone."""
    runs = Pretended(lambda fields: 50.0)
    unwanted = ("VGGSNN LIF, best decay$",)
    options = commands.Options("smoke", range(2), 1, None, (), {}, unwanted)
    made = commands.COMMANDS["table2"](runs, options)
    assert "| minus LIF, best decay |" in writing.markdown(made, "c")
    writing.write(made, "c", str(tmp_path / "t"))
    rows = rows_of(tmp_path / "t.csv")
    assert len(rows) == 9
    assert {row["minus LIF, best decay"] for row in rows if "VGG" in row["network"]} == {""}


@pytest.mark.parametrize(("scale", "tuned"), [("smoke", 1), ("small", 1), ("paper", 0)])
def test_options_reach_the_command(scale, tuned, tmp_path, monkeypatch, capsys):
    seen = []

    def command(runs, options):
        """Pretended."""
        seen.append(options)
        return commands.Made("Title", [{"a": 1}])

    monkeypatch.setitem(commands.COMMANDS, "table1", command)
    line = ["table1", f"--scale={scale}", f"--directory={tmp_path}", "--first-seed=5", "--seeds=2"]
    assert reproduce.main([*line, "--data-dir=~/d"]) == 0
    assert (list(seen[0].seeds), seen[0].tuning_seeds) == ([5, 6], tuned)
    assert seen[0].directory == os.path.expanduser("~/d")
    assert reproduce.main([*line, "--data-dir=gs://bucket/d", "--tuning-seeds=3"]) == 0
    assert (seen[1].directory, seen[1].tuning_seeds) == ("gs://bucket/d", 3)


def test_fields_that_say_what_the_experiment_says_make_one_run(tmp_path):
    runs = Asked(tmp_path)
    both = [campaign.job("digits", {"neuron.decay": 0.25}), campaign.job("digits", {})]
    assert runs.run(both) == {}
    assert len(runs.asked) == 1
    assert set(runs.failed) == set(both)


def test_a_value_that_cannot_be_trained_is_not_chosen_and_a_failed_run_is_shown():
    def accuracy(fields):
        fails = fields["optimizer.learning_rate"] == 0.1 or fields["seed"] == 1
        return None if fails else 50.0

    runs = Pretended(accuracy)
    outcomes = comparison.compare(
        runs, settings.DIGITS, (arms.LIF, arms.PLIF), seeds=range(2), tuning_seeds=1, more={}
    )
    assert all(dict(job.fields)["seed"] == 1 for job in runs.failed)  # candidates are no failures
    assert outcomes[0].chosen != {"optimizer.learning_rate": 0.1}
    rows = comparison.rows(outcomes, "smoke", lambda outcome: "")
    assert rows[0]["seeds"] == 1
    assert "exit 3: not finite" in rows[0]["note"]


def test_what_to_train_is_decided_without_starting_a_device(tmp_path):
    """The card belongs to the runs, which are other processes: here none exists."""
    program = """
import sys
from reproduction import arms, campaign, commands, comparison, methods

class Asked(campaign.Campaign):
    def _one(self, job):
        self.failed[job] = "not run"

runs = Asked(sys.argv[1], say=lambda line: None)
for setting in methods.where(commands.Options("small", range(1), 1, None, (), {})):
    those = [methods.fitted(a, setting, "small") for a in arms.METHODS if methods.fits(a, setting)]
    comparison.compare(runs, setting, those, seeds=range(1), tuning_seeds=1, more={})
    print(setting.experiment, len(those))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "JAX_PLATFORMS": "none_of_this_name"},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    everything = len(arms.METHODS)
    assert result.stdout.split()[1::2] == [
        str(everything - 3),
        str(everything),
        str(everything - 3),
    ]


# --- Runs -----------------------------------------------------------------------------------


def test_a_run_that_fails_is_reported_with_its_last_line(tmp_path):
    runs = campaign.Campaign(str(tmp_path), say=lambda line: None)
    nowhere = {"data.name": "folder", "data.directory": str(tmp_path / "none"), "epochs": 1}
    bad = campaign.job("digits", nowhere)
    assert runs.run([bad]) == {}
    assert "exit 2: train.py: " in runs.failed[bad]
    assert "none" in runs.failed[bad]


def test_a_value_that_a_run_cannot_have_is_known_before_it_and_is_no_other_runs_matter(tmp_path):
    good, bad = (campaign.job("digits", {"neuron.decay": decay}) for decay in (0.5, 2.0))
    runs = Asked(tmp_path)
    assert runs.run([bad, good]) == {}
    assert runs.asked == [good]
    assert runs.refused == {bad}
    assert runs.failed[bad] == "config.neuron.decay must be between 0 and 1, got 2.0"


def test_stopping_saves_what_runs_and_the_same_command_goes_on(tmp_path):
    command = [
        sys.executable, "reproduce.py", "table1", f"--directory={tmp_path}", *DIGITS,
        "--epochs=3000", "--rows=LIF",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75
    directory = next(path.parent for path in tmp_path.rglob("metrics.jsonl"))
    assert any((directory / "checkpoints").iterdir())
    assert not (directory / "summary.json").exists()
    assert not pathlib.Path(f"{directory}.log").read_text().count("Traceback")


def test_jobs_share_cores_and_cards(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(campaign, "graphics_cards", lambda: 2)
    assert campaign.devices_of(0, 1) == {}
    found = [campaign.devices_of(slot, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert found == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")  # the others are somebody else's
    assert [campaign.devices_of(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # none is to be used
    assert campaign.devices_of(0, 2) == {}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(campaign, "graphics_cards", lambda: 0)
    assert campaign.devices_of(1, 2) == {}


# --- Statistics and words -------------------------------------------------------------------


def test_a_paired_difference_is_that_of_scipy_and_says_what_is_clear():
    from scipy import stats

    ours, theirs = [90.0, 91.5, 92.0, 93.0], [89.0, 90.0, 92.5, 91.0]
    found = statistics.paired(ours, theirs)
    assert found.mean == pytest.approx(1.0)
    assert found.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found.error == pytest.approx(np.std([1, 1.5, -0.5, 2], ddof=1) / 2)
    assert found.clear
    assert str(found).startswith("+1.00 ± 0.54, p 0.16 (larger than its error)")
    assert not statistics.paired([1.0, 2.0], [2.0, 1.0]).clear
    alone = statistics.paired([1.0], [2.0])
    assert math.isnan(alone.error)
    assert str(alone) == "-1.00"
    with pytest.raises(ValueError, match="2 and 1 seeds cannot be paired"):
        statistics.paired([1.0, 2.0], [1.0])


def test_a_table_leaves_empty_columns_out_and_keeps_all_in_csv(tmp_path):
    made = commands.Made("Title", [{"a": 1, "b": ""}, {"a": "x|y", "b": ""}], None, ("A remark.",))
    text = writing.markdown(made, "python reproduce.py x")
    assert text.splitlines()[:6] == ["## Title", "", "| a |", "| --- |", "| 1 |", "| x\\|y |"]
    assert "A remark." in text
    assert "`python reproduce.py x`" in text
    assert len(writing.write(made, "c", str(tmp_path / "t"))) == 2
    assert rows_of(tmp_path / "t.csv")[1] == {"a": "x|y", "b": ""}
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        writing.write(made, "c", str(tmp_path / "file" / "t"))


def test_a_value_that_overhead_cannot_have_is_one_line(tmp_path, capsys):
    """It trains nothing, and so has no run that would be refused."""
    line = ["overhead", f"--directory={tmp_path}", "--set=neuron.decay=2.0"]
    assert reproduce.main(line) == 2
    assert "config.neuron.decay must be between 0 and 1, got 2.0" in capsys.readouterr().err


def test_a_field_that_makes_a_row_of_the_last_table_ends_compare_at_once(tmp_path):
    """PSNs have an order of their own between two pulses, which is compared last."""
    runs = Asked(tmp_path)
    fields = {"neuron.order": 3}
    options = commands.Options("small", range(1), 0, None, ("masked PSN$",), fields)
    with pytest.raises(ConfigError, match=r"--set neuron\.order: it is what makes the row 'masked"):
        commands.COMMANDS["compare"](runs, options)
    assert not runs.asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows=nothing of this"], "--rows nothing of this: no such data, network or method"),
        (["--skip=digits"], "--skip digits: no such data, network or method is left"),
        (["--set=seed=7"], "--set seed: use --first-seed and --seeds"),
        (["--set=data.directory=/data"], "--set data.directory: use --data-dir"),
        (["--set=neuron.decay=2.0"], "config.neuron.decay must be between 0 and 1, got 2.0"),
        (["--scale=paper"], "--scale=paper: the paper does not have this task, use small"),
        (["--first-seed=999", "--seeds=2"], "seeds 999 to 1000: values are chosen on those from"),
        (["--tuning-seeds=-1"], "--tuning-seeds must be at least 0"),
        (["--set=epochs"], "--set epochs: must be FIELD=VALUE"),
        (["--set=neuron.kin=lif"], "config.neuron.kin: no such field"),
        (["--seeds=0"], "--seeds must be at least 1"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, tmp_path, capsys):
    command = "interval" if "--scale=paper" in arguments else "table1"
    assert reproduce.main([command, f"--directory={tmp_path}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_paper_scale_is_table_4_without_tuning(tmp_path):
    found = settings.images("paper", "D") + settings.events("paper", "D")
    assert [(setting.stands_for, setting.experiment) for setting in found] == [
        (("CIFAR-10", "ResNet-19", 2), "cifar10_resnet19"),
        (("CIFAR-10", "ResNet-19", 4), "cifar10_resnet19"),
        (("CIFAR-100", "ResNet-19", 2), "cifar100_resnet19"),
        (("CIFAR-100", "ResNet-19", 4), "cifar100_resnet19"),
        (("ImageNet", "ResNet-34", 4), "imagenet_resnet34"),
        (("CIFAR-10 DVS", "VGGSNN", 10), "cifar10dvs_vggsnn"),
        (("CIFAR-10 DVS", "ResNet-19", 10), "cifar10dvs_resnet19"),
    ]
    for setting in found:
        config = comparison.job_of(setting, arms.LNM, {}, 0, {}).config(str(tmp_path))
        assert config.timesteps == setting.stands_for[2]
        own = {**setting.fields, **arms.LNM.fields}
        assert set(own) <= {"data.directory", "timesteps", "neuron.kind", "neuron.degree"}
        assert not setting.rates


def test_every_row_of_the_recipe_takes_something_away_from_it(tmp_path):
    (tmp_path / "train").mkdir()
    (setting,) = settings.fast("small", str(tmp_path))
    whole = configuration.flatten(comparison.job_of(setting, arms.LIF, {}, 0, {}).config("runs"))
    assert whole["optimizer.name"] == "muon"
    assert whole["model.widths"] == [16, 32, 64]
    for arm in arms.INGREDIENTS[1:]:
        first = {field: values[-1] for field, values in arm.tries.items()}
        config = comparison.job_of(setting, arm, first, 0, {}).config("runs")
        configuration.validate_fields(config)
        fields = configuration.flatten(config)
        changed = {field for field in fields if fields[field] != whole[field]}
        assert changed >= (arm.fields | first).keys() - {"neuron.kind", "neuron.degree"}, arm.name
        assert changed, arm.name


def test_methods_are_compared_on_recordings_images_and_intervals():
    options = commands.Options("small", range(3), 1, None, (), {})
    found = methods.where(options)
    assert [setting.experiment for setting in found] == [
        "digits_dvs",
        "cifar10_resnet19",
        "interval",
    ]
    # Where leaky neurons forget too much, every method starts with a leak that does not.
    assert [setting.fields.get("neuron.decay") for setting in found] == [None, None, 0.9]
    assert [bool(setting.rates) for setting in found] == [False, False, True]
    left = [
        {method.name for method in arms.METHODS if not methods.fits(method, setting)}
        for setting in found
    ]
    blocks = {"IM-Loss", "Surrogate module", "Backpropagation shortcuts, our variant"}
    assert left == [blocks, set(), blocks]
    kept = {method.name: methods.fitted(method, found[2], "small") for method in arms.METHODS}
    ordered = {name for name, arm in kept.items() if arm.fields.get("neuron.order") == 30}
    assert ordered == {"masked PSN", "sliding PSN"}
    # What has learned parameters in its neurons gets their learning rate, too.
    tuned = {name for name, arm in kept.items() if "optimizer.neuron_learning_rate" in arm.tries}
    assert {"PLIF", "GLIF", "TC-LIF", "PSN", "LNM, degree 3", "LNM + IMP"} <= tuned
    assert not tuned & {"LIF", "CLIF", "Ternary spike", "TET", "tdBN", "Dspike", "LocalZO's mean"}
    assert "IMP" not in tuned  # a learned start has the rate of the weights
    assert len(methods.where(options._replace(scale="paper"))) == 2


def test_a_job_is_the_command_that_a_user_would_type():
    found = campaign.job("digits", {"epochs": 3, "data.directory": None}, {"epochs": 5})
    line = found.command("runs")
    assert line[1:4] == ["train.py", "--config=configs/digits.py", "--config.epochs=5"]
    assert not any("data.directory" in part for part in line)
    config = found.config("runs")
    assert (config.epochs, config.directory) == (5, "runs")
    assert json.dumps(config.to_dict())
    assert os.path.exists(ROOT / "train.py")
