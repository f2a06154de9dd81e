"""Rematerialisation in a ResNet: memory and time of a training step, T = 1 .. 16.

ResNet-19 with a stem of 16 channels, degree-3 LNM, float32 images 32x32x3, batch 32, one
device. Temporary memory is XLA's compiled memory analysis; time is the median of interleaved
steps, the spread half the distance of the quartiles over the median, the largest of the three.
"""

import time

import jax
import numpy as np

from benchmarks import train_step
from lnm_jax import models


def run(short: bool) -> list[dict]:
    """A row for each T: temporary MiB and seconds a step for each `models.REMAT`."""
    width, batch, rounds, blocks = (4, 2, 2, (1, 1, 1)) if short else (16, 32, 5, (3, 3, 2))
    rows = []
    for timesteps in (1,) if short else (1, 2, 4, 8, 16):
        programs = {
            remat: train_step.program("lnm", timesteps, width, batch, blocks, remat=remat)
            for remat in models.REMAT
        }
        seconds = {remat: [] for remat in programs}
        for _ in range(rounds):
            for remat, (step, arguments, *_) in programs.items():
                start = time.perf_counter()
                jax.block_until_ready(step(*arguments))
                seconds[remat].append(time.perf_counter() - start)
        row = {"T": timesteps, "width": width, "batch": batch}
        for remat, (step, *_) in programs.items():
            row[f"{remat} MiB"] = step.memory_analysis().temp_size_in_bytes / 2**20
            row[f"{remat} s"] = float(np.median(seconds[remat]))
        for remat in programs:
            row[f"{remat} memory ratio"] = row[f"{remat} MiB"] / row["none MiB"]
            row[f"{remat} time ratio"] = row[f"{remat} s"] / row["none s"]
        spread = [
            np.subtract(*np.quantile(v, (0.75, 0.25))) / 2 / np.median(v) for v in seconds.values()
        ]
        row["largest spread"] = float(max(spread))
        rows.append(row)
    return rows
