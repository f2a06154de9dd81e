"""Time of one spiking layer, forward and forward with backward, by neuron, T and backend.

Interleaved: every program runs once a round, and the median over rounds is given, with the
largest spread of any program (half the distance of its quartiles over its median).
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax import neurons

KINDS = ("lif", "lnm")


def run(short: bool) -> list[dict]:
    """A row for each T: milliseconds by neuron and backend, and LNM over LIF."""
    rows = []
    for timesteps in (1, 2) if short else (1, 2, 4, 8, 16):
        shape = (timesteps, 2, 4, 4, 8) if short else (timesteps, 16, 32, 32, 64)
        rng = np.random.default_rng(0)
        currents = jnp.asarray(rng.normal(0.2, 0.6, shape), jnp.float32)
        cotangent = jnp.asarray(rng.normal(size=shape), jnp.float32)
        programs = {}
        for kind in KINDS:
            neuron = neurons.build(kind)
            params = neuron.init(jax.random.key(0))
            for backend in neurons.BACKENDS:
                over_time = functools.partial(neurons.run, neuron, backend=backend)

                def both(params, currents, cotangent, over_time=over_time):
                    spikes, pullback = jax.vjp(over_time, params, currents)
                    return spikes, pullback(cotangent)

                compiled = jax.jit(both).lower(params, currents, cotangent).compile()
                programs[f"{kind} {backend}"] = functools.partial(
                    compiled, params, currents, cotangent
                )
            forward = jax.jit(functools.partial(neurons.run, neuron))
            programs[f"{kind} forward"] = functools.partial(
                forward.lower(params, currents).compile(), params, currents
            )
        seconds = {name: [] for name in programs}
        for _ in range(2 if short else 15):
            for name, program in programs.items():
                start = time.perf_counter()
                jax.block_until_ready(program())
                seconds[name].append(time.perf_counter() - start)
        medians = {name: float(np.median(values)) for name, values in seconds.items()}
        spreads = [
            (np.quantile(v, 0.75) - np.quantile(v, 0.25)) / 2 / np.median(v)
            for v in seconds.values()
        ]
        row = {"T": timesteps}
        row |= {f"{name}, ms": 1e3 * value for name, value in medians.items()}
        row["lnm/lif fused"] = medians["lnm fused"] / medians["lif fused"]
        row["lnm/lif forward"] = medians["lnm forward"] / medians["lif forward"]
        row["largest spread"] = float(max(spreads))
        rows.append(row)
    return rows
