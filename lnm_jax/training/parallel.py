"""The one file that knows about devices and processes: pmap over all of them."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import jax
import numpy as np

from lnm_jax.errors import ConfigError, LostProcessError, ReportedError

AXIS = "devices"
# Seconds without a sign of life after which a process counts as dead and the others stop.
HEARTBEAT = 20


def check_platform() -> None:
    """Has jax find its devices, before anything else asks for them.

    Raises: ConfigError if there are none of the platform that was asked for.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError):
        raise ConfigError(
            f"JAX_PLATFORMS={jax.config.jax_platforms}: jax finds no such device; unset it, or "
            "install jax for it, such as pip install 'jax[cuda12]'"
        ) from None


def initialize(fields) -> None:
    """Connects this process with the others of a run, before anything else uses jax.

    Args:
      fields: `config.distributed`. With no address, Slurm, TPU pods and other clusters that jax
        knows tell it where it is.
    Raises: ConfigError if the others can't be reached.
    """
    if not fields.enabled:
        check_platform()
        return
    # Its handler of SIGTERM would take the place of the run's own, see `loop.Interrupts`.
    jax.config.update("jax_enable_preemption_service", False)
    # Before jax gives up, which ends the process with a stack trace of its own.
    timer = threading.Timer(max(0.5, fields.timeout - 1), _not_connected, [fields])
    timer.start()
    try:
        jax.distributed.initialize(
            coordinator_address=fields.address,
            num_processes=fields.processes,
            process_id=fields.process,
            initialization_timeout=fields.timeout,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config.distributed: the processes do not connect ({reason})") from None
    finally:
        timer.cancel()


def _not_connected(fields) -> NoReturn:
    print(
        f"config.distributed: the processes did not connect within timeout = {fields.timeout} s; "
        f"is each of the {fields.processes or 'others'} started, and address right?",
        file=sys.stderr,
        flush=True,
    )
    os._exit(ConfigError.status)


def process() -> tuple[int, int]:
    """(rank, count) of this process."""
    return jax.process_index(), jax.process_count()


def is_first() -> bool:
    """Whether this is the process that writes files and talks."""
    return jax.process_index() == 0


def device_count() -> int:
    """Devices that a batch is divided over, those of all processes."""
    return jax.device_count()


def from_first(tree):
    """The first process's tree of arrays, in every process."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def any_process(flag: bool) -> bool:
    """Whether the flag is set in some process; all must call it."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.int32(flag)).any())


def agreed(function: Callable):
    """What a function returns in this process; all must call it.

    Raises: ConfigError in every process if it does so in one.
    """
    result, failure = None, None
    try:
        result = function()
    except ConfigError as error:
        failure = error
    if any_process(failure is not None):
        failure = failure or ConfigError("another process could not go on; its message says why")
        failure.alone = False
        raise failure
    return result


def on_first_process(function: Callable):
    """Calls a function in the first process and returns its result there, None elsewhere.

    Raises: ConfigError in every process if it does so in the first.
    """
    return agreed(lambda: function() if is_first() else None)


@contextlib.contextmanager
def one_of_several(directory: str):
    """Marks an exception of this process alone, for which the others of the run would wait.

    Raises: LostProcessError for what jax raises when another process ended.
    """
    try:
        yield
    except Exception as error:
        several, reason = jax.process_count() > 1, str(error).partition("\n")[0]
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in reason:
            error = ConfigError(
                f"{directory}: out of memory; smaller config.data.batch_size or config.timesteps "
                f"need less, and config.model.remat=block ({reason})"
            )
        # A JaxRuntimeError, or a ValueError of the same text; ours are ReportedErrors.
        elif several and not isinstance(error, ReportedError) and re.match("[A-Z_]+: ", reason):
            reason = reason.rpartition("computation: ")[2]
            raise LostProcessError(
                f"{directory}: another process of the run ended; start all of them again to go on "
                f"from the last checkpoint ({reason})"
            ) from None
        if several and getattr(error, "alone", None) is None:
            error.alone = True
        raise error


def replicate(tree):
    """The tree on every device, as the parallel steps return it.

    Laid out so from the start, the first step and all later ones are one compiled program.
    """
    mesh = jax.sharding.Mesh(jax.local_devices(), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def shard(batch: dict) -> dict:
    """This process's part of a batch, leaves (B, ...), as shares (devices, B / devices, ...)."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def parallel(step: Callable, *constants, donate: bool) -> Callable:
    """A step over whole batches: shares them out and runs `step` on every device.

    Args:
      step: (replicated, batch share, *constants) -> replicated, using the axis `AXIS`.
      constants: trees of arrays, the same for every batch and device. Unlike what `step` closes
        over they are no part of the compiled program.
      donate: whether the first argument's memory may be reused for the result.
    """
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, *[None] * len(constants)),
        out_axes=None,
        donate_argnums=(0,) if donate else (),
    )
    placed = []

    def arguments(replicated, batch):
        if constants and not placed:
            placed.extend(replicate(constants))
        return replicated, shard(batch), *placed

    def call(replicated, batch):
        return mapped(*arguments(replicated, batch))

    # The same program before it is compiled, to be looked at.
    call.lower = lambda replicated, batch: mapped.lower(*arguments(replicated, batch))
    return call
