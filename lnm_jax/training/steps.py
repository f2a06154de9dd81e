"""The pure training and evaluation step. `axis_name` is the device axis, or None for one device.

Both take a batch that is this device's share; sums and means are over all devices.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from lnm_jax.training import losses
from lnm_jax.training.state import TrainState


def _mean(tree, axis_name):
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def _sum(tree, axis_name):
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def model_shape(example: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a batch of one example as models take it: (1, H, W, C), or (T, 1, H, W, C)."""
    return (1, *example) if len(example) == 3 else (example[0], 1, *example[1:])


def _time_first(examples):
    """Images (B, H, W, C) as they are; event frames (B, T, H, W, C) as (T, B, H, W, C)."""
    return examples if examples.ndim == 4 else examples.swapaxes(0, 1)


def make_train_step(
    model,
    optimizer: optax.GradientTransformation,
    *,
    key: jax.Array,
    prepare: Callable,
    smoothing: float,
    log_every: int,
    axis_name: str | None,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """A function (state, batch) -> (state, metrics), one optimizer step.

    Args:
      model: Flax module; its "batch_stats" are updated.
      optimizer: over the whole parameter tree.
      key: of the run; step s augments with fold_in(key, s), image by image.
      prepare: (key, image) -> augmented and normalised image.
      smoothing: of the labels.
      log_every: steps that `state.window` sums over before it starts again.
      axis_name: device axis, or None.
    """

    def train_step(state, batch):
        step_key = jax.random.fold_in(key, state.step)
        keys = jax.vmap(lambda position: jax.random.fold_in(step_key, position))(batch["position"])
        images = _time_first(jax.vmap(prepare)(keys, batch["image"]))

        def loss_fn(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            loss = losses.cross_entropy(logits, batch["label"], smoothing).mean()
            return loss, (logits, updates["batch_stats"])

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params
        )
        accuracy = losses.correct(logits, batch["label"]).mean()
        grads, metrics = _mean((grads, {"loss": loss, "accuracy": accuracy}), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        fresh = state.step % log_every == 0
        window = jax.tree.map(
            lambda total, new: jnp.where(fresh, new, total + new), state.window, metrics
        )
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            window=window,
        )
        return state, metrics

    return train_step


def make_eval_step(
    model, *, prepare: Callable, smoothing: float, axis_name: str | None
) -> Callable[[dict, dict], dict]:
    """A function (variables, batch) -> sums over the batch's images, padding left out.

    Returns of it: count, loss and correct, scalars, and rates, the sum of spike rates over
    images for each spiking layer's path.
    """

    def eval_step(variables, batch):
        images = _time_first(prepare(batch["image"]))
        logits, sown = model.apply(variables, images, mutable=["rates"])
        mask = batch["mask"]
        sums = {
            "count": mask.sum(),
            "loss": (losses.cross_entropy(logits, batch["label"], smoothing) * mask).sum(),
            "correct": (losses.correct(logits, batch["label"]) * mask).sum(),
            "rates": jax.tree.map(lambda rates: (rates * mask).sum(), sown["rates"]),
        }
        return _sum(sums, axis_name)

    return eval_step
