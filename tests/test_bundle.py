"""Bundles: what the NumPy reader computes, and what it says of damaged ones."""

import json
import os
import pathlib
import subprocess
import sys

import exporting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lnm_jax import cli, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.export import bundle, network, reader
from lnm_jax.layers import Spiking
from lnm_jax.training import run_directory

# Sums in another order differ by at most this at the sizes of these tests (measured: 1e-6).
ROUNDING = 1e-5
FROZEN = pathlib.Path(__file__).resolve().parent / "frozen" / "bundle.json"
NETWORKS = {
    "projection": {},
    "padding, stem pool, head": exporting.PADDED,
    "dense": exporting.DENSE,
    "max pools, channels, soft": {
        "model.stem_pool": "max",
        "model.pooling": "max",
        "spiking.sharing": "channel",
        "neuron.reset": "soft",
        "neuron.bound": "linear",
        "compute_dtype": "bfloat16",  # exported, and compared, in float32
    },
    "events": exporting.EVENTS | {"model.widths": ((4, 6), (5,))},
}


def layers(exported, images):
    """Logits, and spikes of every layer by name, as the JAX model has them."""
    dataset = exported.experiment.dataset
    x = (jnp.asarray(images, jnp.float32) - dataset.mean) / dataset.std
    x = x if x.ndim == 4 else x.swapaxes(0, 1)

    @jax.jit
    def run(params, x):
        keep = lambda module, method: isinstance(module, Spiking)
        return exported.model.apply({"params": params}, x, capture_intermediates=keep)

    logits, state = run(exported.params, x)
    flat = flatten_dict(state["intermediates"])
    return logits, {"/".join(path[:-1]): x for path, (x,) in flat.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_reader_spikes_as_the_model_does(name, config, tmp_path):
    config.update_from_flattened_dict(NETWORKS[name])
    run = exporting.run_of(config, exporting.events() if name == "events" else None)
    exported = network.prepare(run)
    bundle.write(exported, str(tmp_path / "b"))
    images = run.experiment.dataset.test.images
    logits, spikes = layers(exported, images)
    found = reader.Network(str(tmp_path / "b"))(images)
    assert list(found.spikes) == run.experiment.spiking_layers()
    clear = found.margin > ROUNDING
    assert clear.mean() > 0.7  # few images have a potential that close to the threshold
    for path in found.spikes:
        assert 0.01 < found.spikes[path].mean() < 0.9, path
        np.testing.assert_array_equal(found.spikes[path][:, clear], spikes[path][:, clear])
    np.testing.assert_allclose(found.logits[clear], logits[clear], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.logits.argmax(-1), logits.argmax(-1))


def test_format_1_stays_as_it_is(config):
    """Bundles that are out there are read by their own reader, and by anybody's of this format."""
    config.update_from_flattened_dict(NETWORKS["max pools, channels, soft"])
    graph, arrays = bundle.contents(network.prepare(exporting.run_of(config)))
    frozen = json.loads(FROZEN.read_text())
    sums = frozen.pop("sums")
    assert graph["names"] == list("0123456789")  # added since; readers need not know it
    assert json.loads(json.dumps(graph)) | frozen == json.loads(json.dumps(graph))
    for name, x in arrays.items():
        assert x.dtype == np.float32
        np.testing.assert_allclose([x.sum(), np.abs(x).sum()], sums[name], rtol=1e-4, atol=1e-4)


PER_CHANNEL = ("plif", "linear", "chebyshev", "spline, linear", "mlp")
KINDS = {
    "if": {"kind": "if"},
    "lif": {"kind": "lif", "v_reset": -0.2},
    "plif": {"kind": "plif"},
    "plif without": {"kind": "plif", "decay_input": False},
    "qif": {"kind": "qif", "reset": "soft"},
    "eif": {"kind": "eif"},
    "tanh": {"bound": "tanh", "degree": 5},
    "none": {"bound": "none", "degree": 2},
    "linear": {"bound": "linear", "clip": 0.4},
    "fold": {"update": "fold", "clip": 0.6},
    "chebyshev": {"family": "chebyshev", "degree": 4, "clip": 0.8},
    "spline": {"family": "spline", "knots": 5},
    "spline, linear": {"family": "spline", "knots": 6, "bound": "linear", "clip": 0.5},
    "mlp": {"family": "mlp"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_neuron_of_one_variable_is_read_as_it_runs(name, config):
    fields = config.neuron.to_dict() | KINDS[name]
    neuron = neurons.build(**fields)
    neuron = neurons.per_channel(neuron, 4) if name in PER_CHANNEL else neuron
    generator = np.random.default_rng(1)
    params = jax.tree.map(
        lambda x: x + 0.3 * generator.standard_normal(x.shape).astype(np.float32),
        neuron.init(jax.random.key(0)),
    )
    currents = generator.normal(0.2, 0.5, (6, 50, 4)).astype(np.float32)
    facts, arrays = bundle.describe(neurons.build(**fields), fields, params)
    facts = json.loads(json.dumps(facts))
    spikes, margin = reader.run_neuron(facts, arrays, currents, lookup=False)
    wanted = np.asarray(neurons.run(neuron, params, jnp.asarray(currents), backend="scan"))
    clear = margin > ROUNDING
    assert clear.mean() > 0.8
    assert 0.05 < spikes.mean() < 0.9
    np.testing.assert_array_equal(spikes[:, clear], wanted[:, clear])
    by_table, _ = reader.run_neuron(facts, arrays, currents, lookup=True)
    # Entries are 2 * high / 255 apart: few potentials are that close to the threshold.
    assert np.mean(by_table != spikes) < (0.15 if KINDS[name].get("update") else 0.02)


def test_an_own_neurons_threshold_and_reset_are_its_own(config):
    """Not the configuration's, which its factory may not have taken."""
    fields = config.neuron.to_dict() | {"kind": "my_lab:soft"}
    own = neurons.lif(threshold=0.8, reset="soft", v_reset=-0.1)
    facts, _ = bundle.describe(own, fields, {})
    assert (facts["threshold"], facts["reset"], facts["v_reset"]) == (0.8, "soft", -0.1)
    bare = own._replace(facts=own.facts._replace(reset_name=None))
    with pytest.raises(ConfigError, match=r"my_lab:soft can't be exported: its facts lack a drift"):
        bundle.describe(bare, fields, {})


def test_int8_weights_are_rounded_by_channel_and_their_accuracy_is_stated(
    trained_run, tmp_path, capsys
):
    path = tmp_path / "bundle"
    arguments = [trained_run.directory, "--format", "bundle", "--int8", "--output", str(path)]
    assert cli.export(arguments) == 0
    read = reader.Network(str(path))
    kernel = network.prepare(trained_run).params["stem"]["conv"]["kernel"]
    integers, scale = read.arrays["stem/conv/kernel"], read.arrays["stem/conv/scale"]
    assert integers.dtype == np.int8
    np.testing.assert_array_equal(np.abs(integers).max((0, 1, 2)), 127)
    assert (np.abs(integers * scale - kernel) <= scale / 2 * 1.001).all()

    test = trained_run.experiment.dataset.test
    one = 1.01 * 100 / len(test.labels)  # a potential at the threshold may round to either side
    by_reader = 100 * (read(test.images).logits.argmax(-1) == test.labels).mean()
    stated = read.graph["accuracy_int8"], read.graph["accuracy_float32"]
    assert stated[0] == pytest.approx(by_reader, abs=one)
    assert stated[1] == pytest.approx(trained_run.records[-1]["accuracy"], abs=one)
    out = capsys.readouterr().out
    assert f"with int8 weights: {stated[0]:.2f} %" in out
    assert f"of the run's network: {stated[1]:.2f} %" in out

    # The copied reader alone: another folder, another process, no lnm_jax and no jax.
    np.save(tmp_path / "images.npy", test.images[:5])
    code = (
        "import runpy, sys; sys.argv = ['reader.py', 'bundle', 'images.npy'];"
        "runpy.run_path('bundle/reader.py', run_name='__main__');"
        "assert not {'jax', 'flax', 'lnm_jax'} & set(sys.modules)"
    )
    out = subprocess.check_output([sys.executable, "-I", "-c", code], cwd=tmp_path, text=True)
    assert list(map(int, out.split())) == read(test.images[:5]).logits.argmax(-1).tolist()


@pytest.fixture
def written(config, tmp_path):
    bundle.write(network.prepare(exporting.run_of(config)), str(tmp_path / "b"))
    return tmp_path / "b"


def test_the_command_runs_any_number_of_images_and_says_what_is_wrong_in_one_line(written):
    def ran(*arguments):
        command = [sys.executable, "reader.py", ".", *arguments]
        return subprocess.run(command, cwd=written, capture_output=True, text=True)

    network, images = reader.Network(str(written)), np.random.default_rng(0).random((35, 8, 8, 1))
    np.save(written / "images.npy", images * 16)
    wanted = network(images * 16).logits.argmax(-1).tolist()
    assert len(set(wanted)) > 1
    assert list(map(int, ran("images.npy").stdout.split())) == wanted

    def refused(name, message):
        done = ran(name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith("reader.py: ")
        assert message in done.stderr

    np.save(written / "images.npy", images[:, :7])
    refused("images.npy", "got (16, 7, 8, 1)")
    refused("none.npy", "No such file")
    (written / "arrays.npz").unlink()
    refused("images.npy", "not a bundle")
    assert "python reader.py BUNDLE IMAGES.npy" in ran().stderr


def test_int8_weights_change_kernels_alone(config):
    config.neuron.kind = "lif"  # whose layers have no parameters, and are in the tree
    exported = network.prepare(exporting.run_of(config))
    rounded = bundle.with_int8_weights(exported)
    for path, leaf in flatten_dict(exported.params).items():
        assert (leaf != flatten_dict(rounded.params)[path]).any() == (path[-1] == "kernel")


def test_the_reader_is_short_and_stands_alone():
    with open(reader.__file__) as file:
        lines = file.read().splitlines()
    assert len(lines) < 155
    imports = {line for line in lines if line.startswith(("import", "from"))}
    names = {"json", "math", "os", "sys", "typing", "numpy"}
    assert {line.split()[1] for line in imports} == names


def test_a_damaged_bundle_is_said_in_one_line(written):
    def refused(message, directory=written, images=np.zeros((2, 9, 8, 1))):  # noqa: B008
        with pytest.raises(ValueError, match=message) as error:
            reader.Network(str(directory))(images)
        assert "\n" not in str(error.value)

    path = written / "arrays.npz"
    refused(r"images must be .* got \(2, 9, 8, 1\)")
    refused("images must be finite, got NaN or infinity", images=np.full((2, 8, 8, 1), np.nan))
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"stem/conv/bias": np.zeros(3)})
    refused(r"stem/conv/bias is \(3,\), not \(4,\)")
    del arrays["stem/conv/kernel"]
    np.savez(path, **arrays)
    refused("array stem/conv/kernel is missing")
    for content in (b"PK no zip", b""):
        path.write_bytes(content)
        refused("not a bundle")
    refused("not a bundle", written / "none")


def test_only_a_bundle_is_replaced_and_nothing_is_left_half_written(written, config, monkeypatch):
    exported = network.prepare(exporting.run_of(config))
    bundle.write(exported, str(written), int8=True)
    assert reader.Network(str(written)).graph["weights"] == "int8"

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", full)
        with pytest.raises(ConfigError, match="No space left"):
            bundle.write(exported, str(written))
    assert reader.Network(str(written)).graph["weights"] == "int8"
    assert os.listdir(written.parent) == ["b"]
    (written / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not a bundle"):
        bundle.write(exported, str(written))


def test_runs_that_cannot_be_exported_are_refused_in_one_line(config, tmp_path, capsys):
    def refused(run, *arguments):
        line = exporting.refused(capsys, cli.export, run, "--format", *arguments)
        assert line.startswith("export: ")
        return line

    assert "no run here" in refused(str(tmp_path / "none"), "bundle")
    directory = run_directory.create(config)
    assert "no checkpoint here" in refused(directory, "bundle")
    assert "--int8 is for" in refused(directory, "nir", "--int8")
    assert "choose from" in refused(directory, "onnx")
    path = os.path.join(directory, "config.json")
    with open(path) as file:
        text = file.read()
    for damaged, message in ((text[:40], "not a configuration"), ('{"sed": 1}', "of this version")):
        with open(path, "w") as file:
            file.write(damaged)
        assert message in refused(directory, "bundle")
    assert os.listdir(directory) == ["config.json"]
    config.neuron.kind = "adex"
    with pytest.raises(ConfigError, match="only neurons of one variable can"):
        bundle.contents(network.prepare(exporting.run_of(config)))
