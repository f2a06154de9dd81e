"""Bytes that a training step moves and needs on a GPU, from XLA's program for it.

The program is compiled for a described card, an H100, and none is needed; but for its compiler:
`pip install 'jax[cuda12]'`. ResNet-19 as published in bfloat16, SGD, 512 images times timesteps.
A fused kernel counts each result once, and of each operand what it reads: where it looks at slices
in time alone, those. Time is not measured: convolutions are bound by their products, all else by
these bytes. Memory is the program's: arguments, results and what it needs between them; by neuron
and timestep, all of it is counted as if it were kept for the backward pass.
"""

import collections
import math
import re
from unittest import mock

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks import train_step
from lnm_jax import models, neurons
from lnm_jax.errors import ConfigError

# What XLA's compiler asks of a card, as its GpuTargetConfig has it.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
BACKENDS = ("scan", "fused")
# Recomputed blocks, and what nearly fills a card of 80 GB with and without.
BLOCKS = [
    ("lnm", 1, 512, "fused", "block"),
    ("lnm", 2, 256, "fused", "block"),
    ("lnm", 2, 4096, "fused", "none"),
    ("lnm", 2, 12288, "fused", "block"),
]
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4}
SHAPE = re.compile(r"\b(pred|[suf]\d+|bf16)\[([\d,]*)\]")
INSTRUCTION = re.compile(r"\s+(ROOT )?%([\w.\-]+) = (.*?) ([\w\-]+)\((.*)")
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all")


def _instructions(block):
    """(name, shape, operation, operands, line, whether it is the result)."""
    for line in block.splitlines()[1:]:
        if found := INSTRUCTION.match(line):
            root, name, shape, operation, rest = found.groups()
            operands = re.findall(r"%([\w.\-]+)", rest.partition("), ")[0])
            yield name, shape, operation, operands, line, bool(root)


def _sizes(shape):
    """(type, elements) of each array."""
    for kind, sizes in SHAPE.findall(shape):
        yield kind, math.prod(map(int, sizes.split(",") if sizes else ()))


def _elements(shape):
    return sum(count for _, count in _sizes(shape))


def _bytes(shape):
    return sum(BYTES.get(kind, 8) * count for kind, count in _sizes(shape))


def _shares(block):
    """Of each parameter of a fused computation, the share that is read."""
    users, count, order, last = collections.defaultdict(list), {}, {}, None
    for name, shape, operation, operands, line, root in _instructions(block):
        count[name], last = _elements(shape), name if root else last
        if operation == "parameter":
            order[int(re.search(r"parameter\((\d+)", line)[1])] = name
        for operand in set(operands):
            users[operand].append((name, operation, line))

    def slices(name):
        """What is read, as {slice: share}; None for all."""
        found = {}
        for user, operation, line in users[name]:
            if operation == "slice":
                found[re.search(r"slice=(\{.*?\})", line)[1]] = count[user] / count[name]
                continue
            passed_on = operation != "reduce" and user != last and count[user] == count[name]
            inner = slices(user) if passed_on else None
            if inner is None:
                return None
            found |= inner
        return found or None

    shares = ((number, slices(name)) for number, name in order.items())
    return {n: 1 if found is None else min(1, sum(found.values())) for n, found in shares}


def traffic(program: str) -> dict[str, float]:
    """Bytes by "convolutions", "kernel forward", "XLA backward" and the like."""
    blocks = {}
    for block in program.split("\n\n"):
        if name := re.match(r"\s*(?:ENTRY )?%([\w.\-]+) \(", block):
            blocks[name[1]] = block
    entry, sizes, total = program[program.index("\nENTRY") :], {}, collections.Counter()
    for name, shape, operation, operands, line, _ in _instructions(entry[1:]):
        sizes[name] = _bytes(shape)
        if operation in FREE:
            continue
        called = re.search(r"calls=%([\w.\-]+)", line)
        shares = _shares(blocks[called[1]]) if operation == "fusion" and called else {}
        read = sum(sizes.get(x, 0) * shares.get(n, 1) for n, x in enumerate(operands))
        way = "backward" if "transpose(" in line.partition("op_name=")[2] else "forward"
        kind = f"kernel {way}" if "triton" in line.partition("metadata")[0] else f"XLA {way}"
        inner = blocks.get(called[1], "") if called else line
        convolves = "cudnn$conv" in line or " convolution(" in inner
        total["convolutions" if convolves else kind] += sizes[name] + read
    return total


def _programs(short):
    """(neuron, T, batch, backend, remat) of each row."""
    if short:
        return [(kind, 2, 4, backend, "none") for kind in train_step.KINDS for backend in BACKENDS]
    compared = [
        (kind, timesteps, 512 // timesteps, backend, "none")
        for timesteps in (2, 4)
        for kind in train_step.KINDS
        for backend in BACKENDS
    ]
    growth = [
        ("lnm", timesteps, 512 // timesteps, "fused", "none")
        for timesteps in (1, 2, 4, 8, 16)  # 32 take XLA many minutes to compile
    ]
    return [*dict.fromkeys(compared + growth + BLOCKS)]


def _compiled(kind, timesteps, batch, backend, remat, width, sharding):
    """(a training step for the devices of a sharding, neurons of the network)."""
    fields = train_step.wide(width) | {
        "backend": backend,
        "dtype": jnp.bfloat16,
        "remat": remat,
    }
    model = models.build(
        "resnet19", neuron=neurons.build(kind), num_classes=10, timesteps=timesteps, **fields
    )
    step, sgd = train_step.training_step(model)

    def arguments():
        images = jnp.zeros((batch, 32, 32, 3))
        variables = model.init(jax.random.key(0), images)
        params = variables["params"]
        return params, variables["batch_stats"], sgd.init(params), images, jnp.arange(batch) % 10

    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(arguments),
    )
    with mock.patch.object(jax, "default_backend", return_value="gpu"):  # for which neurons choose
        program = jax.jit(step, donate_argnums=(0, 2)).lower(*shapes).compile()
    return program, sum(count.neurons for count in models.counts(model, (1, 32, 32, 3)))


def run(short: bool):
    """A row for each neuron, T, batch, backend and kind of rematerialisation."""
    try:
        topology = topologies.get_topology_desc(
            platform="cuda", topology="1x1x1", target_config=H100
        )
    except (NotImplementedError, RuntimeError) as error:
        raise ConfigError("needs XLA's compiler for GPUs: pip install 'jax[cuda12]'") from error
    sharding = SingleDeviceSharding(topology.devices[0])
    for row in _programs(short):
        program, count = _compiled(*row, 16 if short else 128, sharding)
        moved, memory = traffic(program.as_text()), program.memory_analysis()
        needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        needed += memory.output_size_in_bytes - memory.alias_size_in_bytes
        yield dict(zip(("neuron", "T", "batch", "backend", "remat"), row, strict=True)) | {
            "GB": sum(moved.values()) / 1e9,
            **{f"{name}, GB": value / 1e9 for name, value in sorted(moved.items())},
            "memory GB": needed / 1e9,
            "bytes a neuron and timestep": needed / (count * row[1] * row[2]),
        }
