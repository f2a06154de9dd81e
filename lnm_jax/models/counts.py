"""Counts of a network's layers: weights, neurons, multiply-accumulates. Nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from lnm_jax.layers import Spiking


class Count(NamedTuple):
    """One layer of a network, for one example and one timestep.

    Attributes:
      path: of the module, e.g. "stage_1_block_1/conv_1/conv".
      kind: "convolution", "dense" or "spiking".
      shape: of the result, without batch and time.
      weights: kernel entries, without biases and BatchNorm; 0 for spiking layers.
      neurons: of a spiking layer, else 0.
      macs: multiply-accumulates of the kernel, else 0.
      passes: how often the layer runs in an inference: T times, or once before images are repeated
        over time and where the last timestep alone is read out.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    neurons: int
    macs: int
    passes: int


def counts(model: nn.Module, input_shape: Sequence[int]) -> list[Count]:
    """Every convolution, dense and spiking layer of a model's evaluation, in the order they run.

    What has parameters and runs in training alone, such as side heads, is not in it.

    Args:
      model: any Flax model of convolutions, dense layers and `layers.Spiking`.
      input_shape: of a batch of one example, as the model takes it.
    """
    found = {}  # the first axis of results is time, time and batch, or a batch of one

    def record(call, args, kwargs, context):
        result = call(*args, **kwargs)
        module = context.module
        if context.method_name != "__call__":
            return result
        path = "/".join(module.path)
        if isinstance(module, Spiking):
            shape = tuple(result.shape[2:])
            found[path] = Count(path, "spiking", shape, 0, math.prod(shape), 0, len(result))
        elif isinstance(module, nn.Conv):
            shape, inputs = tuple(result.shape[1:]), args[0].shape[-1] // module.feature_group_count
            weights = math.prod(module.kernel_size) * inputs * module.features
            macs = weights * math.prod(shape[:-1])
            found[path] = Count(path, "convolution", shape, weights, 0, macs, len(result))
        elif isinstance(module, nn.Dense):
            weights = args[0].shape[-1] * module.features
            # It may run at many places, as of tokens (T, B, N, F) or pixels (T * B, H, W, F).
            macs = weights * math.prod(result.shape[1:-1])
            found[path] = Count(path, "dense", (module.features,), weights, 0, macs, len(result))
        return result

    def run(key, x):
        variables = model.init(key, x)
        with nn.intercept_methods(record):
            model.apply(variables, x)

    jax.eval_shape(run, jax.random.key(0), jnp.zeros(input_shape))
    return list(found.values())


def spiking_layers(model: nn.Module, input_shape: Sequence[int]) -> list[str]:
    """Paths of a model's spiking layers in the order they run, as Figure 2 numbers them.

    Args:
      model: any Flax model whose spiking layers are `layers.Spiking`.
      input_shape: of a batch of one example, as the model takes it.
    Returns: paths such as "stage_1_block_1/spike_2".
    """
    return [count.path for count in counts(model, input_shape) if count.kind == "spiking"]


def evaluated(model: nn.Module, variables: dict, input_shape: Sequence[int]) -> set[str]:
    """Paths of the parameters that a model's outputs depend on in evaluation.

    The others act in training alone, as side heads do.

    Args:
      variables: of the model; nothing is computed.
      input_shape: of a batch of one example, as the model takes it.
    Returns: paths such as "stem/conv/kernel".
    """
    params = variables["params"]
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]

    def run(params, x):
        return model.apply({**variables, "params": params}, x)

    jaxpr = jax.make_jaxpr(run)(params, jnp.zeros(input_shape)).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    read = zip(paths, used[: len(paths)], strict=True)
    return {"/".join(key.key for key in path) for path, is_read in read if is_read}
