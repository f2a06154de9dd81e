"""Training on every kind of data set, from files to a finished run."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import lnm_jax
from lnm_jax import cli, data, neurons
from lnm_jax.data import augment, event_camera
from lnm_jax.errors import ConfigError
from lnm_jax.training import experiment, loop


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two classes of 16x16 images, bright above or below: 12 for training, 6 for test."""
    directory = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("above", "below")):
            (directory / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8)
                pixels[8 * label : 8 * label + 8] += 100
                Image.fromarray(pixels).save(directory / split / name / f"{number}.png")
    return directory


@pytest.fixture
def tiny(config, tree):
    """Two steps an epoch on the tree's 12 images, one epoch."""
    config.epochs, config.log_every = 1, 1
    config.data.name, config.data.directory = "folder", str(tree)
    config.data.batch_size, config.data.eval_batch_size, config.data.crop_padding = 6, 4, 0
    return config


def finished(config):
    """The run, after checking that it trained on 12 images and tested on 6."""
    run = loop.train(config)
    train, test = (run.experiment.dataset.train, run.experiment.dataset.test)
    assert (len(train.labels), len(test.labels)) == (12, 6)
    assert int(run.state.step) == 2
    assert all(np.isfinite(record["loss"]) for record in run.records)
    return run


def test_a_folder_in_memory_with_every_augmentation(tiny):
    tiny.data.crop_padding, tiny.data.flip, tiny.data.cutout = 2, True, 4
    tiny.data.auto_augment = True
    run = finished(tiny)
    assert isinstance(run.experiment.dataset.train, data.Split)


@pytest.mark.parametrize("shape", [(8, 8, 3), (2, 8, 8, 2)], ids=["images", "frames"])
@pytest.mark.parametrize("kind", ["lnm", "lsg"])  # lsg learns its surrogate's width
def test_a_step_leaves_nothing_to_broadcasting_between_ranks(shape, kind, config):
    """Under JAX_NUMPY_RANK_PROMOTION=raise too a network trains, evaluates and is looked at."""
    images = np.zeros((6, *shape), np.uint8)
    split = data.Split(images, np.arange(6, dtype=np.int32) % 2)
    mean = np.full(shape[-1], 100.0, np.float32)
    config.data.crop_padding, config.data.flip, config.data.cutout = 2, True, 4
    config.data.auto_augment = len(shape) == 3
    config.data.batch_size = config.data.eval_batch_size = 6
    config.neuron.kind, config.spiking.sharing = kind, "channel"
    with jax.numpy_rank_promotion("raise"):
        this = experiment.build(config, data.Dataset(split, split, 2, mean, mean, "none"))
        state = jax.eval_shape(this.init)
        this.train_step.lower(state, next(data.train_batches(split, 0, 6, 0, 1)))
        this.eval_step.lower(state.variables, next(data.eval_batches(split, 6)))
        sown = ("trace", "window")
        jax.eval_shape(lambda x: this.apply(x, images, sown), state.variables)
        params = this.neuron.init(jax.random.key(0))
        assert neurons.drift_of(this.neuron, params, jnp.zeros((5, 1))).shape == (5, 1)


def test_a_streamed_folder_which_is_cropped_once(tiny):
    tiny.data.image_size, tiny.data.memory_limit = 8, 1e-6
    run = finished(tiny)
    assert isinstance(run.experiment.dataset.train, data.Stream)
    tiny.data.flip = True
    with pytest.raises(ConfigError, match="streamed: reading crops and flips them"):
        experiment.build(tiny)


def test_a_folder_before_the_simulated_camera(tiny, monkeypatch):
    brief = event_camera.Motion(loops=1, radius=1)
    monkeypatch.setattr(event_camera, "Motion", lambda: brief)
    tiny.data.name = "folder_dvs"
    tiny.data.image_size, tiny.data.crop_padding, tiny.data.flip = 8, 1, True
    run = finished(tiny)
    assert run.experiment.dataset.train.shape == (tiny.timesteps, 8, 8, 2)
    assert run.experiment.input_shape == (tiny.timesteps, 1, 8, 8, 2)
    assert "simulated" in run.experiment.dataset.split


def test_augmentation_is_the_published_sequence(tiny):
    dataset = data.load("digits")
    tiny.data.crop_padding, tiny.data.flip, tiny.data.cutout = 2, True, 4
    prepare = jax.jit(augment.augmentation(tiny.data, data.info_of(dataset)))
    key, image = jax.random.key(1), dataset.train.images[0]
    keys = [key, *(jax.random.fold_in(key, number) for number in (1, 3))]
    expected = augment.random_flip(keys[1], augment.random_crop(keys[0], image, 2))
    expected = augment.normalise(expected, dataset.mean, dataset.std)
    expected = augment.cutout(keys[2], expected, 4)
    np.testing.assert_array_equal(prepare(key, image), expected)
    assert (np.asarray(expected) == 0).sum() >= 4  # the square's mean, after normalisation


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.name": "cifar10"}, "config.data.directory must say where cifar10 is"),
        (
            {"data.auto_augment": True},
            r"config.data.auto_augment needs RGB images of type uint8; digits has .* \(8, 8, 1\)",
        ),
        ({"data.cutout": 9}, "config.data.cutout must be at most 8, got 9"),
        ({"data.name": "cifar"}, "config.data.name must be one of"),
        ({"data.memory_limit": 0.0}, "config.data.memory_limit must be"),
    ],
)
def test_data_fields_that_do_not_fit_are_named(config, fields, message):
    config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=message):
        loop.train(config)


def test_a_run_knows_its_data(tiny, tree, tmp_path, monkeypatch, caplog):
    shutil.copytree(tree, tmp_path / "D")
    monkeypatch.chdir(tmp_path)
    tiny.data.directory = "D"  # kept as an absolute path
    run = loop.train(tiny)
    kept = json.loads((tmp_path / "run" / "data.json").read_text())
    assert (kept["classes"], kept["train"], kept["in_both"]) == (["above", "below"], 12, 0)
    accuracy = run.records[-1]["accuracy"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert lnm_jax.load(run.directory).evaluate()["accuracy"] == accuracy

    def refused(message):
        with pytest.raises(ConfigError, match=message):
            lnm_jax.load(run.directory).evaluate()
        with pytest.raises(ConfigError, match=message):
            loop.train(tiny)  # the same command again

    for split in ("train", "test"):  # another order of the classes
        (tmp_path / "D" / split / "above").rename(tmp_path / "D" / split / "over")
    tiny.data.directory = str(tmp_path / "D")
    refused(r"run: config.data: folder has changed since the run began \(class 0: below, not above")
    tiny.data.accept_changes = True  # what the network calls 0 would be another class
    with pytest.raises(ConfigError, match="class below is label 0, and was 1, which can't be acc"):
        loop.train(tiny)
    tiny.data.accept_changes = False
    for split in ("train", "test"):
        (tmp_path / "D" / split / "over").rename(tmp_path / "D" / split / "above")
    lnm_jax.load(run.directory).evaluate()
    first = tmp_path / "D" / "train" / "above" / "0.png"
    first.write_bytes(first.with_name("1.png").read_bytes())
    refused(r"since the run began \(digest: ")
    shutil.copy(first, first.with_name("7.png"))
    shutil.copy(first, tmp_path / "D" / "test" / "above" / "7.png")
    refused(r"since the run began \(train: 13, not 12; test: 7, not 6\)")
    arguments = [f"--resume={run.directory}", "--config.data.accept_changes=true"]
    assert cli.main(["train.py", *arguments, "--config.epochs=2"]) == 0
    kept = json.loads((tmp_path / "run" / "data.json").read_text())
    assert kept["accepted"] == [{"step": 2, "changes": ["train: 13, not 12", "test: 7, not 6"]}]
    assert kept["in_both"] == 1
    assert "1 test examples are training examples too" in caplog.text
    assert lnm_jax.load(run.directory).evaluate()["loss"] > 0
    shutil.move(tmp_path / "D", tmp_path / "E")
    with pytest.raises(ConfigError, match="D: no such directory"):
        lnm_jax.load(run.directory).evaluate()
    assert cli.main(["train.py", arguments[0], f"--config.data.directory={tmp_path}/E"]) == 0
    assert lnm_jax.load(run.directory).evaluate()["loss"] > 0
