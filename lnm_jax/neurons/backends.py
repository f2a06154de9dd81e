"""`run`: a neuron over time, by one of several backends that give the same spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from lnm_jax.neurons import checks, over_time
from lnm_jax.neurons.fused import fused
from lnm_jax.neurons.psn import Parallel

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from lnm_jax.neurons.neuron import Neuron, Params

BACKENDS = {"scan": over_time.scan, "fused": fused}
# What was measured fastest (docs/neurons.md); a platform that is not here was not measured.
FASTEST = {"cpu": "fused", "gpu": "fused"}


def run(
    neuron: Neuron | Parallel,
    params: Params,
    currents: Float[Array, "T ..."],
    *,
    backend: str = "auto",
) -> Float[Array, "T ..."]:
    """Spikes of a neuron driven by currents over time, from its reset state.

    Args:
      neuron: the triple, or a `Parallel`, which has no timesteps to choose a backend for.
      params: as made by `neuron.init`.
      currents: (T, ...) input currents; potentials are float32 or wider.
      backend: "scan" (`jax.lax.scan`, unrolled for few timesteps), "fused" (keeps only currents for
        the backward pass; a Pallas kernel on GPUs), or "auto", the fastest for the platform.
    Returns: (T, ...) spikes, 0 or 1, in the currents' dtype.
    Raises: ValueError for an unknown backend, or currents without a time axis, with T = 0
      or of an integer dtype.
    """
    checks.one_of("backend", backend, ["auto", *BACKENDS])
    if isinstance(neuron, Parallel):
        return neuron.apply(params, currents)
    currents = over_time.checked(currents)
    if backend == "auto":
        backend = FASTEST.get(jax.default_backend(), "scan")
    return BACKENDS[backend](neuron, params, currents)
