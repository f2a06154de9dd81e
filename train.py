"""Trains a spiking network: python train.py --help says what there is."""

from lnm_jax import cli

if __name__ == "__main__":
    cli.train()
