"""Tests that take minutes, run by hand: `python -m pytest -n 0 -s tests/long`."""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

import jax
import orbax.checkpoint
import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the helpers of the other tests


@pytest.fixture
def keep():
    """Prints a campaign's rows and appends them to results/, with the date and the versions."""

    def kept(name, rows):
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
        )
        where = {
            "date": datetime.date.today().isoformat(),
            "device": jax.devices()[0].device_kind,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "jax": jax.__version__,
            "orbax": orbax.checkpoint.__version__,
            "python": platform.python_version(),
            "commit": commit.stdout.strip() or None,
        }
        with open(HERE / "results" / f"{name}.jsonl", "a") as file:
            for row in rows:
                print(", ".join(f"{key} {value}" for key, value in row.items()))
                file.write(json.dumps(where | row) + "\n")

    return kept
