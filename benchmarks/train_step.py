"""A whole training step of ResNet-19 on the CPU or GPU: LNM beside LIF, T = 1 .. 8.

Forward, backward and SGD update of float32 images 32x32x3, on one device, with the fused
backend; interleaved, medians. Temporary memory is XLA's compiled memory analysis.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lnm_jax import models, neurons
from lnm_jax.training import losses

KINDS = ("lif", "lnm")


def program(kind, timesteps, width, batch, blocks, **fields):
    """ResNet-19: (compiled step, its arguments, compile seconds, compiled inference).

    `fields` are of the model.
    """
    model = models.build(
        "resnet19",
        neuron=neurons.build(kind),
        num_classes=10,
        timesteps=timesteps,
        stem=width,
        widths=(width, 2 * width, 4 * width),
        blocks=blocks,
        **fields,
    )
    images = jax.random.normal(jax.random.key(0), (batch, 32, 32, 3))
    labels = jnp.arange(batch) % 10
    variables = jax.jit(model.init)(jax.random.key(1), images)
    sgd = optax.sgd(0.1, momentum=0.9)

    def step(params, batch_stats, momentum, images, labels):
        def loss(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            return losses.cross_entropy(logits, labels, 0.1).mean(), updates["batch_stats"]

        grads, batch_stats = jax.grad(loss, has_aux=True)(params)
        updates, momentum = sgd.update(grads, momentum)
        return optax.apply_updates(params, updates), batch_stats, momentum

    params, batch_stats = variables["params"], variables["batch_stats"]
    arguments = (params, batch_stats, sgd.init(params), images, labels)
    start = time.perf_counter()
    compiled = jax.jit(step).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    infer = jax.jit(model.apply).lower(variables, images).compile()
    return compiled, arguments, seconds, (infer, (variables, images))


def run(short: bool) -> list[dict]:
    """A row for each T: images/s of both neurons, the ratio of their times, memory, compilation."""
    width, batch, rounds, blocks = (4, 2, 2, (1, 1, 1)) if short else (64, 16, 7, (3, 3, 2))
    rows = []
    for timesteps in (1,) if short else (1, 2, 4, 8):
        programs = {kind: program(kind, timesteps, width, batch, blocks) for kind in KINDS}
        train = {kind: [] for kind in KINDS}
        infer = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind, (step, arguments, _, (inference, inputs)) in programs.items():
                start = time.perf_counter()
                jax.block_until_ready(step(*arguments))
                train[kind].append(time.perf_counter() - start)
                start = time.perf_counter()
                jax.block_until_ready(inference(*inputs))
                infer[kind].append(time.perf_counter() - start)
        row = {"T": timesteps, "width": width, "batch": batch}
        for kind, (step, _, seconds, _) in programs.items():
            row[f"{kind} images/s"] = batch / float(np.median(train[kind]))
            row[f"{kind} compile s"] = seconds
            row[f"{kind} temporary MiB"] = step.memory_analysis().temp_size_in_bytes / 2**20
        spreads = [
            (np.quantile(v, 0.75) - np.quantile(v, 0.25)) / 2 / np.median(v) for v in train.values()
        ]
        row["lnm/lif step"] = float(np.median(train["lnm"]) / np.median(train["lif"]))
        row["lnm/lif inference"] = float(np.median(infer["lnm"]) / np.median(infer["lif"]))
        row["largest spread"] = float(max(spreads))
        rows.append(row)
    return rows
