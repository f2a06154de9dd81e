"""The ceiling of a recipe: ReLU in place of every spiking layer of the same network.

Digits as `python train.py` has them; with --data, CIFAR-10 by configs/cifar10_fast.py at the small
size of docs/learning.md: width 16, 16x16 pixels, one epoch. Muon, and SGD at a rate of 0.1.
"""

import jax

from benchmarks import gpu
from lnm_jax import data, neurons
from lnm_jax.configs import cifar10_fast, digits
from lnm_jax.training import experiment

SEEDS = (0, 1, 2)
SMALL = {
    "model.stem": 16, "model.widths": (16, 32, 64), "epochs": 1, "data.crop_padding": 0,
}  # fmt: skip
TINY = {"model.stem": 4, "model.widths": (4,), "model.blocks": (1,), "data.batch_size": 480}
SGD = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1, "optimizer.nesterov": False}


def relu() -> neurons.Neuron:
    """max(0, I) at every timestep: no state, and a result that is no spike."""
    return neurons.Neuron(
        lambda key: {},
        lambda shape, dtype: jax.numpy.zeros(shape, dtype),
        lambda params, state, current: (state, jax.nn.relu(current)),
    )


def run(short: bool, directory: str | None = None):
    """A row for each optimizer and seed."""
    sets = [("digits", digits.get_config, {"epochs": 1, **TINY} if short else {}, None)]
    if directory:
        loaded = data.load("folder", directory=directory, image_size=16)
        sets.append(("CIFAR-10, 16x16, width 16", cifar10_fast.get_config, SMALL, loaded))
    for name, configured, fields, dataset in sets:
        for optimizer, more in (("muon", {}), ("sgd", SGD)):
            for seed in SEEDS[: 1 if short else None]:
                config = configured()
                config.update_from_flattened_dict(fields | more | {"seed": seed, "timesteps": 1})
                built = experiment.build(config, dataset, relu())
                found = gpu.train(built)
                row = {"data": name, "optimizer": optimizer, "epochs": config.epochs, "seed": seed}
                yield row | {"accuracy": found["accuracy"], "seconds": found["seconds"]}
