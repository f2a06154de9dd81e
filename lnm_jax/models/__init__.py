"""Spiking networks by name. A preset is a partial: its fields are the model's attributes."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn

from lnm_jax.checks import find
from lnm_jax.models.counts import Count, counts, evaluated, spiking_layers
from lnm_jax.models.mlp import RecordedLayer, SpikingMLP
from lnm_jax.models.network import READOUTS, REMAT, SpikingNetwork
from lnm_jax.models.resnet import SHORTCUTS, BasicBlock, SpikingResNet
from lnm_jax.models.vgg import SpikingVGG
from lnm_jax.neurons import Neuron

MODELS = {
    "resnet_small": functools.partial(SpikingResNet, stem=24, widths=(24, 48), blocks=(1, 1)),
    # Zheng et al. (2021): 17 convolutions and 2 dense layers.
    "resnet19": functools.partial(
        SpikingResNet, stem=128, widths=(128, 256, 512), blocks=(3, 3, 2), head=256
    ),
    # Zheng et al. (2021) for ImageNet: 33 spiking layers, numbered in the order they run.
    "resnet34": functools.partial(
        SpikingResNet,
        stem=64,
        widths=(64, 128, 256, 512),
        blocks=(3, 4, 6, 3),
        stem_kernel=7,
        stem_stride=2,
        stem_pool="max",
    ),
    # Deng et al. (2022), for 48x48 event frames.
    "vggsnn": functools.partial(SpikingVGG, widths=((64, 128), (256, 256), (512, 512), (512, 512))),
    "mlp": SpikingMLP,
    # Not a classifier: potentials for the loss `spike_trains`.
    "recorded_layer": RecordedLayer,
}
# Height, width and channels of the data that each model was published for.
INPUTS = {
    "resnet_small": (8, 8, 1),
    "resnet19": (32, 32, 3),
    "resnet34": (224, 224, 3),
    "vggsnn": (48, 48, 2),
    "mlp": (1, 1, 16),
    "recorded_layer": (1, 1, 36),
}


def _hashable(value):
    """Lists as tuples, also inside: Flax wants its modules' attributes so."""
    plain = isinstance(value, list | tuple) and not hasattr(value, "_fields")
    return tuple(map(_hashable, value)) if plain else value


def build(
    name: str, *, neuron: Neuron, num_classes: int, timesteps: int, **fields: Any
) -> nn.Module:
    """The model of that name; fields that are None keep the preset's value.

    Args:
      name: of `MODELS`, or the import path of anybody's own Flax module, "package.module:Net", with
        the call of `SpikingNetwork`: it gets those fields that it has.
      neuron, num_classes, timesteps, fields: attributes of the model.
    Raises: ValueError for an unknown name, a field that the model does not have, or stages
      whose widths and blocks do not match.
    """
    preset = find("model.name", name, MODELS)
    given = {key: _hashable(value) for key, value in fields.items() if value is not None}
    given |= {"neuron": neuron, "num_classes": num_classes, "timesteps": timesteps}
    has = getattr(getattr(preset, "func", preset), "__dataclass_fields__", None)
    if has is None:
        raise ValueError(f"model.name must be a Flax module, got {name}")
    if name not in MODELS:
        given = {key: value for key, value in given.items() if key in has}
    for key in given:
        if key not in has:
            raise ValueError(f"model.{key} is not a field of {name}; leave it unset")
    model = preset(**given)
    if isinstance(model, SpikingResNet):
        if len(model.widths) != len(model.blocks):
            raise ValueError(
                f"model.blocks must have one entry for each of model.widths {model.widths}, "
                f"got {model.blocks}"
            )
        if not set(model.side_heads) <= set(range(1, sum(model.blocks) + 1)):
            raise ValueError(
                f"model.side_heads must be numbers of the {sum(model.blocks)} blocks, from 1, "
                f"got {model.side_heads}"
            )
    return model


def adjusted(model: nn.Module, **fields: Any) -> nn.Module:
    """A copy of a model with other fields, of which it takes those that it has."""
    return model.clone(**{k: v for k, v in fields.items() if k in model.__dataclass_fields__})
