"""Settings that train nothing, or not what they say: refused or said in one line."""

import numpy as np
import pytest

from lnm_jax import data
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration, experiment, sanity

LABELS = np.arange(12, dtype=np.int32) % 3


@pytest.fixture
def looked(config, caplog):
    """(fields, labels, test, shape, classes) -> the lines that a look at the experiment logs."""
    config.update_from_flattened_dict({"data.batch_size": 4, "timesteps": 2})

    def look(fields=None, train=LABELS, test=LABELS, shape=(4, 4, 1), classes=("a", "b", "c")):
        config.update_from_flattened_dict(fields or {})
        images = lambda labels: np.zeros((len(labels), *shape), np.uint8)
        one = np.ones(shape[-1], np.float32)
        splits = [data.Split(images(labels), np.asarray(labels)) for labels in (train, test)]
        dataset = data.Dataset(*splits, len(classes), one, one, "none", classes)
        configuration.validate_fields(config)
        this = experiment.build(config, dataset)
        caplog.clear()
        sanity.check(this, this.init())
        return caplog.messages

    return look


MLP = {"model.name": "mlp", "model.widths": (4,), "model.blocks": None, "model.stem": None}
ALONE = {"data.batch_size": 1, "data.eval_batch_size": 1}
NORM = "config.data.batch_size must be at least 2, got 1: BatchNorm at {} would see a single value"
SGD = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.0}
REFUSED = {
    "a batch larger than the set": (
        {"data.batch_size": 13},
        "config.data.batch_size must be at most the 12 training examples, got 13",
    ),
    "one value under BatchNorm": (ALONE | MLP, NORM.format("dense_1/norm")),
    "one value under the BatchNorm of a head": (
        ALONE | {"timesteps": 1, "model.head": 4, "spiking.membrane_norm": True},
        NORM.format("head_spike/membrane_norm"),
    ),
    "a single step of warm-up": (
        {"data.batch_size": 12, "epochs": 1, "optimizer.warmup_epochs": 1.0},
        "config.optimizer.warmup_epochs must end before the last step, got 1: the only step",
    ),
    "a crop that misses the image": (
        {"data.crop_padding": 4},
        "config.data.crop_padding must be below 4, got 4",
    ),
    "no label in tet": ({"loss.name": "tet", "loss.tet_weight": 1.0}, "config.loss.tet_weight"),
    "statistics that never move": ({"model.momentum": 1.0}, "config.model.momentum must be >= 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_trains_nothing_is_refused(name, looked):
    fields, message = REFUSED[name]
    with pytest.raises(ConfigError) as error:
        looked(fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_one_class_is_refused(looked):
    with pytest.raises(ConfigError, match=r"digits: at least 2 classes are needed, got 1$"):
        looked(train=[0, 0, 0, 0], test=[0], classes=("a",))


def test_a_batch_of_one_is_fine_where_batchnorm_sees_more_and_so_is_a_usual_run(looked):
    assert looked() == []
    assert looked(ALONE) == []
    assert looked(ALONE | MLP, shape=(2, 4, 4, 1)) == []  # frames: one value a timestep


DOUBTED = {
    "neurons that do not learn": (
        {"optimizer.neuron_learning_rate": 0.0},
        "config.optimizer.neuron_learning_rate is 0: the neurons' parameters stay as they start",
    ),
    "weights that do not learn": (
        SGD,
        "config.optimizer.learning_rate is 0: the weights it would move stay as they start",
    ),
    "nothing that learns": (
        SGD | {"neuron.kind": "lif"},
        "config.optimizer: every learning rate is 0: only BatchNorm's statistics will change",
    ),
    "no time": (
        {"timesteps": 1, "loss.name": "tet", "model.norm": "tebn"},
        "config.timesteps is 1: nothing is carried over time, as neuron.kind lnm, loss.name tet, "
        "model.norm tebn need",
    ),
    "side heads of no loss": (
        {"model.side_heads": (1,)},
        "config.model.side_heads: loss.name cross_entropy does not train side heads",
    ),
}


@pytest.mark.parametrize("name", DOUBTED)
def test_what_is_of_no_use_is_said_in_one_line(name, looked):
    fields, line = DOUBTED[name]
    assert looked(fields) == [line]


def test_classes_with_hardly_an_example_are_named(looked):
    assert looked(train=[0, 0, 0, 1], test=[0, 0, 2]) == [
        "config.data.name digits: no training example of c; a single training example of b; "
        "no test example of b"
    ]
    [line] = looked(train=[0] * 9, test=range(6), classes=tuple("abcdef"))
    assert line == "config.data.name digits: no training example of b, c, d and 2 more"
