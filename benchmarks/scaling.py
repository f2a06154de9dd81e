"""What more devices cost: a step of equal total work on 1, 2, 4 and 8 imitated devices.

The cores are the same for any number of devices, so that all above the time of one device is
overhead: of sharing the batch out, of the all-reduce of the gradient (one, which a test reads from
the program) and of BatchNorm's means. The digits network on 32x32x3 images, T = 4; medians of
interleaved steps, every number of devices in a process of its own.
"""

import os
import pathlib
import sys

from benchmarks import peer, timing


def run(short: bool) -> list[dict]:
    """A row for each number of devices: seconds a step and overhead."""
    options = {"batch": 8, "size": 8, "T": 1} if short else {"batch": 128, "size": 32, "T": 4}
    programs = {}
    for devices in (1, 2) if short else (1, 2, 4, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        root = str(pathlib.Path(__file__).resolve().parent.parent)
        flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
        environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": root}
        programs[devices] = peer.Peer(
            "scaling_devices.py", options, executable=sys.executable, env=environment
        )
    times = timing.interleaved(programs, 2 if short else 9)
    for program in programs.values():
        program.close()
    return [
        {
            "devices": devices,
            "batch": options["batch"],
            "T": options["T"],
            "step s": time.median,
            "overhead %": 100 * (time.median / times[1].median - 1),
            "spread": time.spread,
        }
        for devices, time in times.items()
    ]
