"""What docs/runs.md promises of signals, numbers, disks and locks."""

import contextlib
import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import time

import events_file
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lnm_jax.configs import digits
from lnm_jax.errors import ConfigError, Interrupted, NonFiniteError
from lnm_jax.training import (
    configuration,
    experiment,
    health,
    loop,
    losses,
    metrics,
    optimizer,
    run_directory,
    steps,
)
from lnm_jax.training.steps import TrainState
from reproduction.settings import PUBLISHED

# --- Signals --------------------------------------------------------------------------------


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_as_if_undisturbed(config, command, tmp_path):
    config.epochs, config.name = 6, "whole"
    whole = loop.train(config)

    config.name = "stopped"
    fields = (f"--config.directory={tmp_path}", "--config.name=stopped", "--config.epochs=6")
    process = command(*fields)
    metrics_file = tmp_path / "stopped" / metrics.FILE
    while not (metrics_file.exists() and metrics_file.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == Interrupted.status, error
    assert error.endswith("of 18; the same command goes on\n")
    stopped = loop.train(config)
    assert stopped.images_per_second is not None  # there were steps left to do
    jax.tree.map(np.testing.assert_array_equal, stopped.state, whole.state)
    assert stopped.records == whole.records


@pytest.mark.parametrize("number", loop.SIGNALS)
def test_the_first_signal_asks_and_the_second_ends_the_process(number):
    before = [signal.getsignal(each) for each in loop.SIGNALS]
    with loop.Interrupts() as interrupts:
        assert not interrupts.asked
        os.kill(os.getpid(), number)
        assert interrupts.asked
        assert {signal.getsignal(each) for each in loop.SIGNALS} == {signal.SIG_DFL}
    assert [signal.getsignal(each) for each in loop.SIGNALS] == before


# --- Numbers --------------------------------------------------------------------------------


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            mean = self.variable("batch_stats", "mean", lambda: jnp.float32(0))
            if train:
                mean.value = x.mean()
            return nn.Dense(2)(x.reshape(len(x), -1))

    model = Layer()
    sgd = optax.sgd(0.1, momentum=0.9)
    images = jnp.ones((2, 2, 2, 1))
    variables = model.init(jax.random.key(0), images, train=False)
    state = TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=sgd.init(variables["params"]),
        window=dict.fromkeys(("loss", "accuracy", "steps"), jnp.float32(0)),
        skipped=jnp.int32(0),
        skipped_in_row=jnp.int32(0),
    )
    objective = losses.build(digits.get_config())
    loss = steps.make_loss(
        model, key=jax.random.key(1), prepare=lambda _, image: image, loss=objective
    )
    step = jax.jit(steps.make_train_step(loss, sgd, log_every=10, axis_name=None))
    good = {"image": images, "label": jnp.array([0, 1]), "position": jnp.arange(2)}
    bad = good | {"image": images.at[0].set(jnp.nan)}
    state, _ = step(state, good)
    held = jax.device_get(state)
    for row in (1, 2):
        state, _ = step(state, bad)
        for name in ("params", "batch_stats", "opt_state", "window"):
            jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(held, name))
        assert (int(state.skipped), int(state.skipped_in_row), int(state.step)) == (
            row,
            row,
            row + 1,
        )
    state, _ = step(state, good)
    assert (int(state.skipped), int(state.skipped_in_row)) == (2, 0)
    assert float(state.window["steps"]) == 2
    kernel = lambda state: state.params["Dense_0"]["kernel"]
    assert (kernel(state) != kernel(held)).any()
    # A finite gradient whose update overflows is left out as well.
    huge = optax.sgd(3e38, momentum=0.9)
    overflowing = jax.jit(steps.make_train_step(loss, huge, log_every=10, axis_name=None))
    left_out, _ = overflowing(state, good | {"image": 100 * images})
    assert int(left_out.skipped) == 3
    jax.tree.map(np.testing.assert_array_equal, left_out.params, state.params)


def test_training_that_diverges_stops_and_names_the_layer(config):
    config.update_from_flattened_dict(PUBLISHED)  # Muon's kernels cannot overflow
    config.optimizer.learning_rate = 1e36  # the first step's weights overflow in the second
    config.epochs, config.log_every, config.stop_after_non_finite = 4, 3, 4
    with pytest.raises(NonFiniteError, match=r"first in layer stem") as raised:
        loop.train(config)
    message = str(raised.value)
    assert "\n" not in message
    assert "config.optimizer.clip_norm" in message
    records = metrics.read(configuration.path_of(config))
    assert all(np.isfinite(r["loss"]) for r in records if r.get("loss") is not None)
    assert records[-1]["skipped"] >= 4


def test_the_diagnosis_follows_the_order_of_computation():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(1, name="one")(x)
            return nn.Dense(1, name="two")(x)

    model, x = Two(), jnp.ones((1, 1))
    params = model.init(jax.random.key(0), x)["params"]
    state = TrainState(0, params, {}, (), {}, 0, 0)

    def named(change=lambda logits: logits, params=params, x=x):
        loss = lambda params, state, batch: (
            change(model.apply({"params": params}, batch["image"])).sum(),
            0,
        )
        return health.first_non_finite(loss, state.replace(params=params), {"image": x})

    assert named() == "the optimizer's step"
    assert named(x=jnp.array([[0.0], [jnp.nan]])) == "image 1 of the batch"
    big = jax.tree.map(lambda leaf: leaf, params)
    big["two"]["kernel"] = jnp.full((1, 1), 1e38)
    big["one"]["kernel"] = jnp.full((1, 1), 1e3)
    assert named(params=big) == "layer two"
    assert named(lambda logits: logits / 0) == "the loss"
    # The root's slope is infinite at 0, and what it multiplies is 0: the gradient alone is not.
    assert named(lambda logits: jnp.sqrt(logits * 0)).startswith("the gradient of two/")
    big["one"]["bias"] = jnp.array([jnp.nan])
    assert named(params=big) == "parameter one/bias"


def test_clipping_limits_the_norm_of_the_whole_gradient(config):
    config.update_from_flattened_dict(PUBLISHED)
    config.optimizer.clip_norm = 0.5
    config.optimizer.momentum = config.optimizer.weight_decay = 0.0
    rates = dict.fromkeys(("weights", "neurons"), lambda _: 1.0)
    sgd = optimizer.make_optimizer(config.optimizer, rates)
    params = {"conv": {"kernel": jnp.zeros(3)}, "spike": {"neuron": {"theta": jnp.zeros(2)}}}
    for scale, expected in ((1.0, 0.5), (1e-2, 1e-2 * 5**0.5)):
        gradient = jax.tree.map(lambda leaf: jnp.full(leaf.shape, scale), params)  # noqa: B023
        updates, _ = sgd.update(gradient, sgd.init(params), params)
        np.testing.assert_allclose(optax.tree.norm(updates), expected, rtol=1e-6)


# --- Disks and locks ------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(directory)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_run_on_a_disk_that_is_full_ends_in_one_line_and_goes_on_later(
    config, small_disk, monkeypatch
):
    config.directory, config.log_every = str(small_disk), 1
    other, write = small_disk / "other", metrics.Writer.write

    def fill(writer, record, **more):
        if record["step"] == 4:
            with contextlib.suppress(OSError), open(other, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        write(writer, record | {"padding": dict.fromkeys(map(str, range(400)), 0.0)}, **more)

    line = r"run: cannot be written \(No space left on device\)$"
    with monkeypatch.context() as patch:
        patch.setattr(metrics.Writer, "write", fill)
        with pytest.raises(ConfigError, match=line):
            loop.train(config)
    with pytest.raises(ConfigError, match="No space left on device"):
        loop.train(config)
    other.unlink()
    run = loop.train(config)
    assert [record["step"] for record in run.records] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert events_file.agree(run.directory, run.records)


def test_a_full_disk_is_one_line_and_no_file_stays_open(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def refused():
        return pytest.raises(ConfigError, match=r"written \(No space left on device\)$")

    with refused(), metrics.Writer(str(tmp_path), step=0) as writer:
        writer.write({"step": 1, "split": "train", "loss": 1.0})
        monkeypatch.setattr(metrics.os, "fsync", full)
        writer.sync()
    monkeypatch.undo()
    assert [record["step"] for record in metrics.read(str(tmp_path))] == [1]
    monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.flush", full)
    with refused():
        metrics.Writer(str(tmp_path), step=1)
    del writer
    gc.collect()  # a file left open is a warning, and this test's error


def test_a_run_directory_that_is_deleted_under_the_run_ends_it(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    with metrics.Writer(str(directory), step=0) as writer:
        shutil.rmtree(directory)
        with pytest.raises(ConfigError, match="the directory is gone"):
            writer.write({"step": 1, "split": "train", "loss": 1.0})


def test_a_directory_that_cannot_be_made_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    config.directory = str(tmp_path / "file")
    with pytest.raises(ConfigError, match="file/run: cannot be written"):
        run_directory.create(config)


def test_two_runs_do_not_share_a_directory(tmp_path):
    with (
        run_directory.locked(str(tmp_path)),
        pytest.raises(ConfigError, match=rf"process {os.getpid()} on .* trains here; choose"),
        run_directory.locked(str(tmp_path)),
    ):
        pass
    with run_directory.locked(str(tmp_path)):
        pass


# --- Several devices ------------------------------------------------------------------------


LOSSES = """
from lnm_jax import data
from lnm_jax.configs import digits
from lnm_jax.training import experiment, parallel

def losses():
    config = digits.get_config()
    config.timesteps, config.data.batch_size, config.log_every = 2, 4, 1
    config.loss.name, config.loss.im_weight = "im_loss", 50.0
    config.model.stem, config.model.widths, config.model.blocks = 4, (4,), (3,)
    this = experiment.build(config)
    state = parallel.replicate(this.init())
    batches = list(data.train_batches(this.dataset.train, 0, 4, 0, 2))
    found, text = [], this.train_step.lower(state, batches[0]).as_text()
    for batch in batches:
        state, metrics = this.train_step(state, batch)
        found.append(float(metrics["loss"].reshape(-1)[0]))
    return found, text, state
"""
ON_TWO = """
import re, jax
found, text, state = losses()
sizes = []
for part in text.split("stablehlo.all_reduce")[1:]:
    shape = re.search(r"\\) : \\(tensor<([^>]*)>\\)", part).group(1)
    sizes.append(int(shape.split("x")[0]) if "x" in shape else 1)
print(*found, sum(leaf.size for leaf in jax.tree.leaves(state.params)), *sizes)
"""


def test_on_two_devices_a_step_reduces_the_gradient_once_and_im_loss_is_the_same():
    """IM loss's target is for the mean over the whole batch, not for each device's share."""
    env = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    env["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
    result = subprocess.run(
        [sys.executable, "-c", LOSSES + ON_TWO], env=env, capture_output=True, text=True, check=True
    )
    *two, parameters = map(float, result.stdout.split()[:3])
    sizes = list(map(int, result.stdout.split()[3:]))
    large = [size for size in sizes if size > 16]
    assert large == [parameters + 2]  # loss and accuracy travel along
    assert len(sizes) > 1  # BatchNorm's, of 4 channels
    scope = {}
    exec(LOSSES, scope)
    # Two shares in place of the whole change the first loss by a tenth, at this weight.
    assert two == pytest.approx(scope["losses"]()[0], rel=1e-5)


def test_experiments_build_on_arrays_of_the_callers_own(config):
    dataset = experiment.data.load("digits")
    this = experiment.build(config, dataset._replace(split="mine"))
    assert this.dataset.split == "mine"
