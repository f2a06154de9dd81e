"""A program of another library in a process and a virtual environment of its own.

docs/networks.md says how to make the environment; LNM_PEER_PYTHON names its interpreter.
"""

import json
import os
import pathlib
import subprocess

VARIABLE = "LNM_PEER_PYTHON"


def available() -> str | None:
    """The peer's interpreter, None if the environment does not name one."""
    return os.environ.get(VARIABLE)


class Peer:
    """A started script that answers each empty line with the seconds of one repetition.

    Attributes:
      versions: of its libraries, by name.
    """

    def __init__(self, script: str, options: dict):
        """Starts benchmarks/<script> with its options and lets it do one repetition."""
        path = pathlib.Path(__file__).with_name(script)
        self._process = subprocess.Popen(
            [available(), str(path), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = json.loads(self._process.stdout.readline())
        self()  # the first repetition is slower than all others

    def __call__(self) -> float:
        """Seconds of one repetition, as the peer measured them."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self):
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
