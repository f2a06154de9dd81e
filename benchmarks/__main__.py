"""python -m benchmarks <name> [--short]: prints a table and appends JSON lines to results/."""

import datetime
import json
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
    "remat": remat.run,
    "scaling": scaling.run,
    "side_by_side": side_by_side.run,
    "train_step": train_step.run,
}
RESULTS = pathlib.Path(__file__).parent / "results"


def environment() -> dict:
    """Where and with what a result was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent
    )
    return {
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.machine()}, {len(jax.devices())} {jax.default_backend()} device(s)",
        "jax": jax.__version__,
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
    }


def table(rows: list[dict]) -> str:
    """Rows of the same keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in r.values()] for r in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: list[str]) -> int:
    """Runs the named benchmark; returns the exit status."""
    names = [arg for arg in argv if not arg.startswith("-")]
    if len(names) != 1 or names[0] not in BENCHMARKS or set(argv) - {*names, "--short"}:
        print(f"usage: python -m benchmarks {{{','.join(BENCHMARKS)}}} [--short]", file=sys.stderr)
        return 2
    short = "--short" in argv
    rows = BENCHMARKS[names[0]](short)
    print(table(rows))
    if not short:  # a short run shows that it works, and measures nothing worth keeping
        RESULTS.mkdir(exist_ok=True)
        with open(RESULTS / f"{names[0]}.jsonl", "a") as file:
            file.writelines(json.dumps(environment() | row) + "\n" for row in rows)
    return 0


if __name__ == "__main__":
    launch.use_huge_pages()
    sys.exit(main(sys.argv[1:]))
