"""A network as one StableHLO program with its weights inside; only jax is needed to run it."""

from __future__ import annotations

import os
import tempfile

import jax
import jax.numpy as jnp

from lnm_jax.errors import ConfigError
from lnm_jax.export.network import Network

PLATFORMS = ("cpu", "cuda", "tpu")


def serialise(network: Network) -> bytes:
    """The program float32 images (B, ...) -> logits (B, K), for any B >= 1.

    Images are in the data set's unit: the program normalises. `jax.export.deserialize` reads it.

    Raises: ConfigError if flatbuffers, which jax.export writes with, is not installed.
    """
    from jax import export

    batch = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((*batch, *network.example), jnp.float32)
    exported = export.export(jax.jit(network.logits), platforms=PLATFORMS)(images)
    try:
        return bytes(exported.serialize())
    except ModuleNotFoundError as error:
        raise ConfigError(f"--format stablehlo needs {error.name}: pip install it") from None


def write(network: Network, path: str) -> None:
    """Writes the program to a file, whole or not at all.

    Raises: ConfigError if it can't be written.
    """
    write_bytes(path, serialise(network))


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file, whole or not at all, into a folder that is made if it is missing."""
    parent, name = os.path.split(os.path.abspath(path))
    try:
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=parent) as scratch:
            new = os.path.join(scratch, name)
            with open(new, "wb") as file:
                file.write(content)
            os.replace(new, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
