"""ResNet-19 training steps of ours and of SpikingJelly 2.0 on torch, in turn, on this machine.

float32 images 32x32x3; the same convolutions, BatchNorms, shortcuts and LIF (ours also with
degree-3 LNM), SGD with momentum. Medians of interleaved steps.
SpikingJelly runs with channels first and channels last, and its faster form is compared; as
ours, it convolves a static image once instead of at every timestep. Every process has the same
allocator setting.
"""

import functools
import json

from benchmarks import peer, timing, train_step


def run(short: bool) -> list[dict]:
    """A row for each program: images/s, spread, and our speed over the peer's faster form."""
    timesteps, width, batch, rounds, blocks = (
        (1, 4, 2, 2, (1, 1, 1)) if short else (4, 64, 16, 7, (3, 3, 2))
    )
    fields = train_step.wide(width) | {"blocks": blocks}
    programs, compiled, peers = {}, {}, {}
    for kind in train_step.KINDS:
        name = f"lnm_jax {kind}"
        step, arguments, compiled[name] = train_step.program(kind, timesteps, batch, fields)
        programs[name] = functools.partial(step, *arguments)
    for last in (False, True) if peer.available() else ():
        options = {"T": timesteps, "width": width, "batch": batch, "blocks": blocks}
        options |= {"channels_last": last}
        name = f"SpikingJelly lif, channels {'last' if last else 'first'}"
        programs[name] = peers[name] = peer.Peer("peer_spikingjelly.py", options)
    times = timing.interleaved(programs, rounds)
    for program in peers.values():
        program.close()
    faster = min((times[name].median for name in peers), default=None)
    return [
        {
            "program": name,
            "T": timesteps,
            "width": width,
            "batch": batch,
            "images/s": batch / time.median,
            "spread": time.spread,
            "over the faster peer": faster / time.median if faster else None,
            "compile s": compiled.get(name),
            "versions": json.dumps(peers[name].versions) if name in peers else None,
        }
        for name, time in times.items()
    ]
