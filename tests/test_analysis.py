"""The picture of learned dynamics that training leaves."""

import os

import exporting
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import neurons
from lnm_jax.analysis import dynamics

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
def test_every_kind_of_neuron_is_drawn(config, fields):
    config.update_from_flattened_dict(fields)
    run = exporting.run_of(config)
    curves = dynamics.learned_drifts(run, U)
    assert list(curves) == run.experiment.spiking_layers()
    params = run.state.params.get("stem_spike", {}).get("neuron", {})
    u = jnp.broadcast_to(U[:, None], (len(U), 4)) if "spiking.sharing" in fields else U
    wanted = neurons.drift_of(run.experiment.neuron, params, u)
    np.testing.assert_array_equal(curves["stem_spike"], wanted)
    os.makedirs(run.directory)
    with open(dynamics.save_picture(run), "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_neuron_that_cannot_be_silenced_leaves_no_picture_and_one_line(config, caplog):
    config.neuron.kind = "lif"
    run = exporting.run_of(config)
    always = neurons.lif()._replace(step=lambda p, v, i: (v, jnp.ones_like(v)))
    run = run._replace(experiment=run.experiment._replace(neuron=always))
    assert dynamics.save_picture(run) is None
    assert "no picture: the neuron has no f" in caplog.text
    assert not os.path.exists(os.path.join(run.directory, dynamics.PICTURE))
