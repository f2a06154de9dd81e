"""Checkpoints that tests break: small states, a directory of two, and the faults of a file."""

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


def equal(a, b):
    """Whether two states have the same leaves, bit for bit."""
    leaves = [[np.asarray(x) for x in jax.tree.leaves(state)] for state in (a, b)]
    kinds = [[(x.dtype, x.shape, x.tobytes()) for x in found] for found in leaves]
    return jax.tree.structure(a) == jax.tree.structure(b) and kinds[0] == kinds[1]


def fill(directory, *steps, keep=2, width=4):
    """Writes checkpoints whose accuracy is their step."""
    with Checkpoints(str(directory), keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(make_state(step, width), accuracy=float(step))


def files_of(directory):
    """Paths of the files of a checkpoint, relative to it."""
    return sorted(x.relative_to(directory) for x in directory.rglob("*") if x.is_file())


def _flipped(data, offset, mask):
    return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :]


def flips(data, offsets, mask):
    """Bits of one byte inverted, at random offsets, the same ones for files of the same size."""
    rng = np.random.default_rng([len(data), mask])
    chosen = rng.choice(len(data), min(offsets, len(data)), replace=False)
    return [_flipped(data, offset, mask) for offset in chosen]


# What a file may become, by the kind of fault; None: it is missing.
FAULTS = {
    "byte inverted": lambda data, offsets: flips(data, offsets, 0xFF),
    # JSON and headers may stay readable, with another meaning.
    "bit inverted": lambda data, offsets: flips(data, offsets, 1),
    "truncated to half": lambda data, offsets: [data[: len(data) // 2]],
    "empty": lambda data, offsets: [b""],
    "missing": lambda data, offsets: [None],
    "replaced by garbage": lambda data, offsets: [np.random.default_rng(0).bytes(len(data))],
}


def outcome(directory, old, new):
    """What a resumed run gets from a directory whose newer checkpoint has a fault.

    Returns: "fell back" to the older one, by one line that names the newer one; "harmless" if
      the newer one came back bit for bit, as the file is not needed; else "lost". Also lost: the
      newer step can't be written again.
    """
    step = int(new.step)
    try:
        with Checkpoints(str(directory), keep=2) as checkpoints:
            restored, damaged = checkpoints.restore(new), list(checkpoints.damaged)
            if damaged:
                checkpoints.save(new, accuracy=2.0)
        with Checkpoints(str(directory), keep=2) as checkpoints:
            again = checkpoints.restore(new)
            if checkpoints.damaged or checkpoints.latest != step or not equal(again, new):
                return "lost"
    except Exception as error:
        print(f"a fault stopped the run: {error!r}")
        return "lost"
    if not damaged:
        return "harmless" if equal(restored, new) else "lost"
    (line,) = damaged
    named = line.startswith(f"{directory}/{step}: damaged: ") and "\n" not in line
    return "fell back" if named and equal(restored, old) else "lost"
