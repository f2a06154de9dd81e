"""Spyx's LIF on jax, for `benchmarks.neuron`; as `peer_neurons.py`, and in the same environment."""

import json
import sys
import time
from importlib.metadata import version

import jax
import jax.numpy as jnp
import spyx.axn
import spyx.nn
from flax import nnx


def main(options):
    """Answers each line of standard input."""
    shape = tuple(options["shape"])
    rectangle = spyx.axn.custom(bwd=lambda x: (jnp.abs(x) < 0.5).astype(x.dtype))
    node = spyx.nn.LIF(shape[2:], beta=0.25, threshold=0.5, activation=rectangle, rngs=nnx.Rngs(0))
    graph, params = nnx.split(node)
    currents = 0.2 + 0.6 * jax.random.normal(jax.random.key(0), shape)
    cotangent = jax.random.normal(jax.random.key(1), shape)

    def forward(params, currents):
        return spyx.nn.run(nnx.merge(graph, params), currents)[0]

    def both(params, currents, cotangent):
        spikes, pullback = jax.vjp(forward, params, currents)
        return spikes, pullback(cotangent)

    programs = {
        "forward": (jax.jit(forward), (params, currents)),
        "both": (jax.jit(both), (params, currents, cotangent)),
    }
    for program, arguments in programs.values():
        jax.block_until_ready(program(*arguments))
    versions = {"jax": jax.__version__, "spyx": version("spyx")}
    print(json.dumps({"library": "Spyx", **versions}), flush=True)
    for line in sys.stdin:
        program, arguments = programs[line.strip()]
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
