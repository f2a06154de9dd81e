"""How a ResNet-19's training step grows on a CPU with T, width and batch, for LIF and LNM.

Static 32x32 images, float32, SGD; medians of interleaved steps. Temporary memory is XLA's compiled
memory analysis. A slope is the power that a cost grows with from the row before: 1 is linear.
Convolutions grow with the square of the width. More devices: `python -m benchmarks scaling`.
"""

import functools

from benchmarks import train_step
from reproduction import timing

SIZE = (32, 32, 3)
USUAL = {"timesteps": 2, "width": 16, "batch": 8}
AXES = {
    "timesteps": (1, 2, 4, 8, 16, 32, 64),
    "width": (8, 16, 32, 64, 128),
    "batch": (2, 4, 8, 16, 32, 64),
}


def _program(kind, timesteps, width, batch, size):
    """(a step as a function of nothing, MiB)."""
    built = train_step.build("resnet19", kind, timesteps, size, batch, train_step.wide(width))
    program, arguments = train_step.lowered(*built)
    step = program.compile()
    return functools.partial(step, *arguments), step.memory_analysis().temp_size_in_bytes / 2**20


def run(short: bool):
    """A row for each value of T, of width and of batch, the others as usual."""
    usual, size = ({"timesteps": 1, "width": 4, "batch": 2}, (8, 8, 3)) if short else (USUAL, SIZE)
    for axis, values in ({"batch": (1, 2)} if short else AXES).items():
        programs, memory = {}, {}
        for value in values:
            for kind in train_step.KINDS:
                key = (kind, value)
                programs[key], memory[key] = _program(kind, **usual | {axis: value}, size=size)
        times = timing.interleaved(programs, 2 if short else 5)
        before = None
        for value in values:
            lif, lnm = times["lif", value].median, times["lnm", value].median
            costs = {"time": lnm, "memory": memory["lnm", value]}
            row = {"axis": axis, **usual, axis: value, "LNM ms": 1e3 * lnm, "LNM / LIF": lnm / lif}
            row["LNM MiB"] = memory["lnm", value]
            row["spread"] = max(times[kind, value].spread for kind in train_step.KINDS)
            for name, cost in costs.items() if before else ():
                sizes, spent = (before["at"], value), (before[name], cost)
                row[f"slope of {name}"] = timing.exponent(sizes, spent)
            before = {"at": value, **costs}
            yield row
