"""Dense spiking layers, and one layer that learns from recorded spikes, for any `Neuron`."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from lnm_jax.layers import Recorded, fold_time, unfold_time
from lnm_jax.models.network import SpikingNetwork


class SpikingMLP(SpikingNetwork):
    """Dense layers with BatchNorm and spikes, classifier; an example is one flat vector.

    Attributes beside those of `SpikingNetwork`:
      widths: neurons of each layer.
    """

    widths: tuple[int, ...] = (64, 64)

    @nn.compact
    def __call__(
        self, x: Float[Array, "*T B H W C"], *, train: bool = False
    ) -> Float[Array, "B K"]:
        """Logits averaged over time (Eq. 6); arguments and errors as in `SpikingNetwork`."""
        conv_norm, spiking = self.conv_norm(), self.spiking()
        x = x.reshape(*x.shape[:-3], 1, 1, -1)  # a dense layer is a convolution of one pixel

        def run(layers, x):
            dense, spike = layers
            x = unfold_time(dense(fold_time(x), train=train), x.shape[0])
            return spike(x, train=train)

        for number, width in enumerate(self.widths, 1):
            dense = conv_norm(width, 1, 1, name=f"dense_{number}")
            spike = spiking(name=f"spike_{number}")
            if number == 1:
                x = spike(self.first(dense, x, train), train=train)
            else:
                x = self.through([[dense, spike]], run, x)
        return self.classify(x.reshape(*x.shape[:2], -1))


class RecordedLayer(SpikingNetwork):
    """Dense weights and one spiking layer that resets when the recorded layer did.

    Frames hold inputs, then the recorded spikes of `num_classes` neurons. Of the attributes
    of `SpikingNetwork`, it uses neuron, num_classes and sharing.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "T B 1 1 C"], *, train: bool = False
    ) -> Float[Array, "B T K"]:
        """Integrated potentials v_in of every neuron at every timestep.

        Raises: ValueError for anything but frames of one pixel.
        """
        if x.ndim != 5 or x.shape[2:4] != (1, 1):
            raise ValueError(f"input must be frames (T, B, 1, 1, C), got shape {x.shape}")
        x = x[:, :, 0, 0]
        currents = nn.Dense(self.num_classes, name="weights")(x[..., : -self.num_classes])
        layer = Recorded(self.neuron, sharing=self.sharing, name="spike")
        return layer(currents, x[..., -self.num_classes :], train=train).swapaxes(0, 1)
