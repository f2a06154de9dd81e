"""What damage and foreign files do to checkpoints."""

import logging
import os
import pickle
import shutil

import numpy as np
import pytest
from checkpoints import assert_equal, fill, make_pair, make_state

from benchmarks import damage
from lnm_jax.errors import ConfigError
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.checkpoint_format import ARRAYS, RECORD


@pytest.fixture
def pair(tmp_path):
    return make_pair(tmp_path / "checkpoints")


@pytest.mark.parametrize("fault", damage.FAULTS)
def test_no_fault_of_a_file_is_restored_as_if_it_were_sound(fault, monkeypatch):
    monkeypatch.setattr(damage, "FAULTS", {fault: damage.FAULTS[fault]})
    (row,) = damage.run(short=True)
    assert row["lost"] == 0
    assert row["tries"] >= row["files"] >= 4
    assert row["fell back"] >= 2  # the arrays and their record: both are checked
    assert row["fell back"] + row["harmless"] == row["tries"]


DIRECTORIES = {
    "empty": lambda step: [shutil.rmtree(step), step.mkdir()],
    "a file": lambda step: [shutil.rmtree(step), step.write_text("x")],
    "without state": lambda step: shutil.rmtree(step / "state"),
    "half a copy": lambda step: (step / RECORD).unlink(),
}


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_half_written_directory_is_named_and_written_again(kind, pair, caplog):
    DIRECTORIES[kind](pair / "2")
    with Checkpoints(str(pair), keep=2) as checkpoints:
        assert_equal(checkpoints.restore(make_state(0)), make_state(1))
        (line,) = checkpoints.damaged
        assert line.startswith(f"{pair / '2'}: damaged: ")
        assert "\n" not in line
        assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [line]
        assert (checkpoints.latest, checkpoints.best) == (1, 1)
        checkpoints.save(make_state(2), accuracy=2.0)
        assert (checkpoints.latest, checkpoints.best) == (2, 2)
        assert_equal(checkpoints.restore(make_state(0)), make_state(2))


def test_the_arrays_of_another_step_are_noticed(pair):
    shutil.copy(pair / "1" / ARRAYS, pair / "2" / ARRAYS)  # sound in itself
    with Checkpoints(str(pair), keep=2) as checkpoints:
        assert_equal(checkpoints.restore(make_state(0)), make_state(1))
        assert "(its CRC32 differs)" in checkpoints.damaged[0]


def test_a_damaged_checkpoint_does_not_crowd_out_a_sound_one(tmp_path):
    fill(tmp_path / "c", 1, 2, 4)
    (tmp_path / "c" / "4" / ARRAYS).write_bytes(b"")
    with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:
        checkpoints.restore(make_state(0))
        checkpoints.save(make_state(3), accuracy=3.0)
    assert sorted(os.listdir(tmp_path / "c")) == ["2", "3"]


def test_when_none_is_left_one_line_says_so(pair):
    for step in "12":
        (pair / step / ARRAYS).write_bytes(b"")
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
    files = [path.relative_to(pair) for path in (pair / "2").rglob("*") if path.is_file()]
    for planted in (bomb, (tmp_path / "objects.npy").read_bytes()):
        for file in files:
            (pair / file).write_bytes(planted)
            with Checkpoints(str(pair), keep=2) as checkpoints:
                restored = checkpoints.restore(make_state(0))
                assert_equal(restored, make_state(1 if checkpoints.damaged else 2))
            shutil.copy(whole / file, pair / file)
    assert not marker.exists()
    pickle.loads(bomb)  # it would have shown
    assert marker.exists()


def test_pickled_objects_among_the_arrays_are_refused(pair, tmp_path):
    """In an archive that is sound otherwise, with the record that fits it."""
    marker = tmp_path / "executed"
    with np.load(pair / "2" / ARRAYS) as archive:
        arrays = dict(archive)
    arrays["params/half"] = np.array([Bomb(str(marker))] * 5, object)
    np.savez(pair / "2" / ARRAYS, **arrays)
    with Checkpoints(str(pair), keep=2) as checkpoints:
        assert_equal(checkpoints.restore(make_state(0)), make_state(1))
        assert "Object arrays cannot be loaded" in checkpoints.damaged[0]
    assert not marker.exists()


def test_a_small_file_cannot_claim_a_large_memory(pair):
    with np.load(pair / "2" / ARRAYS) as archive:
        np.savez_compressed(pair / "2" / ARRAYS, **archive)
    with Checkpoints(str(pair), keep=2) as checkpoints:
        assert_equal(checkpoints.restore(make_state(0)), make_state(1))
        assert "it is compressed" in checkpoints.damaged[0]
