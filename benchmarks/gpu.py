"""One large GPU in under 9 minutes: what it can do, and how near to that neurons and steps come.

Ceilings are measured first: a copy in device memory and a bfloat16 matrix product. A neuron's
forward pass reads currents and writes spikes, its backward pass reads currents and
cotangents and writes a gradient: those bytes over the time, as a share of the copy's rate. A
training step is ResNet-19's as published (width 128), its operations 3 * 2 per
multiply-accumulate, as a share of the matrix product's rate. Images are random, of CIFAR's shape.
Where SpikingJelly is installed, or LNM_PEER_PYTHON has it, its neurons and steps are beside ours.
Medians of interleaved runs.
"""

import functools
import importlib.util
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peer, timing, train_step
from configs import cifar10_resnet19
from lnm_jax import data, models, neurons
from lnm_jax.training import experiment, parallel

DTYPES = ("float32", "bfloat16")


def _row(what, timesteps, dtype, measured, rate, unit, ceiling) -> dict:
    return {
        "what": what,
        "T": timesteps,
        "dtype": dtype,
        "ms": 1e3 * measured.median,
        "rate": rate,
        "unit": unit,
        "of ceiling %": 100 * rate / ceiling if ceiling else None,
        "spread": measured.spread,
    }


def _ceilings(short: bool) -> list[dict]:
    """Copy bandwidth in GB/s and the rate of a bfloat16 matrix product in TFLOP/s."""
    side = 64 if short else 8192
    x = jax.random.normal(jax.random.key(0), (side * side * (1 if short else 8),))
    a = jax.random.normal(jax.random.key(1), (side, side), jnp.bfloat16)
    programs = {
        "copy": functools.partial(jax.jit(jnp.copy), x),
        "add": functools.partial(jax.jit(lambda x: x + 1), x),
        "product": functools.partial(jax.jit(jnp.matmul), a, a),
    }
    times = timing.interleaved(programs, 2 if short else 20)
    copy = min(times["copy"], times["add"])
    product = times["product"]
    bandwidth, rate = 2 * x.nbytes / copy.median / 1e9, 2 * side**3 / product.median / 1e12
    return [
        _row("copy", None, "float32", copy, bandwidth, "GB/s", None),
        _row("matrix product", None, "bfloat16", product, rate, "TFLOP/s", None),
    ]


def _neurons(short: bool, bandwidth: float) -> list[dict]:
    rows = []
    for dtype in DTYPES[short:]:
        for timesteps in (2,) if short else (2, 4, 10):
            count = 2**10 if short else 2**28 // timesteps
            currents = 0.2 + 0.6 * jax.random.normal(
                jax.random.key(0), (timesteps, count // 128, 128), dtype
            )
            cotangent = jax.random.normal(jax.random.key(1), currents.shape, dtype)
            programs, arrays = {}, {}
            for kind in train_step.KINDS:
                neuron = neurons.build(kind)
                params = neuron.init(jax.random.key(0))
                for backend in ("fused", "scan"):
                    run = functools.partial(neurons.run, neuron, backend=backend)

                    def both(params, currents, cotangent, run=run):
                        spikes, pullback = jax.vjp(run, params, currents)
                        return spikes, pullback(cotangent)

                    name = f"{kind} {backend}"
                    programs[f"{name}, forward"] = functools.partial(jax.jit(run), params, currents)
                    programs[f"{name}, both"] = functools.partial(
                        jax.jit(both), params, currents, cotangent
                    )
                    arrays |= {f"{name}, forward": 2, f"{name}, both": 5}
            for name, measured in timing.interleaved(programs, 2 if short else 10).items():
                rate = arrays[name] * currents.nbytes / measured.median / 1e9
                rows.append(_row(name, timesteps, dtype, measured, rate, "GB/s", bandwidth))
    return rows


def _peer() -> str | None:
    """An interpreter that has SpikingJelly."""
    if peer.available():
        return peer.available()
    found = all(map(importlib.util.find_spec, ("torch", "spikingjelly")))
    return sys.executable if found else None


def _steps(short: bool, product: float) -> list[dict]:
    """ResNet-19 in bfloat16: images/s and the share of the matrix product's rate."""
    fields = {"stem": 4, "widths": (4,), "blocks": (1,)} if short else train_step.wide(128)
    batch, rows = (2 if short else 256), []
    for timesteps in (1,) if short else (2, 4):
        programs, closing = {}, []
        for kind in train_step.KINDS:
            step, arguments, _ = train_step.program(
                kind, timesteps, batch, fields | {"dtype": jnp.bfloat16}
            )
            programs[f"ResNet-19 step, {kind}"] = functools.partial(step, *arguments)
        if _peer() and not short:
            options = {"T": timesteps, "width": 128, "batch": batch, "blocks": (3, 3, 2)}
            options |= {"channels_last": True, "device": "cuda"}
            closing.append(peer.Peer("peer_spikingjelly.py", options, executable=_peer()))
            programs["ResNet-19 step, SpikingJelly lif"] = closing[0]
        model = models.build(
            "resnet19", neuron=neurons.lif(), num_classes=10, timesteps=1, **fields
        )
        macs = sum(count.macs for count in models.counts(model, (1, 32, 32, 3)))
        for name, measured in timing.interleaved(programs, 2 if short else 15).items():
            images = batch / measured.median
            row = _row(name, timesteps, "bfloat16", measured, images, "images/s", None)
            rate = 6 * macs * timesteps * images / 1e12
            rows.append(row | {"of ceiling %": 100 * rate / product})
        for other in closing:
            other.close()
    return rows


def _epochs(short: bool) -> list[dict]:
    """Whole epochs as train.py runs them, with crop, flip and Cutout on the device."""
    count = 256 if short else 50_000
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (count, 32, 32, 3)).astype(np.uint8)
    split = data.Split(images, (np.arange(count) % 10).astype(np.int32))
    moments = np.full(3, 120, np.float32), np.full(3, 60, np.float32)
    rows = []
    for kind in train_step.KINDS:
        config = cifar10_resnet19.get_config()
        config.neuron.kind, config.compute_dtype = kind, "bfloat16"
        if short:
            config.model.stem, config.model.widths, config.model.blocks = 4, (4,), (1,)
        this = experiment.build(config, data.Dataset(split, split, 10, *moments, "random"))
        size, steps = config.data.batch_size, count // config.data.batch_size
        state, seconds = parallel.replicate(this.init()), []
        batches = data.train_batches(split, 0, size, 0, 4 * steps)
        for _ in range(4):
            start = time.perf_counter()
            for _ in range(steps):
                state, _ = this.train_step(state, next(batches))
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - start)
        low, median, high = np.quantile(seconds[1:], (0.25, 0.5, 0.75))  # the first compiles
        measured = timing.Time(float(median), float((high - low) / 2 / median))
        name = f"epoch of {steps * size} images, batch {size}, {kind}"
        rate = steps * size / measured.median
        rows.append(_row(name, config.timesteps, "bfloat16", measured, rate, "images/s", None))
    return rows


def run(short: bool) -> list[dict]:
    """Rows: ceilings, neurons, steps, epochs."""
    copy, product = ceilings = _ceilings(short)
    return [
        *ceilings,
        *_neurons(short, copy["rate"]),
        *_steps(short, product["rate"]),
        *_epochs(short),
    ]
