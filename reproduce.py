"""Tables and figures of the paper by command: `python reproduce.py --help`."""

import sys

from lnm_jax import launch

if __name__ == "__main__":
    launch.use_huge_pages()
    launch.use_compilation_cache()  # before jax is imported
    from reproduction import cli

    sys.exit(cli.command())
