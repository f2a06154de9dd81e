"""Configurations are the paper's Table 4 and A.1, field by field, and every one can be built."""

import importlib
import pathlib
import re

import jax
import paper_text
import pytest

from lnm_jax import models, neurons
from lnm_jax.configs import base
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, loop

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = {
    "cifar10_resnet19": ("CIFAR-10", "ResNet-19"),
    "cifar100_resnet19": ("CIFAR-100", "ResNet-19"),
    "cifar10dvs_vggsnn": ("CIFAR-10 DVS", "VGGSNN"),
    "cifar10dvs_resnet19": ("CIFAR-10 DVS", "ResNet-19"),
    "imagenet_resnet34": ("ImageNet", "ResNet-34"),
}


def table_4():
    """Its columns: text by the name of the row, by data set."""
    head, *rows = [line.split(" | ") for line in paper_text.TABLE_4.strip().splitlines()]
    return {
        dataset: {name: values[place] for name, *values in rows}
        for place, dataset in enumerate(head[1:])
    }


def configured(name):
    return importlib.import_module(f"lnm_jax.configs.{name}").get_config()


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
    config = configured(name)
    dataset, network = COLUMNS[name]
    cell = table_4()[dataset]
    assert config.data.name.removesuffix("2012") == re.sub("[ -]", "", dataset).lower()
    assert config.model.name == network.replace("-", "").lower()
    assert str(config.timesteps) in cell["Timesteps"].split("/")
    assert config.neuron.surrogate == cell["Surrogate Gradient"].lower()
    assert str(list(window(config))) == cell["Surrogate Gradient Window"]
    assert (config.optimizer.name, config.optimizer.decay) == ("sgd", "cosine")
    assert (cell["Optimizer"], cell["Scheduler"]) == ("SGD", "Cosine")
    for row, value in {
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
        assert value == float(cell[row]), row
    neuron = config.neuron
    assert (neuron.kind, neuron.degree, neuron.bound, neuron.clip) == ("lnm", 3, "clip", 1.0)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_configuration_augments_as_the_appendix_says(name):
    config, text = configured(name), " ".join(paper_text.APPENDIX_A_1.split())
    words = {"crop": "cropping", "flip": "flipping", "Cutout": "Cutout", "AutoAugment": "AutoAug"}
    start = rf"[Ff]or {COLUMNS[name][0]} (?:\(|\w+ et al)"
    [said] = re.findall(rf"{start}.*?(?=$| For | Finally)", text)
    assert augmentations(config) == {own for own, word in words.items() if word in said}
    size = re.search(r"(\d+) x \1", said)
    assert size is None or config.data.image_size == int(size[1])


def test_every_network_of_table_4_has_a_configuration():
    networks = {name: cell["Architecture"].split("/") for name, cell in table_4().items()}
    assert set(COLUMNS.values()) == {(name, own) for name in networks for own in networks[name]}


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


FIELDS = configuration.flatten(base.get_config())


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_of_another_type_is_one_line_that_names_the_field(field):
    wrong = [object(), {"a": 1}, "0.1" if isinstance(FIELDS[field], bool | int | float) else 1.5]
    config = base.get_config()
    with config.ignore_type():
        for value in wrong if FIELDS[field] is None else [None, *wrong]:
            config.update_from_flattened_dict({field: value})
            message = rf"^config\.{field} must be .*, got "
            with pytest.raises(ConfigError, match=message) as raised:
                loop.train(config)
            assert "\n" not in str(raised.value)


def test_what_is_no_configuration_is_said():
    config = base.get_config().copy_and_resolve_references()
    with config.unlocked():
        del config.epochs
    with pytest.raises(ConfigError, match=r"^config\.epochs must be an integer, got nothing$"):
        loop.train(config)
    with pytest.raises(ConfigError, match=r"^config must be a ConfigDict .*, got NoneType$"):
        loop.train(None)
