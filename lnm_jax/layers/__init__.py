"""Flax Linen layers: spiking over time, convolution and BatchNorm on the folded (T*B) axis."""

from lnm_jax.layers.convolution import INITIALISATIONS, NORMS, ConvNorm, fold_time, unfold_time
from lnm_jax.layers.membrane_norm import MembraneNorm
from lnm_jax.layers.recorded import Recorded
from lnm_jax.layers.remat import remat
from lnm_jax.layers.spiking import Spiking

__all__ = [
    "INITIALISATIONS",
    "NORMS",
    "ConvNorm",
    "MembraneNorm",
    "Recorded",
    "Spiking",
    "fold_time",
    "remat",
    "unfold_time",
]
