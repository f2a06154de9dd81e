"""Flax Linen layers: spiking over time, convolution and BatchNorm on the folded (T*B) axis."""

from lnm_jax.layers.conv import INITIALISATIONS, NORMS, ConvNorm, fold_time, unfold_time
from lnm_jax.layers.remat import remat
from lnm_jax.layers.spiking import Recorded, Spiking
