"""A network as one StableHLO program with its weights inside; only jax is needed to run it."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp

from lnm_jax import files
from lnm_jax.export.network import Network

PLATFORMS = ("cpu", "cuda", "tpu")


def serialise(network: Network) -> bytes:
    """The program float32 images (B, ...) -> logits (B, K), for any B >= 1.

    Images are in the data set's unit: the program normalises. `jax.export.deserialize` reads it.
    """
    import flatbuffers  # noqa: F401 which jax.export writes with
    from jax import export

    batch = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((*batch, *network.example), jnp.float32)
    exported = export.export(jax.jit(network.logits), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())


def write(network: Network, path: str) -> None:
    """Writes the program to a file, whole or not at all; names of classes to `path`.json.

    Raises: ConfigError if it can't be written.
    """
    content = serialise(network)
    with files.replacing(path, "choose another --output") as new, open(new, "wb") as file:
        file.write(content)
    info = network.experiment.info
    facts = {"example": list(network.example), "classes": list(info.classes)}
    files.write(f"{path}.json", json.dumps(facts) + "\n")
