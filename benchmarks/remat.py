"""Rematerialisation in a ResNet: memory and time of a training step, T = 1 .. 16.

ResNet-19 with a stem of 16 channels, degree-3 LNM, float32 images 32x32x3, batch 32, one
device. Temporary memory is XLA's compiled memory analysis; time the median of interleaved steps.
"""

import functools

from benchmarks import timing, train_step
from lnm_jax import models


def run(short: bool) -> list[dict]:
    """A row for each T: temporary MiB and seconds a step for each of `models.REMAT`."""
    width, batch = (4, 2) if short else (16, 32)
    fields = train_step.wide(width) | ({"blocks": (1, 1, 1)} if short else {})
    rows = []
    for timesteps in (1,) if short else (1, 2, 4, 8, 16):
        row, programs = {"T": timesteps, "width": width, "batch": batch}, {}
        for remat in models.REMAT:
            step, arguments, _ = train_step.program(
                "lnm", timesteps, batch, fields | {"remat": remat}
            )
            programs[remat] = functools.partial(step, *arguments)
            row[f"{remat} MiB"] = train_step.memory(step)
        times = timing.interleaved(programs, 2 if short else 5)
        for remat, time in times.items():
            row[f"{remat} s"] = time.median
        for remat in models.REMAT[1:]:
            row[f"{remat} memory ratio"] = row[f"{remat} MiB"] / row["none MiB"]
            row[f"{remat} time ratio"] = row[f"{remat} s"] / row["none s"]
        row["largest spread"] = max(time.spread for time in times.values())
        rows.append(row)
    return rows
