"""The paper's tables and figures by command: `python reproduce.py`, or `lnm-reproduce`."""

import sys

from lnm_jax import launch


def main() -> None:
    """The command."""
    launch.use_huge_pages()
    launch.use_compilation_cache()
    from reproduction import cli  # which imports jax

    sys.exit(cli.command())
