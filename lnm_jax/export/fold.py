"""Folding BatchNorm into the convolution before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from lnm_jax.layers import NORMS
from lnm_jax.layers.spiking import fold_membrane_norm

if TYPE_CHECKING:
    import flax.linen as nn


def fold_batch_norm(model: nn.Module, variables: dict) -> tuple[nn.Module, dict]:
    """A network with conv + bias in place of conv + BatchNorm, equal to it in evaluation.

    With the running mean m and variance v, kernel and bias become g k and b - g m,
    g = scale / sqrt(v + epsilon): computed in float32, as BatchNorm computes.

    Args:
      model: whose convolutions are `layers.ConvNorm`.
      variables: {"params", "batch_stats"} as trained.
    Returns: (model, variables), the model with folded=True and variables without batch_stats.
      A fitted surrogate window and a searched temperature, which act in training alone, are left
      out.
    Raises: ValueError if the model is folded already, has a norm that does not fold (TEBN's scale
      of each timestep), or a masked PSN whose masking has not risen to 1.
    """
    if model.folded:
        raise ValueError("the model's BatchNorm is folded already")
    if reason := NORMS[model.norm].unfoldable:
        raise ValueError(reason)
    for path, value in flatten_dict(variables["batch_stats"]).items():
        if path[-1] == "masking" and value != 1:
            raise ValueError(
                f"the masking of a masked PSN must be 1 before it is folded, is {value}"
            )

    def fold(params, statistics):
        if set(params) == {"conv", "norm"}:
            norm, running = params["norm"], statistics["norm"]
            gain = norm["scale"] / jnp.sqrt(running["var"] + model.epsilon)
            kernel = params["conv"]["kernel"] * gain  # the last axis is the output channel
            return {"conv": {"kernel": kernel, "bias": norm["bias"] - gain * running["mean"]}}
        if "membrane_norm" in params:
            threshold = model.neuron.facts.threshold
            return fold_membrane_norm(params, statistics, threshold, model.epsilon)
        return {
            name: fold(value, statistics.get(name, {})) if isinstance(value, dict) else value
            for name, value in params.items()
        }

    folded = fold(variables["params"], variables["batch_stats"])
    return model.clone(folded=True, window=0.0, scheduled=()), {"params": folded}
