"""`python -m lnm_jax` is `lnm-train`."""

from lnm_jax import cli

if __name__ == "__main__":
    cli.train()
