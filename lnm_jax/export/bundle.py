"""A network as a folder: graph.json, arrays.npz, and reader.py, which runs them by NumPy alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import resources

import jax
import numpy as np

from lnm_jax import files, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.export.network import Network
from lnm_jax.neurons import Neuron

FORMAT = 1
FILES = ("graph.json", "arrays.npz", "reader.py")
ENTRIES = 256  # of the look-up table: one byte addresses them


def quantise(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 kernel, float32 scale (F,)): symmetric, a scale an output channel, the last axis."""
    largest = np.abs(kernel).max(tuple(range(kernel.ndim - 1)))
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    return np.rint(kernel / scale).astype(np.int8), scale


def with_int8_weights(network: Network) -> Network:
    """The network with every kernel rounded as `quantise` does, and back in float32."""

    def rounded(path, leaf):
        if path[-1].key != "kernel":
            return leaf
        integers, scale = quantise(leaf)
        return integers * scale

    return network._replace(params=jax.tree_util.tree_map_with_path(rounded, network.params))


def contents(network: Network, *, int8: bool = False) -> tuple[dict, dict[str, np.ndarray]]:
    """(graph, arrays) as graph.json and arrays.npz hold them; see docs/export.md.

    Args:
      network: to be written.
      int8: kernels as integers with a scale for each output channel.
    Raises: ConfigError for neurons of more than one variable.
    """
    config, info = network.experiment.config, network.experiment.info
    arrays, nodes = {}, []
    for node in network.nodes:
        own, facts = {}, {}
        params = network.of(node.name)
        if node.kind == "spiking":
            neuron, own = describe(network.model.neuron, config.neuron.to_dict(), params)
            facts = {"neuron": neuron}
        elif node.kind in ("convolution", "dense"):
            own = {name: np.asarray(x, np.float32) for name, x in params.items()}
            if int8:
                own["kernel"], own["scale"] = quantise(own["kernel"])
        own = {f"{node.name}/{name}": x for name, x in own.items()}
        arrays |= own
        fields = node._asdict() | {"arrays": sorted(own)} | facts
        nodes.append(fields | fields.pop("fields"))
    graph = {
        "format": FORMAT,
        "data": config.data.name,
        "example": list(network.example),
        "classes": info.num_classes,
        "names": list(info.classes),
        "mean": np.asarray(info.mean, float).tolist(),
        "std": np.asarray(info.std, float).tolist(),
        "weights": "int8" if int8 else "float32",
        "nodes": nodes,
        "arrays": {name: list(x.shape) for name, x in sorted(arrays.items())},
    }
    return graph, arrays


def write(network: Network, path: str, *, int8: bool = False, facts: dict | None = None) -> None:
    """Writes the bundle, whole or not at all; an older bundle there is replaced.

    Args:
      network: to be written.
      path: of the folder.
      int8: as for `contents`.
      facts: that graph.json is to state beside its own, such as accuracies.
    Raises: ConfigError if the path holds something else, or can't be written.
    """
    if os.path.exists(path) and not _is_bundle(path):
        raise ConfigError(f"{path}: exists and is not a bundle; choose another --output")
    graph, arrays = contents(network, int8=int8)
    source = resources.files("lnm_jax.export").joinpath("reader.py").read_text()
    with files.replacing(path, "choose another --output") as new:
        os.mkdir(new)
        with open(os.path.join(new, "graph.json"), "w") as file:
            json.dump(graph | (facts or {}), file, indent=1)
        np.savez_compressed(os.path.join(new, "arrays.npz"), **arrays)
        with open(os.path.join(new, "reader.py"), "w") as file:
            file.write(source)


def _is_bundle(path: str) -> bool:
    return os.path.isdir(path) and set(os.listdir(path)) <= {*FILES, "__pycache__"}


def describe(neuron: Neuron, fields: Mapping, params: Mapping) -> tuple[dict, dict]:
    """What one layer's neuron is, for readers without JAX: (facts, arrays).

    f as `neurons.Drift.describe` has it, its bound, "update" (`neurons.lnm`), threshold and reset.
    Arrays end in an axis of channels if the parameters do. "table" is f at 256 evenly spaced
    potentials: over the bound, or, where f has none, up to two thresholds.

    Args:
      neuron: of every layer.
      fields: of `config.neuron`.
      params: of the layer, numbers as trained.
    Raises: ConfigError for a neuron that does not describe itself.
    """
    said, kind = neuron.facts, f"config.neuron.kind {fields['kind']} can't be exported"
    if not _exportable(neuron):
        if neurons.one_variable(neuron) and fields["kind"] not in neurons.NEURONS:
            raise ConfigError(
                f"{kind}: its facts lack a drift with `describe`, a threshold or a reset_name, see "
                "neurons.Facts"
            )
        known = (name for name in neurons.NEURONS if _exportable(neurons.build(name)))
        raise ConfigError(
            f"{kind}: only neurons of one variable can ({', '.join(known)}), "
            "but for --format stablehlo, which takes all"
        )
    facts = {
        "bound": "none",
        "limit": float(fields["clip"]),
        "update": "sum",
        "threshold": float(said.threshold),
        "reset": said.reset_name,
        "v_reset": float(said.v_reset),
    }
    own, arrays = neuron.facts.drift.describe(params)
    facts |= own
    arrays["table"], facts["table"] = _table(neuron, params, facts)
    return facts, {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def _exportable(neuron) -> bool:
    facts = neuron.facts
    said = facts.drift and facts.drift.describe and facts.threshold and facts.reset_name
    return neurons.one_variable(neuron) and bool(said)


def _table(neuron, params, facts) -> tuple[np.ndarray, dict]:
    """f at `ENTRIES` potentials, and where they are."""
    wide = max(1.0, 2 * facts["threshold"])
    limit = {"clip": facts["limit"], "linear": 2 * facts["limit"], "tanh": 3.0}
    high = limit.get(facts["bound"], wide)
    u = np.linspace(-high, high, ENTRIES, dtype=np.float32)
    channels = _channels(neuron, params)
    u = np.broadcast_to(u.reshape(-1, *(1,) * len(channels)), (ENTRIES, *channels))
    values = np.asarray(neurons.drift_of(neuron, params, u))
    return values, {"low": -high, "high": high, "entries": ENTRIES}


def _channels(neuron, params) -> tuple[int, ...]:
    """(C,) if every channel has parameters of its own, else ()."""
    own = jax.tree.leaves(jax.eval_shape(neuron.init, jax.random.key(0)))
    leaves = jax.tree.leaves(params)
    return leaves[0].shape[own[0].ndim :] if own else ()
