"""What training carries from step to step, and what a checkpoint holds."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


class TrainState(flax.struct.PyTreeNode):
    """Arrays only: replicated over devices, donated to each step.

    Attributes:
      step: training steps done, an int32 scalar.
      params: the model's parameters, neurons' included.
      batch_stats: BatchNorm's running statistics, and what `adaptation` changes.
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


def create(model, optimizer, key: jax.Array, input_shape: tuple[int, ...]) -> TrainState:
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
