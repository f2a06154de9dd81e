"""Dead and saturated neurons: counted over the test set, written, and shown over training."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lnm_jax import data, layers, neurons
from lnm_jax.analysis import drawing, history, recording
from lnm_jax.configs import digits
from lnm_jax.training import experiment, losses, parallel, steps

T = 4
LOSS = losses.build(digits.get_config())
NO_PARAMETERS = {"params": {"shown": {"neuron": {}}, "silent": {"neuron": {}}}}


class Pixels(nn.Module):
    """Every pixel or event is the current of a neuron, which spikes where it is 0.5 or more."""

    @nn.compact
    def __call__(self, x):
        x = x if x.ndim == 5 else jnp.broadcast_to(x, (T, *x.shape))
        spikes = layers.Spiking(neurons.lif(decay=0.0), name="shown")(x)
        layers.Spiking(neurons.lif(), name="silent")(-x)
        return spikes.mean((0, 2, 3))


def evaluated(images, *, size):
    """What `evaluate` finds of `Pixels` on test images (N, H, W, C) or recordings (N, T, ...)."""
    split = data.Split(images.astype(np.float32), np.zeros(len(images), np.int32))
    step = steps.make_eval_step(Pixels(), prepare=lambda x: x, loss=LOSS, axis_name=parallel.AXIS)
    this = experiment.Experiment(*[None] * len(experiment.Experiment._fields))._replace(
        config=SimpleNamespace(timesteps=T, data=SimpleNamespace(eval_batch_size=size)),
        info=SimpleNamespace(shape=split.shape),
        load_dataset=lambda: SimpleNamespace(train=split, test=split),
        eval_step=parallel.parallel(step, donate=False),
    )
    return experiment.evaluate(this, NO_PARAMETERS)


def pixels(*shown):
    """20 images of a row of pixels, of which each is 1 in so many images and 0.1 in the others."""
    return np.where(np.arange(20)[:, None] < shown, 1.0, 0.1)[:, None, :, None]


@pytest.mark.parametrize("size", [20, 8])  # 8: the last batch is padded with 4 images
def test_shares_are_those_of_neurons_counted_by_hand(size):
    result = evaluated(pixels(0, 0, 1, 10, 18, 19, 20, 20), size=size)
    # Two pixels are never shown; 19 of 20 images are 95 %.
    assert result["dead"] == {"shown": 2 / 8, "silent": 1.0}
    assert result["saturated"] == {"shown": 3 / 8, "silent": 0.0}
    assert result["rates"]["shown"] == pytest.approx((1 + 10 + 18 + 19 + 20 + 20) / 8 / 20)


def test_padding_neither_wakes_a_neuron_nor_desaturates_one():
    step = steps.make_eval_step(Pixels(), prepare=lambda x: x, loss=LOSS, axis_name=None)
    images = np.zeros((3, 1, 4, 1), np.float32)
    images[:2, 0, 1] = images[2, 0, 0] = 1  # the third is padding: it alone shows pixel 0
    batch = {"image": images, "label": np.zeros(3, np.int32), "mask": np.float32([1, 1, 0])}
    counts = jax.jit(step)(NO_PARAMETERS, batch)["spikes"]["shown"]["count"]
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts[0, :, 0], [0, 2 * T, 0, 0])


def test_recordings_are_counted_over_their_own_timesteps():
    frames = np.zeros((5, 3, 1, 2, 1))  # 3 timesteps, where the configuration says 4
    frames[:, :, 0, 0] = 1
    frames[:, :2, 0, 1] = 1
    result = evaluated(frames, size=5)
    assert result["dead"]["shown"] == 0
    assert result["saturated"]["shown"] == 0.5


def test_evaluation_counts_what_a_plain_pass_counts(trained_run):
    this, variables = trained_run.experiment, trained_run.state.variables
    found = experiment.evaluate(this, variables)
    test = this.dataset.test
    images = (test.images - this.dataset.mean) / this.dataset.std

    @jax.jit
    def plain(variables, images):
        keep = lambda module, _: isinstance(module, layers.Spiking)
        return this.model.apply(variables, images, capture_intermediates=keep)[1]["intermediates"]

    seen = flatten_dict(plain(variables, images), sep="/")
    for path in this.spiking_layers():
        spikes = np.asarray(seen[f"{path}/__call__"][0]).sum((0, 1))
        # A potential at the threshold may round to either side in another program.
        one = 1.01 / spikes.size
        assert found["dead"][path] == pytest.approx((spikes == 0).mean(), abs=one)
        always = (spikes >= 0.95 * this.timesteps * len(test.labels)).mean()
        assert found["saturated"][path] == pytest.approx(always, abs=one)
    assert max(found["dead"].values()) > 0


def layer(path, spikes):
    """A recorded layer of which only the spikes matter."""
    nothing = recording.Layer(*[None] * len(recording.Layer._fields))
    return nothing._replace(path=path, spikes=np.array(spikes), updates=20)


def test_the_report_and_evaluation_mean_the_same_by_saturated():
    one = layer("one", [0, 18, 19, 20])
    assert one.dead == experiment.dead_fraction(one.spikes) == 0.25
    assert one.saturated == experiment.saturated_fraction(one.spikes, 20) == 0.5


def finished(*, shares_from):
    """A run of 4 epochs and two layers that recorded shares from that epoch on, and a recording."""
    records = []
    for epoch in (1, 2, 3, 4):
        record = {"split": "test", "epoch": epoch, "rates": {"one": 0.2, "two": 0.1}}
        if epoch >= shares_from:
            record["dead"] = {"one": 0.1 * epoch, "two": 1.0}
            record["saturated"] = {"one": 0.0, "two": 0.05 * epoch}
        records += [{"split": "train", "loss": 1.0}, record]
    found = {path: layer(path, [0, 5, 20]) for path in ("one", "two")}
    return SimpleNamespace(records=records), SimpleNamespace(layers=found)


def over_training(rows, path, name):
    return [row.get(name) for row in rows if row["path"] == path]


def test_shares_over_training_are_those_of_the_records():
    _, rows, drawn = history.activity(*finished(shares_from=1))
    assert over_training(rows, "one", "epoch") == [1, 2, 3, 4]
    np.testing.assert_allclose(over_training(rows, "one", "dead, %"), [10, 20, 30, 40])
    np.testing.assert_allclose(over_training(rows, "two", "saturated, %"), [5, 10, 15, 20])
    shown = drawn.axes[1]
    bold = {line.get_label(): line.get_ydata() for line in shown.lines if line.get_linewidth() > 1}
    np.testing.assert_allclose(bold["dead share"], [0.55, 0.6, 0.65, 0.7])
    np.testing.assert_allclose(bold["saturated share"], [0.025, 0.05, 0.075, 0.1])
    assert [text.get_text() for text in shown.texts] == ["2", "2"]  # the worst layer of both


@pytest.mark.parametrize(("shares_from", "axes"), [(5, 2), (3, 3)])
def test_runs_without_shares_are_shown_with_what_they_have(shares_from, axes):
    now, rows, drawn = history.activity(*finished(shares_from=shares_from))
    assert [row["path"] for row in now] == ["one", "two"]
    assert len(drawn.axes) == axes
    assert over_training(rows, "one", "dead, %").count(None) == shares_from - 1
    np.testing.assert_allclose(over_training(rows, "one", "spike rate"), 0.2)
    assert drawing.png(drawn).startswith(b"\x89PNG")
