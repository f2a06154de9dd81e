"""Checkpoints by orbax: the latest ones and the best are kept, written in the background."""

from __future__ import annotations

import os

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from lnm_jax.errors import ConfigError
from lnm_jax.training.state import TrainState


def _accuracy(metrics) -> float:
    return metrics["accuracy"]


class Checkpoints:
    """The checkpoints of one run, named by their step; a context manager."""

    def __init__(self, directory: str, *, keep: int):
        """Args: directory, made if missing; keep, how many of the latest beside the best."""
        os.makedirs(directory, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            os.path.abspath(directory),
            options=ocp.CheckpointManagerOptions(
                create=False,
                # The first process alone writes: every device has the whole state.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=0, active_processes={0}, barrier_sync_key_prefix="first"
                ),
                best_fn=_accuracy,
                best_mode="max",
                cleanup_tmp_directories=True,
                # best_fn with max_to_keep would delete the latest step.
                preservation_policy=preservation_policy.AnyPreservationPolicy(
                    [
                        preservation_policy.LatestN(keep),
                        preservation_policy.BestN(get_metric_fn=_accuracy, n=1),
                    ]
                ),
            ),
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._manager.close()  # waits for writes under way

    @property
    def latest(self) -> int | None:
        """Step of the latest complete checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest test accuracy, or None."""
        return self._manager.best_step()

    def save(self, state: TrainState, *, accuracy: float) -> None:
        """Copies the state to the host and writes it in the background."""
        tree = jax.device_get(flax.serialization.to_state_dict(state))
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(state=ocp.args.StandardSave(tree)),
            metrics={"accuracy": accuracy},
            force=True,
        )

    def restore(self, target: TrainState, step: int | None = None) -> TrainState:
        """The state of a step (default: the latest), as host arrays, shaped like target.

        Raises: ConfigError if there is no checkpoint.
        """
        step = self.latest if step is None else step
        if step is None:
            raise ConfigError(f"{self._manager.directory}: no checkpoint to resume from")
        tree = jax.tree.map(np.asarray, jax.device_get(flax.serialization.to_state_dict(target)))
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(tree))
        )
        return flax.serialization.from_state_dict(target, restored["state"])
