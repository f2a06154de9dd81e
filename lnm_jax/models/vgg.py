"""VGGSNN (Deng et al. 2022), for any `Neuron`."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from lnm_jax.layers import Spiking, fold_time, unfold_time
from lnm_jax.models.network import SpikingNetwork


class SpikingVGG(SpikingNetwork):
    """Convolutions with BatchNorm and spikes, average pools between groups, classifier.

    Attributes beside those of `SpikingNetwork`:
      widths: channels of each group's convolutions; a 2x2 pool follows each group.
      pooling: "average" (of spikes, as published) or "max".
    """

    widths: tuple[tuple[int, ...], ...] = ((64, 128), (256, 256), (512, 512), (512, 512))
    pooling: str = "average"

    @nn.compact
    def __call__(
        self, x: Float[Array, "*T B H W C"], *, train: bool = False
    ) -> Float[Array, "B K"]:
        """Logits averaged over time (Eq. 6); arguments and errors as in `SpikingNetwork`."""
        conv_norm, spiking = self.conv_norm(), self.spiking()

        def run(layers, x):
            for layer in layers:
                if isinstance(layer, Spiking):
                    x = layer(x, train=train)
                else:
                    x = unfold_time(layer(fold_time(x), train=train), x.shape[0])
            return x

        count = 0
        for group in self.widths:
            stage = []
            for width in group:
                count += 1
                block = [
                    conv_norm(width, 3, 1, name=f"conv_{count}"),
                    spiking(name=f"spike_{count}"),
                ]
                if count == 1:
                    x = self.first(block.pop(0), x, train)
                stage.append(block)
            x = self.pool(self.through(stage, run, x), self.pooling, size=2, stride=2)
        return self.classify(x.reshape(*x.shape[:2], -1))
