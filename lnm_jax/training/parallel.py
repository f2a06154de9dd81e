"""The one file that knows about devices: pmap over all local ones."""

from __future__ import annotations

from collections.abc import Callable

import jax

AXIS = "devices"


def device_count() -> int:
    """Devices that a batch is divided over."""
    return jax.local_device_count()


def replicate(tree):
    """The tree on every device, as the parallel steps return it.

    Laid out so from the start, the first step and all later ones are one compiled program.
    """
    mesh = jax.sharding.Mesh(jax.local_devices(), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def shard(batch: dict) -> dict:
    """A whole batch, leaves (B, ...), as shares (devices, B / devices, ...)."""
    devices = device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def parallel(step: Callable, *, donate: bool) -> Callable:
    """A step over whole batches: shares them out and runs `step` on every device.

    Args:
      step: (replicated, batch share) -> replicated, using the axis `AXIS`.
      donate: whether the first argument's memory may be reused for the result.
    """
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=(0,) if donate else (),
    )
    return lambda replicated, batch: mapped(replicated, shard(batch))
