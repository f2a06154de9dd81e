"""The spiking layer: owns a neuron's parameters and records what it does; holds no equation."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lnm_jax import checks, neurons
from lnm_jax.neurons.neuron import state_dtype

SHARING = ("layer", "channel")
# Membrane potential before the first timestep: the neuron's own, or one learned for each neuron.
STARTS = ("reset", "learned")


def check(neuron, *, sharing="layer", window=0.0, start="reset", membrane_norm=False, **_) -> None:
    """The fields of a `Spiking`, and what they ask of its neuron.

    Raises: ValueError naming the field, prefixed by "spiking.", its value and what is allowed.
    """
    if not isinstance(neuron, neurons.Neuron | neurons.Parallel):
        hint = "; make one by neurons.lnm() or another factory" if callable(neuron) else ""
        raise ValueError(f"spiking.neuron must be a neuron, got {type(neuron).__name__}{hint}")
    checks.one_of("spiking.sharing", sharing, SHARING)
    checks.one_of("spiking.start", start, STARTS)
    checks.at_least("spiking.window", window, 0)
    if sharing == "channel" and isinstance(neuron, neurons.Parallel):
        raise ValueError("spiking.sharing must be layer for a parallel neuron, got channel")
    asked = (("window", window, 0.0), ("start", start, "reset"))
    for field, value, usual in (*asked, ("membrane_norm", membrane_norm, False)):
        if value == usual:
            continue
        if not neurons.one_variable(neuron):
            raise ValueError(
                f"spiking.{field} must be {usual} for a neuron of several variables, got {value}"
            )
        if field != "start" and neuron.integrate is None:
            raise ValueError(
                f"spiking.{field} must be {usual} for a neuron without integrate and fire, see "
                f"neurons.two_phase, got {value}"
            )


def _uniform(key, shape):
    """Between -0.2 and 0.2, as the authors of IMP start."""
    return jax.random.uniform(key, shape, minval=-0.2, maxval=0.2)


class Spiking(nn.Module):
    """Runs a neuron over the leading time axis.

    With a mutable collection "state" the layer goes on from the state that is there, from the
    start if there is none, and leaves the one after the last timestep: a recording may be fed in
    pieces.

    Attributes:
      neuron: its parameters live under this layer's path as "neuron", so that the optimizer can
        tell them from weights.
      sharing: one set of neuron parameters a "layer" (the paper's), or one a "channel".
      window: 0 leaves the surrogate's width to the neuron. Above 0, the width follows the
        neuron: it is `window` times the running standard deviation of v_in, which a
        one-variable neuron's training keeps in "batch_stats" (the limit that the paper's
        section 6 names last; Lian et al. 2023 derive such a width for LIF).
      start: "learned" is IMP (Shen et al. 2024), for neurons of one variable: the potential
        before the first timestep is a parameter "v_0" of every neuron, shaped like the layer.
      membrane_norm: MPBN (Guo et al. 2023), for neurons of one variable: they spike where the
        normalised v_in crosses the threshold; v itself is not normalised. One BatchNorm a layer,
        with the statistics of each timestep in training and one running mean and variance,
        updated at every timestep, as in the authors' code. The backend is not used.
      folded: with membrane_norm a threshold and a sign of each channel in place of BatchNorm, see
        `fold_membrane_norm`.
      scheduled: (name, start) of numbers that training changes between epochs, see
        `training.schedules`: variables in "batch_stats", handed to the neuron as parameters.
      backend: of `neurons.run`.
      momentum: share of running statistics kept at each training step.
      epsilon: added to membrane_norm's variance.
      axis_name: device axis that statistics are averaged over, or None.
    Raises: ValueError, see `check`.
    """

    neuron: neurons.Neuron | neurons.Parallel
    sharing: str = "layer"
    window: float = 0.0
    start: str = "reset"
    membrane_norm: bool = False
    folded: bool = False
    scheduled: tuple[tuple[str, float], ...] = ()
    backend: str = "auto"
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, currents: Float[Array, "T *B C"], *, train: bool = False
    ) -> Float[Array, "T *B C"]:
        """Spikes for currents.

        Sows, where a collection is asked for, "rates", mean spikes per neuron and timestep, (B,),
        NaN where currents are not finite; "spikes", those of each neuron over time, (B, ..., C)
        float32; "window", the share of potentials inside the surrogate's window, (B,), see
        `neurons.surrogate_window`; and "trace", (currents, `neurons.Trace`). A jitted step that
        asks for none pays nothing.
        """
        neuron, params, state = prepared(self, currents)
        if self.window:
            params = {**params, "width": _width(self, neuron, params, currents, state, train)}
        streaming = _asked(self, "state")
        kept = self.variable("state", "neuron", lambda: state) if streaming else None
        if kept is not None:
            state = kept.value
        trace = None
        if self.membrane_norm:
            trace = _normalised(self, neuron, params, currents, state, train)
        elif _asked(self, "trace"):
            trace = neurons.trace(neuron, params, currents, state=state)
        if trace is not None:
            spikes, after = trace.spikes, trace.state
        elif streaming:
            spikes, after = neurons.run(neuron, params, currents, state=state, return_state=True)
        else:
            spikes = neurons.run(neuron, params, currents, state=state, backend=self.backend)
        if kept is not None:
            kept.value = after
        sow_activity(self, spikes, currents)
        if trace is not None:
            _sow(self, "trace", "over_time", (currents, trace))
        by_potential = not self.membrane_norm and not isinstance(neuron, neurons.Parallel)
        if _asked(self, "window") and by_potential:
            inside = neurons.surrogate_window(neuron, params, currents, state=state)
            _sow(self, "window", "share", _mean(inside))
        return spikes


class Recorded(Spiking):
    """Integrated potentials of a one-variable neuron whose spikes are given (teacher forcing).

    One error then does not shift everything after it. Attributes are those of `Spiking`, of which
    it uses neuron, sharing and scheduled.
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

        Sows what `Spiking` does, of the recorded spikes; the trace is that of the neuron alone.
        """
        neuron, params, _ = prepared(self, currents)
        start = neuron.reset(currents.shape[1:], jnp.float32)

        def step(v, inputs):
            current, spikes = inputs
            v_in = neuron.integrate(params, v, current)
            return jnp.where(spikes > 0, start, v_in), v_in

        _, v_in = jax.lax.scan(step, start, (currents, recorded))
        sow_activity(self, recorded, currents)
        if _asked(self, "trace"):
            trace = neurons.trace(neuron, params, currents)
            _sow(self, "trace", "over_time", (currents, trace))
        return v_in


# No methods: Flax would capture their results with a layer's own.
def prepared(layer: Spiking, currents: Float[Array, "T *B C"]):
    """(neuron, its parameters, state before the first timestep or None), as the fields say."""
    neuron = layer.neuron
    fields = ("sharing", "window", "start", "membrane_norm")
    check(neuron, **{name: getattr(layer, name) for name in fields})
    if layer.sharing == "channel":
        neuron = neurons.per_channel(neuron, currents.shape[-1])
    params, state = layer.param("neuron", neuron.init), None
    for name, start in layer.scheduled:
        number = layer.variable("batch_stats", name, jnp.float32, start).value
        params = {**params, name: _shared(layer, number, currents)}
    if layer.start == "learned":
        v_0 = layer.param("v_0", _uniform, currents.shape[2:])
        state = jnp.broadcast_to(v_0.astype(state_dtype(currents)), currents.shape[1:])
    elif _asked(layer, "state") and not isinstance(neuron, neurons.Parallel):
        state = neuron.reset(currents.shape[1:], state_dtype(currents))
    return neuron, params, state


def _asked(layer, collection: str) -> bool:
    return layer.is_mutable_collection(collection) and not layer.is_initializing()


def _shared(layer, number, currents):
    """The number shaped like every parameter of the neuron."""
    per_channel = layer.sharing == "channel"
    return jnp.broadcast_to(number, currents.shape[-1:]) if per_channel else number


def _width(layer, neuron, params, currents, state, train):
    """The surrogate's width, a constant of the step; training updates the deviation."""
    # Until the first step: as if v_in were spread evenly over [-1, 1].
    deviation = layer.variable("batch_stats", "deviation", lambda: jnp.float32(3**-0.5))
    if train and not layer.is_initializing():
        fixed, from_state = jax.lax.stop_gradient(((params, currents), state))
        v_in = neurons.trace(neuron, *fixed, state=from_state).v_in
        moments = jnp.stack([v_in.mean(), (v_in * v_in).mean()])
        if layer.axis_name is not None:
            moments = jax.lax.pmean(moments, layer.axis_name)
        new = jnp.sqrt(jnp.maximum(moments[1] - moments[0] ** 2, 1e-6))
        deviation.value = layer.momentum * deviation.value + (1 - layer.momentum) * new
    return _shared(layer, jax.lax.stop_gradient(layer.window * deviation.value), currents)


def _normalised(layer, neuron, params, currents, state, train) -> neurons.Trace:
    """The neuron over time, comparing its normalised v_in with the threshold."""
    if layer.folded:
        shape = currents.shape[-1:]
        shift = layer.param("threshold", nn.initializers.zeros, shape)
        sign = layer.param("sign", nn.initializers.ones, shape)

        def norm(v_in):
            return sign * (v_in - shift) + neuron.facts.threshold

    else:
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=layer.momentum,
            epsilon=layer.epsilon,
            axis_name=layer.axis_name if train else None,
            name="membrane_norm",
        )
    v = neuron.reset(currents.shape[1:], state_dtype(currents)) if state is None else state
    steps = []
    for current in currents:
        before, v_in = v, neuron.integrate(params, v, current.astype(v.dtype))
        v, spikes = neuron.fire(params, v_in, norm(v_in))
        steps.append((before, v_in, spikes.astype(currents.dtype)))
    return neurons.Trace(*map(jnp.stack, zip(*steps, strict=True)), v)


def fold_membrane_norm(params: dict, statistics: dict, threshold: float, epsilon: float) -> dict:
    """A threshold and a sign for each channel in place of membrane_norm's BatchNorm.

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


def _sow(layer, collection, name, value):
    if _asked(layer, collection):
        layer.sow(collection, name, value, reduce_fn=lambda _, new: new, init_fn=lambda: None)


def _mean(values):
    """Of each example, so that padding can be masked; values are (T, B, ...)."""
    return values.mean((0, *range(2, values.ndim)), dtype=jnp.float32)


def sow_activity(
    layer: Spiking, spikes: Float[Array, "T *B C"], currents: Float[Array, "T *B C"]
) -> None:
    """Sows "rates" and "spikes" where they are asked for.

    The rate of an example whose currents are not all finite is NaN: infinite ones would give
    plausible spikes.
    """
    fired = spikes != 0  # a ternary spike may be -1
    if _asked(layer, "rates"):
        finite = jnp.isfinite(currents).all((0, *range(2, currents.ndim)))
        _sow(layer, "rates", "rate", jnp.where(finite, _mean(fired), jnp.nan))
    if _asked(layer, "spikes"):
        _sow(layer, "spikes", "count", fired.sum(0, dtype=jnp.float32))
