"""`python -m lnm_jax.export`: a trained network, exported; see `lnm_jax.cli`."""

import sys

from lnm_jax import cli

if __name__ == "__main__":
    sys.exit(cli.export())
