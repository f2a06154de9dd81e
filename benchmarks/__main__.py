"""python -m benchmarks <name> [--short]: prints a table and appends JSON lines to results/.

python -m benchmarks gpu --minutes 12 --data D: a run list for a GPU, see benchmarks/gpu.py.
python -m benchmarks page: writes the tables of docs/performance.md from the results.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import jax

from benchmarks import (
    data,
    gpu,
    gpu_steps,
    growth,
    neuron,
    neuron_memory,
    operations,
    page,
    relu,
    remat,
    scaling,
    side_by_side,
    train_step,
)
from lnm_jax import launch
from lnm_jax.errors import ConfigError

BENCHMARKS = {
    "data": data.run,
    "gpu_steps": gpu_steps.run,
    "growth": growth.run,
    "neuron": neuron.run,
    "neuron_memory": neuron_memory.run,
    "operations": operations.run,
    "relu": relu.run,
    "remat": remat.run,
    "scaling": scaling.run,
    "side_by_side": side_by_side.run,
    "train_step": train_step.run,
}
RESULTS = pathlib.Path(__file__).parent / "results"


def _processor() -> str | None:
    """What Linux calls the processor."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), None)


def environment() -> dict:
    """Where, when and with what a result was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent
    )
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now().isoformat(timespec="minutes"),
        "device": _processor() if device.platform == "cpu" else device.device_kind,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "jax": jax.__version__,
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
    }


def _cell(value) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.3g}"
    return "" if value is None else str(value)


def table(rows: list[dict]) -> str:
    """Rows of the same keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_cell(x) for x in r.values()] for r in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: list[str]) -> int:
    """Runs the named benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*BENCHMARKS, "gpu", "page"])
    parser.add_argument("--short", action="store_true", help="shows that it runs, keeps nothing")
    parser.add_argument("--minutes", type=float, default=12.0, help="gpu: after which it has ended")
    parser.add_argument("--data", help="gpu, relu: CIFAR-10 as train/<class>/*, test/<class>/*")
    given = parser.parse_args(argv)
    if given.name == "page":
        keys = tuple(environment())
        page.PAGE.write_text(page.written(page.PAGE.read_text(), RESULTS, keys, table))
        return 0
    where = environment()
    if given.name == "gpu":
        try:
            with tempfile.TemporaryDirectory() as away:
                rows = list(
                    gpu.run(
                        given.short,
                        minutes=given.minutes,
                        directory=given.data,
                        results=pathlib.Path(away) if given.short else RESULTS,
                        where=where,
                    )
                )
        except ConfigError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return error.status
        keys = dict.fromkeys(key for row in rows for key in row)
        if rows:
            print(table([{key: row.get(key) for key in keys} for row in rows]))
        return 0
    rows = []
    options = {"directory": given.data} if given.name == "relu" else {}
    for row in BENCHMARKS[given.name](given.short, **options):
        rows.append(row)
        if not given.short:  # a short run measures nothing worth keeping
            RESULTS.mkdir(exist_ok=True)
            # What is cut off keeps these.
            with open(RESULTS / f"{given.name}.jsonl", "a") as file:
                file.write(json.dumps(where | row) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    launch.use_huge_pages()
    sys.exit(main(sys.argv[1:]))
