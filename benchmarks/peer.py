"""A program in a process of its own, and if it is of another library, an environment of its own.

benchmarks/README.md says how to make the environment; LNM_PEER_PYTHON names its interpreter.
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
    """A started script that answers each line with the seconds of one repetition of what it names.

    Attributes:
      versions: of its libraries, by name.
    """

    def __init__(self, script: str, options: dict, **process):
        """Starts benchmarks/<script> with its options, and reads what it is.

        Args:
          process: of `subprocess.Popen`; the interpreter is `executable`, by default the peer's.
        """
        path = pathlib.Path(__file__).with_name(script)
        self._process = subprocess.Popen(
            [process.pop("executable", None) or available(), str(path), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **process,
        )
        self.versions = json.loads(self._process.stdout.readline())

    def __call__(self, what: str = "") -> float:
        """Seconds of one repetition, as the peer measured them."""
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self):
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
