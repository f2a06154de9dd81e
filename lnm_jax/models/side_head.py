"""Side heads for training: ordinary networks that classify what a block has fired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from lnm_jax.layers import INITIALISATIONS

if TYPE_CHECKING:
    from jaxtyping import Array, Float


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
