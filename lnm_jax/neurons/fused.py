"""A backward pass that keeps nothing but parameters and currents, and recomputes potentials.

On a GPU both passes are one Pallas kernel each (`kernel`), elsewhere XLA fuses the scan.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import jax

from lnm_jax.neurons import kernel, over_time
from lnm_jax.recompute import recomputed

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from lnm_jax.neurons.neuron import Neuron, Params

log = logging.getLogger(__name__)


@functools.lru_cache(maxsize=256)
def _log_once(reason: str) -> None:
    log.warning("neurons.run: backend 'scan' instead of the GPU kernel: %s", reason)


def fused(
    neuron: Neuron, params: Params, currents: Float[Array, "T ..."], platform: str | None = None
) -> Float[Array, "T ..."]:
    """Spikes over time, by the kernel on a GPU and by a recomputed scan elsewhere.

    A neuron that the kernel cannot hold runs as a scan, with one log line that says why.

    Args:
      neuron, params, currents: as for `run`.
      platform: "gpu", "cpu" or "tpu"; the default is jax's default backend.
    """
    if (platform or jax.default_backend()) != "gpu":
        scan = functools.partial(over_time.scan, neuron)
        # The backward pass runs the scan again from the currents.
        return (recomputed(scan, platform) if currents.size else scan)(params, currents)
    reason = kernel.refusal(neuron, params, currents)
    if reason:
        _log_once(reason)
        return over_time.scan(neuron, params, currents)
    return kernel.run(neuron, params, currents)
