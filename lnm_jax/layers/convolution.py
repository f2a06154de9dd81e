"""Convolution and BatchNorm over (T, B) folded into one batch axis: only neurons see time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import flax.linen as nn

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def fold_time(x: Float[Array, "T B *rest"]) -> Float[Array, "T*B *rest"]:
    """(T, B, ...) to (T*B, ...)."""
    return x.reshape((-1, *x.shape[2:]))


def unfold_time(x: Float[Array, "T*B *rest"], timesteps: int) -> Float[Array, "T B *rest"]:
    """(T*B, ...) back to (T, B, ...)."""
    return x.reshape((timesteps, -1, *x.shape[1:]))


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm, on (N, H, W, C); N is T*B or B.

    BatchNorm's statistics are over batch, time and space, as in Zheng et al. (2021), and over
    all devices of `axis_name`.

    Attributes:
      features: output channels.
      kernel: side of the square kernel.
      stride: in both directions.
      momentum: share of the running statistics kept at each training step.
      epsilon: added to the variance.
      axis_name: name of the device axis to average statistics over, or None.
      gamma_init: initial BatchNorm scale.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    gamma_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"], *, train: bool) -> Float[Array, "N H2 W2 F"]:
        """Normalised currents; train selects batch statistics and updates the running ones."""
        pad = (self.kernel - 1) // 2
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=[(pad, pad)] * 2,
            use_bias=False,
            # He et al. (2015), fan-out, as the ResNets that the paper builds on.
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            name="conv",
        )(x)
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name if train else None,
            scale_init=self.gamma_init,
            name="norm",
        )(x)
