"""Spike functions: the Heaviside step forward, a surrogate derivative backward (Eq. 5 and 8).

Each is `spike(x, width=1.0)` with x = v_in - threshold, forward 1 where x >= 0, and each
derivative has area 1 for every width, so that width alone trades height for reach. Dspike's
width may be a pair, width and temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Spike = Callable  # spikes = spike(x, width), elementwise

DSPIKE_TEMPERATURE = 2.5  # per width
LOCALZO_SAMPLES = 5  # of the direction, for each neuron and timestep


def heaviside(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 where x >= 0, else 0, in x's dtype (Eq. 5 with x = v_in - threshold); NaN stays NaN.

    A comparison alone would make no spike of it, and a plausible class of the whole network.
    """
    return jnp.where(jnp.isnan(x), x, (x >= 0).astype(x.dtype))


def with_derivative(derivative: Callable) -> Spike:
    """A Heaviside function whose derivative is taken to be `derivative(x, width)`.

    Args:
      derivative: elementwise in x; width is a positive scalar, or broadcasts against x, or a
        tuple of such.
    Returns: `spike(x, width=1.0)`, a `jax.custom_vjp`. No gradient reaches width: it is in the
      backward pass alone.
    """

    @jax.custom_vjp
    def spike(x, width):
        return heaviside(x)

    # The forward rule repeats heaviside instead of calling spike: kernels that trace this
    # rule can lower a comparison, but not a nested custom_vjp.
    def forward(x, width):
        return heaviside(x), (x, width)

    def backward(saved, g):
        x, width = saved
        with jax.numpy_rank_promotion("allow"):  # a channel's width, also for users who forbid it
            slope = derivative(x, width)
        return g * slope, jax.tree.map(jnp.zeros_like, width)

    spike.defvjp(forward, backward)
    return lambda x, width=1.0: spike(x, jax.tree.map(lambda w: jnp.asarray(w, x.dtype), width))


def _rectangle(x, width):
    """1/width on the open window |x| < width/2 (Eq. 8; Wu et al. 2018). Width is alpha."""
    return jnp.where(jnp.abs(x) < width / 2, 1 / width, 0)


def _triangle(x, width):
    """max(0, width - |x|) / width**2 (Bellec et al. 2018; Deng et al. 2022). Width is gamma.

    The paper's window [-0.5, 0.5] is width 0.5. Its primitive is piecewise quadratic: x**2 / 2
    pieces that meet at 0 and +-width.
    """
    return jnp.maximum(0, width - jnp.abs(x)) / (width * width)


def _sigmoid(x, width):
    """s(x / width) (1 - s(x / width)) / width, s the logistic function (Zenke, Vogels 2021)."""
    s = jax.nn.sigmoid(x / width)
    return s * (1 - s) / width


def _arctan(x, width):
    """1 / (2 width (1 + (pi x / (2 width))**2)) (Fang et al. 2021: alpha = 1 / width)."""
    scaled = (jnp.pi / 2) * x / width
    return 0.5 / (width * (1 + scaled * scaled))


def _fast_sigmoid(x, width):
    """1 / (2 width (1 + |x| / width)**2): SuperSpike (Zenke, Ganguli 2018), beta = 1 / width.

    SuperSpike itself leaves out the factor 1 / (2 width), which makes its area 2 width.
    """
    scaled = 1 + jnp.abs(x) / width
    return 0.5 / (width * scaled * scaled)


def _dspike(x, width):
    """b sech(b x / width)**2 / (2 width tanh(b)) where |x| <= width (Li et al. 2021).

    The temperature b is 2.5 unless width is a pair (width, b). At width 1 that is the centred
    Dspike that Deng et al. (2023) train with. Another form, of potentials in [0, 1] with
    temperature 3, is centred on 0.5 and has another ratio of temperature to reach.
    """
    width, b = width if isinstance(width, tuple) else (width, x.dtype.type(DSPIKE_TEMPERATURE))
    slope = jnp.tanh(b * x / width)
    height = b / (2 * jnp.tanh(b))
    return jnp.where(jnp.abs(x) <= width, height * (1 - slope * slope) / width, 0)


def _gaussian(x, width):
    """exp(-(x / width)**2 / 2) / (width sqrt(2 pi)): the normal density, width its deviation.

    It is the expectation of LocalZO's random derivative (Mukhoty et al. 2023), whose delta is
    the width; published 0.5.
    """
    scaled = x / width
    return jnp.exp(-0.5 * scaled * scaled) / (width * math.sqrt(2 * math.pi))


def _scrambled(bits):
    """Uniform 32 bits for any different 32 bits (the finaliser of MurmurHash3)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits ^ (bits >> 16)


def _uniform(bits):
    """A number in (0, 1) from 32 uniform bits: 23 of them and a half are exact in float32."""
    return ((bits >> 9).astype(jnp.int32).astype(jnp.float32) + 0.5) / 2.0**23


def _localzo(x, width):
    """mean_j (|x| < width |r_j|) |r_j| / (2 width) over 5 normal draws r_j (Mukhoty et al. 2023).

    Width is their delta, published 0.5; the mean over r_j is `gaussian`. They draw anew for
    each neuron and timestep. So that a step stays a pure function, the draws here are a hash of
    x's bits: as good as independent for potentials that differ, the same for equal ones. Rounding
    changes them, so backends agree in distribution alone.
    """
    bits = _scrambled(jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32))

    def add(number, total):
        # Quantiles, since XLA's sine and cosine are slow on CPUs.
        hashed = _scrambled(bits + (number + 1).astype(jnp.uint32) * jnp.uint32(0x9E3779B9))
        r = (math.sqrt(2) * jax.lax.erf_inv(_uniform(hashed))).astype(x.dtype)
        return total + jnp.where(jnp.abs(x) < width * r, r, 0)

    # A loop, because XLA would compute the draws anew for each use of the derivative.
    total = jax.lax.fori_loop(0, LOCALZO_SAMPLES, add, jnp.zeros_like(x))
    return total / (2 * LOCALZO_SAMPLES * width)


rectangle = with_derivative(_rectangle)
triangle = with_derivative(_triangle)
sigmoid = with_derivative(_sigmoid)
arctan = with_derivative(_arctan)
fast_sigmoid = with_derivative(_fast_sigmoid)
dspike = with_derivative(_dspike)
gaussian = with_derivative(_gaussian)
localzo = with_derivative(_localzo)

SURROGATES = {
    "rectangle": rectangle,
    "triangle": triangle,
    "sigmoid": sigmoid,
    "arctan": arctan,
    "fast_sigmoid": fast_sigmoid,
    # The derivative of a piecewise quadratic is the triangle: one function, two names.
    "piecewise_quadratic": triangle,
    "dspike": dspike,
    "gaussian": gaussian,
    "localzo": localzo,
}
