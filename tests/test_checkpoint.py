"""Checkpoints: what is kept, and what full disks and kills do to them."""

import json
import logging
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import assert_equal, make_pair, make_state

from lnm_jax.errors import ConfigError
from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.checkpoint_format import ARRAYS, RECORD


@pytest.fixture
def pair(tmp_path):
    return make_pair(tmp_path / "checkpoints")


def test_every_kind_of_leaf_comes_back_bit_for_bit(pair):
    with Checkpoints(str(pair), keep=2) as checkpoints:
        for step in (1, 2):
            assert_equal(checkpoints.restore(make_state(0), step), make_state(step))
        shapes = jax.eval_shape(lambda: make_state(0))
        assert_equal(checkpoints.restore(shapes), make_state(2))
        assert not checkpoints.damaged


def test_the_latest_and_the_best_are_kept(tmp_path):
    with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:
        assert checkpoints.latest is checkpoints.best is None
        for step, accuracy in enumerate((50.0, 90.0, None, 70.0, None, None), 1):
            checkpoints.save(make_state(step), accuracy=accuracy)
        assert (checkpoints.latest, checkpoints.best) == (6, 2)
    assert sorted(os.listdir(tmp_path / "c")) == ["2", "5", "6"]


def test_room_that_was_prepared_is_what_is_written_from(tmp_path):
    with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:
        checkpoints.prepare(jax.eval_shape(lambda: make_state(0)))
        checkpoints.save(make_state(1))
        prepared = {name: id(buffer) for name, buffer in checkpoints._buffers.items()}
        checkpoints.save(make_state(2))
        assert {name: id(buffer) for name, buffer in checkpoints._buffers.items()} == prepared
        for step in (1, 2):
            assert_equal(checkpoints.restore(make_state(0), step), make_state(step))


def test_a_step_that_exists_only_gets_its_accuracy(pair):
    with Checkpoints(str(pair), keep=2) as checkpoints:
        checkpoints.save(make_state(3))
        assert checkpoints.best == 2
        written = (pair / "3" / ARRAYS).stat().st_mtime_ns
        checkpoints.save(make_state(3), accuracy=99.0)
        checkpoints.save(make_state(3))
        assert (checkpoints.latest, checkpoints.best) == (3, 3)
        assert (pair / "3" / ARRAYS).stat().st_mtime_ns == written
        assert_equal(checkpoints.restore(make_state(0)), make_state(3))


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
        assert_equal(checkpoints.restore(wanted), wanted)


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


def test_a_full_disk_is_an_error_at_the_next_save_and_at_the_end(pair, caplog):
    big = make_state(3, width=100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # writes fail, as when full
    try:
        checkpoints = Checkpoints(str(pair), keep=2)
        checkpoints.save(big)
        assert checkpoints.latest == 2  # it waits
        with pytest.raises(ConfigError) as at_save:
            checkpoints.save(big)
        checkpoints.save(big)
        with pytest.raises(ConfigError) as at_end:
            checkpoints.__exit__(None, None, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]  # one line is enough
    for error in (at_save, at_end):
        assert str(error.value).startswith(f"{pair / '3'}: checkpoint could not be written (")
        assert "\n" not in str(error.value)
    assert sorted(os.listdir(pair)) == ["1", "2"]
    with Checkpoints(str(pair), keep=2) as again:
        assert_equal(again.restore(make_state(0)), make_state(2))
        again.save(big)
        assert again.latest == 3


def test_a_write_goes_on_after_one_that_failed(pair):
    with Checkpoints(str(pair), keep=2) as checkpoints:
        checkpoints.save(make_state(3))
        assert checkpoints.latest == 3
        moved = pair.rename(pair.parent / "moved")
        checkpoints.save(make_state(4))
        with pytest.raises(ConfigError, match="its directory was deleted"):
            checkpoints.save(make_state(4))
        assert not pair.exists()
        moved.rename(pair)
        checkpoints.save(make_state(5))
        assert checkpoints.latest == 5
        assert_equal(checkpoints.restore(make_state(0)), make_state(5))


def interrupted(checkpoints):
    with checkpoints:
        checkpoints.save(make_state(1))
        raise KeyboardInterrupt


def test_the_first_error_is_not_replaced_by_one_of_writing(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        interrupted(Checkpoints(str(tmp_path / "no" / "c"), keep=2))
    assert "could not be written" in caplog.text
    assert not os.listdir(tmp_path)  # the run's directory is gone, and stays so


def test_opening_changes_nothing_on_disk(pair):
    (pair / "3.orbax-checkpoint-tmp").mkdir()  # of a run that writes right now
    before = sorted(path for path in pair.rglob("*"))
    with Checkpoints(str(pair), keep=1) as checkpoints:
        checkpoints.restore(make_state(0))
        assert checkpoints.latest == 2
    assert sorted(path for path in pair.rglob("*")) == before


WRITER = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
import checkpoints as t
with t.Checkpoints({directory!r}, keep=2) as checkpoints:
    print("ready", flush=True)
    for step in range(1, 10_000):
        checkpoints.save(t.make_state(step, width=20_000))
"""


def test_kill_9_while_writing_leaves_the_checkpoint_before(tmp_path):
    directory = tmp_path / "c"
    tests = pathlib.Path(__file__).parent
    code = WRITER.format(tests=str(tests), root=str(tests.parent), directory=str(directory))
    rng = np.random.default_rng()
    target = make_state(0, width=20_000)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 60
        while not (directory / "3").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with Checkpoints(str(directory), keep=2) as checkpoints:
            latest = checkpoints.latest
            restored = checkpoints.restore(target)
            assert not checkpoints.damaged
            assert_equal(restored, make_state(latest, width=20_000))
            checkpoints.save(make_state(latest + 1, width=20_000))
        assert not any("tmp" in name for name in os.listdir(directory))
        shutil.rmtree(directory)


def test_the_record_is_json_with_a_checksum_for_every_leaf(pair):
    record = json.loads((pair / "2" / RECORD).read_text())
    assert record["leaves"]["params/half"]["dtype"] == "bfloat16"
    assert record["leaves"]["params/conv/kernel"]["shape"] == [3, 4]
    assert all(0 <= leaf["crc32"] < 2**32 for leaf in record["leaves"].values())
    assert record["accuracy"] == 2.0
