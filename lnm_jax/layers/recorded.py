"""A spiking layer that resets when a recorded one did, to learn from its spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from lnm_jax import neurons
from lnm_jax.layers.spiking import Spiking, prepared, sow_activity

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Recorded(Spiking):
    """Integrated potentials of a one-variable neuron whose spikes are given (teacher forcing).

    One error then does not shift everything after it. Attributes are those of `Spiking`;
    window and backend are not used.
    """

    @nn.compact
    def __call__(
        self,
        currents: Float[Array, "T *B C"],
        recorded: Float[Array, "T *B C"],
        *,
        train: bool = False,
    ) -> Float[Array, "T *B C"]:
        """v_in at each timestep; after a recorded spike the neuron is as at the start.

        Sows what `Spiking` does, of the recorded spikes.
        """
        neuron, params, currents = prepared(self, currents)
        start = neuron.reset(currents.shape[1:], jnp.float32)

        def step(v, inputs):
            current, spikes = inputs
            v_in = neurons.integrate(neuron, params, v, current)
            return jnp.where(spikes > 0, start, v_in), v_in

        _, v_in = jax.lax.scan(step, start, (currents, recorded))
        sow_activity(self, recorded)
        return v_in
