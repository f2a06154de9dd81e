"""One run of two processes, on this machine: the same results as of one."""

import json
import signal
import socket
import time

import numpy as np
import pytest

from lnm_jax.errors import Interrupted
from lnm_jax.training import loop

# The processes of these tests wait for each other: side by side they would take turns.
pytestmark = pytest.mark.xdist_group("processes")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two(command, *fields, devices):
    """Starts both processes of a run; see the fixture `command`."""
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


def wait_for_line(metrics, processes, lines):
    while not (metrics.exists() and metrics.read_text().count("\n") >= lines):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)


def test_a_signal_to_one_process_saves_and_ends_both(command, tmp_path):
    processes = start_two(command, "--config.name=run", "--config.epochs=3000", devices=1)
    run = tmp_path / "runs" / "run"
    wait_for_line(run / "metrics.jsonl", processes, 3)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == Interrupted.status, error
        assert error.endswith("; the same command goes on\n")
    step = max(int(path.name) for path in (run / "checkpoints").iterdir())
    assert f"stopped after step {step} of" in error


def test_two_processes_train_as_one(command, config, tmp_path):
    config.epochs, config.name = 1, "one"
    one = loop.train(config)
    fields = (f"--config.directory={tmp_path}", "--config.name=two", "--config.epochs=1")
    for process in start_two(command, *fields, devices=2):
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
        assert not error
    # Written once, by the first; and one process of one device goes on from there.
    config.name = "two"
    two = loop.train(config)
    assert two.images_per_second is None  # no step was left to do
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert two.records == [json.loads(line) for line in lines]
    for a, b in zip(two.records, one.records, strict=True):
        assert (set(a), a["step"]) == (set(b), b["step"])
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
        np.testing.assert_allclose(a["accuracy"], b["accuracy"], atol=0.5)  # of 360: one image
