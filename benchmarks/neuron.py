"""One spiking layer, forward and forward with backward: ours and other libraries' neurons.

float32 currents (T, 8, 32, 32, 64), rectangle surrogate of width 1, degree-3 LNM; medians of
interleaved runs. SpikingJelly's LIF and PLIF have our equation, and its FlexSN runs our LNM's
step; Spyx's LIF resets by subtraction one step later, so it is another equation of like cost.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peers
from lnm_jax import neurons
from reproduction import timing

KINDS = ("lif", "lnm")
PEERS = {
    "SpikingJelly lif": ("spikingjelly", "spikingjelly_neuron", {"kind": "lif"}),
    "SpikingJelly plif": ("spikingjelly", "spikingjelly_neuron", {"kind": "plif"}),
    "SpikingJelly FlexSN lnm": ("spikingjelly", "spikingjelly_neuron", {"kind": "lnm"}),
    "Spyx lif": ("spyx", "spyx_neuron", {}),
}


def with_backward(run):
    """A function of params, currents and cotangent: spikes and both gradients."""

    def both(params, currents, cotangent):
        spikes, pullback = jax.vjp(run, params, currents)
        return spikes, pullback(cotangent)

    return both


def _ours(shape) -> dict:
    rng = np.random.default_rng(0)
    currents = jnp.asarray(rng.normal(0.2, 0.6, shape), jnp.float32)
    cotangent = jnp.asarray(rng.normal(size=shape), jnp.float32)
    programs = {}
    for kind in KINDS:
        neuron = neurons.build(kind)
        params = neuron.init(jax.random.key(0))
        forward = functools.partial(neurons.run, neuron)
        compiled = jax.jit(forward).lower(params, currents).compile()
        programs[f"{kind}, forward"] = functools.partial(compiled, params, currents)
        for backend in ("scan", "fused"):
            both = jax.jit(with_backward(functools.partial(forward, backend=backend)))
            compiled = both.lower(params, currents, cotangent).compile()
            programs[f"{kind} {backend}, both"] = functools.partial(
                compiled, params, currents, cotangent
            )
    return programs


def run(short: bool) -> list[dict]:
    """A row for each program: milliseconds at each T, how they grow, and over our LIF's."""
    steps = (1, 2) if short else (1, 2, 4, 8, 16)
    times, versions = {}, {}
    for timesteps in steps:
        shape = (timesteps, 2, 4, 4, 8) if short else (timesteps, 8, 32, 32, 64)
        programs, others = _ours(shape), []
        for name, (library, program, options) in PEERS.items():
            if peer := peers.start(library, program, shape=shape, **options):
                others.append(peer)
                for part in ("forward", "both"):
                    versions[f"{name}, {part}"] = json.dumps(peer.versions)
                    programs[f"{name}, {part}"] = functools.partial(peer, part)
        times[timesteps] = timing.interleaved(programs, 2 if short else 5)
        for peer in others:
            peer.close()
    rows = []
    for name in times[1]:
        lif = "lif, forward" if name.endswith("forward") else "lif fused, both"
        medians = {t: times[t][name].median for t in steps}
        rows.append(
            {"program": name}
            | {f"T={t}, ms": 1e3 * median for t, median in medians.items()}
            | {f"T={t}, over our LIF": medians[t] / times[t][lif].median for t in steps}
            | {
                "grows as T to the": timing.exponent(steps, [*medians.values()]),
                "largest spread": max(times[t][name].spread for t in steps),
                "versions": versions.get(name),
            }
        )
    return rows
