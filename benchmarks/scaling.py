"""What more devices cost: a step of equal total work on 1, 2, 4 and 8 imitated devices.

Of one process, and one device in each of two processes. The cores are the same for any number of
devices, so that all above the time of one device is overhead: of sharing the batch out, of the
all-reduce of the gradient (one, which a test reads from the program) and of BatchNorm's means. The
digits network on 32x32x3 images, T = 4; medians of interleaved steps.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import jax

from benchmarks import peers
from lnm_jax import data
from lnm_jax.configs import digits
from lnm_jax.training import experiment, parallel
from reproduction import timing

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(short: bool) -> list[dict]:
    """A row for each number of devices: seconds a step and overhead."""
    fields = {"data.batch_size": 128, "timesteps": 4}
    if short:
        fields = {"data.batch_size": 8, "timesteps": 1} | timing.MLP
    programs = {}
    for processes, devices in ((2, 2),) if short else ((1, 2), (1, 4), (1, 8), (2, 2)):
        programs[processes, devices] = _started(fields, processes, devices)
    programs = {(1, 1): _started(fields, 1, 1), **programs}
    times = timing.interleaved(programs, 2 if short else 9)
    for program in programs.values():
        program.close()
    return [
        {
            "processes": processes,
            "devices": devices,
            "batch": fields["data.batch_size"],
            "T": fields["timesteps"],
            "step s": measured.median,
            "overhead %": 100 * (measured.median / times[1, 1].median - 1),
            "spread": measured.spread,
        }
        for (processes, devices), measured in times.items()
    ]


def _started(fields, processes, devices):
    """The first of the processes, which starts the others."""
    flags = f"--xla_force_host_platform_device_count={devices // processes}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    if processes > 1:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        fields = fields | {
            "distributed.enabled": True,
            "distributed.address": f"127.0.0.1:{port}",
            "distributed.processes": processes,
            "distributed.process": 0,
        }
    return peers.Peer(
        [sys.executable, __file__, json.dumps(fields)],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
    )


def serve(fields: dict) -> None:
    """Answers each line of standard input with the seconds of a step on all devices.

    The first of several processes passes the lines on to the others.
    """
    answers, others = os.fdopen(os.dup(1), "w", buffering=1), []
    os.dup2(2, 1)  # where Gloo says that processes are connected
    if fields.get("distributed.process") == 0:
        others = [
            subprocess.Popen(
                [sys.executable, __file__, json.dumps(fields | {"distributed.process": rank})],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
            for rank in range(1, fields["distributed.processes"])
        ]
    config = digits.get_config()
    config.update_from_flattened_dict(fields)
    parallel.initialize(config.distributed)
    size = config.data.batch_size
    built = experiment.build(config, timing.random_images(2 * size))
    batch = next(data.train_batches(built.dataset.train, 0, size, *parallel.process()))
    state = parallel.replicate(built.init())
    state, _ = built.train_step(state, batch)
    print(json.dumps({"devices": jax.device_count()}), file=answers)
    for line in sys.stdin:
        for other in others:
            other.stdin.write(line)
            other.stdin.flush()
        start = time.perf_counter()
        state, metrics = built.train_step(state, batch)
        jax.block_until_ready((state, metrics))
        print(time.perf_counter() - start, file=answers)
    for other in others:
        other.stdin.close()  # all processes end together


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
