"""BatchNorm of the membrane potential just before firing (Guo et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from lnm_jax import neurons
from lnm_jax.layers.spiking import Spiking, prepared, sow_activity

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class MembraneNorm(Spiking):
    """MPBN: spikes where the normalised v_in crosses the threshold; v itself is not normalised.

    One BatchNorm a layer, with the statistics of each timestep in training and one running mean
    and variance, updated at every timestep, as in the authors' code. For neurons of one variable.
    Folded, each channel has a threshold of its own, and spikes below it where BatchNorm's scale
    is negative. Attributes beside those of `Spiking`, whose backend and window are not used:
      firing: how it spikes and resets.
      epsilon: added to the variance.
      folded: thresholds in place of BatchNorm, see `fold`.
    """

    firing: Any = None
    epsilon: float = 1e-5
    folded: bool = False

    @nn.compact
    def __call__(
        self, currents: Float[Array, "T *B C"], *, train: bool = False
    ) -> Float[Array, "T *B C"]:
        """Spikes for currents; sows what `Spiking` does."""
        neuron, params, currents = prepared(self, currents)
        crosses = _folded(self, currents) if self.folded else _normalised(self, train)
        v = neuron.reset(currents.shape[1:], jnp.promote_types(currents.dtype, jnp.float32))
        found = []
        for current in currents:
            v_in = neurons.integrate(neuron, params, v, current.astype(v.dtype))
            spikes = self.firing.spike(crosses(v_in), self.firing.reach(params))
            v = self.firing.reset(v_in, spikes)
            found.append(spikes.astype(currents.dtype))
        spikes = jnp.stack(found)
        sow_activity(self, spikes)
        return spikes


def _normalised(layer, train):
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        axis_name=layer.axis_name if train else None,
        name="membrane_norm",
    )
    return lambda v_in: norm(v_in) - layer.firing.threshold


def _folded(layer, currents):
    shape = currents.shape[-1:]
    threshold = layer.param("threshold", nn.initializers.zeros, shape)
    sign = layer.param("sign", nn.initializers.ones, shape)
    return lambda v_in: sign * (v_in - threshold)


def fold(params: dict, statistics: dict, threshold: float, epsilon: float) -> dict:
    """A threshold and a sign for each channel in place of the BatchNorm of a `MembraneNorm`.

    gamma (v - mean) / s + beta >= threshold, s = sqrt(var + epsilon), is
    sign(gamma) (v - mean - s (threshold - beta) / gamma) >= 0.

    Args:
      params, statistics: of the layer.
      threshold: of its neurons.
      epsilon: of its BatchNorm.
    """
    norm, running = params["membrane_norm"], statistics["membrane_norm"]
    deviation = jnp.sqrt(running["var"] + epsilon)
    kept = {name: value for name, value in params.items() if name != "membrane_norm"}
    return kept | {
        "threshold": running["mean"] + deviation * (threshold - norm["bias"]) / norm["scale"],
        "sign": jnp.sign(norm["scale"]),
    }
