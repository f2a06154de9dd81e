"""A learned potential at the start, and BatchNorm before firing, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import export, models, neurons
from lnm_jax.errors import ConfigError
from lnm_jax.export import network
from lnm_jax.layers import Spiking
from lnm_jax.layers.spiking import fold_membrane_norm
from lnm_jax.training import loop

CURRENTS = 0.5 * jax.random.normal(jax.random.key(1), (4, 3, 2, 2, 5))


@pytest.mark.parametrize("kind", ["lnm", "lif", "plif"])
def test_the_first_step_starts_from_the_learned_potential(kind):
    layer = Spiking(neurons.build(kind), start="learned", sharing="channel")
    variables = jax.jit(layer.init)(jax.random.key(0), CURRENTS)
    assert variables["params"]["v_0"].shape == (2, 2, 5)
    assert -0.2 <= variables["params"]["v_0"].min() < 0 < variables["params"]["v_0"].max() <= 0.2
    neuron = neurons.per_channel(neurons.build(kind), 5)
    params = variables["params"].get("neuron", {})

    def wanted(v_0):
        v, found = jnp.broadcast_to(v_0, CURRENTS.shape[1:]), []
        for current in CURRENTS:
            v, spikes = neuron.step(params, v, current)
            found.append(spikes)
        return jnp.stack(found)

    def got(v_0):
        return layer.apply({"params": {**variables["params"], "v_0": v_0}}, CURRENTS)

    v_0 = variables["params"]["v_0"]
    np.testing.assert_array_equal(got(v_0), wanted(v_0))
    cotangent = jax.random.normal(jax.random.key(2), CURRENTS.shape)
    gradients = [jax.grad(lambda v, f=f: (f(v) * cotangent).sum())(v_0) for f in (got, wanted)]
    assert (np.abs(gradients[1]) > 0).any()
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


def test_a_learned_start_of_zero_is_no_change():
    plain, learned = Spiking(neurons.lnm()), Spiking(neurons.lnm(), start="learned")
    variables = plain.init(jax.random.key(0), CURRENTS)
    zero = {"params": {**variables["params"], "v_0": jnp.zeros((2, 2, 5))}}
    np.testing.assert_array_equal(learned.apply(zero, CURRENTS), plain.apply(variables, CURRENTS))


# --- MPBN -----------------------------------------------------------------------------------


def layer_of(**fields):
    given = {"threshold": 0.5, "gate_gradient": True}
    return Spiking(neurons.lif(decay=0.25, **given), membrane_norm=True, **fields)


def trained_looking(variables):
    """Scales of both signs, biases and statistics that differ between channels."""
    norm = {
        "scale": jnp.array([1.5, -0.7, 0.9, 2.0, -1.2]),
        "bias": jnp.array([0.1, -0.2, 0.0, 0.3, 0.2]),
    }
    running = {
        "mean": jnp.array([0.2, -0.1, 0.0, 0.1, 0.3]),
        "var": jnp.array([0.5, 1.0, 0.3, 2.0, 0.7]),
    }
    return {
        "params": {**variables["params"], "membrane_norm": norm},
        "batch_stats": {"membrane_norm": running},
    }


def test_only_the_decision_sees_the_norm_and_each_step_has_statistics():
    layer = layer_of()
    variables = layer.init(jax.random.key(0), CURRENTS)
    spikes, updates = layer.apply(variables, CURRENTS, train=True, mutable=["batch_stats"])
    v, mean, found = np.zeros(CURRENTS.shape[1:]), np.zeros(5), []
    for current in np.asarray(CURRENTS, np.float64):
        u = 0.25 * v + current
        normed = (u - u.mean((0, 1, 2))) / np.sqrt(u.var((0, 1, 2)) + 1e-5)
        z = normed >= 0.5
        v = u * (1 - z)
        mean = 0.9 * mean + 0.1 * u.mean((0, 1, 2))
        found.append(z)
    np.testing.assert_array_equal(spikes, np.stack(found))
    np.testing.assert_allclose(
        updates["batch_stats"]["membrane_norm"]["mean"], mean, rtol=1e-4, atol=1e-5
    )


def test_the_fold_fires_below_the_threshold_where_the_scale_is_negative():
    layer = layer_of()
    variables = trained_looking(layer.init(jax.random.key(0), CURRENTS))
    wanted = layer.apply(variables, CURRENTS)
    params = fold_membrane_norm(
        variables["params"], variables["batch_stats"], threshold=0.5, epsilon=1e-5
    )
    np.testing.assert_array_equal(params["sign"], [1, -1, 1, 1, -1])
    folded = layer_of(folded=True)
    np.testing.assert_array_equal(folded.apply({"params": params}, CURRENTS), wanted)
    wrong = {"params": {**params, "sign": jnp.ones(5)}}
    assert (folded.apply(wrong, CURRENTS) != wanted).mean() > 0.1


def test_a_whole_network_folds():
    model = models.build(
        "resnet_small", neuron=neurons.lnm(), num_classes=3, timesteps=3, stem=4, widths=(4,),
        blocks=(1,), membrane_norm=True,
    )  # fmt: skip
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    _, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])
    variables = {**variables, **updates}
    folded, own = export.fold_batch_norm(model, variables)
    np.testing.assert_allclose(
        folded.apply(own, x), model.apply(variables, x), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["ternary", "diet", "lsg"])
def test_neurons_that_fire_in_a_way_of_their_own_do_so_on_the_normalised_potential(kind):
    """With BatchNorm as the identity a layer is the neuron itself."""
    neuron = neurons.build(kind)
    layer = Spiking(neuron, membrane_norm=True, epsilon=0.0)
    variables = layer.init(jax.random.key(0), CURRENTS)
    np.testing.assert_allclose(
        layer.apply(variables, CURRENTS),
        neurons.run(neuron, variables["params"]["neuron"], CURRENTS),
    )
    shifted = jax.tree.map(lambda x: x, variables)
    shifted["params"]["membrane_norm"]["bias"] += 0.3
    assert (layer.apply(shifted, CURRENTS) != layer.apply(variables, CURRENTS)).any()


# --- A run ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"), [("spiking.start", "learned"), ("spiking.membrane_norm", True)]
)
def test_a_line_of_a_configuration_switches_it_on_and_exports_refuse_it(field, value, config):
    config.update_from_flattened_dict({field: value, "epochs": 1})
    run = loop.train(config)
    assert np.isfinite(run.records[-1]["loss"])
    with pytest.raises(ConfigError, match=field.split(".")[1]):
        network.prepare(run)
