"""A network as a graph of the Neuromorphic Intermediate Representation (Pedersen et al. 2024).

NIR's LIF is tau v' = (v_leak - v) + R I, a spike where v > v_threshold, v = v_reset after it.
A forward Euler step of `DT` is v + dt / tau (v_leak - v + R I), which is our v - k v + g I for
tau = dt / k, R = g / k: LIF has k = 1 - decay and g = 1, PLIF k = g = a. With k = 0
it is NIR's IF of R = g / dt. Ours spikes at v >= v_th, which for float32 is v > the number below
v_th. A node with several incoming edges takes their sum: that is how shortcuts are written.

NIR does not say where v starts, and readers start at 0, at v_reset or at v_leak. Ours starts at
v_reset; so potentials are written relative to it: v_reset = 0, v_leak = -v_reset, and a threshold
that is as much lower.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from lnm_jax import data, files, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.export.bundle import describe
from lnm_jax.export.graph import Node
from lnm_jax.export.network import Network, accuracy
from lnm_jax.neurons import Facts

DT = 1e-4  # seconds a timestep: what NIR's readers assume
OTHERS = "--format bundle and stablehlo have it"


def best_lif(network: Network) -> dict[str, np.ndarray]:
    """k of the line f(u) = -k u closest to each spiking layer's f, () or (C,), by name.

    Least squares over the potentials that the layer visits in one evaluation batch of training
    examples, as 4.2.3 lowers degrees.
    """
    this, model = network.experiment, network.model
    size = min(this.config.data.eval_batch_size, this.info.train)
    images = next(data.eval_batches(this.dataset.train, size))["image"]

    def fit(path, u):
        drift = neurons.drift_of(model.neuron, network.of(path), u)
        axes = tuple(range(u.ndim - (this.config.spiking.sharing == "channel")))
        return -(drift * u).sum(axes) / jnp.maximum((u * u).sum(axes), 1e-12)

    @jax.jit
    def run(params, x):
        _, sown = model.apply({"params": params}, x, mutable=["trace"])
        traces = flatten_dict(sown["trace"])
        visited = {"/".join(path[:-1]): trace.before for path, (_, trace) in traces.items()}
        return {path: fit(path, u) for path, u in visited.items()}

    return jax.device_get(run(network.params, network.inputs(images)))


def with_lif(network: Network, leaks: dict[str, np.ndarray]) -> Network:
    """The network whose spiking layers have f(u) = -k u, fire and reset as they did.

    Args:
      network: of any neurons.
      leaks: k of each spiking layer, by name.
    """
    facts = network.model.neuron.facts
    line = neurons.lnm(
        degree=1,
        bound="none",
        threshold=facts.threshold,
        reset=facts.reset_name,
        v_reset=facts.v_reset,
    )
    params = jax.tree.map(lambda leaf: leaf, network.params)  # dicts of our own
    for name, leak in leaks.items():
        inside = params
        for part in name.split("/"):
            inside = inside.setdefault(part, {})
        inside["neuron"] = {"theta": -np.asarray(leak, np.float32)[None]}
    return network._replace(model=network.model.clone(neuron=line), params=params)


def build(network: Network):
    """(the `nir.NIRGraph`, the network that it is: the given one, or one of fitted LIF neurons).

    Its input is one timestep of normalised images, channels first; its output, averaged over
    time, is the logits. Its metadata holds dt, timesteps, mean and std.

    Raises: ConfigError for what NIR has no node for.
    """
    import nir

    neuron = network.model.neuron.facts
    if neuron.reset_name not in ("hard", None):  # without any it describes itself to no export
        raise ConfigError(
            f"config.neuron.reset {neuron.reset_name}: NIR's neurons have the hard reset only; "
            f"{OTHERS}"
        )
    for node in network.nodes:
        if node.kind in ("max_pool", "max_space"):
            raise ConfigError(
                f"{node.name}: NIR has no max pool; it has average ones (config.model.pooling, "
                f"config.model.stem_pool); {OTHERS}"
            )
    lines = _own_lines(network)
    if lines is None:
        leaks = best_lif(network)
        lines = {name: (leak, np.float32(1)) for name, leak in leaks.items()}
        network = with_lif(network, leaks)
    nodes, edges, sources, vectors = {}, [], {}, set()
    for node in network.nodes:
        before = [source for name in node.inputs for source in sources[name]]
        flat = bool(node.inputs) and vectors.issuperset(node.inputs)
        if flat or node.kind == "flatten":
            vectors.add(node.name)
        # Sums of edges; the same input at every timestep; what is flat already.
        if node.kind in ("add", "repeat") or (flat and node.kind == "flatten"):
            sources[node.name] = before
            continue
        made = _nodes(nir, network, node, neuron, lines, flat)
        for name, made_node in made.items():
            nodes[name] = made_node
            edges += [(source, name) for source in before]
            before = [name]
        sources[node.name] = before
    shape = [int(size) for size in network.example]
    return nir.NIRGraph(nodes, edges, metadata=_metadata(network, shape)), network


def _metadata(network, shape):
    info = network.experiment.info
    return {
        "dt": DT,
        "timesteps": shape[0] if len(shape) == 4 else network.model.timesteps,
        "mean": np.asarray(info.mean),
        "std": np.asarray(info.std),
        "classes": ", ".join(info.classes),
    }


def _own_lines(network: Network) -> dict | None:
    """(k, g) of every layer whose neurons are lines, or None if they are not."""
    lines, fields = {}, network.experiment.config.neuron.to_dict()
    for node in network.nodes:
        if node.kind == "spiking":
            facts, arrays = describe(network.model.neuron, fields, network.of(node.name))
            theta = arrays.get("theta", np.zeros(0))
            if facts["drift"] != "polynomial" or len(theta) != 1 or facts["bound"] != "none":
                return None
            lines[node.name] = -theta[0], arrays.get("gain", np.float32(1))
    return lines


def _nodes(nir, network: Network, node: Node, neuron: Facts, lines: dict, flat: bool) -> dict:
    """The NIR nodes of one of ours, in a chain; flat: its inputs are vectors, or (1, 1, N)."""
    name = node.name.replace("/", "_")  # NIR's readers make Python names of them
    params = network.of(node.name)
    inputs = next((n.shape for n in network.nodes if n.name in node.inputs[:1]), ())
    if node.kind == "input":
        shape = _channels_first(node.shape[-3:])
        return {name: nir.Input({"input": np.array(shape)})}
    if node.kind == "average_time":
        return {"output": nir.Output({"output": np.array(node.shape)})}
    if node.kind == "convolution" and not flat:
        kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
        return {name: _convolution(nir, kernel, bias, node.fields, inputs)}
    if node.kind in ("dense", "convolution"):
        kernel = np.asarray(params["kernel"])
        kernel = kernel.reshape(-1, kernel.shape[-1])
        for flat in (n for n in network.nodes if n.name in node.inputs and n.kind == "flatten"):
            shape = next(n.shape for n in network.nodes if n.name == flat.inputs[0])
            kernel = kernel.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
        return {name: nir.Affine(np.ascontiguousarray(kernel.T), np.asarray(params["bias"]))}
    if node.kind == "spiking":
        shape = node.shape[-1:] if flat else _channels_first(node.shape)
        return {name: _neuron(nir, node.name, shape, neuron, *lines[node.name])}
    if node.kind == "average_pool":
        size, stride, padding = (
            np.full(2, node.fields[key]) for key in ("size", "stride", "padding")
        )
        return {name: nir.AvgPool2d(kernel_size=size, stride=stride, padding=padding)}
    if node.kind in ("average_space", "flatten"):
        shape = inputs if node.kind == "flatten" else (1, 1, inputs[-1])
        shape = np.array(_channels_first(shape))
        # From the end: some readers count axes with the batch, others without.
        flatten = nir.Flatten(input_type={"input": shape}, start_dim=-len(shape), end_dim=-1)
        if node.kind == "flatten":
            return {name: flatten}
        size = np.array(inputs[:2])
        pool = nir.AvgPool2d(kernel_size=size, stride=size, padding=np.zeros(2, int))
        return {name: pool, f"{name}_flat": flatten}
    if node.kind in ("subsample", "pad_channels"):  # as 1x1 convolutions of ones and zeros
        kernel = np.eye(inputs[-1], node.shape[-1], dtype=np.float32)[None, None]
        fields = {"stride": node.fields.get("stride", 1), "padding": 0}
        bias = np.zeros(node.shape[-1], np.float32)
        return {name: _convolution(nir, kernel, bias, fields, inputs)}
    raise ConfigError(f"{node.name}: NIR has no node for {node.kind}")


def _channels_first(shape):
    return (shape[-1], *shape[:-1])


def _convolution(nir, kernel, bias, fields, inputs):
    return nir.Conv2d(
        input_shape=tuple(inputs[:2]),
        weight=np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)),
        stride=fields["stride"],
        padding=fields["padding"],
        dilation=1,
        groups=1,
        bias=bias,
    )


def _neuron(nir, name: str, shape: tuple[int, ...], neuron: Facts, leak, gain):
    """LIF, or IF without a leak, of one layer; leak and gain are () or (C,)."""

    def full(values):
        values = np.asarray(values, np.float64).reshape(-1, *(1,) * (len(shape) - 1))
        return np.broadcast_to(values, shape).copy()

    if np.any(leak < 0) or (np.any(leak == 0) and np.any(leak != 0)):
        raise ConfigError(
            f"{name}: its nearest LIF does not leak (f(u) = {-float(np.min(leak)):.3g} u); "
            f"NIR has leaks above 0 only; {OTHERS}"
        )
    threshold = np.float32(neuron.threshold - neuron.v_reset)
    threshold = np.nextafter(threshold, np.float32(-np.inf))
    firing = {"v_threshold": full(threshold), "v_reset": full(0)}
    if not np.any(leak):
        return nir.IF(r=full(gain / DT), **firing)
    leak = np.asarray(leak, np.float64)
    return nir.LIF(tau=full(DT / leak), r=full(gain / leak), v_leak=full(-neuron.v_reset), **firing)


def write(network: Network, path: str) -> dict[str, float]:
    """Writes the graph to a file, whole or not at all.

    Returns: {"accuracy_lif": percent of the test split} if LIF neurons were fitted, else {}.
    Raises: ConfigError as `build` does, or if the file can't be written.
    """
    graph, written = build(network)
    import nir

    with files.replacing(path, "choose another --output") as new:
        nir.write(new, graph)
    return {} if written is network else {"accuracy_lif": accuracy(written)}
