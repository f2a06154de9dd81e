"""Configurations are the paper's Table 4, field by field, and every one can be built."""

import importlib
import pathlib

import jax
import pytest

from configs import base
from lnm_jax import models, neurons
from lnm_jax.training import configuration

ROOT = pathlib.Path(__file__).resolve().parent.parent
# ruff: noqa: E501
# Table 4, transcribed, and the augmentations of A.1; the architectures of a cell are split.
TABLE_4 = """
field                | CIFAR-10       | CIFAR-100      | CIFAR-10 DVS   | CIFAR-10 DVS   | ImageNet
Architecture         | ResNet-19      | ResNet-19      | VGGSNN         | ResNet-19      | ResNet-34
Timesteps            | 2/4            | 2/4            | 10             | 10             | 4
Surrogate Gradient   | Rectangle      | Rectangle      | Triangle       | Triangle       | Rectangle
Surrogate Window     | [-0.5, 0.5]    | [-0.5, 0.5]    | [-0.5, 0.5]    | [-0.5, 0.5]    | [-0.5, 0.5]
Epochs               | 400            | 400            | 200            | 200            | 350
Learning Rate        | 1e-1           | 1e-1           | 1e-1           | 1e-1           | 1e-0
LNM Learning Rate    | 1e-2           | 1e-2           | 1e-3           | 1e-3           | 1e-2
Momentum             | 9e-1           | 9e-1           | 9e-1           | 9e-1           | 9e-1
Weight Decay         | 5e-4           | 5e-4           | 5e-4           | 5e-4           | 5e-5
Label Smoothing      | 1e-1           | 1e-1           | 1e-2           | 1e-2           | 0e-0
Warm Up Epochs       | 0              | 0              | 0              | 0              | 5
Initial Decay        | 0.25           | 0.25           | 0.25           | 0.25           | 0.25
Threshold            | 0.5            | 0.5            | 0.5            | 0.5            | 0.5
Augmentations        | crop flip cutout | crop flip auto cutout | crop flip | crop flip | crop flip
"""
COLUMNS = (
    "cifar10_resnet19",
    "cifar100_resnet19",
    "cifar10dvs_vggsnn",
    "cifar10dvs_resnet19",
    "imagenet_resnet34",
)


def table():
    """{configuration: {field: cell}}."""
    rows = [[cell.strip() for cell in line.split("|")] for line in TABLE_4.strip().splitlines()]
    return {name: {row[0]: row[column] for row in rows} for column, name in enumerate(COLUMNS, 1)}


def window(config):
    """Where the surrogate's gradient is not 0, measured."""
    neuron = neurons.build(**config.neuron)
    params = neuron.init(jax.random.key(0))
    x = jax.numpy.linspace(-0.995, 0.995, 200)  # potential minus threshold
    zero = jax.numpy.zeros_like(x)
    spikes = lambda current: neuron.step(params, zero, current)[1].sum()
    inside = x[jax.grad(spikes)(x + config.neuron.threshold) > 0]
    return [round(float(inside.min()), 1), round(float(inside.max()), 1)]


def augmentations(config):
    fields = config.data
    names = {
        "crop": fields.crop_padding or fields.name == "imagenet2012",  # streams crop and flip
        "flip": fields.flip or fields.name == "imagenet2012",
        "auto": fields.auto_augment,
        "cutout": fields.cutout,
    }
    return " ".join(name for name, used in names.items() if used)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_configuration_equals_its_column_of_table_4(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    column = table()[name]
    assert config.model.name == column["Architecture"].replace("-", "").lower()
    assert str(config.timesteps) in column["Timesteps"].split("/")
    assert config.neuron.kind == "lnm"
    assert config.neuron.surrogate == column["Surrogate Gradient"].lower()
    assert str(window(config)) == column["Surrogate Window"]
    assert augmentations(config) == column["Augmentations"]
    for field, value in {
        "Epochs": config.epochs,
        "Learning Rate": config.optimizer.learning_rate,
        "LNM Learning Rate": config.optimizer.neuron_learning_rate,
        "Momentum": config.optimizer.momentum,
        "Weight Decay": config.optimizer.weight_decay,
        "Label Smoothing": config.label_smoothing,
        "Warm Up Epochs": config.optimizer.warmup_epochs,
        "Initial Decay": config.neuron.decay,
        "Threshold": config.neuron.threshold,
    }.items():
        assert value == float(column[field]), field


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("[!_]*.py")), ids=lambda p: p.stem)
def test_every_configuration_is_valid_and_its_model_takes_its_data(path):
    config = importlib.import_module(f"configs.{path.stem}").get_config()
    configuration.validate(config)
    assert set(configuration.flatten(config)) == set(configuration.flatten(base.get_config()))
    shape = {
        "digits": (1, 8, 8, 1),
        "digits_dvs": (10, 1, 16, 16, 2),
        "cifar10dvs": (10, 1, 48, 48, 2),
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
    assert jax.eval_shape(model.apply, variables, images).shape == (1, 10)


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
