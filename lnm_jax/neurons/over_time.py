"""Running a neuron over the leading time axis, by one of several backends with the same spikes."""

from __future__ import annotations

import functools
import logging
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from lnm_jax import checks
from lnm_jax.neurons.neuron import Neuron, Parallel, Params, State, checked, potential, state_dtype
from lnm_jax.recompute import recomputed

log = logging.getLogger(__name__)

# A scan is unrolled, which lets XLA fuse timesteps, up to this many timesteps, and up to this many
# operations: compile time grows with both (an MLP drift of 8 units: 4 s for T = 4). XLA for CPUs
# computes a timestep again for each later one that it fuses it into: unrolled is 2 to 4 times as
# fast as a loop at T = 2 and 4, as fast at 8, and takes 2.5 times as long at 16.
UNROLL = 32
UNROLL_ON_CPU = 8
UNROLLED_OPERATIONS = 800


def operations(jaxpr) -> int:
    """Primitive operations of a jaxpr, those of nested ones included."""
    from jax.extend.core import jaxprs_in_params  # which imports Pallas: 20 ms

    nested = [jaxprs_in_params(equation.params) for equation in jaxpr.eqns]
    return sum(sum(map(operations, inner)) if (inner := list(x)) else 1 for x in nested)


def _unroll(step, start, currents) -> int:
    """How many timesteps of a scan to unroll: all of them, or none."""
    timesteps = currents.shape[0]
    # A guess: on the CPU of a host with a GPU it is the GPU's number, which is slower there.
    if timesteps > (UNROLL_ON_CPU if jax.default_backend() == "cpu" else UNROLL):
        return 1
    current = jax.ShapeDtypeStruct(currents.shape[1:], currents.dtype)
    count = operations(jax.make_jaxpr(step)(start, current).jaxpr)
    return timesteps if timesteps * count <= UNROLLED_OPERATIONS else 1


def _over_time(step, neuron, currents, state):
    """(last state, results of all timesteps) of step(state, current) -> (state, result)."""
    dtype = state_dtype(currents)
    if state is None:
        state = neuron.reset(currents.shape[1:], dtype)

    def wide(state, current):
        with jax.numpy_rank_promotion("allow"):  # parameters (C,), also for users who forbid it
            return step(state, current.astype(dtype))

    return jax.lax.scan(wide, state, currents, unroll=_unroll(wide, state, currents))


def streamed(
    neuron: Neuron, params: Params, currents: Float[Array, "T ..."], state: State | None = None
) -> tuple[Float[Array, "T ..."], State]:
    """(spikes, last state) by `jax.lax.scan`."""

    def step(state, current):
        state, spikes = neuron.step(params, state, current)
        return state, spikes.astype(currents.dtype)

    state, spikes = _over_time(step, neuron, currents, state)
    return spikes, state


def scan(
    neuron: Neuron, params: Params, currents: Float[Array, "T ..."], state: State | None = None
) -> Float[Array, "T ..."]:
    """Spikes by `jax.lax.scan`; the backward pass keeps what XLA chooses to keep."""
    return streamed(neuron, params, currents, state)[0]


@functools.lru_cache(maxsize=256)
def _log_once(reason: str) -> None:
    log.warning("neurons.run: backend 'scan' instead of the GPU kernel: %s", reason)


def fused(
    neuron: Neuron,
    params: Params,
    currents: Float[Array, "T ..."],
    state: State | None = None,
) -> Float[Array, "T ..."]:
    """Spikes; the backward pass keeps parameters, currents and the state, and recomputes.

    By one Pallas kernel a pass on a GPU, which takes no state; a neuron that it cannot hold runs as
    a scan, with one log line that says why. Elsewhere XLA fuses the scan. Args: as for `run`.
    """
    forward = functools.partial(scan, neuron)
    # A function that closes over traced numbers can't have a backward pass of its own.
    if not currents.size or neuron.facts.traced:
        return forward(params, currents, state)
    if state is not None:
        return recomputed(forward)(params, currents, state)
    if jax.default_backend() != "gpu":
        return recomputed(forward)(params, currents)
    from lnm_jax.neurons import kernel  # which imports Pallas

    reason = kernel.refusal(neuron, params, currents)
    if reason:
        _log_once(reason)
    by_kernel = forward if reason else functools.partial(kernel.run, neuron)
    # A host with a GPU may compute on its CPU as well.
    return jax.lax.platform_dependent(params, currents, cuda=by_kernel, default=recomputed(forward))


BACKENDS = {"scan": scan, "fused": fused}


def run(
    neuron: Neuron | Parallel,
    params: Params,
    currents: Float[Array, "T ..."],
    *,
    state: State | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Float[Array, "T ..."] | tuple[Float[Array, "T ..."], State]:
    """Spikes of a neuron driven by currents over time.

    A recording may be run in pieces, each from the state that the one before left.

    Args:
      neuron: a `Neuron`, or a `Parallel`, which has no state and no backend to choose.
      params: as made by `neuron.init`.
      currents: (T, ...) input currents; potentials are float32 or wider.
      state: before the first timestep; None for the reset state.
      return_state: return (spikes, state after the last timestep), by a scan.
      backend: "scan" (`jax.lax.scan`, unrolled for few timesteps), "fused" (keeps only currents for
        the backward pass; a Pallas kernel on GPUs), or "auto", which is "fused" (docs/neurons.md).
    Returns: (T, ...) spikes, 0 or 1, in the currents' dtype.
    Raises: ValueError for an unknown backend, currents without a time axis, with T = 0 or of an
      integer dtype, or the state of a `Parallel`.
    """
    checks.one_of("backend", backend, ["auto", *BACKENDS])
    currents = checked(currents)
    if isinstance(neuron, Parallel):
        if state is not None or return_state:
            raise ValueError("a parallel neuron sees all timesteps at once: it has no state")
        return neuron.fire(params, neuron.integrate(params, currents)).astype(currents.dtype)
    if backend == "auto":
        backend = "fused"
    if return_state:
        return streamed(neuron, params, currents, state)
    return BACKENDS[backend](neuron, params, currents, state)


class Trace(NamedTuple):
    """A neuron over time.

    Attributes:
      before: the state before each timestep, leaves (T, ...), what f is evaluated at; None for a
        `Parallel`.
      v_in: (T, ...) integrated potentials, before the comparison with the threshold; None for a
        neuron of three functions.
      spikes: (T, ...) in the currents' dtype.
      state: after the last timestep; None for a `Parallel`.
    """

    before: State
    v_in: Float[Array, "T ..."] | None
    spikes: Float[Array, "T ..."]
    state: State


def trace(
    neuron: Neuron | Parallel,
    params: Params,
    currents: Float[Array, "T ..."],
    *,
    state: State | None = None,
) -> Trace:
    """Like `run`, with what happens in between.

    Args: as for `run`.
    Returns: a `Trace`; states and potentials are float32 or wider.
    Raises: as `run`.
    """
    currents = checked(currents)
    if isinstance(neuron, Parallel):
        v_in = neuron.integrate(params, currents)
        return Trace(None, v_in, neuron.fire(params, v_in).astype(currents.dtype), None)

    def step(before, current):
        if neuron.integrate is None:
            after, spikes = neuron.step(params, before, current)
            return after, (before, None, spikes.astype(currents.dtype))
        integrated = neuron.integrate(params, before, current)
        after, spikes = neuron.fire(params, integrated)
        return after, (before, potential(integrated), spikes.astype(currents.dtype))

    after, (before, v_in, spikes) = _over_time(step, neuron, currents, state)
    return Trace(before, v_in, spikes, after)
