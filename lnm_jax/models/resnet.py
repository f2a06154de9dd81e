"""Spiking ResNets of basic blocks (Zheng et al. 2021), for any `Neuron`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from lnm_jax.layers import ConvNorm, Spiking, fold_time, unfold_time
from lnm_jax.neurons import Neuron

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class BasicBlock(nn.Module):
    """conv-BN-spike-conv-BN, add the shortcut, spike: shortcuts carry currents.

    Attributes:
      features: channels.
      stride: of the first convolution and the shortcut.
      conv_norm: factory of the block's `ConvNorm` layers.
      spiking: factory of its `Spiking` layers.
    """

    features: int
    stride: int
    conv_norm: functools.partial
    spiking: functools.partial

    @nn.compact
    def __call__(self, spikes: Float[Array, "T B H W C"], *, train: bool):
        """Spikes (T, B, H, W, C) to spikes (T, B, H/stride, W/stride, features)."""
        timesteps = spikes.shape[0]
        x = fold_time(spikes)
        shortcut = x
        if self.stride != 1 or x.shape[-1] != self.features:
            shortcut = self.conv_norm(self.features, 1, self.stride, name="shortcut")(
                x, train=train
            )
        x = self.conv_norm(self.features, 3, self.stride, name="conv_1")(x, train=train)
        x = self.spiking(name="spike_1")(unfold_time(x, timesteps), train=train)
        x = self.conv_norm(self.features, 3, 1, name="conv_2")(fold_time(x), train=train)
        x = unfold_time(x + shortcut, timesteps)
        return self.spiking(name="spike_2")(x, train=train)


class SpikingResNet(nn.Module):
    """Stem, stages of basic blocks, average pool, optional spiking dense layer, classifier.

    Attributes:
      neuron: for every spiking layer; each layer has parameters of its own.
      sharing, window, backend: of every spiking layer, see `Spiking`.
      num_classes: outputs.
      timesteps: T for static images; event input brings its own.
      stem: channels of the 3x3 stem.
      widths: channels of each stage.
      blocks: basic blocks of each stage; every stage but the first starts with stride 2.
      head: features of the spiking dense layer before the classifier, 0 for none.
      axis_name: device axis that BatchNorm's statistics are averaged over in training.
      momentum, epsilon: of every BatchNorm, see `ConvNorm`.
    """

    neuron: Neuron
    num_classes: int
    timesteps: int
    stem: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    head: int = 0
    sharing: str = "layer"
    window: float = 0.0
    backend: str = "auto"
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "*T B H W C"], *, train: bool = False
    ) -> Float[Array, "B K"]:
        """Logits averaged over time (Eq. 6).

        Args:
          x: static images (B, H, W, C), or event frames (T, B, H, W, C).
          train: batch statistics in BatchNorm.
        Raises: ValueError for another number of axes.
        """
        conv_norm = functools.partial(
            ConvNorm, momentum=self.momentum, epsilon=self.epsilon, axis_name=self.axis_name
        )
        spiking = functools.partial(
            Spiking,
            self.neuron,
            sharing=self.sharing,
            window=self.window,
            momentum=self.momentum,
            axis_name=self.axis_name,
            backend=self.backend,
        )
        stem = conv_norm(self.stem, 3, 1, name="stem")
        if x.ndim == 4:
            # The same image at every timestep gives the same current: convolve it once.
            # BatchNorm's mean and variance over T equal copies are those of one.
            currents = stem(x, train=train)
            x = jnp.broadcast_to(currents, (self.timesteps, *currents.shape))
        elif x.ndim == 5:
            x = unfold_time(stem(fold_time(x), train=train), x.shape[0])
        else:
            raise ValueError(
                f"input must be images (B, H, W, C) or frames (T, B, H, W, C), got shape {x.shape}"
            )
        x = spiking(name="stem_spike")(x, train=train)
        for stage, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True), 1):
            for block in range(1, count + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                name = f"stage_{stage}_block_{block}"
                x = BasicBlock(width, stride, conv_norm, spiking, name=name)(x, train=train)
        x = x.mean((2, 3))
        if self.head:
            x = spiking(name="head_spike")(nn.Dense(self.head, name="head")(x), train=train)
        return nn.Dense(self.num_classes, name="classifier")(x).mean(0)
