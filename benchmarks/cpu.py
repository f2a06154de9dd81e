"""A ResNet-19's training step on this machine's CPU: ours, SpikingJelly's, and the machine's own.

Static 32x32 images, batch 16, float32; SGD; medians of interleaved runs. "share of peak" is the
rate of the convolutions' operations, as a direct convolution counts them, over that of a large
matrix product in the same run: what is not a convolution takes time from it, and Winograd's
algorithm saves some. SpikingJelly's step has the same convolutions, BatchNorms, shortcuts and LIF;
of channels first and last the faster one counts.
"""

import functools
import time

import jax

from benchmarks import peers, train_step
from lnm_jax import models
from reproduction import timing

SIZE, BATCH, SIDE = (32, 32, 3), 16, 4096


def run(short: bool):
    """A row for each width and T."""
    square = jax.numpy.ones((256 if short else SIDE,) * 2)
    product = jax.jit(lambda x: x @ x).lower(square).compile()
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
            "peak GFLOP/s": 2 * peak / 1e9,
            "spread": max(found.spread for found in times.values()),
            **row,
        }
