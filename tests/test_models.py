"""Networks: shapes, order of layers, and time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import models, neurons


def tiny(neuron=None, **fields):
    fields = {"stem": 4, "widths": (4, 6), "blocks": (1, 2), "timesteps": 3} | fields
    return models.build("resnet_small", neuron=neuron or neurons.lnm(), num_classes=5, **fields)


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(3), (2, 8, 8, 1))


@pytest.mark.parametrize("head", [0, 7])
def test_logits_and_stages_have_their_shapes(images, head):
    model = tiny(head=head)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert jax.eval_shape(model.apply, variables, images).shape == (2, 5)
    params = variables["params"]
    assert params["stem"]["conv"]["kernel"].shape == (3, 3, 1, 4)
    assert "shortcut" not in params["stage_1_block_1"]
    assert params["stage_2_block_1"]["shortcut"]["conv"]["kernel"].shape == (1, 1, 4, 6)
    assert params["classifier"]["kernel"].shape == (head or 6, 5)
    assert params["stage_2_block_2"]["spike_1"]["neuron"]["theta"].shape == (3,)


def test_a_static_image_equals_the_same_frame_at_every_timestep(images):
    model = tiny()
    variables = jax.jit(model.init)(jax.random.key(0), images)
    frames = jnp.broadcast_to(images, (3, *images.shape))
    for train in (False, True):
        apply = jax.jit(partial(model.apply, variables, train=train, mutable=["batch_stats"]))
        (static, static_stats), (event, event_stats) = apply(images), apply(frames)
        np.testing.assert_allclose(static, event, rtol=1e-4, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            static_stats,
            event_stats,
        )


def test_logits_are_averaged_over_time():
    # One timestep of a network without memory equals each of several: so does their mean.
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    forgetful = neurons.lif(decay=0.0)
    one, four = tiny(forgetful, timesteps=1), tiny(forgetful, timesteps=4)
    variables = jax.jit(one.init)(jax.random.key(0), x)
    np.testing.assert_allclose(
        jax.jit(one.apply)(variables, x), jax.jit(four.apply)(variables, x), rtol=1e-5, atol=1e-6
    )


def test_spiking_layers_are_listed_in_the_order_they_run():
    assert models.spiking_layers(tiny(head=7), (1, 8, 8, 1)) == [
        "stem_spike",
        "stage_1_block_1/spike_1",
        "stage_1_block_1/spike_2",
        "stage_2_block_1/spike_1",
        "stage_2_block_1/spike_2",
        "stage_2_block_2/spike_1",
        "stage_2_block_2/spike_2",
        "head_spike",
    ]


def test_bad_input_is_named(images):
    with pytest.raises(ValueError, match=r"images \(B, H, W, C\) or frames.*got shape \(8, 8, 1\)"):
        tiny().init(jax.random.key(0), images[0])
    with pytest.raises(ValueError, match="model must be one of"):
        models.build("resnet_19000", neuron=neurons.lif(), num_classes=2, timesteps=1)
