"""Flax Linen layers: spiking over time, convolution and BatchNorm on the folded (T*B) axis."""

from lnm_jax.layers.convolution import ConvNorm, fold_time, unfold_time
from lnm_jax.layers.spiking import Spiking

__all__ = ["ConvNorm", "Spiking", "fold_time", "unfold_time"]
