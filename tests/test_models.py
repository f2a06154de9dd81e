"""Networks: shapes, order of layers, time, shortcuts, norms, readouts, side heads, memory."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import jitted
from numpy.testing import assert_allclose, assert_array_equal

from lnm_jax import export, layers, models, neurons
from lnm_jax.models.resnet import SideHead

TRAIN = {"train": True, "mutable": ["batch_stats", "side_logits"]}


def tiny(neuron=None, **fields):
    fields = {"stem": 4, "widths": (4, 6), "blocks": (1, 2), "timesteps": 3} | fields
    return models.build("resnet_small", neuron=neuron or neurons.lnm(), num_classes=5, **fields)


def initial(model, x):
    """Parameters and statistics before training."""
    variables = jitted(model.init)(jax.random.key(0), x)
    return {name: variables[name] for name in ("params", "batch_stats")}


def seen(model, variables, x, transform=jax.jit, **fixed):
    """(first argument, result) of every module of an application, by path."""
    found = {}

    def record(call, args, kwargs, context):
        result = call(*args, **kwargs)
        if context.method_name == "__call__":
            found["/".join(context.module.path)] = (args[0], result)
        return result

    def run(variables, x):
        with nn.intercept_methods(record):
            outputs = model.apply(variables, x, **fixed)
        return found, outputs

    return transform(run)(variables, x)


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
    # Means over T equal copies are rounded otherwise, and a spike may hang on it: in float64.
    with jax.enable_x64(True):
        model, images = tiny(dtype=jnp.float64, blocks=(1, 1)), jnp.asarray(images, jnp.float64)
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), initial(model, images))

        def trained(x):
            def loss(params):
                logits, updates = model.apply({**variables, "params": params}, x, **TRAIN)
                return (logits**2).sum(), (logits, updates)

            return model.apply(variables, x), jax.grad(loss, has_aux=True)(variables["params"])

        frames = jnp.broadcast_to(images, (3, *images.shape))
        ours, shown = jax.jit(lambda *given: [jax.tree.leaves(trained(x)) for x in given])(
            images, frames
        )
        for own, wanted in zip(ours, shown, strict=True):
            assert_allclose(own, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_readouts_are_of_the_same_logits(images):
    model = tiny(blocks=(1, 1))
    variables = initial(model, images)
    mean, steps, last = (
        jitted(model.clone(readout=readout).apply)(variables, images)
        for readout in ("mean", "steps", "last")
    )
    assert steps.shape == (3, 2, 5)
    assert_allclose(mean, steps.mean(0), rtol=1e-5, atol=1e-6)
    assert_allclose(last, steps[-1], rtol=1e-5, atol=1e-6)
    assert (np.abs(steps[0] - steps[-1]) > 1e-3).any()


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


class Tokens(nn.Module):
    """A grouped convolution, and a dense layer at each of its 16 places."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), feature_group_count=2, use_bias=False, name="conv")(x)
        return nn.Dense(5, use_bias=False, name="dense")(x.reshape(1, 1, 16, 6)).mean((0, 2))


def test_groups_and_places_are_counted():
    conv, dense = models.counts(Tokens(), (1, 4, 4, 4))
    assert (conv.weights, conv.macs) == (9 * 2 * 6, 16 * 9 * 2 * 6)  # 2 of the 4 inputs each
    assert (dense.weights, dense.macs) == (6 * 5, 16 * 6 * 5)


def test_a_classifier_of_the_last_timestep_runs_once():
    for readout, passes in (("mean", 3), ("steps", 3), ("last", 1)):
        stem, *others, classifier = models.counts(tiny(readout=readout), (1, 8, 8, 1))
        assert (stem.passes, classifier.passes) == (1, passes)  # images are convolved once
        assert {count.passes for count in others} == {3}


VARIANCES = {
    "he_fan_out": 2 / (9 * 30),
    "he_fan_in": 2 / (9 * 40),
    "glorot": 2 / (9 * 70),
    "torch": 1 / (3 * 9 * 40),
}


@pytest.mark.parametrize("name", VARIANCES)
def test_kernels_start_with_the_variance_that_their_name_says(name):
    layer = tiny(initialisation=name).conv_norm()(30)
    variables = jitted(layer.init, train=False)(jax.random.key(0), jnp.zeros((1, 3, 3, 40)))
    kernel = variables["params"]["conv"]["kernel"]  # 3 x 3 x 40 x 30
    assert_allclose(kernel.var(), VARIANCES[name], rtol=0.05)  # of 10,800 entries: 1.4 %
    if name == "torch":
        largest = (9 * 40) ** -0.5
        assert largest * 0.99 < np.abs(kernel).max() <= largest


def test_shortcuts_of_padding_have_no_weights_and_keep_the_input(images):
    model = tiny(shortcut="padding")
    variables = initial(model, images)
    assert "shortcut" not in variables["params"]["stage_2_block_1"]
    # With a branch of zeros, the block's spikes are those of its shortcut alone.
    variables["params"]["stage_2_block_1"]["conv_2"]["norm"]["scale"] = jnp.zeros(6)
    found, _ = seen(model, variables, images)
    entered, currents = (found[f"stage_2_block_1{path}"][0] for path in ("", "/spike_2"))
    assert entered.any()
    assert_array_equal(currents[..., :4], entered[:, :, ::2, ::2])
    assert not currents[..., 4:].any()


def test_membrane_shortcuts_carry_currents_past_spikes(images):
    model = tiny(shortcut="membrane", neuron=neurons.lif())
    variables = initial(model, images)
    for block in ("stage_1_block_1", "stage_2_block_1", "stage_2_block_2"):  # branches of zeros
        norm = variables["params"][block]["conv_2"]["norm"]
        norm["scale"] = jnp.zeros_like(norm["scale"])
    found, _ = seen(model, variables, images)
    # A block of the same shape hands on what it received, be it negative.
    received, sent = found["stage_2_block_2"]
    assert_array_equal(received, sent)
    assert (received < 0).any()
    assert_array_equal(found["stage_1_block_1"][0][0], found["stem"][1])
    # Every convolution but the stem's receives spikes, and so does the last pool.
    for path, (given, _) in found.items():
        if path.endswith("/conv") and path != "stem/conv":
            assert set(np.unique(given)) <= {0, 1}, path
    assert_array_equal(found["last_spike"][0], sent)
    assert set(np.unique(found["last_spike"][1])) == {0, 1}


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
    variables = initial(tiny(), images)
    average, largest = (
        seen(tiny(pooling=name), variables, images)[0]["classifier"][0]
        for name in ("average", "max")
    )
    assert set(np.unique(largest)) == {0, 1}
    assert (average <= largest).all()
    assert (average < largest).any()


def test_tdbn_starts_scales_at_the_threshold(images):
    block = initial(tiny(tdbn=0.5), images)["params"]["stage_2_block_1"]
    scales = {name: block[name]["norm"]["scale"] for name in ("conv_1", "conv_2", "shortcut")}
    for name, scale in scales.items():
        assert_allclose(scale, 0.5 if name == "conv_1" else 0.5 / np.sqrt(2), rtol=1e-6)


def test_bfloat16_computes_in_it_and_keeps_the_rest_in_float32(images):
    model = tiny(dtype=jnp.bfloat16, head=7)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    shapes = lambda run: lambda *given: jax.eval_shape(run, *given)
    mutable = ["batch_stats", "rates"]
    found, (logits, updates) = seen(model, variables, images, shapes, train=True, mutable=mutable)
    kept = jax.tree.leaves((variables, updates, logits, found["classifier"][1]))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype("float32")}
    for path in ("stem/conv", "stem", "stem_spike", "stage_2_block_2/conv_2/conv", "head"):
        assert found[path][1].dtype == jnp.bfloat16, path


# --- Norms beside BatchNorm ------------------------------------------------------------------


def test_tebn_starts_as_batch_norm_and_scales_each_timestep(images):
    plain, tebn = (tiny(widths=(4,), blocks=(1,), norm=norm) for norm in ("batch", "tebn"))
    own = initial(tebn, images)
    assert own["params"]["stem"]["timestep_scale"].tolist() == [1, 1, 1]
    wanted, got = (
        jitted(model.apply, **TRAIN)(initial(model, images), images) for model in (plain, tebn)
    )
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, wanted)
    # With a scale of 0 at a timestep, no current enters there.
    off = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.at[1].set(0.0) if path[-1].key == "timestep_scale" else leaf, own
    )
    model = tebn.clone(neuron=neurons.lif(decay=0.0), readout="steps")
    steps = jitted(model.apply, **TRAIN)(off, images)[0]
    bias = off["params"]["classifier"]["bias"]
    # Only identity shortcuts remain, and nothing fired before the first of them.
    assert_allclose(steps[1], jnp.broadcast_to(bias, (2, 5)), atol=1e-6)
    with pytest.raises(ValueError, match="TEBN has a scale of each timestep"):
        export.fold_batch_norm(tebn, own)


def test_a_whole_network_of_mpbn_folds(images):
    model = tiny(widths=(4,), blocks=(1,), membrane_norm=True)
    variables = initial(model, images)
    variables |= jitted(model.apply, **TRAIN)(variables, images)[1]
    folded, own = export.fold_batch_norm(model, variables)
    assert_allclose(
        jitted(folded.apply)(own, images),
        jitted(model.apply)(variables, images),
        rtol=1e-4,
        atol=1e-5,
    )


# --- Side heads ------------------------------------------------------------------------------


def test_side_heads_see_the_blocks_they_are_named_for_and_leave_inference_alone(images):
    model = tiny(widths=(4,), blocks=(3,), side_heads=(2,), side_features=6)
    variables = initial(model, images)
    assert "side_head_2" in variables["params"]
    _, sown = jitted(model.apply, **TRAIN)(variables, images)
    assert jax.tree.map(jnp.shape, sown["side_logits"]) == {"block_2": (2, 5)}
    _, nothing = jitted(model.apply, mutable=["side_logits"])(variables, images)
    assert not nothing
    plain = tiny(widths=(4,), blocks=(3,))
    assert models.counts(model, (1, 8, 8, 1)) == models.counts(plain, (1, 8, 8, 1))
    read = models.evaluated(model, variables, (1, 8, 8, 1))
    assert read == models.evaluated(plain, initial(plain, images), (1, 8, 8, 1))
    assert {"stem/conv/kernel", "stem_spike/neuron/theta"} <= read
    _, again = jitted(model.clone(remat="stage").apply, **TRAIN)(variables, images)
    assert_allclose(
        again["side_logits"]["block_2"], sown["side_logits"]["block_2"], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match="side_heads must be numbers of the 3 blocks, from 1"):
        tiny(side_heads=(4,))


def test_a_side_head_sees_mean_spikes_and_teaches_every_layer_before_it():
    model = tiny(widths=(4,), blocks=(2,), side_heads=(1,), side_features=4)
    x = jax.random.normal(jax.random.key(2), (6, 8, 8, 1))  # six for BatchNorm over images alone
    variables = initial(model, x)
    params, statistics = variables["params"], variables["batch_stats"]
    sown = ["batch_stats", "side_logits", "intermediates"]

    def side(params):
        given = {"params": params, "batch_stats": statistics}
        spiking = lambda module, _: isinstance(module, layers.Spiking)
        _, found = model.apply(given, x, train=True, mutable=sown, capture_intermediates=spiking)
        logits = found["side_logits"]["block_1"]
        spikes = found["intermediates"]["stage_1_block_1"]["spike_2"]["__call__"][0]
        own = {name: tree["side_head_1"] for name, tree in given.items()}
        head = lambda x: SideHead(5, 4).apply(own, x, train=True, mutable=["batch_stats"])[0]
        weighted = jnp.cos(jnp.arange(30.0)).reshape(6, 5) * logits
        return weighted.sum(), (logits, head(spikes.mean(0)), head(spikes[-1]))

    gradient, (logits, of_mean, of_last) = jax.jit(jax.grad(side, has_aux=True))(params)
    assert_allclose(logits, of_mean, rtol=1e-4, atol=1e-5)
    assert np.abs(logits - of_last).max() > 1e-2
    largest = lambda part: max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(part))
    taught = {name for name, part in jax.device_get(gradient).items() if largest(part) > 1e-3}
    assert taught == {"stem", "stem_spike", "stage_1_block_1", "side_head_1"}
    assert set(params) - taught == {"stage_1_block_2", "classifier"}


def test_a_side_head_has_the_authors_layers():
    x = jax.ShapeDtypeStruct((2, 16, 16, 512), jnp.float32)
    params = jax.eval_shape(
        lambda key, x: SideHead(10).init(key, x, train=False), jax.random.key(0), x
    )
    leaves = jax.tree_util.tree_leaves_with_path(params["params"])
    assert sorted(leaf.shape for path, leaf in leaves if path[-1].key == "kernel") == [
        (1, 1, 512, 256),
        (3, 3, 256, 256),
        (5, 5, 256, 256),
        (7, 7, 256, 256),
        (512, 10),
        (1024, 512),
    ]


# --- Memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "remat"),
    [
        ("resnet_small", {"stem": 4, "widths": (4,), "blocks": (2,)}, "block"),
        ("vggsnn", {"widths": ((4, 4),)}, "stage"),
    ],
)
def test_rematerialisation_gives_the_same_gradients_with_less_memory(name, fields, remat):
    images = jax.random.normal(jax.random.key(3), (4, 8, 8, 1))
    kept = models.build(
        name, neuron=neurons.plif(surrogate="arctan"), num_classes=3, timesteps=1, **fields
    )
    again = kept.clone(remat=remat)
    variables = initial(kept, images)
    shapes = jax.eval_shape(again.init, jax.random.key(0), images)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables["params"])

    def compiled(model):
        def loss(params, batch_stats):  # an argument: of constants nothing is computed again
            given = {"params": params, "batch_stats": batch_stats}
            logits, updates = model.apply(given, images, **TRAIN)
            return (logits**2).sum(), updates

        return jax.jit(jax.grad(loss, has_aux=True)).lower(*variables.values()).compile()

    programs = [compiled(model) for model in (kept, again)]
    memory = [program.memory_analysis().temp_size_in_bytes for program in programs]
    if remat == "block":  # a single stage is needed whole
        assert memory[1] < memory[0]
    one, other = (program(*variables.values()) for program in programs)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=2e-3, atol=1e-4), one, other)
