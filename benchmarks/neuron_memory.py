"""Temporary memory of a spiking layer's gradient, as XLA's compiled memory analysis gives it.

alone: the gradient of one layer, arguments and results apart. in a chain: what one layer more
adds to a chain of layers with dense weights between them, as in a network; the currents and
the spikes, which the next weights' gradient needs, are 2 of it. Both in units of the currents.
"""

import functools

import jax
import jax.numpy as jnp

from lnm_jax import neurons

KINDS = ("lif", "lnm")


def _temporary(function, *shapes) -> int:
    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def _alone(run, params, currents):
    def gradient(params, currents, cotangent):
        spikes, pullback = jax.vjp(run, params, currents)
        return spikes, pullback(cotangent)

    return _temporary(gradient, params, currents, currents)


def _chain(run, params, currents, layers):
    def loss(params, weights, currents):
        for _ in range(layers):
            currents = run(params, currents) @ weights
        return (currents**2).sum()

    weights = jax.ShapeDtypeStruct((currents.shape[-1],) * 2, currents.dtype)
    return _temporary(jax.grad(loss, (0, 1, 2)), params, weights, currents)


def run(short: bool) -> list[dict]:
    """A row for each neuron and T: memory by backend, alone and in a chain."""
    rows = []
    for kind in KINDS:
        neuron = neurons.build(kind)
        params = jax.eval_shape(neuron.init, jax.random.key(0))
        for timesteps in (2,) if short else (1, 2, 4, 8, 16):
            shape = (timesteps, 2, 4, 4, 8) if short else (timesteps, 16, 32, 32, 64)
            currents = jax.ShapeDtypeStruct(shape, jnp.float32)
            row = {"neuron": kind, "T": timesteps}
            for backend in neurons.BACKENDS:
                over_time = functools.partial(neurons.run, neuron, backend=backend)
                size = 4 * currents.size
                row[f"{backend}, alone"] = _alone(over_time, params, currents) / size
                two, four = (_chain(over_time, params, currents, n) for n in (2, 4))
                row[f"{backend}, in a chain"] = (four - two) / 2 / size
            rows.append(row)
    return rows
