"""ResNet-19 training steps of ours and of SpikingJelly 2.0 on torch, in turn, on this machine.

float32 images 32x32x3; the same convolutions, BatchNorms, shortcuts and LIF (ours also with
degree-3 LNM), SGD with momentum. A round runs two steps of every program and times the second;
medians over rounds, the spread is half the distance of the quartiles over the median.
SpikingJelly runs with channels first and channels last, and its faster form is compared; as
ours, it convolves a static image once instead of at every timestep. Every process has the same
allocator setting.
"""

import time

import jax
import numpy as np

from benchmarks import peer, train_step


def _ours(kind, timesteps, width, batch, blocks):
    """(function that runs one step and returns its seconds, compile seconds)."""
    step, arguments, seconds, _ = train_step.program(kind, timesteps, width, batch, blocks)

    def run():
        start = time.perf_counter()
        jax.block_until_ready(step(*arguments))
        return time.perf_counter() - start

    run()
    return run, seconds


def run(short: bool) -> list[dict]:
    """A row for each program: images/s, spread, and our speed over the peer's faster form."""
    timesteps, width, batch, rounds, blocks = (
        (1, 4, 2, 2, (1, 1, 1)) if short else (4, 64, 16, 7, (3, 3, 2))
    )
    programs, compiled, versions, peers = {}, {}, {}, []
    for kind in train_step.KINDS:
        programs[f"lnm_jax {kind}"], seconds = _ours(kind, timesteps, width, batch, blocks)
        compiled[f"lnm_jax {kind}"] = seconds
    if peer.available():
        for last in (False, True):
            options = {"T": timesteps, "width": width, "batch": batch, "blocks": blocks}
            options |= {"channels_last": last}
            name = f"SpikingJelly lif, channels {'last' if last else 'first'}"
            program = peer.Peer("peer_spikingjelly.py", options)
            versions[name] = program.versions
            programs[name] = program
            peers.append(name)
    seconds = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            program()  # the program before may still hold a core for a moment
            seconds[name].append(program())
    for name in peers:
        programs[name].close()
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    faster = min((medians[name] for name in peers), default=None)
    rows = []
    for name, median in medians.items():
        low, high = np.quantile(seconds[name], (0.25, 0.75))
        rows.append(
            {
                "program": name,
                "T": timesteps,
                "width": width,
                "batch": batch,
                "images/s": batch / median,
                "spread": float((high - low) / 2 / median),
                "over the faster peer": faster / median if faster else None,
                "compile s": compiled.get(name),
                "versions": versions.get(name),
            }
        )
    return rows
