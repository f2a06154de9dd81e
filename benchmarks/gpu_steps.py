"""One large GPU in under 9 minutes: what it can do, and how near to that neurons and steps come.

Ceilings are measured first: a copy in device memory and a bfloat16 matrix product. A neuron's
forward pass reads currents and writes spikes, its backward pass reads currents and
cotangents and writes a gradient: those bytes over the time, as a share of the copy's rate. A
training step is ResNet-19's as published (width 128), its operations 3 * 2 per
multiply-accumulate, as a share of the matrix product's rate. Images are random, of CIFAR's shape.
Where SpikingJelly is installed, or LNM_PEER_PYTHON has it, its steps are beside ours.
Medians of interleaved runs; programs are compiled side by side, in threads.
"""

import functools
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peers, train_step
from benchmarks.neuron import with_backward
from lnm_jax import data, models, neurons
from lnm_jax.configs import cifar10_resnet19
from lnm_jax.training import experiment, parallel
from reproduction import timing

DTYPES = ("float32", "bfloat16")
BACKENDS = ("fused", "scan")


def _row(what, timesteps, dtype, measured, rate, unit, ceiling) -> dict:
    return {
        "what": what,
        "T": timesteps,
        "dtype": dtype,
        "ms": 1e3 * measured.median,
        "rate": rate,
        "unit": unit,
        "of ceiling %": 100 * rate / ceiling if ceiling else None,
        "over LIF": None,
        "spread": measured.spread,
    }


def _beside_lif(rows: list[dict]) -> list[dict]:
    """The rows, with LNM's time over that of the LIF row of the same name."""
    lif = {row["what"].replace("lif", "lnm"): row["ms"] for row in rows if "lif" in row["what"]}
    return [
        row | {"over LIF": row["ms"] / lif[row["what"]]} if row["what"] in lif else row
        for row in rows
    ]


def compiled(lowered: Mapping[Hashable, tuple]) -> dict[Hashable, Callable]:
    """Functions of nothing, of (lowered program, its arguments), compiled in threads."""
    with ThreadPoolExecutor() as pool:
        ready = list(pool.map(lambda pair: pair[0].compile(), lowered.values()))
    return {
        name: functools.partial(program, *arguments)
        for (name, (_, arguments)), program in zip(lowered.items(), ready, strict=True)
    }


def _lowered(function: Callable, *arguments) -> tuple:
    return jax.jit(function).lower(*arguments), arguments


def ceilings(short: bool) -> list[dict]:
    """Copy bandwidth in GB/s and the rate of a bfloat16 matrix product in TFLOP/s."""
    side = 64 if short else 8192
    x = jax.random.normal(jax.random.key(0), (side * side * (1 if short else 8),))
    a = jax.random.normal(jax.random.key(1), (side, side), jnp.bfloat16)
    programs = {
        "copy": _lowered(jnp.copy, x),
        "add": _lowered(lambda x: x + 1, x),
        "product": _lowered(jnp.matmul, a, a),
    }
    times = timing.interleaved(compiled(programs), *((2,) if short else (10, 10)))
    copy = min(times["copy"], times["add"])
    product = times["product"]
    bandwidth, rate = 2 * x.nbytes / copy.median / 1e9, 2 * side**3 / product.median / 1e12
    return [
        _row("copy", None, "float32", copy, bandwidth, "GB/s", None),
        _row("matrix product", None, "bfloat16", product, rate, "TFLOP/s", None),
    ]


def layers(short: bool, timesteps: int, dtype: str, bandwidth: float) -> list[dict]:
    """One layer's neurons, alone: each kind by each backend."""
    count = 2**10 if short else 2**29 // timesteps
    shape = (timesteps, count // 128, 128)
    # Drawn in float32 and rounded: half the random bits of a bfloat16 would be the same.
    currents = (0.2 + 0.6 * jax.random.normal(jax.random.key(0), shape)).astype(dtype)
    cotangent = jax.random.normal(jax.random.key(1), shape).astype(dtype)
    programs, arrays = {}, {}
    for kind in train_step.KINDS:
        neuron = neurons.build(kind)
        params = neuron.init(jax.random.key(0))
        for backend in BACKENDS:
            run = functools.partial(neurons.run, neuron, backend=backend)
            name = f"{kind} {backend}"
            programs[f"{name}, forward"] = _lowered(run, params, currents)
            programs[f"{name}, both"] = _lowered(with_backward(run), params, currents, cotangent)
            arrays |= {f"{name}, forward": 2, f"{name}, both": 5}
    rows = []
    times = timing.interleaved(compiled(programs), *((2,) if short else (5, 10)))
    for name, measured in times.items():
        rate = arrays[name] * currents.nbytes / measured.median / 1e9
        rows.append(_row(name, timesteps, dtype, measured, rate, "GB/s", bandwidth))
    return _beside_lif(rows)


def steps(short: bool, product: float) -> list[dict]:
    """ResNet-19 in bfloat16: images/s and the share of the matrix product's rate."""
    fields = {"stem": 4, "widths": (4,), "blocks": (1,)} if short else train_step.wide(128)
    batch, rows = (2 if short else 256), []
    every = (1,) if short else (2, 4)
    model = models.build("resnet19", neuron=neurons.lif(), num_classes=10, timesteps=1, **fields)
    macs = sum(count.macs for count in models.counts(model, (1, 32, 32, 3)))
    lowered, variables = {}, dict.fromkeys(train_step.KINDS)
    for timesteps in every:
        for kind in train_step.KINDS:
            shape, more = (32, 32, 3), fields | {"dtype": jnp.bfloat16}
            built = train_step.build(
                "resnet19", kind, timesteps, shape, batch, more, variables[kind]
            )
            variables[kind] = built[1]
            lowered[timesteps, kind] = train_step.lowered(*built)
    ready = compiled(lowered)
    for timesteps in every:
        programs = {f"ResNet-19 step, {kind}": ready[timesteps, kind] for kind in train_step.KINDS}
        options = {"timesteps": timesteps, "width": 128, "batch": batch, "blocks": (3, 3, 2)}
        options |= {"channels_last": True, "device": "cuda"}
        peer = None if short else peers.start("spikingjelly", "spikingjelly_resnet19", **options)
        if peer:
            programs["ResNet-19 step, SpikingJelly"] = peer
        found = []
        for name, measured in timing.interleaved(programs, *((2,) if short else (5, 4))).items():
            images = batch / measured.median
            row = _row(name, timesteps, "bfloat16", measured, images, "images/s", None)
            rate = 6 * macs * timesteps * images / 1e12
            found.append(row | {"of ceiling %": 100 * rate / product})
        rows += _beside_lif(found)
        if peer:
            peer.close()
    return rows


def epochs(short: bool) -> list[dict]:
    """Whole epochs as train.py runs them, with crop, flip and Cutout on the device."""
    count = 256 if short else 50_000
    dataset, rows = timing.random_images(count), []
    for kind in train_step.KINDS:
        config = cifar10_resnet19.get_config()
        config.neuron.kind, config.compute_dtype = kind, "bfloat16"
        if short:
            config.update_from_flattened_dict(timing.MLP)
        built = experiment.build(config, dataset)
        size, steps = config.data.batch_size, count // config.data.batch_size
        state, seconds = parallel.replicate(built.init()), []
        batches = data.train_batches(dataset.train, 0, size, 0, 3 * steps + 1)
        state, _ = built.train_step(state, next(batches))  # compiles
        for _ in range(3):
            jax.block_until_ready(state)
            start = time.perf_counter()
            for _ in range(steps):
                state, _ = built.train_step(state, next(batches))
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - start)
        low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
        measured = timing.Time(float(median), float((high - low) / 2 / median))
        name = f"epoch of {steps * size} images, batch {size}, {kind}"
        rate = steps * size / measured.median
        rows.append(_row(name, config.timesteps, "bfloat16", measured, rate, "images/s", None))
    return _beside_lif(rows)


def run(short: bool, alone: bool = False) -> Iterator[dict]:
    """Rows, as they are measured: ceilings, steps and, unless these are `alone`, layers, epochs."""
    copy, product = ceilings(short)
    yield from (copy, product)
    yield from steps(short, product["rate"])
    if alone:
        return
    for dtype in DTYPES[short:]:
        for timesteps in (2,) if short else (2, 4, 10):
            yield from layers(short, timesteps, dtype, copy["rate"])
    yield from epochs(short)
