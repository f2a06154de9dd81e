"""Spiking ResNets of basic blocks (Zheng et al. 2021; Hu et al. 2021), for any `Neuron`."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lnm_jax.layers import INITIALISATIONS, fold_time, unfold_time
from lnm_jax.models.network import SpikingNetwork

# Between different shapes: a 1x1 convolution with BatchNorm, or every stride-th pixel with zeros
# for the channels that are new (B and A of He et al. 2016). "membrane" is of `MembraneBlock`.
SHORTCUTS = ("projection", "padding", "membrane")


class BasicBlock(nn.Module):
    """conv-BN-spike-conv-BN, add the shortcut, spike: shortcuts carry currents.

    Attributes:
      features: channels.
      stride: of the first convolution and the shortcut.
      conv_norm: factory of the block's `ConvNorm` layers.
      spiking: factory of its `Spiking` layers.
      summed_gamma: initial BatchNorm scale of the two branches that are added.
      kind: of a shortcut between different shapes, see `SHORTCUTS`.
      axis_name: device axis that sown means are taken over in training, or None.
    """

    features: int
    stride: int
    conv_norm: functools.partial
    spiking: functools.partial
    summed_gamma: float = 1.0
    kind: str = "projection"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, spikes: Float[Array, "T B H W C"], train: bool):
        """Spikes (T, B, H, W, C) to spikes (T, B, H/stride, W/stride, features)."""
        timesteps = spikes.shape[0]
        x = fold_time(spikes)
        shortcut = x
        summed = functools.partial(self.conv_norm, gamma=self.summed_gamma)
        if self.stride != 1 or x.shape[-1] != self.features:
            if self.kind == "projection":
                shortcut = summed(self.features, 1, self.stride, name="shortcut")(x, train=train)
            else:
                added = ((0, 0),) * 3 + ((0, self.features - x.shape[-1]),)
                shortcut = jnp.pad(x[:, :: self.stride, :: self.stride], added)
        x = self.conv_norm(self.features, 3, self.stride, name="conv_1")(x, train=train)
        x = self.spiking(name="spike_1")(unfold_time(x, timesteps), train=train)
        x = summed(self.features, 3, 1, name="conv_2")(fold_time(x), train=train)
        x = x + shortcut
        _sow_currents(self, x, train)
        x = unfold_time(x, timesteps)
        return self.spiking(name="spike_2")(x, train=train)


class MembraneBlock(BasicBlock):
    """spike-conv-BN-spike-conv-BN, add the shortcut: currents pass a block without a spike.

    The membrane shortcut of MS-ResNet (Hu et al. 2021, arXiv:2112.08954). Between different
    shapes it is a 1x1 convolution with BatchNorm of the block's first spikes, so that every
    convolution but the stem's receives spikes; theirs convolves the currents.
    """

    @nn.compact
    def __call__(self, currents: Float[Array, "T B H W C"], train: bool):
        """Currents (T, B, H, W, C) to currents (T, B, H/stride, W/stride, features)."""
        timesteps = currents.shape[0]
        summed = functools.partial(self.conv_norm, gamma=self.summed_gamma)
        x = fold_time(self.spiking(name="spike_1")(currents, train=train))
        shortcut = fold_time(currents)
        if self.stride != 1 or x.shape[-1] != self.features:
            shortcut = summed(self.features, 1, self.stride, name="shortcut")(x, train=train)
        x = self.conv_norm(self.features, 3, self.stride, name="conv_1")(x, train=train)
        x = self.spiking(name="spike_2")(unfold_time(x, timesteps), train=train)
        x = summed(self.features, 3, 1, name="conv_2")(fold_time(x), train=train) + shortcut
        _sow_currents(self, x, train)
        return unfold_time(x, timesteps)


def _sow_currents(block: BasicBlock, x: Array, train: bool) -> None:
    """For losses on what a block's neurons receive; a step that does not ask pays nothing."""
    if block.is_mutable_collection("currents") and not block.is_initializing():
        mean = x.mean(dtype=jnp.float32)
        if train and block.axis_name is not None:
            mean = jax.lax.pmean(mean, block.axis_name)
        block.sow("currents", "mean", mean, reduce_fn=lambda _, new: new)


class SideHead(nn.Module):
    """A surrogate module (Deng et al. 2023): convolutions on a block's mean spikes over time.

    A 1x1 convolution if there are more channels than `features`, convolutions 7x7 with stride 2,
    5x5 with stride 2 and 3x3, each with BatchNorm and LeakyReLU, a 2x2 average, a dense layer of
    twice as many features with BatchNorm and LeakyReLU, and logits. As in the authors' code.

    Attributes:
      num_classes: K.
      features: channels of its convolutions; the authors' are 256.
      momentum, epsilon, axis_name: of BatchNorm, see `layers.ConvNorm`.
      dtype: of the computation; logits are float32 or wider.
    """

    num_classes: int
    features: int = 256
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rates: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B K"]:
        """Logits of mean spikes."""

        def activate(x):
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=self.epsilon,
                axis_name=self.axis_name if train else None,
                dtype=self.dtype,
            )(x)
            return nn.leaky_relu(x, 0.01)

        x = rates.astype(self.dtype)
        shapes = [(1, 1)] if x.shape[-1] > self.features else []
        for size, stride in (*shapes, (7, 2), (5, 2), (3, 1)):
            x = nn.Conv(
                self.features,
                (size, size),
                strides=stride,
                padding=[(size // 2, size // 2)] * 2,
                use_bias=False,
                kernel_init=INITIALISATIONS["he_fan_out"],
                dtype=self.dtype,
            )(x)
            x = activate(x)
        x = _average(x, 2).reshape(len(x), -1)
        x = activate(nn.Dense(2 * self.features, dtype=self.dtype)(x))
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return nn.Dense(self.num_classes, name="classifier")(x)


def _average(x, size):
    """Space cut into `size` x `size` parts as even as possible, each averaged (adaptive pool)."""

    def parts(length):
        return [slice(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]

    rows = [
        jnp.stack([x[:, r, c].mean((1, 2)) for c in parts(x.shape[2])], 1)
        for r in parts(x.shape[1])
    ]
    return jnp.stack(rows, 1)


class SpikingResNet(SpikingNetwork):
    """Stem, stages of basic blocks, average pool, optional spiking dense layer, classifier.

    Attributes beside those of `SpikingNetwork`:
      stem: channels of the stem's convolution.
      widths: channels of each stage.
      blocks: basic blocks of each stage; every stage but the first starts with stride 2.
      stem_kernel, stem_stride: of the stem's convolution.
      stem_pool: 3x3 pooling with stride 2 of the stem's spikes, or with membrane shortcuts its
        currents: "max", "average" or "none".
      shortcut: of blocks that change the shape, a name in `SHORTCUTS`. "membrane" puts spikes
        before every convolution of a block in place of behind it: the stem's currents go to the
        first block, and "last_spike" takes the last block's.
      pooling: over space before the head: "average" or "max".
      head: features of the spiking dense layer before the classifier, 0 for none.
      side_heads: numbers of blocks, from 1 through all stages, that have a `SideHead` in
        training; its logits are sown as "side_logits".
      side_features: of the side heads.
    """

    stem: int = 64
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    stem_kernel: int = 3
    stem_stride: int = 1
    stem_pool: str = "none"
    shortcut: str = "projection"
    pooling: str = "average"
    head: int = 0
    side_heads: tuple[int, ...] = ()
    side_features: int = 256

    @nn.compact
    def __call__(
        self, x: Float[Array, "*T B H W C"], *, train: bool = False
    ) -> Float[Array, "B K"]:
        """Logits averaged over time (Eq. 6); arguments and errors as in `SpikingNetwork`."""
        conv_norm, spiking = self.conv_norm(), self.spiking()
        stem = conv_norm(self.stem, self.stem_kernel, self.stem_stride, name="stem")
        membrane = self.shortcut == "membrane"
        x = self.first(stem, x, train)
        if not membrane:
            x = spiking(name="stem_spike")(x, train=train)
        if self.stem_pool != "none":
            x = self.pool(x, self.stem_pool, size=3, stride=2)

        def run(blocks, x):
            for block in blocks:
                x = block(x, train)
            return x

        for number, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True), 1):
            stage = [
                (MembraneBlock if membrane else BasicBlock)(
                    width,
                    2 if number > 1 and block == 1 else 1,
                    conv_norm,
                    spiking,
                    self.gamma(summed=True),
                    self.shortcut,
                    self.axis_name,
                    name=f"stage_{number}_block_{block}",
                )
                for block in range(1, count + 1)
            ]
            for piece, side in _pieces(stage, sum(self.blocks[: number - 1]), self.side_heads):
                x = self.through([[block] for block in piece], run, x)
                if side and (train or self.is_initializing()):
                    self._look(x, side, train)
        if membrane:
            x = spiking(name="last_spike")(x, train=train)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        x = x.mean((2, 3)) if self.pooling == "average" else x.max((2, 3))
        if self.head:
            x = nn.Dense(self.head, dtype=self.dtype, name="head")(x)
            x = spiking(name="head_spike")(x, train=train)
        return self.classify(x)

    def _look(self, x, number, train):
        """Sows the logits of the side head on what that block sends: spikes or currents."""
        head = SideHead(
            self.num_classes,
            self.side_features,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name=f"side_head_{number}",
        )
        logits = head(x.mean(0), train=train)
        if not self.is_initializing():
            self.sow("side_logits", f"block_{number}", logits, reduce_fn=lambda _, new: new)


def _pieces(stage, before, side_heads):
    """The blocks of a stage up to each side head, with the number of its block or None."""
    piece = []
    for number, block in enumerate(stage, before + 1):
        piece.append(block)
        if number in side_heads:
            yield piece, number
            piece = []
    if piece:
        yield piece, None
