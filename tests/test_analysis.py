"""Learned dynamics as curves and as a picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import neurons
from lnm_jax.analysis import dynamics
from lnm_jax.training import loop

U = jnp.linspace(-2, 2, 41)


@pytest.mark.parametrize("kind", ["lnm", "lif"])
def test_the_picture_shows_every_layer(config, kind):
    config.neuron.kind = kind
    config.epochs = 1
    run = loop.train(config)
    curves = dynamics.learned_drifts(run, U)
    assert list(curves) == run.experiment.spiking_layers()
    theta = run.state.params["stem_spike"].get("neuron", {}) if kind == "lnm" else {}
    wanted = neurons.drift_of(run.experiment.neuron, jax.device_get(theta), U)
    np.testing.assert_array_equal(curves["stem_spike"], wanted)
    with open(dynamics.save_picture(run), "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
