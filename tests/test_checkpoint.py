"""Checkpoints: what is kept, and what damage, full disks and kills do to them."""

import json
import logging
import os
import pickle
import resource
import shutil
import threading
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from checkpoints import FAULTS, equal, files_of, fill, make_state, outcome

from lnm_jax.errors import ConfigError
from lnm_jax.training.checkpoint import EARLIER, METADATA, Checkpoints


@pytest.fixture
def pair(tmp_path):
    fill(tmp_path / "checkpoints", 1, 2)
    return tmp_path / "checkpoints"


def largest(checkpoint):
    """The file that holds the arrays, or the tree that holds small ones."""
    return max((checkpoint / "default" / "d").iterdir(), key=lambda file: file.stat().st_size)


def test_every_kind_of_leaf_comes_back_bit_for_bit(pair):
    with Checkpoints(str(pair), keep=2) as checkpoints:
        for step in (1, 2):
            assert equal(checkpoints.restore(make_state(0), step), make_state(step))
        shapes = jax.eval_shape(lambda: make_state(0))
        assert equal(checkpoints.restore(shapes), make_state(2))
        assert not checkpoints.damaged


def test_orbax_alone_reads_the_tree(pair):
    tree = ocp.PyTreeCheckpointer().restore((pair / "2" / "default").absolute())
    np.testing.assert_array_equal(
        tree["params"]["conv"]["kernel"], make_state(2).params["conv"]["kernel"]
    )


def test_the_latest_and_the_best_are_kept(tmp_path):
    with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:
        assert checkpoints.latest is checkpoints.best is None
        for step, accuracy in enumerate((50.0, 90.0, None, 70.0), 1):
            checkpoints.save(make_state(step), accuracy=accuracy)
    with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:  # also after a restart
        for step in (5, 6):
            checkpoints.save(make_state(step))
        assert (checkpoints.latest, checkpoints.best) == (6, 2)
    assert sorted(os.listdir(tmp_path / "c")) == ["2", "5", "6"]


def test_of_equally_accurate_checkpoints_the_first_is_the_best_and_kept(tmp_path):
    with Checkpoints(str(tmp_path / "c"), keep=1) as checkpoints:
        for step, accuracy in enumerate((50.0, 70.0, 70.0, 60.0), 1):
            checkpoints.save(make_state(step), accuracy=accuracy)
        assert checkpoints.best == 2
    assert sorted(os.listdir(tmp_path / "c")) == ["2", "4"]


def test_donated_memory_does_not_reach_the_file(tmp_path, monkeypatch):
    state = make_state(1, width=1000)
    wanted = jax.tree.map(np.array, state)
    release, write = threading.Event(), Checkpoints._write

    def late(*arguments):
        assert release.wait(60)
        write(*arguments)

    monkeypatch.setattr(Checkpoints, "_write", late)
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:
        checkpoints.save(state)
        after = jax.block_until_ready(step(state))
        # While anyone holds a view of it, jax copies a donated array instead of reusing it.
        assert state.params["conv"]["kernel"].is_deleted()
        jax.block_until_ready(step(after))
        release.set()
        assert equal(checkpoints.restore(wanted), wanted)


def test_a_checkpoint_of_another_model_names_the_leaves(pair):
    target = make_state(0, width=8)
    target.params["more"] = jnp.zeros(2)
    target.params["half"] = jnp.zeros(5)
    with Checkpoints(str(pair), keep=2) as checkpoints:
        with pytest.raises(ConfigError, match="3 leaves differ") as error:
            checkpoints.restore(target)
        for piece in (
            f"{pair / '2'}: ",
            "params/conv/kernel is float32[3, 4], not float32[3, 8]",
            "params/half is bfloat16[5], not float32[5]",
            "params/more is missing",
        ):
            assert piece in str(error.value)
        assert not checkpoints.damaged
        assert checkpoints.latest == 2


def test_opening_and_restoring_change_nothing_on_disk(pair):
    (pair / "3.orbax-checkpoint-tmp").mkdir()  # of a run that writes right now
    before = {path: path.stat().st_mtime_ns for path in pair.rglob("*")}
    with Checkpoints(str(pair), keep=1) as checkpoints:
        checkpoints.restore(make_state(0))
        assert checkpoints.latest == 2
    assert {path: path.stat().st_mtime_ns for path in pair.rglob("*")} == before


def test_what_a_killed_write_left_is_removed_by_the_next(pair):
    left = pair / "3.orbax-checkpoint-tmp" / "default.orbax-checkpoint-tmp"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    fill(pair, 3)
    assert sorted(os.listdir(pair)) == ["2", "3"]


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path):
    state, directory = make_state(7), tmp_path / "7"
    (directory / "state").mkdir(parents=True)
    fill(tmp_path / "now", 7)
    record = json.loads((tmp_path / "now" / "7" / METADATA).read_text())["custom_metadata"]
    (directory / EARLIER[1]).write_text(json.dumps(record))
    with Checkpoints(str(tmp_path / "now"), keep=1) as checkpoints:
        checkpoints.restore(state)
    flat = {
        "params/conv/kernel": state.params["conv"]["kernel"],
        "params/half": np.asarray(state.params["half"]).view(np.uint16),
        "params/spike/neuron/theta": state.params["spike"]["neuron"]["theta"],
        "opt_state/1/count": state.opt_state[1]["count"],
        "window/loss": state.window["loss"],
        **{name: getattr(state, name) for name in ("step", "skipped", "skipped_in_row")},
    }
    np.savez(directory / EARLIER[0], **flat)
    shutil.rmtree(tmp_path / "now")
    with Checkpoints(str(tmp_path), keep=1) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (7, 7)
        assert equal(checkpoints.restore(state), state)
    np.savez(directory / EARLIER[0], **(flat | {"step": np.int32(8)}))
    with (
        Checkpoints(str(tmp_path), keep=1) as checkpoints,
        pytest.raises(ConfigError, match=r"7: damaged: .*step .*its CRC32 differs"),
    ):
        checkpoints.restore(state)


# --- Damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_any_file_is_harmless_or_makes_the_older_one_be_taken(fault, pair, tmp_path):
    counts = {"harmless": 0, "fell back": 0, "lost": 0}
    for file in files_of(pair / "2"):
        for content in FAULTS[fault]((pair / "2" / file).read_bytes(), 1):
            trial = tmp_path / "trial"
            shutil.copytree(pair, trial)
            (trial / "2" / file).unlink()
            if content is not None:
                (trial / "2" / file).write_bytes(content)
            counts[outcome(trial, make_state(1), make_state(2))] += 1
            shutil.rmtree(trial)
    assert counts["lost"] == 0
    # The record, orbax's tree of arrays, its index and its content are all checked.
    assert counts["fell back"] >= 3


DIRECTORIES = {
    "empty": lambda step: [shutil.rmtree(step), step.mkdir()],
    "without arrays": lambda step: shutil.rmtree(step / "default"),
    "half a copy": lambda step: (step / METADATA).unlink(),
}


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_half_written_directory_is_named_and_written_again(kind, pair, caplog):
    DIRECTORIES[kind](pair / "2")
    with Checkpoints(str(pair), keep=2) as checkpoints:
        assert equal(checkpoints.restore(make_state(0)), make_state(1))
        (line,) = checkpoints.damaged
        assert line.startswith(f"{pair / '2'}: damaged: ")
        assert "\n" not in line
        assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [line]
        assert (checkpoints.latest, checkpoints.best) == (1, 1)
        checkpoints.save(make_state(2), accuracy=2.0)
        assert (checkpoints.latest, checkpoints.best) == (2, 2)
        assert equal(checkpoints.restore(make_state(0)), make_state(2))


def test_the_arrays_of_another_step_are_noticed(pair):
    shutil.rmtree(pair / "2" / "default")
    shutil.copytree(pair / "1" / "default", pair / "2" / "default")  # sound in itself
    with Checkpoints(str(pair), keep=2) as checkpoints:
        assert equal(checkpoints.restore(make_state(0)), make_state(1))
        assert "(its CRC32 differs)" in checkpoints.damaged[0]


def test_every_byte_of_the_record_counts(pair):
    """A best checkpoint by a damaged accuracy would be taken without a word."""
    text = (pair / "2" / METADATA).read_text()
    (pair / "2" / METADATA).write_text(text.replace('"accuracy": 2.0', '"accuracy": 9.0'))
    with Checkpoints(str(pair), keep=2) as checkpoints:
        assert checkpoints.best == 1
        checkpoints.restore(make_state(0))
        assert "_CHECKPOINT_METADATA is not what was written (its CRC32" in checkpoints.damaged[0]


def test_a_damaged_checkpoint_does_not_crowd_out_a_sound_one(tmp_path):
    fill(tmp_path / "c", 1, 2, 4)
    largest(tmp_path / "c" / "4").write_bytes(b"")
    with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:
        checkpoints.restore(make_state(0))
        checkpoints.save(make_state(3), accuracy=3.0)
    assert sorted(os.listdir(tmp_path / "c")) == ["2", "3"]


def test_when_none_is_left_one_line_says_so(pair):
    for step in "12":
        largest(pair / step).write_bytes(b"")
    with Checkpoints(str(pair), keep=2) as checkpoints:
        with pytest.raises(
            ConfigError, match=r"2: damaged: .*no undamaged checkpoint is left"
        ) as e:
            checkpoints.restore(make_state(0))
        assert "\n" not in str(e.value)
        assert len(checkpoints.damaged) == 2
        assert checkpoints.latest is None
        with pytest.raises(ConfigError, match="no checkpoint of step 7"):
            checkpoints.restore(make_state(0), 7)


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_a_planted_pickle_is_never_run(pair, tmp_path):
    marker = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(str(marker)))
    objects = np.empty(1, object)
    objects[0] = Bomb(str(marker))
    np.save(tmp_path / "objects.npy", objects)
    whole = tmp_path / "whole"
    shutil.copytree(pair, whole)
    for planted in (bomb, (tmp_path / "objects.npy").read_bytes()):
        for file in files_of(pair / "2"):
            (pair / "2" / file).write_bytes(planted)
            with Checkpoints(str(pair), keep=2) as checkpoints:
                restored = checkpoints.restore(make_state(0))
                assert equal(restored, make_state(1 if checkpoints.damaged else 2))
            shutil.copy(whole / "2" / file, pair / "2" / file)
    assert not marker.exists()
    pickle.loads(bomb)  # it would have shown
    assert marker.exists()


# --- Disks ----------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_at_the_next_save_and_at_the_end(pair, caplog, capfd):
    big = make_state(3, width=100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # writes fail, as when full
    try:
        checkpoints = Checkpoints(str(pair), keep=2)
        checkpoints.save(big)
        with pytest.raises(ConfigError) as at_save:
            checkpoints.save(big)
        assert checkpoints.latest == 2
        checkpoints.save(big)
        with pytest.raises(ConfigError) as at_end:
            checkpoints.__exit__(None, None, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]  # one line is enough
    assert capfd.readouterr() == ("", "")
    line = f"{pair / '3'}: checkpoint could not be written (File too large); earlier ones are"
    for error in (at_save, at_end):
        assert str(error.value).startswith(line)
        assert "\n" not in str(error.value)
    assert sorted(os.listdir(pair)) == ["1", "2"]
    with Checkpoints(str(pair), keep=2) as again:
        assert equal(again.restore(make_state(0)), make_state(2))
        again.save(big)
        assert again.latest == 3


def test_a_write_goes_on_after_one_that_failed(pair):
    run, moved = pair.parent, pair.parent.with_name("moved")
    with Checkpoints(str(pair), keep=2) as checkpoints:
        checkpoints.save(make_state(3))
        assert checkpoints.latest == 3
        run.rename(moved)
        checkpoints.save(make_state(4))
        with pytest.raises(ConfigError, match=r"4: .* \(No such file or directory\); earlier"):
            checkpoints.save(make_state(4))
        assert not run.exists()  # the run's directory is gone, and stays so
        moved.rename(run)
        checkpoints.save(make_state(5))
        assert checkpoints.latest == 5
        assert equal(checkpoints.restore(make_state(0)), make_state(5))


def interrupted(checkpoints):
    with checkpoints:
        checkpoints.save(make_state(1))
        raise KeyboardInterrupt


def test_the_first_error_is_not_replaced_by_one_of_writing(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        interrupted(Checkpoints(str(tmp_path / "no" / "c"), keep=2))
    assert "could not be written" in caplog.text
    assert not os.listdir(tmp_path)


def test_the_record_is_json_with_a_checksum_for_every_leaf(pair):
    record = json.loads((pair / "2" / METADATA).read_text())["custom_metadata"]
    assert record["leaves"]["params/half"]["dtype"] == "bfloat16"
    assert record["leaves"]["params/conv/kernel"]["shape"] == [3, 4]
    kernel = np.asarray(make_state(2).params["conv"]["kernel"])
    assert record["leaves"]["params/conv/kernel"]["crc32"] == zlib.crc32(kernel.tobytes())
    assert record["accuracy"] == 2.0
