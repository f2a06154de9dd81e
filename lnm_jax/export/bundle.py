"""A network as a folder: graph.json, arrays.npz, and reader.py, which runs them by NumPy alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import neurons
from lnm_jax.errors import ConfigError
from lnm_jax.export import files
from lnm_jax.export.network import Network

FORMAT = 1
FILES = ("graph.json", "arrays.npz", "reader.py")
ENTRIES = 256  # of the look-up table: one byte addresses them
ONE_VARIABLE = ("lnm", "if", "lif", "plif", "qif", "eif")


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
    config, dataset = network.experiment.config, network.experiment.dataset
    arrays, nodes = {}, []
    for node in network.nodes:
        own, facts = {}, {}
        params = network.of(node.name)
        if node.kind == "spiking":
            neuron, own = describe(config.neuron.to_dict(), params)
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
        "classes": dataset.num_classes,
        "mean": np.asarray(dataset.mean, float).tolist(),
        "std": np.asarray(dataset.std, float).tolist(),
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
    with files.replacing(path) as new:
        os.mkdir(new)
        with open(os.path.join(new, "graph.json"), "w") as file:
            json.dump(graph | (facts or {}), file, indent=1)
        np.savez_compressed(os.path.join(new, "arrays.npz"), **arrays)
        with open(os.path.join(new, "reader.py"), "w") as file:
            file.write(source)


def _is_bundle(path: str) -> bool:
    return os.path.isdir(path) and set(os.listdir(path)) <= {*FILES, "__pycache__"}


def describe(fields: Mapping, params: Mapping) -> tuple[dict, dict[str, np.ndarray]]:
    """What one layer's neuron is: (facts, arrays), f with f(0) = 0 as one of four drifts.

    "polynomial" (theta of u, u**2, ...; also of LIF, PLIF, QIF and Chebyshev neurons), "spline"
    (theta as `neurons.drift.spline` has it), "mlp" (leak, in, bias, out) and "exponential"
    (leak, delta_t, v_t). Arrays end in an axis of channels if the parameters do. "table" is f at
    256 evenly spaced potentials: over the bound, or, where f has none, up to two thresholds.

    Args:
      fields: of `config.neuron`.
      params: of the layer, numbers as trained.
    Raises: ConfigError for a neuron of more than one variable.
    """
    kind = fields["kind"]
    if kind not in ONE_VARIABLE:
        raise ConfigError(
            f"config.neuron.kind {kind} can't be exported: only neurons of one variable can "
            f"({', '.join(ONE_VARIABLE)})"
        )
    learned = kind == "lnm"
    bounds = {"lnm": fields["bound"], "qif": "clip", "eif": "clip"}
    facts = {
        "drift": "polynomial",
        "bound": bounds.get(kind, "none"),
        "limit": float(fields["clip"]),
        "update": fields["update"] if learned else "sum",
        "threshold": float(fields["threshold"]),
        "reset": fields["reset"],
        "v_reset": float(fields["v_reset"]),
    }
    arrays, own = _drift(kind, fields, {name: np.asarray(x) for name, x in params.items()})
    facts |= own
    if facts["bound"] == "linear":
        arrays["slopes"] = _slopes(fields, params)
    arrays["table"], facts["table"] = _table(fields, params, facts)
    return facts, {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def _drift(kind, fields, params) -> tuple[dict, dict]:
    """Arrays and facts of f itself."""
    leak = 1 - fields["decay"]
    if kind == "if":
        return {"theta": np.zeros(1)}, {}
    if kind == "lif":
        return {"theta": np.array([-leak])}, {}
    if kind == "qif":
        return {"theta": np.array([-fields["a_0"] * fields["v_c"], fields["a_0"]])}, {}
    if kind == "eif":
        own = {"leak": leak, "delta_t": fields["delta_t"], "v_t": fields["v_t"]}
        return {}, {"drift": "exponential"} | own
    if kind == "plif":
        rate = np.asarray(jax.nn.sigmoid(params["w"]))
        return {"theta": -rate[None]} | ({"gain": rate} if fields["decay_input"] else {}), {}
    if fields["family"] == "mlp":
        return params, {"drift": "mlp", "leak": leak}
    if fields["family"] == "spline":
        return params, {"drift": "spline"}
    if fields["family"] == "chebyshev":
        return {"theta": _powers(params["theta"], fields["clip"])}, {}
    return params, {}


def _powers(theta: np.ndarray, limit: float) -> np.ndarray:
    """Coefficients of u, u**2, ... for those of Chebyshev polynomials of u / limit."""
    matrix = np.zeros((len(theta), len(theta)))
    for k in range(len(theta)):
        unit = np.zeros(k + 2)
        unit[-1] = 1
        matrix[: k + 1, k] = np.polynomial.chebyshev.cheb2poly(unit)[1:]
    scale = float(limit) ** -np.arange(1, len(theta) + 1)
    return np.einsum("j,jk,k...->j...", scale, matrix, theta.astype(float))


def _slopes(fields, params) -> np.ndarray:
    """f' at -limit and limit, with which the linear bound goes on."""
    own = ("degree", "knots", "hidden", "decay")
    chosen = {name: fields[name] for name in own}
    drift = neurons.FAMILIES[fields["family"]](
        neurons.BOUNDS["none"](), limit=fields["clip"], **chosen
    )

    def slope(u):
        u = jnp.full(_channels(fields, params), u, jnp.float32)
        return jax.jvp(lambda u: drift.apply(params, u), (u,), (jnp.ones_like(u),))[1]

    return np.stack([slope(-fields["clip"]), slope(fields["clip"])])


def _table(fields, params, facts) -> tuple[np.ndarray, dict]:
    """f at `ENTRIES` potentials, and where they are."""
    wide = max(1.0, 2 * facts["threshold"])
    limit = {"clip": facts["limit"], "linear": 2 * facts["limit"], "tanh": 3.0}
    high = limit.get(facts["bound"], wide)
    u = np.linspace(-high, high, ENTRIES, dtype=np.float32)
    channels = _channels(fields, params)
    neuron = neurons.build(**fields)
    u = np.broadcast_to(u.reshape(-1, *(1,) * len(channels)), (ENTRIES, *channels))
    values = np.asarray(neurons.drift_of(neuron, params, u))
    return values, {"low": -high, "high": high, "entries": ENTRIES}


def _channels(fields, params) -> tuple[int, ...]:
    """(C,) if every channel has parameters of its own, else ()."""
    own = jax.tree.leaves(jax.eval_shape(neurons.build(**fields).init, jax.random.key(0)))
    leaves = jax.tree.leaves(params)
    return leaves[0].shape[own[0].ndim :] if own else ()
