"""Real processes that are killed, asked twice, out of disk, or left by their partner."""

import contextlib
import itertools
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
from checkpoints import equal, make_state
from test_processes import free_port, start_two, wait_for_line

from lnm_jax.errors import LostProcessError
from lnm_jax.training.checkpoint import Checkpoints

TESTS = pathlib.Path(__file__).resolve().parent.parent


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_second_signal_ends_the_process_at_once_even_in_a_long_call():
    program = (
        "import ctypes\n"
        "from lnm_jax.training.loop import Interrupts\n"
        "lock, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)\n"
        "with Interrupts() as interrupts:\n"
        "    print('ready', flush=True)\n"
        "    while not interrupts.asked:\n"
        "        pass\n"
        "    print('asked', flush=True)\n"
        "    library.pthread_mutex_lock(lock)\n"
        "    library.pthread_mutex_lock(lock)\n"  # never returns: Python runs no handler
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stdout.readline() == "asked\n"
            time.sleep(0.3)
            assert process.poll() is None  # the first one waits for the step
            process.send_signal(number)
            try:
                assert process.wait(20) == -number  # a shell says 128 + number
            finally:
                process.kill()


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
    code = WRITER.format(tests=str(TESTS), root=str(TESTS.parent), directory=str(tmp_path / "c"))
    rng = np.random.default_rng()
    target = make_state(0, width=20_000)
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        wait_for((tmp_path / "c" / "3").exists, process)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with Checkpoints(str(tmp_path / "c"), keep=2) as checkpoints:
            latest = checkpoints.latest
            assert equal(checkpoints.restore(target), make_state(latest, width=20_000))
            assert not checkpoints.damaged
            checkpoints.save(make_state(latest + 1, width=20_000))
        names = [path.name for path in (tmp_path / "c").iterdir()]
        assert sorted(map(int, names)) == [latest, latest + 1]
        shutil.rmtree(tmp_path / "c")


def test_a_full_disk_ends_the_command_in_one_line_and_it_goes_on_later(command, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")  # whose files were torn as well
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    fields = ("--config.name=run", "--config.progress=false", "--config.epochs=1")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # as if full; inherited
        process = command(*fields, tiny=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _, error = process.communicate(timeout=240)
    assert process.returncode == 2, error
    assert error.count("\n") == 1, error
    assert "checkpoint could not be written (File too large); earlier ones are intact" in error
    process = command(*fields, tiny=False)
    _, error = process.communicate(timeout=240)
    assert (process.returncode, error) == (0, "")


def test_a_process_that_dies_makes_the_others_stop(command, tmp_path, keep):
    rows = []
    for victim in range(2):
        fields = (f"--config.name=run_{victim}", "--config.epochs=3000")
        processes = start_two(command, *fields, devices=1)
        metrics = tmp_path / "runs" / f"run_{victim}" / "metrics.jsonl"
        wait_for(lambda m=metrics: m.exists() and m.read_text().count("\n") > 3, processes[0])
        processes[victim].kill()
        died = time.monotonic()
        _, error = processes[1 - victim].communicate(timeout=120)
        rows.append({"killed": victim, "seconds": round(time.monotonic() - died, 1)})
        assert processes[1 - victim].returncode == LostProcessError.status, error
        assert "another process of the run ended" in error
        assert rows[-1]["seconds"] < 5
        processes[victim].communicate()
    keep("processes", rows)


def test_a_process_that_cannot_go_on_makes_the_others_stop(command, tmp_path):
    """The first one's disk is full; the second one has no such data."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    try:
        fields = ("--config.name=run", "--config.epochs=3000", f"--config.directory={disk}")
        processes = start_two(command, *fields, devices=1)
        wait_for_line(disk / "run" / "metrics.jsonl", processes, 3)
        with contextlib.suppress(OSError), open(disk / "other", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        full = time.monotonic()
        ends = [process.communicate(timeout=120)[1] for process in processes]
        assert time.monotonic() - full < 20
        assert [process.returncode for process in processes] == [2, 4], ends
        assert "No space left on device" in ends[0]
        assert "another process of the run ended" in ends[1]
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)

    fields = ("--config.name=b", "--config.data.name=folder", "--config.data.image_size=8")
    folder = tmp_path / "images"
    for split, label, index in itertools.product(("train", "test"), "ab", range(8)):
        path = folder / split / label / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (8, 8), (9 * index, 0, 0)).save(path)
    port = free_port()
    processes = [
        command(
            "--config.distributed.enabled=true",
            f"--config.distributed.address=127.0.0.1:{port}",
            "--config.distributed.processes=2",
            f"--config.distributed.process={rank}",
            f"--config.data.directory={[folder, tmp_path / 'none'][rank]}",
            "--config.data.batch_size=4",
            *fields,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], ends
    assert "another process could not go on; its message says why" in ends[0]
    assert "none" in ends[1]
