"""Convolution and BatchNorm over (T, B) folded into one batch axis: only neurons see time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lnm_jax.layers.cpu_conv import convolve


def fold_time(x: Float[Array, "T B *rest"]) -> Float[Array, " T*B *rest"]:
    """(T, B, ...) to (T*B, ...)."""
    return x.reshape((-1, *x.shape[2:]))


def unfold_time(x: Float[Array, " T*B *rest"], timesteps: int) -> Float[Array, "T B *rest"]:
    """(T*B, ...) back to (T, B, ...)."""
    return x.reshape((timesteps, -1, *x.shape[1:]))


def _as_flax_calls_it(x, kernel, strides, padding, **unused):
    """`convolve` with the arguments of `jax.lax.conv_general_dilated` that Flax gives."""
    return convolve(x, kernel, tuple(strides), tuple(map(tuple, padding)))


# Variance of a kernel's entries at the start: gain / fan.
INITIALISATIONS = {
    # He et al. (2015), fan-out, as the ResNets that the paper builds on.
    "he_fan_out": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    "he_fan_in": nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    # Glorot and Bengio (2010).
    "glorot": nn.initializers.variance_scaling(1.0, "fan_avg", "normal"),
    # What PyTorch's layers start from: uniform in 1 / sqrt(fan_in) around 0.
    "torch": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}


class Norm(NamedTuple):
    """What a norm does to BatchNorm's result, in a `ConvNorm`.

    Attributes:
      after: (layer, x) -> x, (T*B, H, W, C); it may make parameters of the layer.
      timed: whether timesteps differ, so that static images pass the first layer T times.
      unfoldable: why it cannot be a part of the convolution at inference; "" where BatchNorm's
        own fold is all of it.
    """

    after: Callable
    timed: bool
    unfoldable: str


def _timestep_scale(layer, x):
    """TEBN (Duan et al. 2022): a learned scale of each timestep, which starts at 1."""
    scale = layer.param("timestep_scale", nn.initializers.ones, (layer.timesteps,))
    each = x.reshape(layer.timesteps, -1, *x.shape[1:])
    return (each * scale.reshape(-1, *[1] * (each.ndim - 1)).astype(x.dtype)).reshape(x.shape)


# After a convolution: BatchNorm over time and batch, and what follows it.
NORMS = {
    "batch": Norm(lambda layer, x: x, timed=False, unfoldable=""),
    "tebn": Norm(
        _timestep_scale,
        timed=True,
        unfoldable="TEBN has a scale of each timestep, which one convolution cannot hold",
    ),
}


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm, on (N, H, W, C); N is T*B or B.

    BatchNorm's statistics are over batch, time and space, as in Zheng et al. (2021), and over
    all devices of `axis_name`. Parameters and statistics are float32 whatever the dtype.

    Attributes:
      features: output channels.
      kernel: side of the square kernel.
      stride: in both directions.
      momentum: share of the running statistics kept at each training step.
      epsilon: added to the variance.
      axis_name: name of the device axis to average statistics over, or None.
      gamma: initial BatchNorm scale; tdBN starts at alpha * threshold (Zheng et al. 2021).
      norm: a name in `NORMS`. "tebn" multiplies BatchNorm's result, its bias included, by a
        learned scale of each timestep, which starts at 1 (Duan et al. 2022); N is T*B then.
      timesteps: T, for "tebn".
      folded: a convolution with bias and no BatchNorm, for `export.fold_batch_norm`.
      initialisation: of the kernel, a name in `INITIALISATIONS`.
      dtype: of the computation and the result.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    gamma: float = 1.0
    norm: str = "batch"
    timesteps: int = 1
    folded: bool = False
    initialisation: str = "he_fan_out"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"], *, train: bool) -> Float[Array, "N H2 W2 F"]:
        """Normalised currents; train selects batch statistics and updates the running ones."""
        pad = (self.kernel - 1) // 2
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=[(pad, pad)] * 2,
            use_bias=self.folded,
            kernel_init=INITIALISATIONS[self.initialisation],
            dtype=self.dtype,
            conv_general_dilated=_as_flax_calls_it,
            name="conv",
        )(x)
        if self.folded:
            return x
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name if train else None,
            scale_init=nn.initializers.constant(self.gamma),
            dtype=self.dtype,
            name="norm",
        )(x)
        return NORMS[self.norm].after(self, x)
