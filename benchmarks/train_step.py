"""A training step and an inference of the paper's networks, LNM beside LIF, T = 1 .. 8.

Forward, backward and SGD update on one device; inference after folding BatchNorm. ResNet-19 and
ResNet-34 take static images, VGGSNN event frames. Widths are those of the table: below the
published ones. Medians of interleaved runs. Temporary memory is XLA's compiled memory analysis; at
the largest T also of plain automatic differentiation (scan in place of fused) and with
rematerialised blocks or stages, with their time over the step as trained. SpikingJelly's ResNet-19
has the same convolutions, BatchNorms, shortcuts and LIF; of its forms with channels first and last
the faster one counts.
"""

import functools
import time

import jax
import jax.numpy as jnp
import optax

from benchmarks import peers
from lnm_jax import export, models, neurons
from lnm_jax.training import losses
from reproduction import timing

KINDS = ("lif", "lnm")
# Fields, input and batch of what is measured.
NETWORKS = {
    "resnet19": ({"stem": 32, "widths": (32, 64, 128)}, (32, 32, 3), 16),
    "resnet34": ({"stem": 16, "widths": (16, 32, 64, 128)}, (64, 64, 3), 16),
    "vggsnn": ({"widths": ((16, 32), (64, 64), (128, 128), (128, 128))}, (48, 48, 2), 16),
}
TINY = {"vggsnn": ({"widths": ((4,),)}, (8, 8, 2), 2)}
# Other ways to LNM's gradient.
VARIANTS = {
    "lnm plain": {"backend": "scan"},
    **{f"lnm remat {unit}": {"remat": unit} for unit in models.REMAT if unit != "none"},
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


def training_step(model):
    """(step, the optimizer whose state is its third argument)."""
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

    return step, sgd


def lowered(model, variables, images, labels):
    """A training step that is not compiled yet, and its arguments."""
    (step, sgd), params = training_step(model), variables["params"]
    arguments = (params, variables["batch_stats"], sgd.init(params), images, labels)
    return jax.jit(step).lower(*arguments), arguments


def _inference(model, variables, images, _):
    model, variables = export.fold_batch_norm(model, variables)
    compiled = jax.jit(model.apply).lower(variables, images).compile()
    return functools.partial(compiled, variables, images)


def run(short: bool) -> list[dict]:
    """A row for each network and T."""
    rows, every = [], (1,) if short else (1, 2, 4, 8)
    for name, (fields, size, batch) in (TINY if short else NETWORKS).items():
        for timesteps in every:
            row = {"network": name, "T": timesteps, "batch": batch, "size": size[0]}
            train, infer, others = {}, {}, []
            variants = {kind: {} for kind in KINDS} | (VARIANTS if timesteps == every[-1] else {})
            for variant, more in variants.items():
                built = build(name, variant[:3], timesteps, size, batch, fields | more)
                program, arguments = lowered(*built)
                start = time.perf_counter()
                step = program.compile()
                row[f"{variant} compile s"] = time.perf_counter() - start
                row[f"{variant} MiB"] = step.memory_analysis().temp_size_in_bytes / 2**20
                train[variant] = functools.partial(step, *arguments)
                if variant in KINDS:
                    infer[variant] = _inference(*built)
            for last in (False, True) if name == "resnet19" else ():
                options = {"timesteps": timesteps, "width": fields["stem"], "batch": batch}
                options |= {"blocks": (3, 3, 2), "channels_last": last}
                if peer := peers.start("spikingjelly", "spikingjelly_resnet19", **options):
                    others.append(peer)
                    train[f"SpikingJelly {last}"] = peer
            times, evaluations = (timing.interleaved(x, 2 if short else 7) for x in (train, infer))
            for peer in others:
                peer.close()
            for kind in KINDS:
                row[f"{kind} images/s"] = batch / times[kind].median
                row[f"{kind} inference images/s"] = batch / evaluations[kind].median
            row["lnm/lif step"] = times["lnm"].median / times["lif"].median
            row["lnm/lif inference"] = evaluations["lnm"].median / evaluations["lif"].median
            for variant in list(variants)[len(KINDS) :]:
                row[f"{variant} step"] = times[variant].median / times["lnm"].median
            faster = [found.median for name, found in times.items() if "SpikingJelly" in name]
            if faster:
                row["SpikingJelly lif images/s"] = batch / min(faster)
            row["largest spread"] = max(x.spread for x in (*times.values(), *evaluations.values()))
            rows.append(row)
    return rows
