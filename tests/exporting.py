"""Runs for the tests of exports, made without training: every number drawn, none of them 0."""

import jax
import numpy as np

from lnm_jax.data import Dataset, Split
from lnm_jax.training import configuration, experiment
from lnm_jax.training.run import Run

EVENTS = {"model.name": "vggsnn", "model.stem": None, "model.blocks": None}
DENSE = {"model.name": "mlp", "model.stem": None, "model.blocks": None, "model.widths": (8, 6)}
PADDED = {
    "model.widths": (4, 6),
    "model.blocks": (1, 1),
    "model.shortcut": "padding",
    "model.stem_pool": "average",
    "model.head": 5,
}


def refused(capsys, command, *arguments):
    """The one line of a command that refuses its arguments."""
    assert command(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


def events(timesteps=3, size=8):
    """Sparse random event frames that every event network can take."""
    generator = np.random.default_rng(0)
    images = generator.poisson(0.4, (12, timesteps, size, size, 2)).astype(np.float16)
    split = Split(images, np.arange(12, dtype=np.int32) % 3)
    return Dataset(split, split, 3, np.zeros(2, np.float32), np.ones(2, np.float32), "none")


def drawn(target, seed=0):
    """A state of the target's shapes with plausible weights and statistics."""
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = generator.standard_normal(leaf.shape).astype(np.float32)
        name = getattr(path[-1], "key", "")
        if name == "kernel":
            return noise * np.float32(2 / np.prod(leaf.shape[:-1])) ** 0.5
        if name == "theta" and leaf.ndim:
            noise *= np.float32(0.3)
            noise[0] -= np.float32(0.6)
            return noise
        return np.exp(noise / 3) if name in ("scale", "var") else noise * np.float32(0.2)

    params = jax.tree_util.tree_map_with_path(draw, target.params)
    statistics = jax.tree_util.tree_map_with_path(draw, target.batch_stats)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target)
    return zeros.replace(params=params, batch_stats=statistics, step=np.int32(6))


def run_of(config, dataset=None):
    """A `Run` of the configuration with drawn numbers; nothing is compiled or written."""
    this = experiment.build(config, dataset)
    return Run(this, configuration.path_of(config), drawn(jax.eval_shape(this.init)), [], 0.0, None)
