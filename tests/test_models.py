"""Networks: shapes, order of layers, and time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

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
    assert_array_equal(*(jax.jit(model.apply)(variables, x) for x in (images, frames)))

    def train(variables, x):
        def loss(params):
            logits, updates = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (logits**2).sum(), (logits, updates)

        return jax.grad(loss, has_aux=True)(variables["params"])

    # Means over T equal copies are rounded otherwise, and a spike may hang on it: in float64.
    with jax.enable_x64(True):
        model = tiny(dtype=jnp.float64)
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (variables, images))
        for ours, shown in zip(
            *(
                jax.tree.leaves(jax.jit(train)(wide[0], x))
                for x in (wide[1], jnp.broadcast_to(wide[1], frames.shape))
            ),
            strict=True,
        ):
            assert_allclose(ours, shown, rtol=1e-5, atol=1e-5 * np.abs(shown).max())


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
    with pytest.raises(ValueError, match=r"T = 2 timesteps for norm tebn, got shape \(3,"):
        tiny(norm="tebn", timesteps=2).init(jax.random.key(0), jnp.zeros((3, 1, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"model\.name must be one of"):
        models.build("resnet_19000", neuron=neurons.lif(), num_classes=2, timesteps=1)


def full(name, neuron=None):
    model = models.build(name, neuron=neuron or neurons.lnm(), num_classes=10, timesteps=1)
    return models.counts(model, (1, *models.INPUTS[name]))


def total(rows, field, kind=None):
    return sum(getattr(row, field) for row in rows if kind in (None, row.kind))


def test_resnet19_has_the_published_size():
    rows = full("resnet19")
    assert total(rows, "weights", "convolution") == 12_553_600
    assert total(rows, "neurons") == 1_442_048
    assert total(rows, "macs") == 2_285_373_952  # 2.28 G a timestep
    # 17 convolutions and 2 dense layers give it its name; two more are shortcuts.
    assert len([row for row in rows if row.kind == "convolution"]) == 17 + 2
    assert [row.path for row in rows if row.kind == "dense"] == ["head", "classifier"]
    shapes = {row.path: row.shape for row in rows}
    assert shapes["stem_spike"] == shapes["stage_1_block_3/spike_2"] == (32, 32, 128)
    assert shapes["stage_2_block_3/spike_2"] == (16, 16, 256)
    assert shapes["stage_3_block_2/spike_2"] == (8, 8, 512)
    assert shapes["head_spike"] == (256,)


def test_resnet34_has_33_spiking_layers_in_the_order_of_figure_2():
    rows = full("resnet34")
    spiking = [row for row in rows if row.kind == "spiking"]
    assert len(spiking) == 33
    assert spiking[0].path == "stem_spike"
    blocks = [3, 4, 6, 3]
    wanted = [
        f"stage_{stage}_block_{block}/spike_{n}"
        for stage, count in enumerate(blocks, 1)
        for block in range(1, count + 1)
        for n in (1, 2)
    ]
    assert [row.path for row in spiking[1:]] == wanted
    sides = [row.shape[0] for row in spiking]
    assert sides == [112] + [56] * 6 + [28] * 8 + [14] * 12 + [7] * 6
    assert [row.shape[-1] for row in spiking[1:]] == [64] * 6 + [128] * 8 + [256] * 12 + [512] * 6


def test_vggsnn_has_the_published_layers():
    rows = full("vggsnn")
    spiking = [row.shape for row in rows if row.kind == "spiking"]
    assert [shape[-1] for shape in spiking] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert [shape[0] for shape in spiking] == [48, 48, 24, 24, 12, 12, 6, 6]
    classifier = rows[-1]
    assert classifier.weights == 512 * 3 * 3 * 10


def test_counting_agrees_with_the_parameters():
    model = tiny(head=7)
    x = jnp.zeros((2, 8, 8, 1))
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = sum(leaf.size for path, leaf in leaves if path[-1].key == "kernel")
    assert total(models.counts(model, x.shape), "weights") == kernels


@pytest.mark.parametrize(
    ("fields", "largest"),
    [
        ({"initialisation": "he_fan_out"}, None),
        ({"initialisation": "he_fan_in"}, None),
        ({"initialisation": "glorot"}, None),
        ({"initialisation": "torch"}, (9 * 40) ** -0.5),
    ],
)
def test_kernels_start_with_the_variance_that_their_name_says(fields, largest):
    model = tiny(stem=40, widths=(30,), blocks=(1,), **fields)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    kernel = np.asarray(params["stage_1_block_1"]["conv_1"]["conv"]["kernel"])  # 3 x 3 x 40 x 30
    variance = {
        "he_fan_out": 2 / (9 * 30),
        "he_fan_in": 2 / (9 * 40),
        "glorot": 2 / (9 * 70),
        "torch": 1 / (3 * 9 * 40),
    }[fields["initialisation"]]
    assert_allclose(kernel.var(), variance, rtol=0.05)  # of 10,800 entries: 1.4 %
    if largest:
        assert largest * 0.99 < np.abs(kernel).max() <= largest


def test_shortcuts_of_padding_have_no_weights_and_keep_the_input(images):
    model = tiny(shortcut="padding")
    variables = jax.jit(model.init)(jax.random.key(0), images)
    assert "shortcut" not in variables["params"]["stage_2_block_1"]
    # With a branch of zeros, the block's spikes are those of its shortcut alone.
    variables["params"]["stage_2_block_1"]["conv_2"]["norm"]["scale"] = jnp.zeros(6)
    seen = {}

    def record(call, args, kwargs, context):
        seen["/".join(context.module.path)] = (args[0] if args else None, call(*args, **kwargs))
        return seen["/".join(context.module.path)][1]

    with nn.intercept_methods(record):
        model.apply(variables, images)
    entered = seen["stage_2_block_1"][0]
    currents = seen["stage_2_block_1/spike_2"][0]
    assert entered.any()
    assert_array_equal(currents[..., :4], entered[:, :, ::2, ::2])
    assert not currents[..., 4:].any()


def test_membrane_shortcuts_carry_currents_past_spikes(images):
    model = tiny(shortcut="membrane", neuron=neurons.lif())
    variables = jax.jit(model.init)(jax.random.key(0), images)
    for block in ("stage_1_block_1", "stage_2_block_1", "stage_2_block_2"):  # branches of zeros
        norm = variables["params"][block]["conv_2"]["norm"]
        norm["scale"] = jnp.zeros_like(norm["scale"])
    seen = {}

    def record(call, args, kwargs, context):
        path, result = "/".join(context.module.path), call(*args, **kwargs)
        seen[path] = (args[0] if args else None, result)
        return result

    with nn.intercept_methods(record):
        model.apply(variables, images)
    # A block of the same shape hands on what it received, be it negative.
    received, sent = seen["stage_2_block_2"]
    assert_array_equal(received, sent)
    assert (received < 0).any()
    assert_array_equal(seen["stage_1_block_1"][0][0], seen["stem"][1])
    # Every convolution but the stem's receives spikes, and so does the last pool.
    for path, (given, _) in seen.items():
        if path.endswith("/conv") and path != "stem/conv":
            assert set(np.unique(given)) <= {0, 1}, path
    assert_array_equal(seen["last_spike"][0], sent)
    assert set(np.unique(seen["last_spike"][1])) == {0, 1}


def test_membrane_shortcuts_have_as_many_weights_and_neurons_as_the_published_ones():
    counted = {}
    for shortcut in ("projection", "membrane"):
        model = tiny(shortcut=shortcut)
        rows = models.counts(model, (1, 8, 8, 1))
        shapes = sorted(row.shape for row in rows if row.kind == "convolution")
        counted[shortcut] = (shapes, total(rows, "weights"), total(rows, "macs"))
    assert counted["membrane"] == counted["projection"]
    assert models.spiking_layers(model, (1, 8, 8, 1)) == [
        *(f"stage_{s}_block_{b}/spike_{n}" for s, b in ((1, 1), (2, 1), (2, 2)) for n in (1, 2)),
        "last_spike",
    ]


def test_the_last_pool_takes_the_mean_or_the_largest_rate(images):
    average, largest = tiny(), tiny(pooling="max")
    variables = jax.jit(average.init)(jax.random.key(0), images)
    seen = []

    def record(call, args, kwargs, context):
        if context.module.name == "classifier":
            seen.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        average.apply(variables, images)
        largest.apply(variables, images)
    assert set(np.unique(seen[1])) == {0, 1}
    assert (seen[0] <= seen[1]).all()
    assert (seen[0] < seen[1]).any()


def test_tdbn_starts_scales_at_the_threshold():
    model = tiny(tdbn=0.5)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 8, 8, 1)))["params"]
    block = params["stage_2_block_1"]
    np.testing.assert_allclose(block["conv_1"]["norm"]["scale"], 0.5)
    np.testing.assert_allclose(block["conv_2"]["norm"]["scale"], 0.5 / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(block["shortcut"]["norm"]["scale"], 0.5 / np.sqrt(2), rtol=1e-6)


def test_bfloat16_computes_in_it_and_keeps_the_rest_in_float32(images):
    model = tiny(dtype=jnp.bfloat16, head=7)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    seen = {}

    def record(call, args, kwargs, context):
        result = call(*args, **kwargs)
        if context.method_name == "__call__":
            seen["/".join(context.module.path)] = result.dtype
        return result

    def run(variables, x):
        with nn.intercept_methods(record):
            return model.apply(variables, x, train=True, mutable=["batch_stats", "rates"])

    logits, updates = jax.eval_shape(run, variables, images)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    for path in ("stem/conv", "stem", "stem_spike", "stage_2_block_2/conv_2/conv", "head"):
        assert seen[path] == jnp.bfloat16, path
    assert seen["classifier"] == jnp.float32


REMATERIALISED = [
    ("resnet_small", {"widths": (4,), "blocks": (3,)}, "block"),
    ("resnet_small", {"widths": (4,), "blocks": (3,)}, "stage"),
    ("vggsnn", {"widths": ((4, 4),)}, "stage"),
]


@pytest.mark.parametrize(("name", "fields", "remat"), REMATERIALISED)
def test_rematerialisation_gives_the_same_gradients_with_less_memory(name, fields, remat):
    images = jax.random.normal(jax.random.key(3), (4, 8, 8, 1))

    def compiled(remat):
        model = models.build(
            name,
            neuron=neurons.plif(surrogate="arctan"),
            num_classes=3,
            timesteps=1,
            remat=remat,
            **fields,
        )
        variables = jax.jit(model.init)(jax.random.key(0), images)

        def loss(params, batch_stats):
            logits, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats", "rates"],
            )
            return (logits**2).sum(), updates

        arguments = variables["params"], variables["batch_stats"]
        gradients = jax.jit(jax.grad(loss, has_aux=True)).lower(*arguments).compile()
        memory = gradients.memory_analysis().temp_size_in_bytes
        return memory, (variables, gradients(*arguments))

    memory, kept = compiled("none")
    less, again = compiled(remat)
    if remat == "block":  # a single stage is needed whole
        assert less < memory
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4), kept, again)
