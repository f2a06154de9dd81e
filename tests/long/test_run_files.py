"""The campaign of kills sees what it is there to see: differences, and phases, by files alone."""

import json
import shutil

import numpy as np
import orbax.checkpoint as ocp
import pytest
import run_files

ENDS = [30, 60]


def save(directory, step, kernel):
    path = directory.absolute() / "checkpoints" / str(step) / "default"
    ocp.PyTreeCheckpointer().save(path, {"params": {"kernel": kernel}, "step": np.array(step)})


@pytest.fixture
def runs(tmp_path):
    """Directories of two runs that ended alike."""
    quiet = tmp_path / "quiet"
    save(quiet, 60, np.float32([1, 2, 3]))
    for name in ("config.json", "metrics.jsonl", "dynamics.png", "summary.json"):
        (quiet / name).write_text(f"{name}\n")
    shutil.copytree(quiet, tmp_path / "run")
    return tmp_path / "run", quiet


def test_runs_that_ended_alike_have_no_differences(runs):
    (runs[0] / "events.out.tfevents.1").touch()  # a file for each start
    assert run_files.differences(*runs) == ([], [])


def another_bit(run):
    shutil.rmtree(run / "checkpoints" / "60")
    save(run, 60, np.nextafter(np.float32([1, 2, 3]), np.float32([9, 2, 3])))


def a_line_twice(run):
    (run / "metrics.jsonl").write_text("metrics.jsonl\n" * 2)


def a_hole(run):
    (run / "checkpoints" / "60" / "default" / "manifest.ocdbt").write_bytes(b"")


# What is done to a run, what it then lost, and what it then left lying about.
DAMAGE = {
    "another bit": (another_bit, ["checkpoint 60: params/kernel differs"], []),
    "a line twice": (a_line_twice, ["metrics.jsonl differs"], []),
    "a hole": (a_hole, ["checkpoint 60 can't be read"], []),
    "no summary": (lambda run: (run / "summary.json").unlink(), ["summary.json is missing"], []),
    "no checkpoint": (
        lambda run: shutil.rmtree(run / "checkpoints" / "60"),
        ["checkpoint 60 is missing"],
        [],
    ),
    "half a checkpoint": (
        lambda run: (run / "checkpoints" / "30.tmp").mkdir(),
        [],
        ["checkpoints/30.tmp"],
    ),
    "half a file": (lambda run: (run / "config.json.tmp").touch(), [], ["config.json.tmp"]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_difference_is_named(name, runs):
    damage, *wanted = DAMAGE[name]
    damage(runs[0])
    for found, starts in zip(run_files.differences(*runs), wanted, strict=True):
        assert len(found) == len(starts)
        assert all(map(str.startswith, found, starts))


def test_the_files_of_a_run_show_its_phase(tmp_path):
    run = tmp_path / "run"
    watch = run_files.Watch(run)
    start = watch.look()

    def phases(aim=0):
        now = watch.look()
        names = ("creation", "import", "compilation", "step", "evaluation", "write", "rename")
        names += ("deletion", "end")
        return {name for name in names if run_files.inside(name, now, start, ENDS, aim)}

    def line(step, split):
        with open(run / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": step, "split": split}) + "\n")

    assert phases() == {"import"}
    run.mkdir()
    (run / "config.json.tmp").touch()
    assert phases() == {"import", "creation"}
    (run / "config.json.tmp").rename(run / "config.json")
    (run / "metrics.jsonl").touch()
    assert phases() == {"compilation"}
    line(2, "train")
    assert phases() == {"step"}
    line(30, "train")
    assert phases() == {"evaluation"}
    assert phases(aim=60) == set()  # an epoch too early
    line(30, "test")
    writing = run / "checkpoints" / "30.orbax-checkpoint-tmp"
    (writing / "state").mkdir(parents=True)
    assert phases() == {"write"}
    writing.rename(run / "checkpoints" / "30")
    assert phases() == {"rename"}
    line(60, "train")
    line(60, "test")
    (run / "checkpoints" / "60").mkdir()
    assert phases(aim=60) == {"rename", "end"}
    (run / "checkpoints" / "30" / "state").rmdir()
    assert phases(aim=60) == {"rename", "deletion", "end"}
    watch = run_files.Watch(run)
    start = watch.look()  # the next process finds all that
    assert phases() == {"import"}


def test_lines_that_a_process_found_are_not_its_own(tmp_path):
    (tmp_path / "checkpoints" / "30").mkdir(parents=True)
    lines = [json.dumps({"step": step, "split": "train"}) + "\n" for step in (30, 32, 34)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    watch = run_files.Watch(tmp_path)
    start = watch.look()
    assert not run_files.recorded(start, start)
    (tmp_path / "metrics.jsonl").write_text(lines[0])  # it goes back to its checkpoint
    assert not run_files.recorded(watch.look(), start)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:5])
    assert run_files.recorded(watch.look(), start)
    assert watch.look().last == (32, "train")
