"""NIR graphs, read from the file and run by NIR's equations in NumPy."""

import exporting
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import cli
from lnm_jax.errors import ConfigError
from lnm_jax.export import network, nir_graph, reader

nir = pytest.importorskip("nir")
ROUNDING = 1e-5


class Neurons:
    """An IF or LIF node by forward Euler from v = 0, in float32."""

    def __init__(self, node, dt):
        self.node, self.dt = node, dt
        self.v = self.margin = None

    def __call__(self, current):
        node, reset = self.node, np.float32(self.node.v_reset)
        if self.v is None:
            self.v = np.zeros(current.shape, np.float32)
            self.margin = np.full(len(current), np.inf)
        change = np.float64(node.r) * current
        if isinstance(node, nir.LIF):
            change = (np.float64(node.v_leak) - self.v + change) / np.float64(node.tau)
        v = np.float32(self.v + self.dt * change)
        spikes = v > np.float64(node.v_threshold)
        self.v = np.where(spikes, reset, v)
        distance = np.abs(v - np.float64(node.v_threshold)).reshape(len(v), -1).min(1)
        self.margin = np.minimum(self.margin, distance)
        return spikes.astype(np.float32)


def apply(node, x):
    """One NIR node without a state, on (B, C, H, W) or (B, F)."""
    if isinstance(node, nir.Affine):
        return x @ node.weight.T + node.bias
    if isinstance(node, nir.Flatten):
        assert node.start_dim == -len(node.input_type["input"])  # the same with the batch's axis
        return x.reshape(len(x), -1)
    x = np.moveaxis(x, 1, -1)
    if isinstance(node, nir.AvgPool2d):
        size, stride, pad = (int(v[0]) for v in (node.kernel_size, node.stride, node.padding))
        y = sum(reader.windows(x, size, stride, pad)) / np.float32(size * size)
    else:
        stride, pad = (int(np.ravel(v)[0]) for v in (node.stride, node.padding))
        kernels = np.concatenate(node.weight.transpose(2, 3, 1, 0))
        parts = reader.windows(x, node.weight.shape[-1], stride, pad)
        y = sum(map(np.matmul, parts, kernels)) + node.bias
    return np.moveaxis(y, -1, 1)


def run(graph, images):
    """(logits, spikes by node, margin (B,)) of a graph for images in the data set's unit."""
    facts = graph.metadata
    x = np.float32((images - facts["mean"]) / facts["std"])
    x = x[None].repeat(facts["timesteps"], 0) if x.ndim == 4 else x.swapaxes(0, 1)
    states = {
        name: Neurons(node, facts["dt"])
        for name, node in graph.nodes.items()
        if isinstance(node, nir.LIF | nir.IF)
    }
    outputs, spikes = [], {name: [] for name in states}
    for frame in np.moveaxis(x, -1, 2):
        done = {name: frame for name, node in graph.nodes.items() if isinstance(node, nir.Input)}
        while len(done) < len(graph.nodes):
            for name, node in graph.nodes.items():
                before = [source for source, target in graph.edges if target == name]
                if name not in done and all(source in done for source in before):
                    total = sum(done[source] for source in before)
                    if name in states:
                        done[name] = states[name](total)
                        spikes[name].append(done[name])
                    else:
                        done[name] = total if name == "output" else apply(node, total)
        outputs.append(done["output"])
    margin = np.min([state.margin for state in states.values()], 0)
    return np.mean(outputs, 0), {name: np.stack(s) for name, s in spikes.items()}, margin


def agree(exported, graph, images):
    """Checks logits against the model's, where no potential is within rounding."""
    logits, spikes, margin = run(graph, images)
    clear = margin > ROUNDING
    assert clear.mean() > 0.7
    assert 0.02 < np.mean([s.mean() for s in spikes.values()]) < 0.9
    wanted = np.asarray(jax.jit(exported.logits)(jnp.asarray(images, jnp.float32)))
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(logits[clear], wanted[clear], rtol=1e-4, atol=1e-5)


LIF_TYPE = {
    "lif, head, padding": exporting.PADDED | {"neuron.kind": "lif"},
    "plif a channel": {"neuron.kind": "plif", "spiking.sharing": "channel"},
    "lif, v_reset": {"neuron.kind": "lif", "neuron.v_reset": -0.3},
    "plif, dense": exporting.DENSE | {"neuron.kind": "plif", "neuron.v_reset": 0.1},
    "if, events": exporting.EVENTS | {"neuron.kind": "if", "model.widths": ((4,), (5,))},
}


@pytest.mark.parametrize("name", LIF_TYPE)
def test_lif_type_networks_are_exact(name, config, tmp_path):
    config.update_from_flattened_dict(LIF_TYPE[name])
    made = exporting.run_of(config, exporting.events() if "events" in name else None)
    exported = network.prepare(made)
    assert nir_graph.write(exported, str(tmp_path / "x.nir")) == {}
    agree(exported, nir.read(tmp_path / "x.nir"), made.experiment.dataset.test.images[:40])


def test_the_step_is_ours_at_the_threshold_itself(config):
    config.neuron.kind, config.neuron.threshold = "lif", 0.5
    graph, _ = nir_graph.build(network.prepare(exporting.run_of(config)))
    node = graph.nodes["stem_spike"]
    current = np.zeros((1, *node.v_threshold.shape), np.float32)
    below = np.nextafter(np.float32(0.5), np.float32(0))
    for value, spikes in ((np.float32(0.5), True), (below, False)):
        # The comparison alone: the current's own way through dt / tau rounds.
        assert (value > np.float32(node.v_threshold)).all() == spikes
    assert not Neurons(node, nir_graph.DT)(current).any()
    np.testing.assert_allclose(nir_graph.DT / node.tau, 0.75)
    np.testing.assert_allclose(node.r * nir_graph.DT / node.tau, 1)


def test_learned_neurons_are_written_as_their_nearest_lif_and_its_accuracy_is_said(
    trained_run, tmp_path, capsys
):
    path = str(tmp_path / "x.nir")
    assert cli.export([trained_run.directory, "--format", "nir", "--output", path]) == 0
    exported = network.prepare(trained_run)
    fitted = nir_graph.with_lif(exported, nir_graph.best_lif(exported))
    agree(fitted, nir.read(path), trained_run.experiment.dataset.test.images[:40])
    assert f"with LIF neurons fitted: {network.accuracy(fitted):.2f} %" in capsys.readouterr().out


def test_the_nearest_lif_of_a_line_inside_its_bound_is_that_line(config):
    config.neuron.update({"degree": 1, "bound": "clip", "clip": 1e3})
    exported = network.prepare(exporting.run_of(config))
    for name, leak in nir_graph.best_lif(exported).items():
        theta = exported.of(name)["theta"][0]
        np.testing.assert_allclose(leak, -theta, rtol=2e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"neuron.reset": "soft"},
            "config.neuron.reset soft: NIR's neurons have the hard reset only; --format bundle and "
            "stablehlo have it",
        ),
        ({"model.stem_pool": "max"}, "max_pool_1: NIR has no max pool"),
        ({"model.pooling": "max", "neuron.kind": "lif"}, "max_space_1: NIR has no max pool"),
    ],
    ids=str,
)
def test_what_nir_cannot_express_is_refused_before_anything_is_fitted(
    fields, message, config, monkeypatch
):
    monkeypatch.delattr(nir_graph, "best_lif")
    config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=message):
        nir_graph.build(network.prepare(exporting.run_of(config)))


def test_a_growing_line_is_refused(config):
    config.neuron.update({"degree": 1, "bound": "none"})
    exported = network.prepare(exporting.run_of(config))
    for node in exported.nodes:
        if node.kind == "spiking":
            exported.of(node.name)["theta"][:] = 0.1
    with pytest.raises(ConfigError, match=r"stem_spike: its nearest LIF does not leak"):
        nir_graph.build(exported)
