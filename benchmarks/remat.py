"""Rematerialised blocks of a ResNet: memory and time of a training step, T = 1 .. 16.

ResNet-19's stages with one block each (compiling all of them takes minutes for each row),
degree-3 LNM, float32 images 32x32x3, stem of 32, batch 16, one device. Temporary memory is
XLA's compiled memory analysis; time is the median of interleaved steps, the spread half the
distance of the quartiles over the median, the larger of the two.
"""

import time

import jax
import numpy as np

from benchmarks import train_step


def run(short: bool) -> list[dict]:
    """A row for each T: temporary MiB and seconds a step, kept and rematerialised."""
    width, batch, rounds, blocks = (4, 2, 2, (1, 1, 1)) if short else (32, 16, 5, (1, 1, 1))
    rows = []
    for timesteps in (1,) if short else (1, 2, 4, 8, 16):
        programs = {
            name: train_step.program("lnm", timesteps, width, batch, blocks, remat=remat)
            for name, remat in (("kept", False), ("remat", True))
        }
        seconds = {name: [] for name in programs}
        for _ in range(rounds):
            for name, (step, arguments, *_) in programs.items():
                start = time.perf_counter()
                jax.block_until_ready(step(*arguments))
                seconds[name].append(time.perf_counter() - start)
        row = {"T": timesteps, "width": width, "batch": batch}
        for name, (step, *_) in programs.items():
            row[f"{name} MiB"] = step.memory_analysis().temp_size_in_bytes / 2**20
            row[f"{name} s"] = float(np.median(seconds[name]))
        row["memory ratio"] = row["remat MiB"] / row["kept MiB"]
        row["time ratio"] = row["remat s"] / row["kept s"]
        spread = [
            np.subtract(*np.quantile(v, (0.75, 0.25))) / 2 / np.median(v) for v in seconds.values()
        ]
        row["largest spread"] = float(max(spread))
        rows.append(row)
    return rows
