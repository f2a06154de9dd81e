"""A training step and an inference of the paper's networks, LNM beside LIF, T = 1 .. 8.

Forward, backward and SGD update on one device; inference after folding BatchNorm. ResNet-19 and
ResNet-34 take static images, VGGSNN event frames. Widths are those of the table: below the
published ones. Medians of interleaved runs. Temporary memory is XLA's compiled memory
analysis: of plain automatic differentiation (scan), as trained (fused), and with
rematerialised blocks.
"""

import functools
import time

import jax
import jax.numpy as jnp
import optax

from benchmarks import timing
from lnm_jax import export, models, neurons
from lnm_jax.training import losses

KINDS = ("lif", "lnm")
# Fields, input and batch of what is measured.
NETWORKS = {
    "resnet19": ({"stem": 32, "widths": (32, 64, 128)}, (32, 32, 3), 16),
    "resnet34": ({"stem": 16, "widths": (16, 32, 64, 128)}, (64, 64, 3), 16),
    "vggsnn": ({"widths": ((16, 32), (64, 64), (128, 128), (128, 128))}, (48, 48, 2), 16),
}
TINY = {
    "resnet19": ({"stem": 4, "widths": (4,), "blocks": (1,)}, (8, 8, 3), 2),
    "vggsnn": ({"widths": ((4,),)}, (8, 8, 2), 2),
}


def wide(width: int) -> dict:
    """Fields of a ResNet-19 whose stem has that many channels."""
    return {"stem": width, "widths": (width, 2 * width, 4 * width)}


def build(name, kind, timesteps, size, batch, fields, variables=None):
    """(model, variables, images or frames, labels); variables of another T or backend will do."""
    model = models.build(
        name, neuron=neurons.build(kind), num_classes=10, timesteps=timesteps, **fields
    )
    shape = (timesteps, batch, *size) if name == "vggsnn" else (batch, *size)
    images = jax.random.normal(jax.random.key(0), shape)
    if variables is None:
        variables = jax.jit(model.init)(jax.random.key(1), images)
    return model, variables, images, jnp.arange(batch) % 10


def lowered(model, variables, images, labels):
    """A training step that is not compiled yet, and its arguments."""
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
    return jax.jit(step).lower(*arguments), arguments


def program(kind, timesteps, batch, fields, name="resnet19", size=(32, 32, 3)):
    """(compiled training step, its arguments, compile seconds)."""
    program, arguments = lowered(*build(name, kind, timesteps, size, batch, fields))
    start = time.perf_counter()
    compiled = program.compile()
    return compiled, arguments, time.perf_counter() - start


def memory(compiled) -> float:
    """Temporary MiB of a compiled program."""
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def _inference(model, variables, images):
    model, variables = export.fold_batch_norm(model, variables)
    compiled = jax.jit(model.apply).lower(variables, images).compile()
    return functools.partial(compiled, variables, images)


def run(short: bool) -> list[dict]:
    """A row for each network and T."""
    rows = []
    for name, (fields, size, batch) in (TINY if short else NETWORKS).items():
        for timesteps in (1,) if short else (1, 2, 4, 8):
            row = {"network": name, "T": timesteps, "batch": batch, "size": size[0]}
            train, infer = {}, {}
            for kind in KINDS:
                built = build(name, kind, timesteps, size, batch, fields)
                step, arguments, seconds = program(kind, timesteps, batch, fields, name, size)
                train[kind] = functools.partial(step, *arguments)
                infer[kind] = _inference(*built[:3])
                row[f"{kind} compile s"] = seconds
                row[f"{kind} MiB"] = memory(step)
            if timesteps == (1 if short else 8):
                for what, more in (("plain", {"backend": "scan"}), ("remat", {"remat": "block"})):
                    other = program("lnm", timesteps, batch, fields | more, name, size)[0]
                    row[f"lnm {what} MiB"] = memory(other)
            rounds = 2 if short else 7
            times, evaluations = (timing.interleaved(x, rounds) for x in (train, infer))
            for kind in KINDS:
                row[f"{kind} images/s"] = batch / times[kind].median
                row[f"{kind} inference images/s"] = batch / evaluations[kind].median
            row["lnm/lif step"] = times["lnm"].median / times["lif"].median
            row["lnm/lif inference"] = evaluations["lnm"].median / evaluations["lif"].median
            row["largest spread"] = max(x.spread for x in (*times.values(), *evaluations.values()))
            rows.append(row)
    keys = list(dict.fromkeys(key for row in rows[::-1] for key in row))
    return [{key: row.get(key) for key in keys} for row in rows]
