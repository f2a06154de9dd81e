"""f(u), the subthreshold dynamics of Eq. 1: learned families (4.2.1), and the literature's.

Each has f(0) = 0; learned ones are the LIF line at the start. Parameters lie along leading axes
and are used one scalar at a time, so that a leaf may carry a trailing channel axis that broadcasts
against u. The argument of f is bounded (Table 5), the carried membrane potential is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from lnm_jax import checks

EXPONENTIAL = 5  # MACs of exp: a polynomial of degree 5, after the exponent's bits are split off
Bound = Callable  # bounded_f = bound(f)


def _identity(u):
    return u


class Drift(NamedTuple):
    """The subthreshold dynamics f(u) as pure functions, with f(0) = 0, and what is known of it.

    Attributes:
      init: `init(key) -> params`.
      apply: `apply(params, u) -> f(u)`, elementwise, per timestep.
      bounded: what f sees of a potential.
      limit: beyond +-limit f is continued by a constant or a tangent; None if it is not.
      describe: `describe(params) -> (facts, arrays)`, f as plain numbers: one of "polynomial"
        (theta of u, u**2, ...), "spline" (theta as in `spline`), "mlp" (leak, in, bias, out) and
        "exponential" (leak, delta_t, v_t), its bound and the current's gain. None if it is none.
      macs: multiply-accumulates of the update v + f(v) + I; None if not counted.
    """

    init: Callable[[PRNGKeyArray], Any]
    apply: Callable[[Any, Float[Array, "..."]], Float[Array, "..."]]
    bounded: Callable = _identity
    limit: float | None = None
    describe: Callable | None = None
    macs: int | None = None


# Bounds: functions of f, `bound(f)` is f with its argument bounded.


def _clipped(v, limit):
    """v in [-limit, limit]; the derivative is 1 there, ends included, and 0 beyond.

    `jnp.clip` divides to share the gradient at the very ends, which every neuron would pay for.
    """
    return jnp.where(v > limit, limit, jnp.where(v < -limit, -limit, v))


def clip(limit: float = 1.0) -> Bound:
    """f(min(max(v, -limit), limit)): the paper's bound, with limit 1.

    Raises: ValueError if limit <= 0.
    """
    checks.positive("clip", limit)
    return lambda f: lambda v: f(_clipped(v, limit))


def tanh(limit: float = 1.0) -> Bound:
    """f(tanh(v)), whatever the limit (Table 5, first row)."""
    del limit
    return lambda f: lambda v: f(jnp.tanh(v))


def tangent(limit: float = 1.0) -> Bound:
    """f inside [-limit, limit], its tangent at the end beyond: C1, and injective where f is.

    Values beyond the interval stay distinguishable, which clip's do not (the paper's section 6).

    Raises: ValueError if limit <= 0.
    """
    checks.positive("clip", limit)

    def bound(f):
        def continued(v):
            u = _clipped(v, limit)
            value, beyond = jax.jvp(f, (u,), (v - u,))  # f(u) and f'(u) (v - u), 0 inside
            return value + beyond

        return continued

    return bound


def unbounded(limit: float = 1.0) -> Bound:
    """f itself: potentials may grow without bound."""
    del limit
    return lambda f: f


BOUNDS = {"clip": clip, "tanh": tanh, "linear": tangent, "none": unbounded}


# Learned families.


def polynomial(theta: Float[Array, " N"], u: Float[Array, "..."]) -> Float[Array, "..."]:
    """Drift f(u) = sum_k theta_k u**k, k = 1..N, by Horner's rule (Eq. 11 and 15, f(0) = 0).

    Args:
      theta: (N,) coefficients of u, u**2, ..., per timestep.
      u: bounded membrane potential, in units of the input current.
    Returns: f(u), shaped like u.
    Raises: ValueError if N == 0.
    """
    if theta.ndim == 0 or theta.shape[0] == 0:
        raise ValueError(f"polynomial needs theta of shape (N,), N >= 1, got shape {theta.shape}")
    f = theta[-1]
    for k in reversed(range(theta.shape[0] - 1)):  # N is static: this unrolls
        f = f * u + theta[k]
    return f * u


def chebyshev(
    theta: Float[Array, " N"], u: Float[Array, "..."], limit: float = 1.0
) -> Float[Array, "..."]:
    """Drift f(u) = sum_k theta_k (T_k(u / limit) - T_k(0)), k = 1..N, by Clenshaw's recurrence.

    Args:
      theta: (N,) coefficients of T_1 .. T_N, per timestep (Hale 2015).
      u: potential in [-limit, limit], the interval that the polynomials are scaled to.
    Returns: f(u), shaped like u.
    """

    def clenshaw(x):
        b1, b2 = jnp.zeros_like(x), jnp.zeros_like(x)
        for k in reversed(range(theta.shape[0])):
            b1, b2 = theta[k] + 2 * x * b1 - b2, b1
        return x * b1 - b2

    # At 0 every product is exactly 0, so that the difference is exactly 0 there.
    return clenshaw(u / limit) - clenshaw(jnp.zeros((), u.dtype))


def spline(
    theta: Float[Array, " K"], u: Float[Array, "..."], limit: float = 1.0
) -> Float[Array, "..."]:
    """Cubic spline f(u) with uniform knots over [-limit, limit], C2, f(0) = 0 exactly.

    A cubic around 0, and at each inner knot x_j a cube that starts there and grows outward:
    theta_1 u + theta_2 u**2 + theta_3 u**3 + sum_j theta_j max(0, +-(u - x_j))**3. All cubic
    splines on these knots with f(0) = 0 are of this form (truncated powers, Schumaker 2007), and
    none of it needs a table look-up.

    Args:
      theta: (knots + 1,): the cubic's coefficients, then the inner knots' from left to right.
      u: potential.
      limit: of the interval, outside of which the last piece goes on.
    Returns: f(u), shaped like u.
    """
    inner = theta.shape[0] - 3
    f = polynomial(theta[:3], u) if inner else polynomial(theta, u)
    for j in range(inner):
        knot = -limit + 2 * limit * (j + 1) / (inner + 1)
        cube = jnp.maximum(u - knot if knot >= 0 else knot - u, 0)
        f = f + theta[3 + j] * cube * cube * cube
    return f


def mlp(params: dict, u: Float[Array, "..."]) -> Float[Array, "..."]:
    """g(u) = sum_k out_k (a(in_k u + bias_k) - a(bias_k)), a(x) = x / (1 + |x|), k = 1..hidden.

    Softsign, as its value at 0 is the same to the bit in every vector width: g(0) = 0 exactly.

    Args:
      params: "in", "bias" and "out", (hidden,) each.
      u: potential.
    Returns: g(u), shaped like u.
    """
    soft_sign = jax.nn.soft_sign
    weights = zip(params["in"], params["bias"], params["out"], strict=True)
    return sum(out * (soft_sign(w * u + b) - soft_sign(b)) for w, b, out in weights)


def _of(params, name: str, length: int):
    """The leaf of that name, which must have `length` entries."""
    leaf = params[name]
    if leaf.shape[:1] != (length,):
        raise ValueError(f"{name} must have {length} entries, got shape {leaf.shape}")
    return leaf


def _first(slope: float, length: int) -> Callable:
    """init of theta, `length` coefficients: the slope, and 0."""
    return lambda key: {"theta": jnp.zeros(length, jnp.float32).at[0].set(slope)}


# A family's factory takes limit, degree, knots, hidden and decay, of which it uses its own, and
# returns a `Drift` without bound; its macs are those of Horner's rule, or as noted.


def _polynomial(*, degree: int, decay: float, **_) -> Drift:
    checks.few("degree", degree, 1)
    return Drift(
        _first(decay - 1, degree),
        lambda params, u: polynomial(_of(params, "theta", degree), u),
        describe=lambda params: ({"drift": "polynomial"}, {"theta": params["theta"]}),
        macs=degree,
    )


def _chebyshev(*, limit: float, degree: int, decay: float, **_) -> Drift:
    checks.few("degree", degree, 1)
    return Drift(
        _first((decay - 1) * limit, degree),
        lambda params, u: chebyshev(_of(params, "theta", degree), u, limit),
        describe=lambda params: (
            {"drift": "polynomial"},
            {"theta": _powers(np.asarray(params["theta"]), limit)},
        ),
        macs=degree,  # turned into powers once
    )


def _powers(theta: np.ndarray, limit: float) -> np.ndarray:
    """Coefficients of u, u**2, ... for those of Chebyshev polynomials of u / limit."""
    matrix = np.zeros((len(theta), len(theta)))
    for k in range(len(theta)):
        unit = np.zeros(k + 2)
        unit[-1] = 1
        matrix[: k + 1, k] = np.polynomial.chebyshev.cheb2poly(unit)[1:]
    scale = float(limit) ** -np.arange(1, len(theta) + 1)
    return np.einsum("j,jk,k...->j...", scale, matrix, theta.astype(float))


def _spline(*, limit: float, knots: int, decay: float, **_) -> Drift:
    checks.few("knots", knots, 2)
    return Drift(
        _first(decay - 1, knots + 1),
        lambda params, u: spline(_of(params, "theta", knots + 1), u, limit),
        describe=lambda params: ({"drift": "spline"}, {"theta": params["theta"]}),
        macs=3,  # one cubic, after its piece is looked up
    )


def _mlp(*, hidden: int, decay: float, **_) -> Drift:
    """The LIF line plus an `mlp` whose last layer starts at 0."""
    checks.few("hidden", hidden, 1)

    def init(key):
        in_key, bias_key = jax.random.split(key)
        return {
            "in": jax.random.normal(in_key, (hidden,), jnp.float32) * math.sqrt(2),
            "bias": jax.random.uniform(bias_key, (hidden,), jnp.float32, -1, 1),
            "out": jnp.zeros(hidden, jnp.float32),
        }

    def apply(params, u):
        weights = {name: _of(params, name, hidden) for name in ("in", "bias", "out")}
        return (decay - 1) * u + mlp(weights, u)

    return Drift(
        init,
        apply,
        describe=lambda params: ({"drift": "mlp", "leak": 1 - decay}, dict(params)),
        macs=1 + 3 * hidden,  # a softsign unit is in, out and a division
    )


FAMILIES = {"polynomial": _polynomial, "chebyshev": _chebyshev, "spline": _spline, "mlp": _mlp}


def learned(
    family: str,
    bound: str,
    *,
    limit: float,
    degree: int = 3,
    knots: int = 7,
    hidden: int = 4,
    decay: float = 0.25,
) -> Drift:
    """A learned f of a bounded potential, started as the LIF line (decay - 1) u.

    Args:
      family: name in `FAMILIES`.
      bound: name in `BOUNDS`.
      limit: of the bound, and the interval of Chebyshev polynomials and spline knots.
      degree: N of the polynomial or Chebyshev family, >= 1.
      knots: of the spline, ends included, >= 2.
      hidden: width of the MLP, >= 1.
      decay: share of the potential kept per timestep at initialisation.
    Raises: ValueError naming the argument, its value and what is allowed.
    """
    checks.one_of("family", family, FAMILIES)
    checks.one_of("bound", bound, BOUNDS)
    checks.between("decay", decay, 0, 1)
    bounded = BOUNDS[bound](limit)
    free = FAMILIES[family](limit=limit, degree=degree, knots=knots, hidden=hidden, decay=decay)

    def slope(params, u):
        """f' at u, of every channel."""
        shape = jax.eval_shape(free.apply, params, jnp.float32(u)).shape
        u = jnp.full(shape, u, jnp.float32)
        return jax.jvp(lambda u: free.apply(params, u), (u,), (jnp.ones_like(u),))[1]

    def describe(params):
        facts, arrays = free.describe(params)
        if bound == "linear":  # with which it goes on
            arrays["slopes"] = jnp.stack([slope(params, -limit), slope(params, limit)])
        return facts | {"bound": bound, "limit": float(limit)}, arrays

    return free._replace(
        apply=lambda params, u: bounded(lambda u: free.apply(params, u))(u),
        bounded=bounded(_identity),
        limit=limit if bound in ("clip", "linear") else None,
        describe=describe,
    )


# Fixed drifts of the literature (Gerstner et al. 2014). QIF's and EIF's arguments are clipped to
# [-limit, limit], so that nothing can overflow. Above the threshold, which is inside, a neuron has
# spiked and been reset, so that the clip takes nothing from its dynamics; below, it stops the
# Euler step from leaping over the threshold.


def _fixed(f: Callable, facts: dict, arrays: dict, *, macs: int, limit: float | None = None):
    """A `Drift` without parameters, clipped if it has a limit."""
    bound = unbounded() if limit is None else clip(limit)
    own = {"bound": "none"} if limit is None else {"bound": "clip", "limit": float(limit)}
    return Drift(
        lambda key: {},
        lambda params, u: bound(f)(u),
        bounded=bound(_identity),
        limit=limit,
        describe=lambda params: (
            {"drift": "polynomial", **facts, **own},
            {name: np.array(values) for name, values in arrays.items()},
        ),
        macs=macs,
    )


def zero() -> Drift:
    """f = 0: the perfect integrator of IF."""
    return _fixed(jnp.zeros_like, {}, {"theta": [0.0]}, macs=0)


def line(decay: float) -> Drift:
    """The LIF line f(u) = -(1 - decay) u (Algorithm 2).

    Args:
      decay: share of the potential kept per timestep.
    """
    checks.between("decay", decay, 0, 1)
    slope = decay - 1
    return _fixed(lambda u: slope * u, {}, {"theta": [slope]}, macs=1)


def quadratic(*, a_0: float, v_c: float, limit: float) -> Drift:
    """QIF, f(u) = a_0 (u - v_rest)(u - v_c) with v_rest = 0 (Latham et al. 2000).

    Args:
      a_0: curvature, per timestep and unit of potential, > 0.
      v_c: critical potential, above which f drives u to the threshold.
      limit: of the clip on u.
    """
    checks.positive("a_0", a_0)
    checks.positive("v_c", v_c)
    return _fixed(
        lambda u: a_0 * u * (u - v_c), {}, {"theta": [-a_0 * v_c, a_0]}, macs=2, limit=limit
    )


def exponential(*, decay: float, delta_t: float, v_t: float, limit: float) -> Drift:
    """EIF, f(u) = (1 - decay)(-u + delta_t (exp((u - v_t) / delta_t) - exp(-v_t / delta_t))).

    Fourcaud-Trocme et al. (2003), less its value at 0, so that the rest is at 0.

    Args:
      decay: share of the potential kept per timestep far below v_t.
      delta_t: sharpness of the spike's onset, in units of the potential.
      v_t: rheobase threshold, where the slope of the leak and of the onset cancel.
      limit: of the clip on u; exp((limit - v_t) / delta_t) must be a finite float32.
    """
    checks.between("decay", decay, 0, 1)
    checks.positive("delta_t", delta_t)
    if (limit - v_t) / delta_t > 80 or -v_t / delta_t > 80:
        raise ValueError(f"delta_t must be > {max(limit - v_t, -v_t) / 80:.3g}, got {delta_t}")
    rest = math.exp(-v_t / delta_t)

    def f(u):
        return (1 - decay) * (delta_t * rest * jnp.expm1(u / delta_t) - u)

    facts = {"drift": "exponential", "leak": 1 - decay, "delta_t": delta_t, "v_t": v_t}
    return _fixed(f, facts, {}, macs=2 + EXPONENTIAL, limit=limit)


def parametric_line(decay: float, *, decay_input: bool) -> tuple[Drift, Callable]:
    """PLIF's f(u) = -a u, a = s(w) learned (Fang et al. 2021), and a as a function of params.

    Args:
      decay: 1 - a at initialisation; strictly inside (0, 1).
      decay_input: whether a is the current's gain as well, which `Drift.describe` says.
    """
    traced = checks.traced(decay)
    if not (traced or 0 < decay < 1):
        raise ValueError(f"decay must be > 0 and < 1, got {decay}")
    start = (jnp if traced else math).log((1 - decay) / decay)

    def rate(params):
        return jax.nn.sigmoid(params["w"])

    def describe(params):
        a = np.asarray(rate(params))
        gain = {"gain": a} if decay_input else {}
        return {"drift": "polynomial", "bound": "none"}, {"theta": -a[None], **gain}

    f = Drift(
        lambda key: {"w": jnp.float32(start)},
        lambda params, u: -rate(params) * u,
        describe=describe,
        macs=1,
    )
    return f, rate
