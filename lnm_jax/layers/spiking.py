"""The spiking layer: owns a neuron's parameters and records spike rates; holds no equation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn

from lnm_jax import neurons

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Spiking(nn.Module):
    """Runs a neuron over the leading time axis, one set of neuron parameters a layer.

    Attributes:
      neuron: the triple. Its parameters live under this layer's path as "neuron", so that the
        optimizer can tell them from weights.
    """

    neuron: neurons.Neuron

    @nn.compact
    def __call__(self, currents: Float[Array, "T *B C"]) -> Float[Array, "T *B C"]:
        """Spikes for currents; sows "rates": mean spikes per neuron and timestep, (B,)."""
        params = self.param("neuron", self.neuron.init)
        spikes = neurons.run(self.neuron, params, currents)
        rates = spikes.mean(
            (0, *range(2, spikes.ndim))
        )  # of each example, so that padding can be masked
        self.sow("rates", "rate", rates, reduce_fn=lambda _, new: new)
        return spikes
