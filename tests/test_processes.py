"""One run of several processes, on this machine: the same results, and no waiting for the dead."""

import json
import socket
import time

import numpy as np
import pytest

# The processes of these tests wait for each other: side by side they would take turns.
pytestmark = pytest.mark.xdist_group("processes")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two(command, *fields, devices):
    port = free_port()
    return [
        command(
            "--config.distributed.enabled=true",
            f"--config.distributed.address=127.0.0.1:{port}",
            "--config.distributed.processes=2",
            f"--config.distributed.process={rank}",
            *fields,
            devices=devices,
        )
        for rank in range(2)
    ]


def records(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_of_four_devices_train_as_one_of_eight(command, tmp_path):
    one = command("--config.name=one", "--config.epochs=1", devices=8)
    _, error = one.communicate(timeout=240)
    assert one.returncode == 0, error
    for process in start_two(command, "--config.name=two", "--config.epochs=1", devices=4):
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
    ours, theirs = (records(tmp_path / "runs" / name) for name in ("two", "one"))
    assert [r["step"] for r in ours] == [r["step"] for r in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert set(a) == set(b)
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
        np.testing.assert_allclose(a["accuracy"], b["accuracy"], atol=0.5)  # of 360: one image
    # Written once, by the first; and one process of one device goes on from there.
    resumed = command("--config.name=two", "--config.epochs=1")
    out, error = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, error
    assert "no step was left to do" in out


def test_a_process_that_dies_makes_the_others_stop(command, tmp_path):
    fields = ("--config.name=run", "--config.epochs=3000")
    first, second = start_two(command, *fields, devices=1)
    metrics = tmp_path / "runs" / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.kill()
    died = time.monotonic()
    _, error = second.communicate(timeout=60)
    assert time.monotonic() - died < 60
    assert second.returncode not in (0, None)
    assert "another process of the run ended" in error or "another task died" in error
    first.communicate()
