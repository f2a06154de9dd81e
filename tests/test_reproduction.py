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

from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, loop
from lnm_jax.training.run import write_summary
from reproduction import (
    cli,
    compare,
    comparison,
    costs,
    methods,
    runner,
    settings,
    statistics,
    tables,
)
from reproduction.comparison import Made, Options

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Digits, small enough for a test.
DIGITS = [
    "--epochs=1", "--seeds=1", "--tuning-seeds=0", "--set=timesteps=2", "--set=model.name=mlp",
    "--set=model.widths=(4,)", "--set=model.stem=None", "--set=model.blocks=None",
    "--set=data.batch_size=480",
]  # fmt: skip


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Pretended(runner.Runner):
    """A runner whose accuracies are a function of the job's fields; it notes what it ran."""

    def __init__(self, directory="nowhere", *, jobs=1, accuracy=lambda fields: 50.0):
        super().__init__(directory, jobs=jobs, say=lambda line: None)
        self.accuracy, self.ran = accuracy, []

    def run(self, wanted):
        results = {}
        for job in dict.fromkeys(wanted):
            fields = dict(job.fields)
            self.ran.append(fields)
            value = self.accuracy(fields)
            if value is None:
                self.failed[job] = "exit 3: not finite"
            else:
                results[job] = runner.Result("d", value, value, 1, 1.0, "1 cpu")
        self.finished |= bool(results)
        return results


class Asked(runner.Runner):
    """A runner that notes the jobs that it would train."""

    def __init__(self, directory):
        super().__init__(str(directory), say=lambda line: None)
        self.asked = []

    def _one(self, job):
        self.asked.append(job)
        self.failed[job] = "exit 1: not run"


class Trained(runner.Runner):
    """A runner that trains in this process."""

    def run(self, wanted):
        wanted = dict.fromkeys(wanted)
        for job in wanted:
            if not self.result(job):
                write_summary(loop.train(job.config(self.directory)))
        self.finished = True
        return {job: self.result(job) for job in wanted}


def compared(runs, *those, seeds=range(2), tuning_seeds=1, **more):
    """Outcomes of methods on digits; of fields, the dot is written as two underscores."""
    more = {name.replace("__", "."): value for name, value in more.items()}
    return comparison.compare(
        runs, settings.DIGITS, those, seeds=seeds, tuning_seeds=tuning_seeds, more=more
    )


def config_of(setting, method, chosen=None):
    return comparison.job_of(setting, method, chosen or {}, 0, {}).config("runs")


# --- Tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", sorted(tables.COMMANDS.keys() - {"table3", "figure2", "overhead", "rates"})
)
def test_a_command_makes_its_table_of_accuracies(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs, "programs_of", lambda job, dataset: programs(2.0, 3.0))
    for forget in ("jax.clear_caches", "gc.collect"):  # other tests' programs, too
        monkeypatch.setattr(forget, lambda: None)
    line = [name, f"--directory={tmp_path}", "--seeds=1", "--tuning-seeds=0"]
    assert cli.main(line, Pretended) == 0
    rows = rows_of(tmp_path / f"{name}-smoke.csv")
    assert (tmp_path / f"{name}-smoke.md").read_text() in capsys.readouterr().out
    assert (tmp_path / f"{name}-smoke.png").exists() == (name == "figure1")
    assert {row["accuracy, %"] for row in rows} == {"50.00"}
    published = [row["published, %"] for row in rows]
    if name == "table1":
        names = ["LIF", "PLIF", "LNM, degree 1", "LNM, degree 3"]
        assert [row["method"] for row in rows] == names
        assert published[0] == "96.20 ± 0.20 % (CIFAR-10, ResNet-19, T = 4)"
        assert published[3] == "97.01 ± 0.04 % (CIFAR-10, ResNet-19, T = 4)"
        assert rows[3]["minus LIF"] == "+0.00"
    if name == "table2":
        assert published[0] == "75.10 ± 1.31 % (CIFAR-10 DVS, VGGSNN, T = 10)"
        assert "simulated" in rows[0]["note"]
    if name == "table5":
        numbers = [text.split(" %")[0] for text in published]
        assert numbers == ["80.70 ± 0.14", "80.52 ± 0.08", "80.61 ± 0.09"]
    if name == "compare":
        # LIF at its best decay is what digits have.
        assert len(rows) == len(methods.METHODS) - 1
        for row in rows:
            assert row["step time / LIF"] == row["evaluation / LIF"] == "1.00"
        assert "PLIF, CIFAR-10: Not ResNet-19" in (tmp_path / "compare-smoke.md").read_text()


def test_methods_are_ranked(monkeypatch):
    monkeypatch.setattr(compare, "_ratios", lambda *_: {})
    results = [{0: runner.Result("", value, value, 1, 1.0, "")} for value in (50.0, 70.0, 60.0)]
    outcomes = [
        comparison.Outcome(settings.DIGITS, method, 4, {}, result, [], [])
        for method, result in zip(methods.METHODS, results, strict=False)
    ]
    rows = compare.rows(outcomes, Options("smoke", range(1)))
    assert [row["accuracy, %"] for row in rows] == ["70.00", "60.00", "50.00"]


def programs(train, evaluate):
    """Programs that say that they took these seconds."""
    return costs.Programs(lambda: train, lambda: evaluate, 100.0, None)


def test_costs_are_over_lifs(monkeypatch, tmp_path):
    seconds = iter([(2.0, 3.0), (3.0, 3.3)])
    monkeypatch.setattr(costs, "programs_of", lambda job, dataset=None: programs(*next(seconds)))
    options = Options("smoke", range(1), wanted=("LNM, degree 3$",))
    lif, lnm = tables.COMMANDS["compare"](Pretended(), options).rows
    assert [lif[key] for key in compare.RATIOS] == ["1.00", "1.00", "1.00"]
    assert [lnm[key] for key in compare.RATIOS] == ["1.50", "1.10", "1.00"]
    seconds = iter([(2.0, 3.0), (3.0, 3.3)])
    [row] = tables.COMMANDS["overhead"](Pretended(), Options("smoke", range(1))).rows
    assert row["training overhead, %"] == "+50.0"
    assert row["inference overhead, %"] == "+10.0"
    assert (row["published, training"], row["published, inference"]) == ("42 %", "4 %")


def test_energies_and_learned_neurons_are_those_of_the_runs_and_their_steps_are_timed(tmp_path):
    line = [f"--directory={tmp_path}", *DIGITS]
    assert cli.main(["table3", *line, "--rows=digits small ResNet"], Trained) == 0
    lif, lnm = rows_of(tmp_path / "table3-smoke.csv")
    assert (lif["MACs a neuron"], lnm["MACs a neuron"]) == ("1", "3")
    assert lif["overhead, %"] == "0.00"
    assert float(lnm["overhead, %"]) > 0
    assert lnm["published"] == ""  # Table 3 has no T = 4

    assert cli.main(["figure2", *line], Trained) == 0
    rows = rows_of(tmp_path / "figure2-smoke.csv")
    assert [row["#"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    assert rows[0]["published (ResNet-34, by eye)"] == "cubic"
    assert (tmp_path / "figure2-smoke.png").exists()
    assert len(list(tmp_path.rglob("summary.json"))) == 2  # figure 2 is of Table 3's run

    assert cli.main(["rates", *line, "--rows=rate 1.0"], Trained) == 0
    rows = rows_of(tmp_path / "rates-smoke.csv")
    assert [row["method"] for row in rows] == ["LIF", "LNM, f's rate 1.0"]
    assert rows[0]["f moved"] == ""
    assert float(rows[1]["f moved"]) > 0.001  # 3 steps

    fields = cli.options_of(cli.parser().parse_args(["overhead", *line])).fields
    job = comparison.job_of(settings.DIGITS, methods.LNM, {}, 0, fields)
    own = costs.programs_of(job)
    assert all(one["lnm"].median > 0 for one in costs.measure({"lnm": own}, rounds=1))
    assert own.mebibytes > 0


def test_the_energy_of_the_papers_rows_stands_beside():
    setting = settings.DIGITS._replace(paper_row=("CIFAR-10", "ResNet-19", 2))
    published = [
        costs._published(comparison.Outcome(setting, method, 2, {}, {}, [], []))
        for method in (methods.LIF, methods.LNM)
    ]
    assert published == [
        "0.547 mJ (CIFAR-10, ResNet-19, T = 2)",
        "0.570 mJ, overhead 4.20 % (CIFAR-10, ResNet-19, T = 2)",
    ]


def test_a_table_leaves_empty_columns_out_and_keeps_all_in_csv(tmp_path):
    """Settings may have other columns: LIF at its best decay is a row of one of them alone."""
    rows = [{"a": 1, "b": ""}, {"a": "x|y", "b": "", "minus LIF": 2}]
    made = Made("Title", rows, None, ("A remark.",))
    text = cli.markdown(made, "python reproduce.py x")
    table = ["| a | minus LIF |", "| --- | --- |", "| 1 |  |", "| x\\|y | 2 |"]
    assert text.splitlines()[:6] == ["## Title", "", *table]
    assert "A remark." in text
    assert "`python reproduce.py x`" in text
    assert len(cli.write(made, "c", str(tmp_path / "t"))) == 2
    written = [{"a": "1", "b": "", "minus LIF": ""}, {"a": "x|y", "b": "", "minus LIF": "2"}]
    assert rows_of(tmp_path / "t.csv") == written
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        cli.write(made, "c", str(tmp_path / "file" / "t"))


def test_a_table_says_what_was_tried_what_failed_and_what_is_no_row_of_its_own():
    def accuracy(fields):
        cell = fields["neuron.kind"], fields["seed"]
        if fields.get("optimizer.learning_rate") == 0.1 or cell == ("plif", 1):
            return None
        return 80.0 + fields["seed"] % 1000 + fields.get("neuron.decay", 0.25)

    def made(tuning_seeds, *wanted, **fields):
        runs = Pretended(accuracy=accuracy)
        options = Options("smoke", range(2), tuning_seeds, None, wanted, fields)
        return runs, tables.COMMANDS["table1"](runs, options)

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
    note = "not chosen from, learning_rate 0.1: exit 3: not finite"
    assert table.rows[0]["note"] == note
    assert [dict(job.fields)["seed"] for job in runs.failed] == [1]
    assert (table.rows[2]["seeds"], table.rows[2]["note"]) == (1, f"{note}; exit 3: not finite")

    runs, table = made(0)
    assert len(table.rows) == 4
    wanted = f'{where}: "LIF, best decay" has the fields of the row "LIF", as nothing else is tried'
    assert table.remarks[0].startswith(wanted)
    with pytest.raises(ConfigError, match=r"--set neuron\.kind: it is what makes the row 'LIF'"):
        made(0, **{"neuron.kind": "lnm"})


# --- Choosing -------------------------------------------------------------------------------


def test_each_method_gets_its_own_best_rate_and_decay_together():
    """A rate that is best at one decay need not be best at another."""
    best = {("lif", 0.25): 0.1, ("lif", 1.0): 0.05, ("plif", 0.25): 0.02}

    def accuracy(fields):
        decay = fields.get("neuron.decay", 0.25)
        rate = best.get((fields["neuron.kind"], decay), 0.1)
        off = abs(fields["optimizer.learning_rate"] - rate)
        return 90 - 10 * off + decay + (fields["seed"] < 1000) * 5

    runs = Pretended(accuracy=accuracy)
    outcomes = compared(runs, methods.LIF, methods.BEST_LIF, methods.PLIF)
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
    runs = Pretended(accuracy=lambda fields: fields["optimizer.learning_rate"])
    those = (methods.LIF, methods.BEST_LIF, methods.PLIF)

    def chosen(tuning_seeds, **more):
        outcomes = compared(runs, *those, seeds=range(3, 5), tuning_seeds=tuning_seeds, **more)
        return {outcome.method.name: sorted(outcome.chosen) for outcome in outcomes}

    rate, decay = comparison.RATE, "neuron.decay"
    assert chosen(1) == {"LIF": [rate], "LIF, best decay": [decay, rate], "PLIF": [rate]}
    assert chosen(1, optimizer__learning_rate=0.3)["LIF, best decay"] == [decay]
    assert chosen(1, neuron__decay=0.9) == {"LIF": [rate], "PLIF": [rate]}
    runs.ran.clear()
    assert chosen(0, optimizer__learning_rate=0.3) == {"LIF": [], "PLIF": []}
    assert {fields["seed"] for fields in runs.ran} == {3, 4}


def test_rows_are_named_by_parts_and_whole_names():
    def asked(rows, skip=""):
        options = Options("smoke", range(1), wanted=cli.parts(rows), unwanted=cli.parts(skip))
        those = [each for each in methods.METHODS if options.ask_for(settings.DIGITS, each)]
        return [method.name for method in those]

    assert asked("") == [method.name for method in methods.METHODS]
    assert asked("LIF$,lif, best decay") == ["LIF", "LIF, best decay"]
    assert asked("LNM, degree 3,PSN$") == ["LNM, degree 3", "PSN"]
    assert asked("small ResNet TET$") == asked("digits small resnet TET$") == ["TET"]
    assert asked("VGGSNN TET$") == []
    assert asked("TET", skip="TET$") == ["LocalZO + TET", "LNM + TET"]
    assert "LNM + TET" in asked("small resnet", skip="LNM, degree 3")


def test_paper_scale_is_table_4_without_tuning():
    those = settings.images("paper", "D") + settings.events("paper", "D")
    assert [(setting.paper_row, setting.experiment) for setting in those] == [
        (("CIFAR-10", "ResNet-19", 2), "cifar10_resnet19"),
        (("CIFAR-10", "ResNet-19", 4), "cifar10_resnet19"),
        (("CIFAR-100", "ResNet-19", 2), "cifar100_resnet19"),
        (("CIFAR-100", "ResNet-19", 4), "cifar100_resnet19"),
        (("ImageNet", "ResNet-34", 4), "imagenet_resnet34"),
        (("CIFAR-10 DVS", "VGGSNN", 10), "cifar10dvs_vggsnn"),
        (("CIFAR-10 DVS", "ResNet-19", 10), "cifar10dvs_resnet19"),
    ]
    for setting in those:
        assert config_of(setting, methods.LNM).timesteps == setting.paper_row[2]
        own = {**setting.fields, **methods.LNM.fields}
        assert set(own) <= {"data.directory", "timesteps", "neuron.kind", "neuron.degree"}
        assert not setting.rates


def test_every_row_of_the_recipe_takes_something_away_from_it(tmp_path):
    (tmp_path / "train").mkdir()
    setting, _ = settings.images("small", str(tmp_path), "fast")
    whole = configuration.flatten(config_of(setting, methods.LIF))
    assert whole["optimizer.name"] == "muon"
    assert whole["model.widths"] == [16, 32, 64]
    for method in methods.INGREDIENTS[1:]:
        first = {field: values[-1] for field, values in method.tries.items()}
        config = config_of(setting, method, first)
        configuration.validate_fields(config)
        fields = configuration.flatten(config)
        changed = {field for field in fields if fields[field] != whole[field]}
        wanted = (method.fields | first).keys() - {"neuron.kind", "neuron.degree"}
        assert changed >= wanted, method.name
        assert changed, method.name


def test_methods_are_compared_on_recordings_images_and_intervals():
    options = Options("small", range(3), 1)
    those = compare.where(options)
    names = [setting.experiment for setting in those]
    assert names == ["digits_dvs", "cifar10_resnet19", "interval"]
    assert [bool(setting.rates) for setting in those] == [False, False, True]
    left = [
        {method.name for method in methods.METHODS if not compare.fits(method, setting)}
        for setting in those
    ]
    blocks = {"IM-Loss", "Surrogate module", "Backpropagation shortcuts, our variant"}
    assert left == [blocks, set(), blocks]
    kept = {method.name: compare.fitted(method, those[2], "small") for method in methods.METHODS}
    ordered = {name for name, method in kept.items() if method.fields.get("neuron.order") == 30}
    assert ordered == {"masked PSN", "sliding PSN"}
    # What has learned parameters in its neurons gets their learning rate, too.
    rate = "optimizer.neuron_learning_rate"
    tuned = {name for name, method in kept.items() if rate in method.tries}
    assert {"PLIF", "GLIF", "TC-LIF", "PSN", "LNM, degree 3", "LNM + IMP"} <= tuned
    assert not tuned & {"LIF", "CLIF", "Ternary spike", "TET", "tdBN", "Dspike", "LocalZO's mean"}
    assert "IMP" not in tuned  # a learned start has the rate of the weights
    assert len(compare.where(options._replace(scale="paper"))) == 2


def test_the_fast_recipe_is_that_of_images_and_recordings(tmp_path):
    (tmp_path / "train").mkdir()
    directory = str(tmp_path)
    for setting in (
        *settings.images("small", directory, "fast"),
        *settings.events("small", directory, "fast"),
        *settings.timesteps("small", directory, "fast"),
    ):
        fields = configuration.flatten(config_of(setting, methods.LNM))
        assert fields["optimizer.name"] == "muon"
        assert fields["neuron.surrogate"] == "triangle"
        assert fields["model.shortcut"] == (
            "membrane" if "resnet" in fields["model.name"] else None
        )
        configuration.validate_fields(config_of(setting, methods.LNM))
        # A command line cannot unset a field.
        given = {name: value for name, value in setting.fields.items() if value is not None}
        trained = config_of(setting._replace(fields=given), methods.LNM)
        assert trained.to_json() == config_of(setting, methods.LNM).to_json()
    with pytest.raises(ConfigError, match="--recipe=fast: of images and recordings"):
        settings.interval("small", None, "fast")
    (images,) = compare.where(Options("small", range(1), directory=directory, recipe="fast"))
    assert comparison.tried(images, methods.LNM, {}) == {"optimizer.learning_rate": images.rates}
    groups = comparison.grouped(images, methods.METHODS, {}, tuning_seeds=0)
    together = [[method.name for method in group] for group in groups if len(group) > 1]
    assert together == [["LIF", "LIF, best decay", "tdBN"], ["LNM, degree 3", "LNM + tdBN"]]


def test_what_to_train_is_decided_without_starting_a_device(tmp_path):
    """The card belongs to the runs, which are other processes: here none exists."""
    program = """
import sys
from reproduction import compare, comparison, runner

class Asked(runner.Runner):
    def _one(self, job):
        self.failed[job] = "not run"

runs = Asked(sys.argv[1], say=lambda line: None)
for setting, those in compare.wanted(comparison.Options("small", range(1))):
    comparison.compare(runs, setting, those, seeds=range(1), tuning_seeds=1, more={})
    print(setting.experiment, len(those))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "JAX_PLATFORMS": "none_of_this_name"},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    every = len(methods.METHODS)
    assert result.stdout.split()[1::2] == [str(every - 3), str(every), str(every - 3)]


# --- The command line -----------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "tuned"), [("smoke", 1), ("small", 1), ("paper", 0)])
def test_options_reach_the_command(scale, tuned, tmp_path, monkeypatch):
    seen = []

    def command(runs, options):
        """Pretended."""
        seen.append(options)
        return Made("Title", [{"a": 1}])

    monkeypatch.setitem(tables.COMMANDS, "table1", command)
    line = ["table1", f"--scale={scale}", f"--directory={tmp_path}", "--first-seed=5", "--seeds=2"]
    assert cli.main([*line, "--data-dir=~/d"]) == 0
    assert (list(seen[0].seeds), seen[0].tuning_seeds) == ([5, 6], tuned)
    assert seen[0].directory == os.path.expanduser("~/d")
    assert cli.main([*line, "--data-dir=gs://bucket/d", "--tuning-seeds=3"]) == 0
    assert (seen[1].directory, seen[1].tuning_seeds) == ("gs://bucket/d", 3)


def test_a_field_that_makes_a_row_of_the_last_table_ends_compare_at_once(tmp_path):
    """PSNs have an order of their own between two pulses, which is compared last."""
    runs = Asked(tmp_path)
    options = Options("small", range(1), 0, None, ("masked PSN$",), {"neuron.order": 3})
    with pytest.raises(ConfigError, match=r"--set neuron\.order: it is what makes the row 'masked"):
        tables.COMMANDS["compare"](runs, options)
    assert not runs.asked


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("table1 --scale=small", "--data-dir must say where CIFAR-10 is; --skip leaves out rows"),
        ("table1 --scale=small --data-dir=/none", "--data-dir=/none: no such directory; make it"),
        ("table2 --scale=paper --data-dir=/", "--data-dir=/: must have CIFAR10DVS of CIFAR-10 DVS"),
        ("table1 --rows=nothing", "--rows nothing: no such data, network or method"),
        ("table1 --rows=LIF$,LNN", "--rows LNN: no such data, network or method"),
        ("table1 --skip=digits", "--skip digits: no such data, network or method is left"),
        ("overhead --rows=PLIF", "--rows PLIF: no such data, network or method is left"),
        ("table1 --set=seed=7", "--set seed: use --first-seed and --seeds"),
        ("table1 --set=data.directory=/data", "--set data.directory: use --data-dir"),
        ("table1 --set=neuron.decay=2.0", "config.neuron.decay must be between 0 and 1, got 2.0"),
        # It trains nothing, and so has no run that would be refused.
        ("overhead --set=neuron.decay=2.0", "config.neuron.decay must be between 0 and 1, got 2.0"),
        ("interval --scale=paper", "--scale=paper: the paper does not have this task, use small"),
        (
            "interval --recipe=fast",
            "--recipe=fast: of images and recordings; this task has its own",
        ),
        ("transfer --rows=LIF$", "transfer needs the row 'LNM, degree 3', see --rows and --skip"),
        ("table1 --first-seed=999 --seeds=2", "seeds 999 to 1000: values are chosen on those from"),
        ("table1 --tuning-seeds=-1", "--tuning-seeds must be at least 0"),
        ("table1 --set=epochs", "--set epochs: must be FIELD=VALUE"),
        ("table1 --set=neuron.kin=lif", "config.neuron.kin: no such field"),
        ("table1 --seeds=0", "--seeds must be at least 1"),
    ],
)
def test_bad_arguments_are_one_line(command, message, tmp_path, capsys):
    assert cli.main([*command.split(), f"--directory={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


# --- Runs -----------------------------------------------------------------------------------


def test_a_job_is_the_command_that_a_user_would_type():
    job = runner.job("digits", {"epochs": 3, "data.directory": None}, {"epochs": 5})
    line = job.command("runs")
    assert line[1:5] == ["-m", "lnm_jax", "--config=digits", "--config.epochs=5"]
    assert not any("data.directory" in part for part in line)
    config = job.config("runs")
    assert (config.epochs, config.directory) == (5, "runs")
    assert json.dumps(config.to_dict())


def python(monkeypatch, program):
    """Jobs become this program, with the run's directory as its argument."""

    def command(job, directory):
        return [sys.executable, "-S", "-c", program, configuration.path_of(job.config(directory))]

    monkeypatch.setattr(runner.Job, "command", command)


FINISHES = """
import json, os, sys
os.makedirs(sys.argv[1])
facts = {"accuracy_last": 60.0, "accuracy_best": 61.0, "epochs": 20, "seconds": 1.0}
with open(sys.argv[1] + "/summary.json", "w") as file:
    json.dump(facts, file)
"""


def test_runs_that_are_complete_are_not_repeated(tmp_path, monkeypatch, capsys):
    python(monkeypatch, FINISHES)
    command = ["table1", f"--directory={tmp_path}", "--seeds=2", "--tuning-seeds=0", "--jobs=2"]
    assert cli.main([*command, "--rows=LIF$,PLIF$"]) == 0
    assert "0 of 4 runs are there, 4 to go" in capsys.readouterr().err
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("summary.json")}
    assert len(stamps) == 4
    assert not list(tmp_path.glob("*.log"))
    assert cli.main([*command, "--rows=LIF$,PLIF$"]) == 0
    assert "to go" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("summary.json")} == stamps
    row = rows_of(tmp_path / "table1-smoke.csv")[0]
    assert (row["accuracy, %"], row["best epoch, %"]) == ("60.00 ± 0.00", "61.00 ± 0.00")
    assert (row["epochs"], row["T"], row["device"]) == ("20", "4", "unknown")


def test_a_run_that_fails_is_reported_with_its_last_line(tmp_path, monkeypatch, capsys):
    python(monkeypatch, "import sys; print('x'); sys.exit('train.py: no images in none')")
    command = ["table1", f"--directory={tmp_path}", "--seeds=1", "--tuning-seeds=0", "--rows=LIF$"]
    assert cli.main(command) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("reproduce.py: no run ended: exit 1: train.py: no images in none (")
    [log] = tmp_path.glob("*.log")
    assert str(log) in error


def test_fields_that_say_what_the_experiment_says_make_one_run(tmp_path):
    runs = Asked(tmp_path)
    both = [runner.job("digits", {"neuron.decay": 0.25}), runner.job("digits", {})]
    assert runs.run(both) == {}
    assert len(runs.asked) == 1
    assert set(runs.failed) == set(both)


def test_a_value_that_a_run_cannot_have_is_known_before_it_and_is_no_other_runs_matter(tmp_path):
    good, bad = (runner.job("digits", {"neuron.decay": decay}) for decay in (0.5, 2.0))
    runs = Asked(tmp_path)
    assert runs.run([bad, good]) == {}
    assert runs.asked == [good]
    assert runs.refused == {bad}
    assert runs.failed[bad] == "config.neuron.decay must be between 0 and 1, got 2.0"


def test_stopping_saves_what_runs_and_the_same_command_goes_on(tmp_path):
    """By real processes, the only ones here."""
    command = [
        sys.executable, "reproduce.py", "table1", f"--directory={tmp_path}", *DIGITS,
        "--epochs=3000", "--rows=LIF$",
    ]  # fmt: skip

    def epochs():
        text = "".join(path.read_text() for path in tmp_path.rglob("metrics.jsonl"))
        complete = [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]
        return [record["epoch"] for record in complete if record["split"] == "test"]

    last = 0
    for _ in range(2):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 120
            while max(epochs(), default=0) <= last and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 75
        assert epochs() == list(range(1, len(epochs()) + 1))
        assert len(epochs()) > last
        last = len(epochs())
    [directory] = (path.parent for path in tmp_path.rglob("metrics.jsonl"))
    assert any((directory / "checkpoints").iterdir())
    assert not (directory / "summary.json").exists()
    assert not pathlib.Path(f"{directory}.log").read_text().count("Traceback")


def test_jobs_share_cores_and_cards(monkeypatch):
    for visible, cards, jobs, wanted in (
        (None, 2, 3, ["0", "1", "0"]),
        (None, 2, 1, [None]),
        (None, 0, 2, [None, None]),
        ("2,5", 2, 2, ["2", "5"]),  # the others are somebody else's
        ("", 2, 2, [None, None]),  # none is to be used
    ):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(runner, "graphics_cards", lambda cards=cards: cards)
        given = [runner.devices_of(slot, jobs) for slot in range(jobs)]
        assert [one.get("CUDA_VISIBLE_DEVICES") for one in given] == wanted


def test_a_paired_difference_is_that_of_scipy_and_says_what_is_clear():
    from scipy import stats

    ours, theirs = [90.0, 91.5, 92.0, 93.0], [89.0, 90.0, 92.5, 91.0]
    difference = statistics.paired(ours, theirs)
    assert difference.mean == pytest.approx(1.0)
    assert difference.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert difference.error == pytest.approx(np.std([1, 1.5, -0.5, 2], ddof=1) / 2)
    assert str(difference) == "+1.00 ± 0.54, p 0.16 (larger than its error)"
    assert str(statistics.paired([1.0, 2.0], [2.0, 1.0])).endswith("(within its error)")
    alone = statistics.paired([1.0], [2.0])
    assert math.isnan(alone.error)
    assert str(alone) == "-1.00"
    with pytest.raises(ValueError, match="2 and 1 seeds cannot be paired"):
        statistics.paired([1.0, 2.0], [1.0])
