"""A ResNet-19's training step on this machine's CPU: ours, SpikingJelly's, and the machine's own.

Static 32x32 images, batch 16, float32; SGD; medians of interleaved runs. "share of peak" is the
rate of the convolutions' operations, as a direct convolution counts them, over that of a large
matrix product in the same run. "share of floor" is the least time of a program of direct
convolutions over the step's: their operations at that rate, and the bytes that all other operations
of XLA's program move, at the rate of a multiply-add of arrays of 64 MiB. Winograd's algorithm goes
below that floor. SpikingJelly's step has the same convolutions, BatchNorms, shortcuts and LIF; of
channels first and last the faster one counts.
"""

import functools
import time
from unittest import mock

import jax

from benchmarks import passes, peers, train_step
from lnm_jax import models
from lnm_jax.layers import cpu_conv
from reproduction import timing

SIZE, BATCH, SIDE = (32, 32, 3), 16, 4096


def run(short: bool):
    """A row for each width and T."""
    square = jax.numpy.ones((256 if short else SIDE,) * 2)
    product = jax.jit(lambda x: x @ x).lower(square).compile()
    large = [jax.numpy.full(2**16 if short else 2**24, x) for x in (1.0, 2.0)]
    add = jax.jit(lambda x, y: 1.5 * x + y).lower(*large).compile()
    for width, timesteps in ((4, 1),) if short else [(w, t) for w in (16, 32, 64) for t in (2, 4)]:
        size = (8, 8, 3) if short else SIZE
        programs, row = {"product": functools.partial(product, square)}, {}
        for kind in train_step.KINDS:
            built = train_step.build(
                "resnet19", kind, timesteps, size, BATCH, train_step.wide(width)
            )
            lowered, arguments = train_step.lowered(*built)
            start = time.perf_counter()
            programs[kind] = functools.partial(lowered.compile(), *arguments)
            row[f"{kind} compile s"] = time.perf_counter() - start
        options = {"timesteps": timesteps, "width": width, "batch": BATCH, "blocks": (3, 3, 2)}
        with mock.patch.object(cpu_conv, "LEAST_CHANNELS", 10**9):
            direct = train_step.lowered(*built)[0].compile().as_text()
        moved = passes.traffic(direct)
        programs["memory"] = functools.partial(add, *large)
        others = []
        for last in () if short else (False, True):
            peer = peers.start(
                "spikingjelly", "spikingjelly_resnet19", **options, channels_last=last
            )
            if peer:
                others.append(peer)
                programs[f"SpikingJelly {last}"] = peer
        times = timing.interleaved(programs, 2 if short else 9)
        for peer in others:
            peer.close()
        median = {name: found.median for name, found in times.items()}
        macs = sum(count.macs * count.passes for count in models.counts(built[0], (1, *size)))
        peak = len(square) ** 3 / median["product"]
        rate = 3 * large[0].nbytes / median["memory"]
        floor = 3 * BATCH * macs / peak
        floor += sum(count for name, count in moved.items() if name != "convolutions") / rate
        theirs = min((x for name, x in median.items() if "Spiking" in name), default=None)
        yield {
            "width": width,
            "T": timesteps,
            "LIF images/s": BATCH / median["lif"],
            "LNM images/s": BATCH / median["lnm"],
            "LNM over LIF": median["lnm"] / median["lif"],
            "SpikingJelly LIF images/s": theirs and BATCH / theirs,
            "LIF over SpikingJelly": theirs and theirs / median["lif"],
            "LIF share of peak": 3 * BATCH * macs / median["lif"] / peak,
            "LIF share of floor": floor / median["lif"],
            "GB beside convolutions": (sum(moved.values()) - moved["convolutions"]) / 1e9,
            "memory GB/s": rate / 1e9,
            "peak GFLOP/s": 2 * peak / 1e9,
            "spread": max(found.spread for found in times.values()),
            **row,
        }
