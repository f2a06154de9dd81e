"""What a neuron is: pure functions and facts; and the one that all of one variable share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from lnm_jax.neurons.drift import Drift
from lnm_jax.neurons.firing import Firing

Params = Any  # a pytree of arrays, usually a dict
State = Any  # a pytree of arrays shaped like the currents of one timestep


class Facts(NamedTuple):
    """What a neuron says of itself beside its functions.

    Attributes:
      drift: f of the potential, other variables as at the start; None if there is no such f.
      threshold: v_th, in units of the input current; None if it is learned.
      reset_name: "hard" or "soft", as in `firing.RESETS`; None for a reset of another kind.
      v_reset: potential before the first timestep and after a hard reset.
      macs: multiply-accumulates of one update at inference; None if nobody has counted them.
      reads: what training may set in its parameters, see `layers.Spiking`: "width" and
        "temperature" of the surrogate, "masking".
      call: how it was made, such as "lnm(degree=3)".
      traced: whether jax traces a number that it was made with, as under vmap or grad over decay.
    """

    drift: Drift | None = None
    threshold: float | None = None
    reset_name: str | None = None
    v_reset: float = 0.0
    macs: int | None = None
    reads: tuple[str, ...] = ()
    call: str | None = None
    traced: bool = False


def _as_text(neuron) -> str:
    return neuron.facts.call or f"{type(neuron).__name__} of {neuron[1].__module__}"


class Neuron(NamedTuple):
    """A spiking neuron as pure functions, as an optax transformation is two.

    Three functions are a neuron that runs and trains; with the next two it can be looked at, and
    layers can act between integrating and firing. `two_phase` makes one of the two.

    Attributes:
      init: `init(key) -> params`, the learnable parameters (an empty dict if there are none).
      reset: `reset(shape, dtype) -> state`, the state before the first timestep. For
        one-variable neurons the state is the membrane potential, an array of `shape`; for others
        it is the first leaf.
      step: `step(params, state, current) -> (state, spikes)`, one timestep. It must be
        elementwise over the neurons, spikes are 0 or 1 (a compared method's may be graded), and
        it must be differentiable.
      integrate: `integrate(params, state, current) -> state` before the comparison with the
        threshold. Its first leaf is the integrated potential v_in.
      fire: `fire(params, state, seen=None) -> (state, spikes)` of an integrated state; `seen` is
        compared with the threshold in place of v_in, which the reset still acts on.
      facts: see `Facts`.
    """

    init: Callable[[PRNGKeyArray], Params]
    reset: Callable[[tuple[int, ...], Any], State]
    step: Callable[[Params, State, Float[Array, "..."]], tuple[State, Float[Array, "..."]]]
    integrate: Callable[[Params, State, Float[Array, "..."]], State] | None = None
    fire: Callable[..., tuple[State, Float[Array, "..."]]] | None = None
    facts: Facts = Facts()

    __repr__ = _as_text


def two_phase(
    init: Callable, reset: Callable, integrate: Callable, fire: Callable, **facts: Any
) -> Neuron:
    """A `Neuron` whose step integrates and then fires.

    Args: functions as `Neuron` has them; facts as `Facts` has them.
    """

    def step(params, state, current):
        return fire(params, integrate(params, state, current))

    return Neuron(init, reset, step, integrate, fire, Facts(**facts))


class Parallel(NamedTuple):
    """A spiking neuron that sees all timesteps at once: no state, and the same two phases.

    Attributes:
      init: `init(key) -> params`.
      integrate: `integrate(params, currents) -> v_in`, both (T, ...); it raises ValueError for
        currents that it cannot take.
      fire: `fire(params, v_in) -> spikes`. Both are differentiable.
      facts: see `Facts`.
    """

    init: Callable[[PRNGKeyArray], Params]
    integrate: Callable[[Params, Float[Array, "T ..."]], Float[Array, "T ..."]]
    fire: Callable[[Params, Float[Array, "T ..."]], Float[Array, "T ..."]]
    facts: Facts = Facts()

    __repr__ = _as_text


def potential(state: State) -> Float[Array, "..."]:
    """The membrane potential of a state, its first leaf; of an integrated one, v_in."""
    return jax.tree.leaves(state)[0]


def with_potential(state: State, v: Float[Array, "..."]) -> State:
    """The state with another membrane potential."""
    leaves, structure = jax.tree.flatten(state)
    return jax.tree.unflatten(structure, [v, *leaves[1:]])


def one_variable(neuron: Neuron | Parallel) -> bool:
    """Whether a neuron's state is one array, its membrane potential; one without state is not."""
    if isinstance(neuron, Parallel):
        return False
    state = jax.eval_shape(lambda: neuron.reset((), jnp.float32))
    return jax.tree.structure(state) == jax.tree.structure(0)


def integrate_and_fire(
    drift: Drift, firing: Firing, *, fold: Callable | None = None, gain: Callable | None = None
) -> Neuron:
    """A one-variable neuron: v_in = v + f(v) + I, spike, reset (Eq. 10, 5; Algorithm 1).

    Args:
      drift: f, as a `Drift`.
      firing: how it spikes and resets.
      fold: the bound of f, for Eq. 16's update v_in = bound(v) + f(v) + I.
      gain: `gain(params)` scales the input current (PLIF); None for 1.
    """

    def integrate(params, v, current):
        kept = v if fold is None else fold(lambda u: u)(v)
        if gain is not None:
            current = gain(params) * current
        return kept + drift.apply(params, v) + current

    return two_phase(
        drift.init,
        firing.initial,
        integrate,
        firing.fire,
        drift=drift,
        threshold=firing.threshold,
        reset_name=firing.reset_name,
        v_reset=firing.v_reset,
        macs=drift.macs,
        reads=firing.reads,
    )


class PerChannel(Neuron):
    """A neuron whose parameter leaves all end in an axis of channels; made by `per_channel`."""

    __slots__ = ()

    __repr__ = _as_text


def per_channel(neuron: Neuron, channels: int) -> PerChannel:
    """The neuron with a set of parameters of its own for each entry of the last axis.

    Args:
      neuron: any neuron whose parameters are used one scalar at a time.
      channels: length of the last axis of the currents.
    Returns: a neuron whose parameter leaves have a trailing axis of that length.
    """

    def init(key):
        keys = jax.random.split(key, channels)
        return jax.vmap(neuron.init, out_axes=-1)(keys)

    def broadcasting(function):
        """Lets parameters (C,) meet potentials (..., C), also for users who forbid that."""

        def call(*args, **kwargs):
            with jax.numpy_rank_promotion("allow"):
                return function(*args, **kwargs)

        return function and call

    names = ("step", "integrate", "fire")
    functions = {name: broadcasting(getattr(neuron, name)) for name in names}
    return PerChannel(*neuron)._replace(init=init, **functions)


def checked(currents: Array) -> Array:
    """The currents, if a neuron can take them.

    Raises: ValueError for an integer dtype, no time axis or no timestep.
    """
    currents = jnp.asarray(currents)
    if not jnp.issubdtype(currents.dtype, jnp.floating):
        raise ValueError(
            f"currents must be floating point, got {currents.dtype} of shape {currents.shape}"
        )
    if currents.ndim < 1 or currents.shape[0] == 0:
        raise ValueError(
            f"currents must be (T, ...) with time leading and T >= 1, got shape {currents.shape}"
        )
    return currents


def state_dtype(currents: Array):
    """float32, or float64 for such currents: 8 bits lose small inputs to a large potential."""
    return jnp.promote_types(currents.dtype, jnp.float32)
