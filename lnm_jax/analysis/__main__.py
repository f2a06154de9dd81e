"""`python -m lnm_jax.analysis`: report or health of a run; see `lnm_jax.cli`."""

import sys

from lnm_jax import cli

if __name__ == "__main__":
    sys.exit(cli.analysis())
