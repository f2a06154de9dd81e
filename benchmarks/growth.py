"""How a training step of ResNet-19 grows with T, batch and width.

Degree-3 LNM and LIF, float32 images 32x32x3, from T = 2, batch 16, stem 16; each row varies one
of them. The exponent is the slope of the logarithm of a median step's time, and of XLA's
temporary memory, over the logarithm of what varies: 1 is proportional.
"""

import functools

from benchmarks import timing, train_step

BASE = {"T": 2, "batch": 16, "width": 16}
SIZES = {"T": (1, 2, 4, 8), "batch": (8, 16, 32), "width": (16, 32, 64)}


def run(short: bool) -> list[dict]:
    """A row for each neuron and quantity."""
    rows = []
    base = BASE | ({"T": 1, "batch": 2, "width": 4} if short else {})
    sizes = {"batch": (2, 4)} if short else SIZES
    blocks = {"blocks": (1, 1, 1)} if short else {}
    for kind in train_step.KINDS[short:]:
        compiled = {}

        def step(point, kind=kind, compiled=compiled):
            key = tuple(point.values())
            if key not in compiled:
                fields = train_step.wide(point["width"]) | blocks
                program, arguments, _ = train_step.program(kind, point["T"], point["batch"], fields)
                compiled[key] = functools.partial(program, *arguments), train_step.memory(program)
            return compiled[key]

        for what, values in sizes.items():
            steps = {value: step(base | {what: value}) for value in values}
            times = timing.interleaved(
                {value: program for value, (program, _) in steps.items()}, 2 if short else 5
            )
            seconds = [times[value].median for value in values]
            mebibytes = [memory for _, memory in steps.values()]
            rows.append(
                {
                    "neuron": kind,
                    "varies": what,
                    "from, to": f"{values[0]}, {values[-1]}",
                    "step s": ", ".join(f"{x:.3g}" for x in seconds),
                    "time exponent": timing.exponent(values, seconds),
                    "MiB": ", ".join(f"{x:.3g}" for x in mebibytes),
                    "memory exponent": timing.exponent(values, mebibytes),
                    "largest spread": max(time.spread for time in times.values()),
                }
            )
    return rows
