"""Where a training step's time goes: its operations by the profiler's own clock, by kind.

ResNet-19, LNM and LIF, T = 2: on a GPU of the published width in bfloat16, elsewhere narrow. Times
of operations that overlap are added up, so that on a CPU they may exceed the step.
"""

import collections
import functools
import gzip
import json
import pathlib
import re
import tempfile
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import train_step

# The first pattern that a name has; what matches none is called by its name without the number.
KINDS = {
    "convolutions": r"cudnn|conv(?!ert)|implicit_gemm|xmma|ynn",
    "matrix products": r"gemm|dot|nvjet|cutlass",
    "neurons, one kernel a pass": r"_(forward|backward)_kernel",
    "sums": r"reduce",
    "copies": r"copy|transpose|memset|memcpy",
    "elementwise": r"fusion|wrapped|select|broadcast",
}


def kind(name: str) -> str:
    """The kind of an operation by its name."""
    found = (kind for kind, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE))
    return next(found, re.sub(r"[._]?\d+$", "", name))


def executions(events: list[dict]) -> list[tuple[str, float]]:
    """(name, seconds) of what a trace says ran: kernels of a GPU, else operations of a CPU."""
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    threads = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"
    }
    device = {pid for pid, name in processes.items() if "/device:" in name}
    found = []
    for event in events:
        if event.get("ph") != "X":
            continue
        operation = event.get("args", {}).get("hlo_op")
        if device:  # other lines of a device are the steps and modules that hold its kernels
            on_stream = threads.get((event["pid"], event["tid"]), "").startswith("Stream")
            operation = event["name"] if event["pid"] in device and on_stream else None
        if operation:
            found.append((operation, event["dur"] * 1e-6))
    return found


def traced(program: Callable, runs: int) -> list[tuple[str, float]]:
    """`executions` of some runs of a compiled program of no arguments."""
    jax.block_until_ready(program())
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            for _ in range(runs):
                result = program()
            jax.block_until_ready(result)
        (path,) = pathlib.Path(directory).glob("plugins/profile/*/*.trace.json.gz")
        with gzip.open(path) as file:
            return executions(json.load(file)["traceEvents"])


def run(short: bool) -> list[dict]:
    """A row for each kind of operation of each step, the longest first."""
    fields, batch = {"stem": 4, "widths": (4,), "blocks": (1,)}, 2
    if not short and jax.default_backend() == "gpu":
        fields, batch = train_step.wide(128) | {"dtype": jnp.bfloat16}, 256
    elif not short:
        fields, batch = train_step.wide(32), 16
    rows, runs = [], 1 if short else 5
    for neuron in train_step.KINDS:
        step, arguments, _ = train_step.program(neuron, 2, batch, fields)
        seconds, counts = collections.Counter(), collections.Counter()
        for name, duration in traced(functools.partial(step, *arguments), runs):
            seconds[kind(name)] += duration / runs
            counts[kind(name)] += 1 / runs
        whole = sum(seconds.values())
        rows += [
            {
                "step": neuron,
                "operations": what,
                "ms": 1e3 * time,
                "%": 100 * time / whole,
                "count": counts[what],
            }
            for what, time in seconds.most_common()
            if short or time > 0.005 * whole
        ]
    return rows
