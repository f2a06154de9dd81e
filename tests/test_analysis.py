"""Learned dynamics as curves and as a picture."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import neurons
from lnm_jax.analysis import dynamics
from lnm_jax.training import loop

U = jnp.linspace(-2, 2, 41)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"neuron.kind": "lif"},
        {"neuron.kind": "lnm_two_variable"},
        {"neuron.bound": "linear", "spiking.sharing": "channel", "spiking.window": 1.5},
    ],
    ids=str,
)
def test_every_kind_of_neuron_trains_and_is_drawn(config, fields):
    config.update_from_flattened_dict(fields)
    config.epochs = 1
    run = loop.train(config)
    curves = dynamics.learned_drifts(run, U)
    assert list(curves) == run.experiment.spiking_layers()
    params = jax.device_get(run.state.params).get("stem_spike", {}).get("neuron", {})
    u = jnp.broadcast_to(U[:, None], (len(U), 4)) if "spiking.sharing" in fields else U
    wanted = neurons.drift_of(run.experiment.neuron, params, u)
    np.testing.assert_array_equal(curves["stem_spike"], wanted)
    with open(dynamics.save_picture(run), "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_neuron_that_cannot_be_silenced_leaves_no_picture_and_one_line(config, caplog):
    config.update_from_flattened_dict({"neuron.kind": "lif"})
    config.epochs = 1
    run = loop.train(config)
    always = neurons.lif()._replace(step=lambda p, v, i: (v, jnp.ones_like(v)))
    run = run._replace(experiment=run.experiment._replace(neuron=always))
    assert dynamics.save_picture(run) is None
    assert "no picture: the neuron has no f" in caplog.text
    assert not os.path.exists(os.path.join(run.directory, dynamics.PICTURE))
