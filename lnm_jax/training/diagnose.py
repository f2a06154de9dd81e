"""Where values first left the finite numbers: which layer, forward or backward."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from lnm_jax.training.state import TrainState


def first_non_finite(loss_fn: Callable, state: TrainState, batch: dict) -> str:
    """Names the layer whose values left the finite numbers first.

    Args:
      loss_fn: as made by `steps.make_loss`, for one device.
      state: before the step.
      batch: the whole batch.
    Returns: "parameter <path>", "layer <path>" for a result of the forward pass, "the loss", or
      "the gradient of <path>", the first on the way back; "the optimizer's step" if all of
      these are finite.
    """
    for path, leaf in flatten_dict(state.params, sep="/").items():
        if not jnp.isfinite(leaf).all():
            return f"parameter {path}"
    order: list[str] = []

    def watched(params):
        finite = {}

        def record(call, args, kwargs, context):
            result = call(*args, **kwargs)
            if context.method_name == "__call__":
                path = "/".join(context.module.path)
                floating = [x for x in jax.tree.leaves(result) if jnp.issubdtype(x, jnp.floating)]
                finite[path] = jnp.array([jnp.isfinite(x).all() for x in floating]).all()
                order.append(path)
            return result

        with nn.intercept_methods(record):
            loss, _ = loss_fn(params, state, batch)
        return loss, finite

    (loss, finite), gradients = jax.jit(jax.value_and_grad(watched, has_aux=True))(state.params)
    # A layer is recorded when it returns: before the layers that hold it.
    for path in dict.fromkeys(order):
        if not finite[path]:
            return f"layer {path or 'output'}"
    if not jnp.isfinite(loss):
        return "the loss"
    ranks = {path: rank for rank, path in enumerate(dict.fromkeys(order))}
    leaves = flatten_dict(gradients, sep="/").items()
    bad = [path for path, leaf in leaves if not jnp.isfinite(leaf).all()]
    if bad:
        last = max(bad, key=lambda path: ranks.get(path.rsplit("/", 1)[0], -1))
        return f"the gradient of {last}"
    return "the optimizer's step"
