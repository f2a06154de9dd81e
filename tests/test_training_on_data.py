"""Training on every kind of data set, from files to a finished run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lnm_jax import data, neurons
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
        neurons.drift_of(this.neuron, params, jnp.zeros((5, 1)))


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
