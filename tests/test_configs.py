"""Configurations are the paper's Table 4 and A.1, field by field, and every one can be built."""

import importlib
import pathlib

import jax
import pytest

from lnm_jax import models, neurons, paper
from lnm_jax.configs import base
from lnm_jax.training import configuration

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = {
    "cifar10_resnet19": ("CIFAR-10", "ResNet-19"),
    "cifar100_resnet19": ("CIFAR-100", "ResNet-19"),
    "cifar10dvs_vggsnn": ("CIFAR-10 DVS", "VGGSNN"),
    "cifar10dvs_resnet19": ("CIFAR-10 DVS", "ResNet-19"),
    "imagenet_resnet34": ("ImageNet", "ResNet-34"),
}


def window(config):
    """Where the surrogate's gradient is not 0, measured."""
    neuron = neurons.build(**config.neuron)
    params = neuron.init(jax.random.key(0))
    x = jax.numpy.linspace(-0.995, 0.995, 200)  # potential minus threshold
    zero = jax.numpy.zeros_like(x)
    spikes = lambda current: neuron.step(params, zero, current)[1].sum()
    inside = x[jax.grad(spikes)(x + config.neuron.threshold) > 0]
    return round(float(inside.min()), 1), round(float(inside.max()), 1)


def augmentations(config):
    fields = config.data
    names = {
        "crop": fields.crop_padding or fields.name == "imagenet2012",  # streams crop and flip
        "flip": fields.flip or fields.name == "imagenet2012",
        "AutoAugment": fields.auto_augment,
        "Cutout": fields.cutout,
    }
    return {name for name, used in names.items() if used}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_configuration_equals_its_column_of_table_4(name):
    config = importlib.import_module(f"lnm_jax.configs.{name}").get_config()
    dataset, network = COLUMNS[name]
    column = paper.recipe(dataset)
    assert paper.recipe(config.data.name) is column
    assert config.model.name == network.replace("-", "").lower()
    assert config.timesteps in column.timesteps
    assert config.neuron.kind == "lnm"
    assert config.neuron.surrogate == column.surrogate.lower()
    assert window(config) == column.window
    assert augmentations(config) == set(column.augmentations)
    assert column.image_size in (None, config.data.image_size)
    for field, value in {
        "epochs": config.epochs,
        "learning_rate": config.optimizer.learning_rate,
        "lnm_learning_rate": config.optimizer.neuron_learning_rate,
        "momentum": config.optimizer.momentum,
        "weight_decay": config.optimizer.weight_decay,
        "label_smoothing": config.label_smoothing,
        "warmup_epochs": config.optimizer.warmup_epochs,
        "decay": config.neuron.decay,
        "threshold": config.neuron.threshold,
    }.items():
        assert value == getattr(column, field), field
    neuron = config.neuron
    assert (neuron.degree, neuron.bound, neuron.clip) == (paper.DEGREE, "clip", paper.CLIP)


def test_every_network_of_table_4_has_a_configuration():
    published = {
        (column.dataset, network) for column in paper.TABLE_4 for network in column.networks
    }
    assert set(COLUMNS.values()) == published


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("[!_]*.py")), ids=lambda p: p.stem)
def test_every_configuration_is_valid_and_its_model_takes_its_data(path):
    config = importlib.import_module(f"lnm_jax.configs.{path.stem}").get_config()
    configuration.validate(config)
    assert set(configuration.flatten(config)) == set(configuration.flatten(base.get_config()))
    shape = {
        "digits": (1, 8, 8, 1),
        "digits_dvs": (10, 1, 16, 16, 2),
        "cifar10dvs": (10, 1, 48, 48, 2),
        "interval": (30, 1, 1, 1, 16),
        "identify": (100, 1, 1, 1, 36),
        "imagenet2012": (1, 224, 224, 3),
    }.get(config.data.name, (1, 32, 32, 3))
    model = models.build(
        neuron=neurons.build(**config.neuron),
        num_classes=10,
        timesteps=config.timesteps,
        **config.model,
    )
    images = jax.ShapeDtypeStruct(shape, "float32")
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    outputs = jax.eval_shape(model.apply, variables, images).shape
    assert outputs == ((1, 100, 10) if config.loss.name == "spike_trains" else (1, 10))


def test_the_slurm_script_runs_any_configuration(tmp_path):
    import os
    import subprocess

    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(ROOT)}
    command = ["bash", str(ROOT / "slurm" / "train.sbatch"), "cifar10_resnet19", "/data set"]
    result = subprocess.run(
        [*command, "--config.seed=3"], env=env, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == [
        "train.py",
        "--config=configs/cifar10_resnet19.py",
        "--config.data.directory=/data set",
        "--config.progress=false",
        "--config.seed=3",
    ]
    assert subprocess.run(command[:2], env=env, capture_output=True).returncode != 0
