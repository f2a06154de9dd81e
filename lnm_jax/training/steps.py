"""The training state, and the pure training and evaluation step.

`axis_name` is the device axis, or None for one device. The steps take a batch that is this device's
share; sums and means are over all devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from lnm_jax.training import losses


class TrainState(flax.struct.PyTreeNode):
    """Arrays only: replicated over devices, donated to each step.

    Attributes:
      step: training steps done, an int32 scalar.
      params: the model's parameters, neurons' included.
      batch_stats: BatchNorm's running statistics, and what `schedules` changes.
      opt_state: optax's.
      window: sums of loss and accuracy since the last line of metrics, so that a resumed run
        writes the line that an undisturbed one writes. "steps" counts those that were applied.
      skipped: training steps left out because a number was not finite, an int32 scalar.
      skipped_in_row: of them the last ones without an applied step in between.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    window: dict[str, jax.Array]
    skipped: jax.Array
    skipped_in_row: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(model, optimizer, key: jax.Array, input_shape: tuple[int, ...]) -> TrainState:
    """The state before the first step; parameters are a function of the key."""

    def init(key):
        variables = model.init(key, jnp.zeros(input_shape))
        params = variables["params"]
        return TrainState(
            step=jnp.int32(0),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(params),
            window={name: jnp.float32(0) for name in ("loss", "accuracy", "steps")},
            skipped=jnp.int32(0),
            skipped_in_row=jnp.int32(0),
        )

    return jax.jit(init)(key)


def _mean(tree, axis_name):
    """The mean over devices, by one all-reduce: leaves travel as one vector."""
    if axis_name is None or jax.lax.axis_size(axis_name) == 1:
        return tree
    vector, back = ravel_pytree(tree)
    return back(jax.lax.pmean(vector, axis_name))


def _sum(tree, axis_name):
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _all_finite(tree):
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _choose(condition, ours, others):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), ours, others)


def model_shape(example: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a batch of one example as models take it: (1, H, W, C), or (T, 1, H, W, C)."""
    return (1, *example) if len(example) == 3 else (example[0], 1, *example[1:])


def time_first(examples):
    """Images (B, H, W, C) as they are; event frames (B, T, H, W, C) as (T, B, H, W, C)."""
    return examples if examples.ndim == 4 else examples.swapaxes(0, 1)


def make_loss(
    model, *, key: jax.Array, prepare: Callable, loss: losses.Loss, steps: int = 1
) -> Callable:
    """A function (params, state, batch) -> (loss, (score, new batch_stats)) of training.

    Args:
      model: Flax module; its "batch_stats" are updated.
      key: of the run; step s augments with fold_in(key, s), image by image.
      prepare: (key, image) -> augmented and normalised image.
      steps: of the whole training.
      loss: of the model's outputs; the score is its sums over the batch, (hits, possible).
    """

    def loss_fn(params, state, batch):
        step_key = jax.random.fold_in(key, state.step)
        keys = jax.vmap(lambda position: jax.random.fold_in(step_key, position))(batch["position"])
        images = time_first(jax.vmap(prepare)(keys, batch["image"]))
        outputs, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats", *loss.collections],
        )
        score = tuple(part.sum() for part in loss.score(outputs, batch["label"]))
        values = loss.minimised(outputs, batch["label"], updates, state.step / steps)
        return values.mean(), (score, updates.get("batch_stats", {}))

    return loss_fn


def make_train_step(
    loss_fn: Callable,
    optimizer: optax.GradientTransformation,
    *,
    log_every: int,
    axis_name: str | None,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """A function (state, batch) -> (state, metrics), one optimizer step.

    A step whose loss, gradient or result is not finite is counted and changes nothing else.

    Args:
      loss_fn: as made by `make_loss`.
      optimizer: over the whole parameter tree.
      log_every: steps that `state.window` sums over before it starts again.
      axis_name: device axis, or None.
    """

    def train_step(state, batch):
        (loss, ((hits, possible), batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state, batch
        )
        accuracy = hits / jnp.maximum(possible, 1)
        grads, metrics = _mean((grads, {"loss": loss, "accuracy": accuracy}), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        new = (optax.apply_updates(state.params, updates), batch_stats, opt_state)
        # The result too: a finite gradient times a large learning rate may overflow.
        finite = _all_finite((metrics["loss"], grads, new))
        old = (state.params, state.batch_stats, state.opt_state)
        params, batch_stats, opt_state = _choose(finite, new, old)
        seen = _choose(finite, {**metrics, "steps": 1.0}, dict.fromkeys(state.window, 0.0))
        fresh = state.step % log_every == 0
        window = jax.tree.map(
            # In its own type, with x64 too: a checkpoint is read back as what `create_state` makes.
            lambda total, new: jnp.where(fresh, new, total + new).astype(total.dtype),
            state.window,
            seen,
        )
        state = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            window=window,
            skipped=state.skipped + ~finite,
            skipped_in_row=jnp.where(finite, 0, state.skipped_in_row + 1),
        )
        return state, metrics

    return train_step


def make_eval_step(
    model, *, prepare: Callable, loss: losses.Loss, axis_name: str | None, flip: bool = False
) -> Callable[[dict, dict], dict]:
    """A function (variables, batch) -> sums over the batch's images, padding left out.

    With `flip`, it also has hits_flip: of the mean outputs of each image and its mirror image.

    An image whose currents or loss are not finite is counted as wrong, and left out of the losses
    and rates.

    Returns of it: count, not_finite, loss, hits and possible, scalars; of a classifier
    cross_entropy, of the logits that it predicts by, without smoothing; and for each spiking
    layer's path rates, the sum of spike rates over images, and spikes, of each neuron, int32 shaped
    like the layer.
    """

    def eval_step(variables, batch):
        images = time_first(prepare(batch["image"]))
        outputs, sown = model.apply(variables, images, mutable=["rates", "spikes"])
        mask = batch["mask"]
        values = loss.value(outputs, batch["label"])
        finite = jnp.stack([values, *jax.tree.leaves(sown["rates"])])
        finite = jnp.isfinite(finite).all(0)
        hits, possible = loss.score(outputs, batch["label"])

        def total(values):
            return jnp.where(finite, values * mask, 0).sum()

        def of_each_neuron(counts):
            real = mask.reshape(-1, *[1] * (counts.ndim - 1))
            # Exact: one batch's spikes are below 2**24. Those of a whole test set may not be.
            return (counts * real).sum(0).astype(jnp.int32)

        sums = {
            "count": mask.sum(),
            "not_finite": (~finite * mask).sum(),
            "loss": total(values),
            "hits": total(hits),
            "possible": (possible * mask).sum(),
            "rates": jax.tree.map(total, sown["rates"]),
            "spikes": jax.tree.map(of_each_neuron, sown["spikes"]),
        }
        if loss.logits is not None:
            plain = losses.cross_entropy(loss.logits(outputs), batch["label"], 0.0)
            sums["cross_entropy"] = total(plain)
        if flip:
            mirrored = model.apply(variables, images[..., ::-1, :])
            hits, _ = loss.score((outputs + mirrored) / 2, batch["label"])
            sums["hits_flip"] = total(hits)
        return _sum(sums, axis_name)

    return eval_step
