"""Where a program's time goes: its device operations by the profiler's own clock."""

import collections
import gzip
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import jax


class Operation(NamedTuple):
    """All executions of one operation.

    Attributes:
      name: of the HLO operation, or of the kernel where there is none.
      kernel: what the device calls it.
      seconds: a run of the program.
      count: a run of the program.
    """

    name: str
    kernel: str
    seconds: float
    count: float


def measured(program: Callable, runs: int = 3) -> list[Operation]:
    """Operations of a compiled program, the longest first.

    Args:
      program: of nothing; it has run before.
      runs: that are traced.
    """
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory, create_perfetto_trace=False):
            for _ in range(runs):
                result = program()
            jax.block_until_ready(result)
        (path,) = pathlib.Path(directory).glob("plugins/profile/*/*.trace.json.gz")
        with gzip.open(path) as file:
            return operations(json.load(file)["traceEvents"], runs)


def operations(events: list[dict], runs: int) -> list[Operation]:
    """What a trace says of the accelerator's streams, or of a CPU's threads where there is none."""
    names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    device = {pid for pid, name in names.items() if "/device:" in name}
    seconds, counts, kernels = collections.Counter(), collections.Counter(), {}
    for event in events:
        found = event.get("args", {})
        operation = found.get("hlo_op", event.get("name") if device else None)
        if event.get("ph") != "X" or operation is None or (device and event["pid"] not in device):
            continue
        if device and "hlo_op" not in found and "hlo_module" not in found:
            continue  # lines of steps and modules, which hold the operations
        seconds[operation] += event["dur"] * 1e-6 / runs
        counts[operation] += 1 / runs
        kernels[operation] = event["name"]
    return [Operation(n, kernels[n], s, counts[n]) for n, s in seconds.most_common()]
