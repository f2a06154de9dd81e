"""Learnable neuron models for deep spiking neural networks, in JAX and Flax."""

from lnm_jax import layers, models, neurons
from lnm_jax.version import __version__

__all__ = ["__version__", "layers", "models", "neurons"]
