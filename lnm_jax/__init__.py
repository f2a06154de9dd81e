"""Learnable neuron models for deep spiking neural networks, in JAX and Flax."""

import importlib

__version__ = "0.1.0"
PACKAGES = ("analysis", "configs", "data", "export", "layers", "models", "neurons", "training")
FUNCTIONS = {  # by their modules
    "load": "training.run",
    "train": "training.loop",
    "use_compilation_cache": "launch",
}
__all__ = ["__version__", *PACKAGES, *FUNCTIONS]


def __getattr__(name: str):
    """Imports a package when it is first used: `import lnm_jax` itself loads nothing."""
    if name in PACKAGES:
        return importlib.import_module(f"lnm_jax.{name}")
    if name in FUNCTIONS:
        return getattr(importlib.import_module(f"lnm_jax.{FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'lnm_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is offered, also before it is imported."""
    return sorted({*globals(), *__all__})
