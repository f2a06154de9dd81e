"""Programs in processes of their own: other libraries' in an environment of theirs.

benchmarks/README.md says how to make the environment; LNM_PEER_PYTHON names its interpreter.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

VARIABLE = "LNM_PEER_PYTHON"
PROGRAMS = pathlib.Path(__file__).with_name("peer_programs.py")


def interpreter(library: str) -> str | None:
    """A Python that has the library ("spikingjelly", "spyx"), None if there is none."""
    here = sys.executable if importlib.util.find_spec(library) else None
    return os.environ.get(VARIABLE) or here


class Peer:
    """A started script that answers each line with the seconds of one repetition of what it names.

    Attributes:
      versions: of its libraries, by name.
    """

    def __init__(self, command: list[str], **process):
        """Starts `python command[0] ...`, and reads what it is.

        Args:
          process: of `subprocess.Popen`.
        """
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **process
        )
        self.versions = json.loads(self._process.stdout.readline())

    def __call__(self, what: str = "") -> float:
        """Seconds of one repetition, as the peer measured them."""
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def start(library: str, program: str, **options) -> Peer | None:
    """A program of peer_programs.py with its options; None without the library."""
    python = interpreter(library)
    return python and Peer([python, str(PROGRAMS), program, json.dumps(options)])
