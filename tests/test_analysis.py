"""Learned dynamics as curves and as a picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import neurons
from lnm_jax.analysis import dynamics
from lnm_jax.training import loop

U = jnp.linspace(-2, 2, 41)


@pytest.mark.parametrize("reset", neurons.RESETS)
def test_drift_is_measured_from_the_neurons_own_step(reset):
    neuron = neurons.lnm(degree=3, reset=reset)
    theta = jnp.array([0.5, 1.0, -0.25])
    wanted = neurons.polynomial(theta, jnp.clip(U, -1, 1))
    np.testing.assert_allclose(dynamics.drift(neuron, {"theta": theta}, U), wanted, atol=1e-5)
    np.testing.assert_allclose(dynamics.drift(neurons.lif(), {}, U), -0.75 * U, atol=1e-5)


def test_drift_refuses_what_it_cannot_measure():
    two = neurons.lif()._replace(reset=lambda shape, dtype: (jnp.zeros(shape), jnp.zeros(shape)))
    with pytest.raises(ValueError, match="state is one array"):
        dynamics.drift(two, {}, U)
    always = neurons.lif()._replace(step=lambda p, v, i: (v, jnp.ones_like(v)))
    with pytest.raises(ValueError, match="spikes under a current of -1024"):
        dynamics.drift(always, {}, U)


@pytest.mark.parametrize("kind", ["lnm", "lif"])
def test_the_picture_shows_every_layer(config, kind):
    config.neuron.kind = kind
    config.epochs = 1
    run = loop.train(config)
    curves = dynamics.learned_drifts(run, U)
    assert list(curves) == run.experiment.spiking_layers()
    theta = run.state.params["stem_spike"].get("neuron", {}) if kind == "lnm" else {}
    wanted = dynamics.drift(run.experiment.neuron, jax.device_get(theta), U)
    np.testing.assert_array_equal(curves["stem_spike"], wanted)
    with open(dynamics.save_picture(run), "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
