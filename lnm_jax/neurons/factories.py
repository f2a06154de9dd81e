"""The paper's neurons: plain keyword arguments in, a `Neuron` out; and every kind by its name."""

from __future__ import annotations

from typing import Any, Unpack

import jax.numpy as jnp

from lnm_jax import checks
from lnm_jax.neurons import comparators, drift
from lnm_jax.neurons.firing import Firing, FiringFields, arguments, factory, firing
from lnm_jax.neurons.neuron import Neuron, Parallel, integrate_and_fire, two_phase


@factory
def lnm(
    *,
    degree: int = 3,
    family: str = "polynomial",
    bound: str = "clip",
    clip: float = 1.0,
    knots: int = 7,
    hidden: int = 4,
    decay: float = 0.25,
    update: str = "sum",
    **fields: Unpack[FiringFields],
) -> Neuron:
    """Learnable neuron model: v_in = v + f(bound(v)) + I with a learned f (Eq. 10 and 11).

    Args:
      degree: N of the polynomial or Chebyshev family, >= 1.
      family: name in `FAMILIES`.
      bound: name in `BOUNDS`, applied to the argument of f only.
      clip: limit of the bound, and the interval of Chebyshev polynomials and spline knots.
      knots: of the spline, ends included, >= 2.
      hidden: width of the MLP, >= 1.
      decay: share of the potential kept per timestep at initialisation, where f is LIF's.
      update: "sum" is Eq. 10; "fold" is Eq. 16, v_in = bound(v) + f(bound(v)) + I, which
        saves an addition in deployment and is the same inside the bound.
      **fields: see `FiringFields`.
    Returns: a `Neuron` with params {"theta": (degree,)} for a polynomial.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.one_of("update", update, ("sum", "fold"))
    f = drift.learned(
        family, bound, limit=clip, degree=degree, knots=knots, hidden=hidden, decay=decay
    )

    def describe(params):
        facts, arrays = f.describe(params)
        return facts | {"update": update}, arrays

    fold = drift.BOUNDS[bound](clip) if update == "fold" else None
    described = f._replace(describe=describe)
    return integrate_and_fire(described, firing(**fields), fold=fold)


def _two_variables(fires: Firing):
    def reset(shape, dtype=jnp.float32):
        return fires.initial(shape, dtype), jnp.zeros(shape, dtype)

    return reset


def exponents(degree: int) -> list[tuple[int, int]]:
    """(i, j) of the terms u**i w**j of total degree 1 .. degree, u's powers first."""
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1)]
    return sorted((pair for pair in pairs if 1 <= sum(pair) <= degree), key=lambda p: (p[1], p[0]))


def polynomial_of_two(theta, u, w, degree: int):
    """f(u, w) = sum_ij theta_ij u**i w**j over `exponents`, f(0, 0) = 0, by Horner in u, then w.

    Args:
      theta: one coefficient a term, in the order of `exponents`.
      u, w: potential and slow variable, bounded.
    """
    coefficient = dict(zip(exponents(degree), theta, strict=True))
    f = jnp.zeros_like(u)
    for j in reversed(range(degree + 1)):
        row = jnp.zeros_like(u)
        for i in reversed(range(degree - j + 1)):
            row = row * u + coefficient.get((i, j), 0.0)
        f = f * w + row
    return f


@factory
def lnm_two_variable(
    *,
    degree: int = 3,
    bound: str = "clip",
    clip: float = 1.0,
    decay: float = 0.25,
    w_decay: float = 0.9,
    w_gain: float = 0.1,
    **fields: Unpack[FiringFields],
) -> Neuron:
    """A learnable neuron of two variables (beyond the paper; the limit its section 6 names).

        v_in = v + f(bound(v), bound(w)) + I,    w' = a w + b bound(v)

    f is a polynomial in both, started as LIF: w acts on nothing until training lets it, and a
    spike does not reset it.

    Args:
      degree: total degree of f(u, w), >= 1.
      w_decay: a at initialisation, the share of w kept per timestep.
      w_gain: b at initialisation, the potential's share that enters w per timestep.
      others: as for `lnm`.
    Returns: a `Neuron` of state (v, w) with params {"theta", "w_decay", "w_gain"}.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.between("decay", decay, 0, 1)
    checks.one_of("bound", bound, ("clip", "tanh", "none"))  # linear bounds f's argument alone
    checks.few("degree", degree, 1)
    checks.between("w_decay", w_decay, 0, 1)
    terms = len(exponents(degree))
    bounded = drift.BOUNDS[bound](clip)(lambda x: x)
    fires = firing(**fields)

    def init(key):
        del key  # the initialisation is LIF, whatever the key
        return {
            "theta": jnp.zeros(terms, jnp.float32).at[0].set(decay - 1),
            "w_decay": jnp.float32(w_decay),
            "w_gain": jnp.float32(w_gain),
        }

    def integrate(params, state, current):
        v, w = state
        theta = params["theta"]
        if theta.shape[:1] != (terms,):
            raise ValueError(f"theta must have {terms} entries, got shape {theta.shape}")
        u = bounded(v)
        f = polynomial_of_two(theta, u, bounded(w), degree)
        return v + f + current, params["w_decay"] * w + params["w_gain"] * u

    def fire(params, state, seen=None):
        v_in, w = state
        v, spikes = fires.fire(params, v_in, seen)
        return (v, w), spikes

    return two_phase(
        init,
        _two_variables(fires),
        integrate,
        fire,
        drift=drift.Drift(  # of u where w is 0, as at the start
            init,
            lambda params, u: polynomial_of_two(params["theta"], bounded(u), 0 * u, degree),
            bounded=bounded,
            limit=clip if bound == "clip" else None,
        ),
        threshold=fires.threshold,
        macs=terms + 2,
        reads=fires.reads,
    )


@factory
def if_(**fields: Unpack[FiringFields]) -> Neuron:
    """Integrate-and-fire: v_in = v + I (Abbott 1999, after Lapicque). Nothing is learned."""
    return integrate_and_fire(drift.zero(), firing(**fields))


@factory
def lif(*, decay: float = 0.25, **fields: Unpack[FiringFields]) -> Neuron:
    """Leaky integrate-and-fire: v_in = decay v + I (Algorithm 2). Nothing is learned.

    Args:
      decay: share of the potential kept per timestep; 1 is a perfect integrator.
      **fields: see `FiringFields`.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    return integrate_and_fire(drift.line(decay), firing(**fields))


@factory
def plif(
    *, decay: float = 0.25, decay_input: bool = True, **fields: Unpack[FiringFields]
) -> Neuron:
    """Parametric LIF: v_in = v + a (I - v), a = s(w) learned (Fang et al. 2021).

    Args:
      decay: 1 - a at initialisation, the share of the potential kept; strictly inside (0, 1).
      decay_input: whether a scales the current too, as published; False is v_in = v - a v + I.
      **fields: see `FiringFields`.
    Returns: a `Neuron` with params {"w": ()}, s the logistic function.
    """
    f, rate = drift.parametric_line(decay, decay_input=decay_input)
    return integrate_and_fire(f, firing(**fields), gain=rate if decay_input else None)


@factory
def qif(
    *, a_0: float = 0.75, v_c: float = 0.25, clip: float = 1.0, **fields: Unpack[FiringFields]
) -> Neuron:
    """Quadratic integrate-and-fire, see `drift.quadratic`. Nothing is learned.

    The defaults keep a potential that is left alone below v_c from reaching the threshold, and
    one above from staying below it.
    """
    return integrate_and_fire(drift.quadratic(a_0=a_0, v_c=v_c, limit=clip), firing(**fields))


@factory
def eif(
    *,
    decay: float = 0.25,
    delta_t: float = 0.1,
    v_t: float = 0.2,
    clip: float = 1.0,
    **fields: Unpack[FiringFields],
) -> Neuron:
    """Exponential integrate-and-fire, see `drift.exponential`. Nothing is learned."""
    f = drift.exponential(decay=decay, delta_t=delta_t, v_t=v_t, limit=clip)
    return integrate_and_fire(f, firing(**fields))


@factory
def adex(
    *,
    decay: float = 0.25,
    delta_t: float = 0.1,
    v_t: float = 0.2,
    a: float = 0.05,
    b: float = 0.1,
    tau_w: float = 5.0,
    clip: float = 1.0,
    **fields: Unpack[FiringFields],
) -> Neuron:
    """Adaptive exponential integrate-and-fire, with a current w (Brette, Gerstner 2005).

        v_in = v + f(v) - w + I,    w' = w + (a v - w) / tau_w + b z

    Args:
      decay, delta_t, v_t, clip: of f, see `drift.exponential`.
      a: subthreshold adaptation, current per potential.
      b: jump of w at a spike, in units of the current.
      tau_w: time constant of w, in timesteps, >= 1.
      **fields: see `FiringFields`.
    Returns: a `Neuron` of state (v, w). Nothing is learned.
    """
    if not tau_w >= 1:
        raise ValueError(f"tau_w must be >= 1 timestep, got {tau_w}")
    f, fires = (
        drift.exponential(decay=decay, delta_t=delta_t, v_t=v_t, limit=clip),
        firing(**fields),
    )

    def integrate(params, state, current):
        v, w = state
        return v + f.apply(params, v) - w + current, w + (a * v - w) / tau_w

    def fire(params, state, seen=None):
        v_in, w = state
        v, spikes = fires.fire(params, v_in, seen)
        return (v, w + b * fires.gate(spikes)), spikes

    return two_phase(
        f.init,
        _two_variables(fires),
        integrate,
        fire,
        drift=f,
        threshold=fires.threshold,
        macs=f.macs + 2,
        reads=fires.reads,
    )


NEURONS = {
    "lnm": lnm,
    "lnm_two_variable": lnm_two_variable,
    "if": if_,
    "lif": lif,
    "plif": plif,
    "qif": qif,
    "eif": eif,
    "adex": adex,
    **comparators.NEURONS,  # published methods to compare with (docs/comparators.md)
}


def fields(kind: str) -> set[str]:
    """Names of the keyword arguments that the factory of that kind takes."""
    return set(arguments(checks.find("kind", kind, NEURONS)))


def build(kind: str, **given: Any) -> Neuron | Parallel:
    """The neuron of that kind, from one set of fields for all kinds.

    A field that the kind does not have (degree, for a LIF) is not used, so that a baseline
    differs from a learned neuron in `kind` alone.

    Args:
      kind: of `NEURONS`, or the import path of anybody's own factory, "package.module:function":
        keyword arguments in, a `Neuron` or `Parallel` out.
      given: keyword arguments of any kind.
    Raises: ValueError for an unknown kind, a field that no kind has, or a value not allowed.
    """
    make = checks.find("kind", kind, NEURONS)
    own = set(arguments(make))
    known = sorted(own.union(*map(fields, NEURONS)))
    for name in given:
        checks.one_of("neuron field", name, known)
    return make(**{name: value for name, value in given.items() if name in own})
