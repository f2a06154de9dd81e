"""The pass of `recording` as one function on the device: sums over a batch, of fixed size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from lnm_jax.data import augment
from lnm_jax.neurons import potential
from lnm_jax.training import losses

if TYPE_CHECKING:
    import numpy as np

    from lnm_jax.training.experiment import Experiment


def plain(model: nn.Module) -> nn.Module:
    """The model without rematerialisation, whose inner traces interception cannot look into."""
    return model.clone(remat="none") if hasattr(model, "remat") else model


def scored(this: Experiment) -> tuple[nn.Module, losses.Loss]:
    """The model with the outputs that its loss takes, and that loss."""
    loss = losses.build(this.config)
    return plain(this.model).clone(readout=loss.readout), loss


def prepare(this: Experiment) -> Callable:
    """Images or frames as the model takes them: normalised, time first."""
    normalise = functools.partial(augment.normalise, mean=this.dataset.mean, std=this.dataset.std)

    def prepared(images):
        images = normalise(images)
        return images if images.ndim == 4 else images.swapaxes(0, 1)

    return prepared


def measure(this: Experiment, edges: np.ndarray, sample: int) -> Callable:
    """The function (variables, batch, key) -> sums over the batch's examples.

    Args:
      this: the experiment.
      edges: of the histograms' bins, evenly spaced.
      sample: neurons of each layer whose currents are returned.
    """
    (model, loss), prepared, paths = scored(this), prepare(this), this.spiking_layers()

    def sums(variables, batch, key):
        mask, inputs = batch["mask"], {}

        def intercept(call, args, kwargs, context):
            module, path = context.module, "/".join(context.module.path)
            if context.method_name != "__call__":
                return call(*args, **kwargs)
            if isinstance(module, nn.Conv | nn.Dense):
                inputs[path] = _received(args[0], mask)
            return call(*args, **kwargs)

        with nn.intercept_methods(intercept):
            outputs, sown = model.apply(variables, prepared(batch["image"]), mutable=["trace"])
        traces = {
            "/".join(path[:-1]): of_layer
            for path, of_layer in flatten_dict(
                sown["trace"], is_leaf=lambda _, x: isinstance(x, tuple)
            ).items()
        }
        return {
            "layers": {
                path: _visit(*traces[path], mask, jax.random.fold_in(key, number), edges, sample)
                for number, path in enumerate(paths)
            },
            "inputs": inputs,
            "score": tuple((part * mask).sum() for part in loss.score(outputs, batch["label"])),
            "count": mask.sum(),
        }

    return sums


def _visit(currents, trace, mask, key, edges, sample):
    """Sums of a layer whose currents are (T, B, ...)."""
    u = potential(trace.before)  # what f is evaluated at
    real = jnp.broadcast_to(mask.reshape(1, -1, *[1] * (u.ndim - 2)) > 0, u.shape)
    bins = len(edges) - 1
    place = jnp.floor((u - edges[0]) * (bins / (edges[-1] - edges[0])))
    place = jnp.clip(place, 0, bins - 1).astype(jnp.int32)
    nonzero = real & (u != 0)
    neurons_of_one = u[0, 0].size
    valid = mask.sum().astype(jnp.int32) * neurons_of_one  # padding comes last
    chosen = jax.random.randint(key, (sample,), 0, valid)
    return {
        "visits": jnp.zeros(bins, jnp.int32).at[place].add(nonzero.astype(jnp.int32)),
        "zeros": (real & (u == 0)).sum(),
        "low": jnp.where(real, u, jnp.inf).min(),
        "high": jnp.where(real, u, -jnp.inf).max(),
        "spikes": ((trace.spikes != 0) & real).sum((0, 1)),
        "sample": (currents.reshape(len(u), -1)[:, chosen], chosen % u.shape[-1]),
    }


def _received(x, mask):
    """Sums over what a layer receives, (T*B, ...), (T, B, F) or images (B, ...)."""
    rows = x.reshape(-1, *x.shape[-3:]) if x.ndim == 4 else x.reshape(-1, x.shape[-1])
    real = jnp.tile(mask, len(rows) // len(mask)).reshape(-1, *[1] * (rows.ndim - 1))
    return {
        "sum": (rows * real).sum(dtype=jnp.float32),
        "on": ((rows != 0) * real).sum(dtype=jnp.float32),
        "entries": real.sum() * rows[0].size,
    }
