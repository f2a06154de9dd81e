"""What a terminal, or a log, shows while something trains."""

import io
import shutil
import sys
from types import SimpleNamespace

import pytest

from lnm_jax.training import configuration, experiment
from lnm_jax.training.loop import Trainer
from reproduction import runner, settings, tables
from reproduction.comparison import Options


class Terminal(io.StringIO):
    """What stderr is when somebody looks."""

    def isatty(self):
        return True


@pytest.fixture
def trainer(config):
    """Of 1437 images in steps of 480, for two epochs of three steps; it has a place to save."""
    config.progress = True
    return Trainer(experiment.build(config), "", checkpoints=True, interrupts=None)


def test_the_bar_says_what_is_going_on_and_begins_where_the_run_goes_on(trainer, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    trainer._shown |= {"loss": "0.500", "train": "80.0%", "test": "75.00%"}
    with trainer._bar(2, 6) as bar:
        assert sys.stderr.getvalue().startswith("\rcompiling:  33%")
        for step in (3, 4):
            trainer._show(bar, step)
            bar.refresh()
        shown = sys.stderr.getvalue()
    assert "epoch 1 of 2:  50%" in shown
    assert "epoch 2 of 2:  67%" in shown
    assert "loss=0.500, train=80.0%, test=75.00%" in shown


@pytest.mark.parametrize("why", ["no terminal", "config.progress", "nothing to do"])
def test_there_is_no_bar(why, trainer, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO() if why == "no terminal" else Terminal())
    trainer.config.progress = why != "config.progress"
    first = 6 if why == "nothing to do" else 0
    with trainer._bar(first, 6) as bar:
        trainer._show(bar, 1)
    assert not sys.stderr.getvalue()


FINISHES = """
import json, os, sys
os.makedirs(sys.argv[1])
facts = {"accuracy_last": 60.0, "accuracy_best": 61.0, "epochs": 20, "seconds": 1.0}
with open(sys.argv[1] + "/summary.json", "w") as file:
    json.dump(facts, file)
"""


def test_every_run_is_announced_with_its_number_and_what_is_left(tmp_path, monkeypatch):
    def command(job, directory):
        path = configuration.path_of(job.config(directory))
        return [sys.executable, "-S", "-c", FINISHES, path]

    clock = SimpleNamespace(monotonic=iter(range(0, 6000, 60)).__next__)  # a minute each
    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setattr(runner.Job, "command", command)
    monkeypatch.setattr(settings, "DIGITS", settings.DIGITS._replace(rates=(0.05, 0.1)))

    def said():
        lines, options = [], Options("smoke", range(2), 1, wanted=("LIF$",))
        tables.COMMANDS["table1"](runner.Runner(str(tmp_path), say=lines.append), options)
        return [line for line in lines if line.startswith("run ")]

    where = "digits, small ResNet, LIF, learning_rate"
    assert said() == [
        f"run 1 of 4 (tuning): {where} 0.05, seed 1000",
        f"run 2 of 4 (tuning): {where} 0.1, seed 1000; about 3 min left",
        f"run 3 of 4 (reported): {where} 0.05, seed 0; about 2 min left",
        f"run 4 of 4 (reported): {where} 0.05, seed 1; about 60 s left",
    ]
    [path] = tmp_path.glob("digits-lif-1-*")
    shutil.rmtree(path)
    assert said() == [f"run 4 of 4 (reported): {where} 0.05, seed 1"]  # the others are there


def test_a_duration_has_about_two_digits():
    assert [runner.duration(s) for s in (12.3, 840, 11520)] == ["12 s", "14 min", "3.2 h"]
