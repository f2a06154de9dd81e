"""Learnable neuron models for deep spiking neural networks, in JAX and Flax."""

from lnm_jax import neurons

__version__ = "0.1.0"
__all__ = ["neurons"]
