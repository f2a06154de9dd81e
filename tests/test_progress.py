"""What a terminal, or a log, shows while something trains."""

import io
import sys

import pytest

from lnm_jax.training import experiment
from lnm_jax.training.loop import Trainer


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
