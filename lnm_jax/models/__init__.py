"""Spiking networks by name. A preset is a partial: its fields are the model's attributes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from lnm_jax.models.resnet import BasicBlock, SpikingResNet
from lnm_jax.neurons import Neuron
from lnm_jax.neurons.checks import one_of

MODELS = {
    "resnet_small": functools.partial(SpikingResNet, stem=32, widths=(32, 64), blocks=(1, 1)),
}


def build(
    name: str, *, neuron: Neuron, num_classes: int, timesteps: int, **fields: Any
) -> nn.Module:
    """The model of that name; fields that are None keep the preset's value.

    Raises: ValueError for an unknown name.
    """
    one_of("model", name, MODELS)
    given = {key: value for key, value in fields.items() if value is not None}
    return MODELS[name](neuron=neuron, num_classes=num_classes, timesteps=timesteps, **given)


def stages(name: str, widths: Sequence[int] | None, blocks: Sequence[int] | None) -> None:
    """Checks that widths and blocks, each given or the preset's, name as many stages.

    Raises: ValueError if they do not.
    """
    preset = MODELS[name].keywords
    widths = preset["widths"] if widths is None else tuple(widths)
    blocks = preset["blocks"] if blocks is None else tuple(blocks)
    if len(widths) != len(blocks):
        raise ValueError(
            f"model.blocks must have one entry for each of model.widths {widths}, got {blocks}"
        )


def spiking_layers(model: nn.Module, input_shape: Sequence[int]) -> list[str]:
    """Paths of a model's spiking layers in the order they run, as Figure 2 numbers them.

    Args:
      model: any Flax model whose spiking layers are `layers.Spiking`.
      input_shape: of one batch, as the model takes it.
    Returns: paths such as "stage_1_block_1/spike_2"; nothing is computed.
    """
    names = []

    def record(key, x):
        variables = model.init(key, x)
        _, sown = model.apply(variables, x, mutable=["rates"])
        # Flax fills the collection in the order of the calls; jax sorts it when it returns.
        names.extend("/".join(path[:-1]) for path in flatten_dict(sown["rates"]))

    jax.eval_shape(record, jax.random.key(0), jnp.zeros(input_shape))
    return names


__all__ = ["MODELS", "BasicBlock", "SpikingResNet", "build", "spiking_layers"]
