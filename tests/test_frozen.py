"""What a redesign must not change: parameter paths, neurons' numbers, training steps, two runs.

`python -m tests.test_frozen DIR` writes the fixture anew, and crc.json (of one machine and one
version of jax), to compare bits before and after a change with.
"""

import json
import pathlib
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from lnm_jax import data, models, neurons
from lnm_jax.configs import base, digits, identify, interval
from lnm_jax.training import experiment, steps
from reproduction.settings import PUBLISHED

HERE = pathlib.Path(__file__).resolve().parent / "frozen"
NARROW = {"model.stem": 4, "model.widths": (4,), "model.blocks": (1,), "timesteps": 2}
# Five configurations of three steps each, by name.
TRAINED = {
    "lnm": (digits, {**NARROW, "data.batch_size": 32}),
    "mpbn": (
        digits,
        {
            **NARROW,
            **PUBLISHED,
            "data.batch_size": 32,
            "neuron.kind": "plif",
            "spiking.membrane_norm": True,
            "spiking.start": "learned",
            "loss.name": "tet",
        },
    ),
    "window": (
        digits,
        {
            **NARROW,
            **PUBLISHED,
            "data.batch_size": 32,
            "spiking.window": 1.0,
            "spiking.sharing": "channel",
            "model.shortcut": "membrane",
            "data.cutout": 2,
        },
    ),
    "interval": (
        interval,
        {
            "timesteps": 30,
            "model.widths": (8,),
            "data.batch_size": 20,
            "neuron.decay": 0.25,
            "optimizer.neuron_learning_rate": 0.1,
        },
    ),
    "identify": (identify, {"data.batch_size": 20, "data.examples": 100}),
}
PRESETS = {
    **{name: {"model.name": name} for name in models.MODELS},
    **{f"kind-{kind}": {"neuron.kind": kind} for kind in neurons.NEURONS},
    "learned-start": {"spiking.start": "learned"},
    "membrane-norm": {"spiking.membrane_norm": True},
    "membrane-shortcut": {"model.shortcut": "membrane", "spiking.sharing": "channel"},
    "dspike": {"neuron.surrogate": "dspike", "adaptation.temperature": True},
    "masking": {"neuron.kind": "masked_psn", "adaptation.masking": 0.125},
    "window": {"spiking.window": 1.0},
    "side-heads": {"model.side_heads": (1,), "loss.name": "surrogate_module"},
}


def configured(module, fields):
    config = module.get_config()
    config.update_from_flattened_dict(fields)
    return config


def paths_of(fields):
    """Shapes of all variables by path, nothing is computed."""
    config = configured(base, {"timesteps": 2, **fields})
    size = models.INPUTS[config.model.name]
    if config.model.name == "resnet34":
        size = (32, 32, 3)
    shape = (2, 1, *size) if config.model.name == "recorded_layer" else (1, *size)
    examples = np.zeros((4, *shape[2:]) if len(shape) == 4 else (4, 2, *size), np.float32)
    split = data.Split(examples, np.zeros(4, np.int32))
    dataset = data.Dataset(split, split, 10, (0.0,) * size[-1], (1.0,) * size[-1], "none")
    if len(shape) == 4:
        split = data.Split(np.zeros((4, *size), np.float32), np.zeros(4, np.int32))
        dataset = dataset._replace(train=split, test=split)
    state = jax.eval_shape(experiment.build(config, dataset).init)
    flat = flatten_dict({"params": state.params, "batch_stats": state.batch_stats}, sep="/")
    return {path: list(leaf.shape) for path, leaf in sorted(flat.items())}


def of_neuron(kind):
    """Spikes, and gradients of a weighted sum of them, at parameters beside the initial ones."""
    neuron = neurons.build(kind, timesteps=5)
    params = jax.tree.map(lambda x: x * 0.9 + 0.03, neuron.init(jax.random.key(0)))
    currents = jax.random.normal(jax.random.key(1), (5, 3, 4)) * 0.8 + 0.3
    weights = jax.random.normal(jax.random.key(2), currents.shape)

    def total(params, currents):
        spikes = neurons.run(neuron, params, currents, backend="scan")
        return (spikes * weights).sum(), spikes

    grad = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    (d_params, d_currents), spikes = grad(params, currents)
    return {"spikes": spikes, "currents": d_currents, **d_params}


def after_three_steps(name):
    config = configured(*TRAINED[name])
    config.log_every = 1000
    this = experiment.build(config)
    state = this.init()
    batches = data.train_batches(this.dataset.train, 0, config.data.batch_size, 0, 3)
    for batch in batches:
        state, _ = this.train_step(state, batch)
    images = steps.time_first(jnp.asarray(this.dataset.test.images[:4], jnp.float32))
    outputs = jax.jit(this.model.clone(axis_name=None).apply)(state.variables, images)
    variables = flatten_dict(jax.device_get(state.variables), sep="/")
    return config, variables, np.asarray(outputs, np.float32)


def sums(tree):
    """The sum and the sum of squares of every leaf."""
    flat = flatten_dict(tree, sep="/")
    wide = {path: np.asarray(leaf, np.float64) for path, leaf in flat.items()}
    return {path: [float(f"{y.sum():.7g}") for y in (x, x * x)] for path, x in wide.items()}


def crcs(tree):
    flat = flatten_dict(tree, sep="/")
    return {path: zlib.crc32(np.asarray(leaf).tobytes()) for path, leaf in sorted(flat.items())}


def write(directory):
    frozen, bits = {"paths": {}, "neurons": {}, "steps": {}}, {}
    for name, fields in PRESETS.items():
        frozen["paths"][name] = paths_of(fields)
    for kind in neurons.NEURONS:
        found = of_neuron(kind)
        frozen["neurons"][kind] = sums(found)
        bits[kind] = crcs(found)
    for name in TRAINED:
        config, variables, outputs = after_three_steps(name)
        frozen["steps"][name] = sums(variables)
        bits[f"{name}-steps"] = crcs(variables)
        if name in ("lnm", "mpbn"):
            (directory / f"{name}.json").write_text(config.to_json(indent=1) + "\n")
            np.savez_compressed(directory / f"{name}.npz", outputs=outputs, **variables)
    (directory / "numbers.json").write_text(json.dumps(frozen) + "\n")
    (directory / "crc.json").write_text(json.dumps(bits, indent=1) + "\n")


@pytest.fixture(scope="module")
def frozen():
    return json.loads((HERE / "numbers.json").read_text())


@pytest.mark.parametrize("name", PRESETS)
def test_parameter_paths_and_shapes(name, frozen):
    assert paths_of(PRESETS[name]) == frozen["paths"][name]


@pytest.mark.parametrize("kind", neurons.NEURONS)
def test_spikes_and_gradients_of_every_kind(kind, frozen):
    for path, values in sums(of_neuron(kind)).items():
        wanted = frozen["neurons"][kind][path]
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-4, err_msg=path)


@pytest.mark.parametrize("name", TRAINED)
def test_three_training_steps(name, frozen):
    found = sums(after_three_steps(name)[1])
    assert found.keys() == frozen["steps"][name].keys()
    for path, values in found.items():
        np.testing.assert_allclose(
            values, frozen["steps"][name][path], rtol=2e-3, atol=2e-3, err_msg=path
        )


@pytest.mark.parametrize("name", ["lnm", "mpbn"])
def test_a_run_of_before_gives_the_same_logits(name):
    config = configured(base, {})
    config.update(json.loads((HERE / f"{name}.json").read_text()))
    arrays = dict(np.load(HERE / f"{name}.npz"))
    outputs = arrays.pop("outputs")
    this = experiment.build(config)
    images = jnp.asarray(this.dataset.test.images[:4], jnp.float32)
    model = this.model.clone(axis_name=None)
    logits = jax.jit(model.apply)(unflatten_dict(arrays, sep="/"), images)
    np.testing.assert_allclose(logits, outputs, atol=1e-5)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
