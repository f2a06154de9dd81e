"""What training changes once an epoch beside the weights: numbers that all spiking layers share.

They are variables of the layers (`layers.Spiking.scheduled`), so that checkpoints have them and
evaluation sees them. Before the first step of an epoch, a function (state, batch) -> state sets
them, with that step's batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lnm_jax import models
from lnm_jax.neurons import DSPIKE_TEMPERATURE
from lnm_jax.training.steps import TrainState

TEMPERATURE, MASKING = "temperature", "masking"
Adapt = Callable[[TrainState, dict], TrainState]


def scheduled(fields) -> tuple[tuple[str, float], ...]:
    """(name, start) of the numbers that the fields of `config.adaptation` let training change."""
    masking = ((MASKING, 0.0),) if fields.masking else ()
    return masking + (((TEMPERATURE, DSPIKE_TEMPERATURE),) if fields.temperature else ())


def _values(state: TrainState) -> dict[str, jax.Array]:
    flat = flatten_dict(state.batch_stats).items()
    return {path[-1]: value for path, value in flat if path[-1] in (TEMPERATURE, MASKING)}


def read(state: TrainState) -> dict[str, float]:
    """The numbers as they are, by name; empty if training changes none."""
    return {name: float(value) for name, value in _values(state).items()}


def _with(state: TrainState, name: str, value) -> TrainState:
    flat = flatten_dict(state.batch_stats, keep_empty_nodes=True)
    new = {path: jnp.float32(value) if path[-1] == name else old for path, old in flat.items()}
    return state.replace(batch_stats=unflatten_dict(new))


def masking(share: float, last: int) -> Adapt:
    """Masked PSN's lambda (Fang et al. 2023): linearly from 0 to 1, and always 1 in the last epoch.

    With share 1/8 it is the authors' min(8 epoch / (epochs - 1), 1), up to the steps that an
    epoch is rounded to. Source: the authors' code. Confidence: certain.

    Args:
      share: of the way to the last epoch, after which it is 1.
      last: steps before the last epoch.
    """

    def adapt(state, batch):
        value = jnp.minimum(state.step / (share * last), 1.0) if last else 1.0
        return _with(state, MASKING, value)

    return adapt


def temperature(
    loss_fn: Callable,
    kernel: tuple[str, ...],
    *,
    change: float,
    epsilon: float,
    weights: int,
    axis_name: str | None,
) -> Adapt:
    """Dspike's search (Li et al. 2021): the temperature whose gradient is the most like a true one.

    Of b, b + change and b - change (at least b / 2), with b the present temperature, it keeps the
    one whose surrogate gradient of the first layer's weights w has the largest cosine with
    their differences (L(w + e) - L(w - e)) / 2e on the batch, one weight moved at a time. It
    keeps b where no difference is finite and not 0.
    Source: an extract of the paper's Algorithm 1. Confidence: likely; of b at the start, change
    and epsilon none was found, and these are ours.

    Args:
      loss_fn: as made by `steps.make_loss`.
      kernel: path of the first layer's weights in the parameters.
      change: of the temperature in an epoch.
      epsilon: e in units of the weights' root mean square.
      weights: how many are moved, always the same sample; 0 for all, as in the paper. Each costs
        two forward passes.
      axis_name: device axis, or None.
    """

    def adapt(state, batch):
        flat = flatten_dict(state.params, keep_empty_nodes=True)
        start = flat[kernel]
        taken = np.arange(start.size)
        if 0 < weights < start.size:
            taken = np.random.default_rng(0).permutation(start.size)[:weights]

        def loss(value, at=state):
            return loss_fn(unflatten_dict(flat | {kernel: value}), at, batch)[0]

        def surrogate(b):
            return jax.grad(loss)(start, _with(state, TEMPERATURE, b)).ravel()[taken]

        e = epsilon * jnp.sqrt((start**2).mean())

        def difference(place):
            moved = jnp.zeros(start.size).at[place].set(e).reshape(start.shape)
            return (loss(start + moved) - loss(start - moved)) / (2 * e)

        now = _values(state)[TEMPERATURE]
        tried = jnp.stack([now, now + change, jnp.maximum(now - change, now / 2)])
        found = jax.lax.map(surrogate, tried), jax.lax.map(difference, taken)
        if axis_name is not None:
            found = jax.lax.pmean(found, axis_name)
        gradients, true = found
        norms = jnp.linalg.norm(gradients, axis=1) * jnp.linalg.norm(true)
        usable = (norms > 0) & jnp.isfinite(norms)
        cosines = jnp.where(usable, gradients @ true / norms, -jnp.inf)
        return _with(state, TEMPERATURE, tried[cosines.argmax()])

    return adapt


def build(
    fields,
    loss_fn: Callable,
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    last: int,
    axis_name: str | None,
) -> Adapt:
    """What the fields of `config.adaptation` ask for.

    Args:
      fields: of `config.adaptation`.
      model: whose first layer's weights are differentiated.
      input_shape: of one batch, as the model takes it.
      loss_fn, last, axis_name: see `masking` and `temperature`.
    """
    asked = []
    if fields.masking:
        asked.append(masking(fields.masking, last))
    if fields.temperature:
        settings = {name: fields[name] for name in ("change", "epsilon", "weights")}
        kernel = (*models.counts(model, input_shape)[0].path.split("/"), "kernel")
        asked.append(temperature(loss_fn, kernel, axis_name=axis_name, **settings))

    def adapt(state, batch):
        for change in asked:
            state = change(state, batch)
        return state

    return adapt
