"""Neuron factories: plain keyword arguments in, a `Neuron` out."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from lnm_jax.neurons import bounding, checks, drift, fixed, two_variable
from lnm_jax.neurons.clif import clif
from lnm_jax.neurons.diet import diet
from lnm_jax.neurons.firing import FiringFields, firing
from lnm_jax.neurons.glif import glif
from lnm_jax.neurons.lsg import lsg
from lnm_jax.neurons.neuron import Drift, Firing, Neuron, integrate_and_fire
from lnm_jax.neurons.psn import Parallel, masked_psn, psn, sliding_psn
from lnm_jax.neurons.tc_lif import tc_lif
from lnm_jax.neurons.ternary import ternary
from lnm_jax.neurons.ts_lif import ts_lif

if TYPE_CHECKING:
    from typing import Unpack


def _bound(name: str, limit: float) -> bounding.Bound:
    checks.one_of("bound", name, bounding.BOUNDS)
    return bounding.BOUNDS[name](limit)


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
    checks.one_of("family", family, drift.FAMILIES)
    checks.one_of("update", update, ("sum", "fold"))
    checks.between("decay", decay, 0, 1)
    bounded = _bound(bound, clip)
    f = drift.FAMILIES[family](
        bounded, limit=clip, degree=degree, knots=knots, hidden=hidden, decay=decay
    )
    return integrate_and_fire(f, firing(**fields), fold=bounded if update == "fold" else None)


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
    """Learnable neuron of two variables, see `two_variable.learned`; beyond the paper.

    Args: degree is the total one of f(u, w); w_decay and w_gain are where w's linear dynamics
      start; the others as in `lnm`.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.between("decay", decay, 0, 1)
    checks.one_of("bound", bound, ("clip", "tanh", "none"))  # linear bounds f's argument alone
    return two_variable.learned(
        firing(**fields),
        _bound(bound, clip),
        degree=degree,
        decay=decay,
        w_decay=w_decay,
        w_gain=w_gain,
    )


def if_(**fields: Unpack[FiringFields]) -> Neuron:
    """Integrate-and-fire: v_in = v + I (Abbott 1999, after Lapicque). Nothing is learned."""
    return integrate_and_fire(fixed.no_drift(), firing(**fields))


def lif(*, decay: float = 0.25, **fields: Unpack[FiringFields]) -> Neuron:
    """Leaky integrate-and-fire: v_in = decay v + I (Algorithm 2). Nothing is learned.

    Args:
      decay: share of the potential kept per timestep; 1 is a perfect integrator.
      **fields: see `FiringFields`.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    return integrate_and_fire(fixed.linear(decay), firing(**fields))


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
    if not 0 < decay < 1:
        raise ValueError(f"decay must be > 0 and < 1, got {decay}")
    start = math.log((1 - decay) / decay)

    def rate(params):
        return jax.nn.sigmoid(params["w"])

    f = Drift(lambda key: {"w": jnp.float32(start)}, lambda params, u: -rate(params) * u)
    return integrate_and_fire(f, firing(**fields), gain=rate if decay_input else None)


def qif(
    *, a_0: float = 0.75, v_c: float = 0.25, clip: float = 1.0, **fields: Unpack[FiringFields]
) -> Neuron:
    """Quadratic integrate-and-fire, see `fixed.quadratic`. Nothing is learned.

    The defaults keep a potential that is left alone below v_c from reaching the threshold, and
    one above from staying below it.
    """
    return integrate_and_fire(fixed.quadratic(a_0=a_0, v_c=v_c, limit=clip), firing(**fields))


def eif(
    *,
    decay: float = 0.25,
    delta_t: float = 0.1,
    v_t: float = 0.2,
    clip: float = 1.0,
    **fields: Unpack[FiringFields],
) -> Neuron:
    """Exponential integrate-and-fire, see `fixed.exponential`. Nothing is learned."""
    f = fixed.exponential(decay=decay, delta_t=delta_t, v_t=v_t, limit=clip)
    return integrate_and_fire(f, firing(**fields))


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
    """Adaptive exponential integrate-and-fire, see `two_variable.adaptive_exponential`."""
    f = fixed.exponential(decay=decay, delta_t=delta_t, v_t=v_t, limit=clip)
    return two_variable.adaptive_exponential(f, firing(**fields), a=a, b=b, tau_w=tau_w)


NEURONS = {
    "lnm": lnm,
    "lnm_two_variable": lnm_two_variable,
    "if": if_,
    "lif": lif,
    "plif": plif,
    "qif": qif,
    "eif": eif,
    "adex": adex,
    # Published methods to compare with (docs/comparators.md).
    "glif": glif,
    "clif": clif,
    "ternary": ternary,
    "diet": diet,
    "tc_lif": tc_lif,
    "ts_lif": ts_lif,
    "lsg": lsg,
    "psn": psn,
    "masked_psn": masked_psn,
    "sliding_psn": sliding_psn,
}


def fields(kind: str) -> set[str]:
    """Names of the keyword arguments that the factory of that kind takes."""
    parameters = inspect.signature(NEURONS[kind]).parameters.values()
    own = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    shared = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return own | (set(FiringFields.__annotations__) if shared else set())


def fires_by_fields(kind: str) -> bool:
    """Whether neurons of that kind spike and reset as `FiringFields` say, all of them."""
    return set(FiringFields.__annotations__) <= fields(kind)


def firing_of(**given: Any) -> Firing:
    """How a neuron that `build` makes of the same fields spikes and resets, see `fires_by_fields`.

    Neurons of other kinds fire in a way of their own.
    """
    own = FiringFields.__annotations__
    return firing(**{name: value for name, value in given.items() if name in own})


def build(kind: str, **given: Any) -> Neuron | Parallel:
    """The neuron of that kind, from one set of fields for all kinds.

    A field that the kind does not have (degree, for a LIF) is not used, so that a baseline
    differs from a learned neuron in `kind` alone.

    Raises: ValueError for an unknown kind, a field that no kind has, or a value not allowed.
    """
    checks.one_of("kind", kind, NEURONS)
    known = sorted(set().union(*map(fields, NEURONS)))
    for name in given:
        checks.one_of("neuron field", name, known)
    own = fields(kind)
    return NEURONS[kind](**{name: value for name, value in given.items() if name in own})
