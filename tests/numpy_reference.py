"""Float64 NumPy references, written from the formulas alone: drifts, derivatives, surrogates."""

import numpy as np
import scipy.special


def polynomial(theta, u):
    k = np.arange(1, len(theta) + 1)
    value = (theta * u[..., None] ** k).sum(-1)
    return value, (theta * k * u[..., None] ** (k - 1)).sum(-1)


def chebyshev(theta, u, limit):
    series = np.polynomial.Chebyshev([0, *theta], domain=(-limit, limit))
    return series(u) - series(0.0), series.deriv()(u)


def spline(theta, u, limit):
    """By scipy: the interpolating spline through values at the knots, with the same end slopes."""
    from scipy.interpolate import CubicSpline

    inner = len(theta) - 3
    knots = np.linspace(-limit, limit, inner + 2)
    value, slope = _truncated_powers(theta, knots, limit)
    ends = ((1, slope[0]), (1, slope[-1]))
    g = CubicSpline(knots, value, bc_type=ends)
    return g(u), g(u, 1)


def _truncated_powers(theta, x, limit):
    """Value and slope at x of the cubic and of the inner knots' outward cubes."""
    value, slope = polynomial(theta[:3], x)
    inner = np.linspace(-limit, limit, len(theta) - 1)[1:-1]
    for weight, knot in zip(theta[3:], inner, strict=True):
        side = 1.0 if knot >= 0 else -1.0
        reach = np.maximum(side * (x - knot), 0)
        value = value + weight * reach**3
        slope = slope + 3 * side * weight * reach**2
    return value, slope


def mlp(params, u):
    x = np.multiply.outer(u, params["in"]) + params["bias"]
    a = x / (1 + np.abs(x))
    rest = params["bias"] / (1 + np.abs(params["bias"]))
    slope = params["in"] / (1 + np.abs(x)) ** 2
    return ((a - rest) * params["out"]).sum(-1), (slope * params["out"]).sum(-1)


def quadratic(u, a_0, v_c):
    return a_0 * u * (u - v_c), a_0 * (2 * u - v_c)


def exponential(u, decay, delta_t, v_t):
    rise = np.exp((u - v_t) / delta_t)
    value = -u + delta_t * (rise - np.exp(-v_t / delta_t))
    return (1 - decay) * value, (1 - decay) * (rise - 1)


# Primitives of the surrogate derivatives: smooth steps from 0 to 1.
PRIMITIVES = {
    "rectangle": lambda x, w: np.clip(x / w + 0.5, 0, 1),
    "triangle": lambda x, w: np.where(
        x < 0, np.maximum(0, 1 + x / w) ** 2 / 2, 1 - np.maximum(0, 1 - x / w) ** 2 / 2
    ),
    "sigmoid": lambda x, w: scipy.special.expit(x / w),
    "arctan": lambda x, w: 0.5 + np.arctan(np.pi * x / (2 * w)) / np.pi,
    "fast_sigmoid": lambda x, w: 0.5 + 0.5 * (x / w) / (1 + np.abs(x) / w),
    "dspike": lambda x, w: 0.5 + 0.5 * np.tanh(2.5 * np.clip(x / w, -1, 1)) / np.tanh(2.5),
    "gaussian": lambda x, w: scipy.special.ndtr(x / w),
}
PRIMITIVES["piecewise_quadratic"] = PRIMITIVES["triangle"]
