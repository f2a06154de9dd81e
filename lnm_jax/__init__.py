"""Learnable neuron models for deep spiking neural networks, in JAX and Flax."""

import importlib

from lnm_jax.version import __version__

__all__ = [
    "__version__",
    "analysis",
    "data",
    "export",
    "layers",
    "models",
    "neurons",
    "paper",
    "training",
]


def __getattr__(name: str):
    """Imports a room when it is first used: `import lnm_jax` itself loads nothing."""
    if name in __all__:
        return importlib.import_module(f"lnm_jax.{name}")
    raise AttributeError(f"module 'lnm_jax' has no attribute {name!r}")
