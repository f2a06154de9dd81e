"""What all spiking networks share: fields, the first layer, pooling and the classifier."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lnm_jax.layers import NORMS, ConvNorm, Spiking, fold_time, remat, unfold_time
from lnm_jax.neurons import Neuron

# What the backward pass of a training step keeps: everything, or the inputs of each of these.
REMAT = ("none", "block", "stage")
# What every spiking layer gets of a network's fields.
SPIKING_FIELDS = (
    *("sharing", "window", "start", "membrane_norm", "folded", "scheduled", "backend"),
    *("momentum", "epsilon", "axis_name"),
)
# Of the logits of all timesteps: their mean (Eq. 6), the last ones alone, or all, (T, B, K).
READOUTS = ("mean", "last", "steps")


class SpikingNetwork(nn.Module):
    """Base of the networks. `__call__(x, train=False)` gives logits (B, K), float32 or wider.

    x is static images (B, H, W, C), shown T times, or event frames (T, B, H, W, C); another
    number of axes is a ValueError.

    Attributes:
      neuron: for every spiking layer; each layer has parameters of its own.
      num_classes: K.
      timesteps: T for static images; event input brings its own.
      sharing, window, backend, start, membrane_norm, scheduled: of every spiking layer, see
        `Spiking`.
      axis_name: device axis that BatchNorm's statistics are averaged over in training.
      momentum, epsilon: of every BatchNorm, see `ConvNorm`.
      tdbn: 0 starts BatchNorm's scales at 1. Above 0 they start at tdbn times the alpha of
        Zheng et al. (2021): tdbn is the threshold, alpha 1, and 1/sqrt(2) for the two
        branches that a block adds.
      norm: after every convolution, see `ConvNorm`; with "tebn", T is a part of the network.
      initialisation: of every convolution's kernel, see `layers.INITIALISATIONS`.
      remat: "block" and "stage" keep nothing but the inputs of each block, or of each stage,
        for the backward pass, which computes them again: less memory, more time. A block is a
        residual block, or a convolution with its spikes; a stage is all between two poolings
        or strides.
      readout: of the logits over time, a name in `READOUTS`.
      folded: convolutions with bias and no BatchNorm, see `export.fold_batch_norm`.
      dtype: of convolutions, BatchNorm's results and spikes; parameters start as float32,
        and potentials, statistics and logits are float32, or float64 for such a dtype.
    """

    neuron: Neuron
    num_classes: int
    timesteps: int
    sharing: str = "layer"
    window: float = 0.0
    backend: str = "auto"
    start: str = "reset"
    scheduled: tuple[tuple[str, float], ...] = ()
    membrane_norm: bool = False
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    tdbn: float = 0.0
    norm: str = "batch"
    initialisation: str = "he_fan_out"
    remat: str = "none"
    readout: str = "mean"
    folded: bool = False
    dtype: Any = jnp.float32

    def gamma(self, *, summed: bool) -> float:
        """Initial scale of a BatchNorm, whose result is added to another one if summed."""
        if not self.tdbn:
            return 1.0
        return self.tdbn * (2**-0.5 if summed else 1.0)

    def conv_norm(self) -> functools.partial:
        """Factory of `ConvNorm` layers."""
        return functools.partial(
            ConvNorm,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            gamma=self.gamma(summed=False),
            norm=self.norm,
            timesteps=self.timesteps,
            folded=self.folded,
            initialisation=self.initialisation,
            dtype=self.dtype,
        )

    def spiking(self) -> functools.partial:
        """Factory of `Spiking` layers."""
        fields = {name: getattr(self, name) for name in SPIKING_FIELDS}
        return functools.partial(Spiking, self.neuron, **fields)

    def first(self, layer: nn.Module, x: Array, train: bool) -> Float[Array, "T B H W C"]:
        """Currents of the first layer for images or frames.

        The same image at every timestep gives the same current, and BatchNorm's statistics
        over T equal copies are those of one: images are convolved once.
        """
        timed = NORMS[self.norm].timed
        if x.ndim == 4 and timed:  # the currents differ, and so do their statistics
            x = jnp.broadcast_to(x, (self.timesteps, *x.shape))
        if x.ndim == 4:
            currents = layer(x, train=train)
            return jnp.broadcast_to(currents, (self.timesteps, *currents.shape))
        if x.ndim == 5:
            if timed and len(x) != self.timesteps:
                raise ValueError(
                    f"frames must have T = {self.timesteps} timesteps for norm {self.norm}, got "
                    f"shape {x.shape}"
                )
            return unfold_time(layer(fold_time(x), train=train), x.shape[0])
        raise ValueError(
            f"input must be images (B, H, W, C) or frames (T, B, H, W, C), got shape {x.shape}"
        )

    def through(
        self, stage: Sequence[Sequence[nn.Module]], run: Callable, x: Float[Array, "T B H W C"]
    ) -> Float[Array, "T B H W C"]:
        """A stage's result: `run(modules, x)` for one block after the other, see `remat`.

        Args:
          stage: modules of each block.
          run: calls modules in turn.
        """
        modules = [module for block in stage for module in block]
        if self.remat == "none" or self.is_initializing():
            return run(modules, x)
        if self.remat == "stage":
            return remat(run, modules, x)
        for block in stage:
            x = remat(run, block, x)
        return x

    def pool(self, x: Float[Array, "T B H W C"], kind: str, *, size: int, stride: int):
        """Pooling of space: "max" or "average", padded as (size - 1) // 2."""
        pad = [((size - 1) // 2,) * 2] * 2
        pool = {"max": nn.max_pool, "average": nn.avg_pool}[kind]
        y = pool(fold_time(x), (size, size), (stride, stride), pad)
        return unfold_time(y, x.shape[0])

    def classify(self, x: Float[Array, "T B F"]) -> Float[Array, "*T B K"]:
        """Logits of the last layer's spikes, see `readout`."""
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.readout == "last":
            x = x[-1:]
        logits = nn.Dense(self.num_classes, name="classifier")(x)
        return logits if self.readout == "steps" else logits.mean(0)
