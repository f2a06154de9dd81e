"""A spiking layer's neuron as plain numbers and arrays, for readers without JAX."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import neurons
from lnm_jax.errors import ConfigError

ENTRIES = 256  # of the look-up table: one byte addresses them
ONE_VARIABLE = ("lnm", "if", "lif", "plif", "qif", "eif")


def describe(fields: Mapping, params: Mapping) -> tuple[dict, dict[str, np.ndarray]]:
    """What one layer's neuron is: (facts, arrays), f with f(0) = 0 as one of four drifts.

    "polynomial" (theta of u, u**2, ...; also of LIF, PLIF, QIF and Chebyshev neurons), "spline"
    (theta as `neurons.drift.spline` has it), "mlp" (leak, in, bias, out) and "exponential"
    (leak, delta_t, v_t). Arrays end in an axis of channels if the parameters do. "table" is f at
    256 evenly spaced potentials: over the bound, or, where f has none, up to two thresholds.

    Args:
      fields: of `config.neuron`.
      params: of the layer, numbers as trained.
    Raises: ConfigError for a neuron of more than one variable.
    """
    kind = fields["kind"]
    if kind not in ONE_VARIABLE:
        raise ConfigError(
            f"config.neuron.kind {kind} can't be exported: only neurons of one variable can "
            f"({', '.join(ONE_VARIABLE)})"
        )
    learned = kind == "lnm"
    bounds = {"lnm": fields["bound"], "qif": "clip", "eif": "clip"}
    facts = {
        "drift": "polynomial",
        "bound": bounds.get(kind, "none"),
        "limit": float(fields["clip"]),
        "update": fields["update"] if learned else "sum",
        "threshold": float(fields["threshold"]),
        "reset": fields["reset"],
        "v_reset": float(fields["v_reset"]),
    }
    arrays, own = _drift(kind, fields, {name: np.asarray(x) for name, x in params.items()})
    facts |= own
    if facts["bound"] == "linear":
        arrays["slopes"] = _slopes(fields, params)
    arrays["table"], facts["table"] = _table(fields, params, facts)
    return facts, {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def _drift(kind, fields, params) -> tuple[dict, dict]:
    """Arrays and facts of f itself."""
    leak = 1 - fields["decay"]
    if kind == "if":
        return {"theta": np.zeros(1)}, {}
    if kind == "lif":
        return {"theta": np.array([-leak])}, {}
    if kind == "qif":
        return {"theta": np.array([-fields["a_0"] * fields["v_c"], fields["a_0"]])}, {}
    if kind == "eif":
        own = {"leak": leak, "delta_t": fields["delta_t"], "v_t": fields["v_t"]}
        return {}, {"drift": "exponential"} | own
    if kind == "plif":
        rate = np.asarray(jax.nn.sigmoid(params["w"]))
        return {"theta": -rate[None]} | ({"gain": rate} if fields["decay_input"] else {}), {}
    if fields["family"] == "mlp":
        return params, {"drift": "mlp", "leak": leak}
    if fields["family"] == "spline":
        return params, {"drift": "spline"}
    if fields["family"] == "chebyshev":
        return {"theta": _powers(params["theta"], fields["clip"])}, {}
    return params, {}


def _powers(theta: np.ndarray, limit: float) -> np.ndarray:
    """Coefficients of u, u**2, ... for those of Chebyshev polynomials of u / limit."""
    matrix = np.zeros((len(theta), len(theta)))
    for k in range(len(theta)):
        unit = np.zeros(k + 2)
        unit[-1] = 1
        matrix[: k + 1, k] = np.polynomial.chebyshev.cheb2poly(unit)[1:]
    scale = float(limit) ** -np.arange(1, len(theta) + 1)
    return np.einsum("j,jk,k...->j...", scale, matrix, theta.astype(float))


def _slopes(fields, params) -> np.ndarray:
    """f' at -limit and limit, with which the linear bound goes on."""
    own = ("degree", "knots", "hidden", "decay")
    chosen = {name: fields[name] for name in own}
    drift = neurons.FAMILIES[fields["family"]](
        neurons.BOUNDS["none"](), limit=fields["clip"], **chosen
    )

    def slope(u):
        u = jnp.full(_channels(fields, params), u, jnp.float32)
        return jax.jvp(lambda u: drift.apply(params, u), (u,), (jnp.ones_like(u),))[1]

    return np.stack([slope(-fields["clip"]), slope(fields["clip"])])


def _table(fields, params, facts) -> tuple[np.ndarray, dict]:
    """f at `ENTRIES` potentials, and where they are."""
    wide = max(1.0, 2 * facts["threshold"])
    limit = {"clip": facts["limit"], "linear": 2 * facts["limit"], "tanh": 3.0}
    high = limit.get(facts["bound"], wide)
    u = np.linspace(-high, high, ENTRIES, dtype=np.float32)
    channels = _channels(fields, params)
    neuron = neurons.build(**fields)
    u = np.broadcast_to(u.reshape(-1, *(1,) * len(channels)), (ENTRIES, *channels))
    values = np.asarray(neurons.drift_of(neuron, params, u))
    return values, {"low": -high, "high": high, "entries": ENTRIES}


def _channels(fields, params) -> tuple[int, ...]:
    """(C,) if every channel has parameters of its own, else ()."""
    own = jax.tree.leaves(jax.eval_shape(neurons.build(**fields).init, jax.random.key(0)))
    leaves = jax.tree.leaves(params)
    return leaves[0].shape[own[0].ndim :] if own else ()
