"""python -m benchmarks NAME [--short]: prints a table and appends JSON lines to results/.

python -m benchmarks gpu --minutes 12 --data D: a run list for a GPU, see benchmarks/gpu.py.
"""

import argparse
import datetime
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

if "passes" in sys.argv:  # else jax asks for a driver when it starts
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")

import jax

from lnm_jax import launch
from lnm_jax.errors import ConfigError

BENCHMARKS = (
    "cpu",
    "data",
    "gpu",
    "gpu_steps",
    "growth",
    "neuron",
    "passes",
    "relu",
    "scaling",
    "train_step",
)
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
    """Rows as a Markdown table; cells of keys that a row does not have are empty."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, ["---"] * len(keys), *([_cell(row.get(key)) for key in keys] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: list[str]) -> int:
    """Runs the named benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--short", action="store_true", help="shows that it runs, keeps nothing")
    parser.add_argument("--minutes", type=float, default=12.0, help="gpu: after which it has ended")
    parser.add_argument("--data", help="gpu, relu: CIFAR-10 as train/<class>/*, test/<class>/*")
    given = parser.parse_args(argv)
    where, rows, options = environment(), [], {}
    if given.name in ("gpu", "relu"):
        options["directory"] = given.data
    with tempfile.TemporaryDirectory() as away:
        results = pathlib.Path(away) if given.short else RESULTS
        results.mkdir(exist_ok=True)
        if given.name == "gpu":  # keeps its rows itself, by entry
            options |= {"minutes": given.minutes, "results": results, "where": where}
        try:
            for row in importlib.import_module(f"benchmarks.{given.name}").run(
                given.short, **options
            ):
                rows.append(row)
                if given.name != "gpu":  # at once: what is cut off keeps these
                    with open(results / f"{given.name}.jsonl", "a") as file:
                        file.write(json.dumps(where | row) + "\n")
        except ConfigError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return error.status
    if rows:
        print(table(rows))
    return 0


if __name__ == "__main__":
    launch.use_huge_pages()
    sys.exit(main(sys.argv[1:]))
