"""What more devices cost: a step of equal total work on 1, 2, 4 and 8 imitated devices.

The cores are the same for any number of devices, so that all above the time of one device is
overhead: of sharing the batch out, of the all-reduce of the gradient (one, which a test reads from
the program) and of BatchNorm's means. The digits network on 32x32x3 images, T = 4; medians of
interleaved steps, every number of devices in a process of its own.
"""

import json
import os
import pathlib
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
    for devices in (1, 2) if short else (1, 2, 4, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
        programs[devices] = peers.Peer(
            [sys.executable, __file__, json.dumps(fields)],
            env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
        )
    times = timing.interleaved(programs, 2 if short else 9)
    for program in programs.values():
        program.close()
    return [
        {
            "devices": devices,
            "batch": fields["data.batch_size"],
            "T": fields["timesteps"],
            "step s": measured.median,
            "overhead %": 100 * (measured.median / times[1].median - 1),
            "spread": measured.spread,
        }
        for devices, measured in times.items()
    ]


def serve(fields: dict) -> None:
    """Answers each line of standard input with the seconds of a step on all devices."""
    config = digits.get_config()
    config.update_from_flattened_dict(fields)
    size = config.data.batch_size
    built = experiment.build(config, timing.random_images(2 * size))
    batch = next(data.train_batches(built.dataset.train, 0, size, 0, 1))
    state = parallel.replicate(built.init())
    state, _ = built.train_step(state, batch)
    print(json.dumps({"devices": jax.device_count()}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        state, metrics = built.train_step(state, batch)
        jax.block_until_ready((state, metrics))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
