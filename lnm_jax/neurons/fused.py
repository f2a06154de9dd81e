"""A backward pass that keeps nothing but parameters and currents, and recomputes potentials.

On a GPU both passes are one Pallas kernel each (`kernel`), elsewhere XLA fuses the scan.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from lnm_jax.neurons import kernel, over_time

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from lnm_jax.neurons.neuron import Neuron, Params

log = logging.getLogger(__name__)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recompute(neuron: Neuron, params: Params, currents: Float[Array, "T ..."]):
    """Spikes as `scan` gives them; the backward pass runs the scan again from the currents."""
    return over_time.scan(neuron, params, currents)


def _forward(neuron, params, currents):
    return over_time.scan(neuron, params, currents), (params, currents)


def _backward(neuron, saved, cotangent):
    def gradients(params, currents, cotangent):
        _, pullback = jax.vjp(functools.partial(over_time.scan, neuron), params, currents)
        return pullback(cotangent)

    def broken(params, currents, cotangent):
        return jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), (params, currents))

    # XLA would find the forward pass's potentials and keep them: it sees through optimization
    # barriers and reshapes on a CPU, but not into a branch. The condition is false for a
    # cotangent of NaN alone, of which the gradient is NaN.
    probe = cotangent[(0,) * cotangent.ndim]
    return jax.lax.cond(probe == probe, gradients, broken, *saved, cotangent)


recompute.defvjp(_forward, _backward)


@functools.lru_cache(maxsize=256)
def _log_once(reason: str) -> None:
    log.warning("neurons.run: backend 'scan' instead of the GPU kernel: %s", reason)


def fused(
    neuron: Neuron, params: Params, currents: Float[Array, "T ..."], platform: str | None = None
) -> Float[Array, "T ..."]:
    """Spikes over time, by the kernel on a GPU and by `recompute` elsewhere.

    A neuron that the kernel cannot hold runs as a scan, with one log line that says why.

    Args:
      neuron, params, currents: as for `run`.
      platform: "gpu", "cpu" or "tpu"; the default is jax's default backend.
    """
    if (platform or jax.default_backend()) != "gpu":
        if currents.size == 0:
            return over_time.scan(neuron, params, currents)
        return recompute(neuron, params, currents)
    reason = kernel.refusal(neuron, params, currents)
    if reason:
        _log_once(reason)
        return over_time.scan(neuron, params, currents)
    return kernel.run(neuron, params, currents)
