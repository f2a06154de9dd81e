"""Checkpoints that tests break: small states, and a directory of two."""

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax.training.checkpoint import Checkpoints
from lnm_jax.training.steps import TrainState


def make_state(step, width=4):
    """A state of another content for every step, with a leaf of every unusual kind."""
    rng = np.random.default_rng(step)
    return TrainState(
        step=jnp.int32(step),
        params={
            "conv": {"kernel": jnp.asarray(rng.normal(size=(3, width)), jnp.float32)},
            "spike": {"neuron": {"theta": jnp.zeros((0,))}},  # a neuron without coefficients
            "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
        },
        batch_stats={},
        opt_state=({}, {"count": jnp.int32(step)}),
        window={"loss": jnp.float32(step)},
        skipped=jnp.int32(0),
        skipped_in_row=jnp.int32(0),
    )


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def fill(directory, *steps, keep=2):
    with Checkpoints(str(directory), keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(make_state(step), accuracy=float(step))


def make_pair(directory):
    """Writes the checkpoints 1 and 2 into a directory and returns it."""
    fill(directory, 1, 2)
    return directory
