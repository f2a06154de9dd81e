"""python -m benchmarks <name> [--short]: prints a table and appends JSON lines to results/.

python -m benchmarks page: writes the tables of docs/performance.md from them.
"""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

import jax

from benchmarks import (
    damage,
    data,
    data_share,
    gpu,
    growth,
    kills,
    neuron,
    neuron_memory,
    operations,
    page,
    remat,
    scaling,
    side_by_side,
    train_step,
)
from lnm_jax import launch

BENCHMARKS = {
    "damage": damage.run,
    "data": data.run,
    "data_share": data_share.run,
    "gpu": gpu.run,
    "growth": growth.run,
    "kills": kills.run,
    "neuron": neuron.run,
    "neuron_memory": neuron_memory.run,
    "operations": operations.run,
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
    if argv == ["page"]:
        keys = tuple(environment())
        page.PAGE.write_text(page.written(page.PAGE.read_text(), RESULTS, keys, table))
        return 0
    names = [arg for arg in argv if not arg.startswith("-")]
    if len(names) != 1 or names[0] not in BENCHMARKS or set(argv) - {*names, "--short"}:
        print(
            f"usage: python -m benchmarks {{{','.join(BENCHMARKS)},page}} [--short]",
            file=sys.stderr,
        )
        return 2
    short = "--short" in argv
    rows, where = [], environment()
    for row in BENCHMARKS[names[0]](short):
        rows.append(row)
        if not short:  # a short run shows that it works, and measures nothing worth keeping
            RESULTS.mkdir(exist_ok=True)
            with open(RESULTS / f"{names[0]}.jsonl", "a") as file:  # what is cut off keeps these
                file.write(json.dumps(where | row) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    launch.use_huge_pages()
    sys.exit(main(sys.argv[1:]))
