"""Every neuron with every option that changes its equations; tests run over this table."""

import functools
import itertools

import jax
import jax.numpy as jnp

from lnm_jax import neurons

FAMILIES = [{"family": family} for family in neurons.FAMILIES]
BOUNDS = [{"bound": bound} for bound in neurons.BOUNDS]
# Neurons whose spikes are not 0 or 1 alone.
GRADED = {
    "ternary": {"kind": "ternary"},
    "ternary-amplitude": {"kind": "ternary", "learn_amplitude": True},
    "ts_lif": {"kind": "ts_lif"},
}
PARALLEL = ("psn", "masked_psn", "sliding_psn")  # no step; tests/test_comparators.py
# Keyword arguments of neurons.build, by a name for the test's report.
VARIANTS = {
    **{kind: {"kind": kind} for kind in neurons.NEURONS if kind not in (*GRADED, *PARALLEL)},
    "lnm-chebyshev": {"kind": "lnm", "family": "chebyshev"},
    **{
        f"lnm-{bound}": {"kind": "lnm", "bound": bound}
        for bound in neurons.BOUNDS
        if bound != "clip"
    },
    "lnm-mlp": {"kind": "lnm", "family": "mlp", "hidden": 2},  # few units compile fast
    "lnm-spline": {"kind": "lnm", "family": "spline", "knots": 4},
    "lnm-fold": {"kind": "lnm", "update": "fold"},
    "lnm-degree-1": {"kind": "lnm", "degree": 1},
    "lnm-degree-8": {"kind": "lnm", "degree": 8},
    "plif-current-unscaled": {"kind": "plif", "decay_input": False},
}
RESETS = [
    {"reset": reset, "gate_gradient": gate}
    for reset, gate in itertools.product(neurons.RESETS, (False, True))
]
# Learnable neurons that are LIF at the start, bit for bit inside the bound.
LIF_AT_START = [
    {"kind": "lnm", **family, **bound}
    for family, bound in itertools.product(FAMILIES, BOUNDS)
    if bound["bound"] != "tanh"  # tanh changes the argument everywhere
] + [{"kind": "lnm_two_variable"}, {"kind": "lnm", "update": "fold"}]


def jitted(function, **fixed):
    """The function compiled as one program, with these keyword arguments: op by op is slower."""
    return jax.jit(functools.partial(function, **fixed))


def trained(neuron, seed=0):
    """Parameters some way from the initial ones, as training leaves them."""
    params = neuron.init(jax.random.key(seed))
    keys = jax.random.split(jax.random.key(seed + 1), max(1, len(jax.tree.leaves(params))))
    noise = iter(keys)
    return jax.tree.map(
        lambda x: x + 0.15 * jax.random.normal(next(noise), x.shape, x.dtype), params
    )


def after_each(neuron, params, currents):
    """(states after each timestep, spikes), from what `neurons.trace` has of each beginning."""
    trace = neurons.trace(neuron, params, currents)
    states = jax.tree.map(
        lambda before, last: jnp.concatenate([before[1:], last[None]]), trace.before, trace.state
    )
    return states, trace.spikes
