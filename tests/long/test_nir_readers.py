"""NIR files as other programs read them: snnTorch, Norse and SpikingJelly, beside ours.

Not a requirement: a reader that is not installed is skipped. The table is docs/export.md's.
"""

import contextlib
import importlib.util
import io
import itertools
import logging
import warnings
from importlib import metadata

import exporting
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax.configs import digits
from lnm_jax.export import network, nir_graph

nir = pytest.importorskip("nir")
torch = pytest.importorskip("torch")

IMAGES = 60
ROUNDING = 1e-4  # of logits: sums in another order

SMALL = {"neuron.kind": "lif", "model.stem": 4, "model.widths": (4, 6), "model.blocks": (1, 1)}
RESNET = {"model.name": "resnet_small"}
VGG = exporting.EVENTS | {"model.widths": ((4,), (5,)), "model.pooling": "average"}
NETWORKS = {
    "MLP, LIF": {"model.name": "mlp", "model.stem": None, "model.blocks": None},
    "VGG, LIF": VGG,
    "VGG, IF": VGG | {"neuron.kind": "if"},
    "ResNet, LIF": RESNET,
    "ResNet, PLIF": RESNET | {"neuron.kind": "plif"},
    "ResNet, LIF, v_reset -0.2": RESNET | {"neuron.v_reset": -0.2},
}


def spikingjelly(graph):
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir(graph)


def snntorch(graph):
    from snntorch.import_nir import import_from_nir

    return import_from_nir(graph)


def norse(graph):
    from norse.torch import from_nir

    return from_nir(graph, dt=nir_graph.DT)


READERS = {"snntorch": snntorch, "norse": norse, "spikingjelly": spikingjelly}


def exported(name, path):
    """(network, images (B, ...)) of a network whose NIR file is at the path."""
    config = digits.get_config()
    config.update_from_flattened_dict(SMALL | NETWORKS[name])
    made = exporting.run_of(config)
    prepared = network.prepare(made)
    nir_graph.write(prepared, path)
    return prepared, made.experiment.dataset.test.images[:IMAGES]


def logits(model, graph, images):
    """(B, K) of a reader's network: the mean of its outputs over the timesteps."""
    facts = graph.metadata
    x = np.float32((images - facts["mean"]) / facts["std"])
    frames = np.moveaxis(x[None].repeat(facts["timesteps"], 0), -1, 2)
    state, outputs = None, []
    with torch.no_grad():
        for frame in frames:
            y, state = model(torch.from_numpy(frame.copy()), state)
            outputs.append(y.numpy())
    return np.mean(outputs, 0)


def read(reader, path, images):
    """The logits, or what went wrong in a line."""
    graph = nir.read(path)
    logging.disable()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = logits(READERS[reader](graph), graph, images)
    except Exception as error:  # whatever a reader does with it is the result
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    finally:
        logging.disable(logging.NOTSET)
    return found if found.ndim == 2 else f"gives an array of {found.shape}, not logits"


def test_what_readers_make_of_our_files(tmp_path):
    found = {}
    for name, reader in itertools.product(NETWORKS, READERS):
        if importlib.util.find_spec(reader) is None:
            continue
        path = str(tmp_path / "x.nir")
        ours, images = exported(name, path)
        wanted = np.asarray(ours.logits(jnp.asarray(images, jnp.float32)))
        theirs = read(reader, path, images)
        if not isinstance(theirs, str):
            near = np.abs(theirs - wanted).max(-1) < ROUNDING * np.abs(wanted).max()
            same = theirs.argmax(-1) == wanted.argmax(-1)
            theirs = f"{near.sum()} of {IMAGES} logits, {same.sum()} classes equal"
        found[reader, name] = theirs
        print(f"{reader} {metadata.version(reader)} | {name} | {theirs}")
    assert found or pytest.skip("no reader is installed")
