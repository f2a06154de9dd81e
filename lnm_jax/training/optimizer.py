"""SGD with momentum and cosine decay, with a learning rate of its own for neurons (Table 4)."""

from __future__ import annotations

import jax
import optax

GROUPS = ("neurons", "weights")


def group(path: tuple) -> str:
    """The group of the parameter at that path: everything below a "neuron" key is a neuron's."""
    return "neurons" if any(key.key == "neuron" for key in path) else "weights"


def label(params) -> dict:
    """A tree like params, of group names: every parameter is in exactly one."""
    labels = jax.tree_util.tree_map_with_path(lambda path, _: group(path), params)
    assert set(jax.tree.leaves(labels)) <= set(GROUPS)
    return labels


def decays(params) -> dict:
    """A tree like params: True for kernels, the only weights that weight decay acts on."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def schedule(learning_rate: float, *, steps: int, warmup_steps: int) -> optax.Schedule:
    """Linear warm-up from 0, then cosine decay to 0 at the last of `steps`."""
    cosine = optax.cosine_decay_schedule(learning_rate, max(1, steps - warmup_steps))
    if warmup_steps == 0:
        return cosine
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, cosine], [warmup_steps])


def schedules(fields, *, steps: int, warmup_steps: int) -> dict[str, optax.Schedule]:
    """The learning rate of each group as a function of the step.

    Args:
      fields: `config.optimizer`.
      steps: of the whole run, warm-up included.
      warmup_steps: of them with a rising rate.
    """
    rates = {"weights": fields.learning_rate, "neurons": fields.neuron_learning_rate}
    return {
        name: schedule(rate, steps=steps, warmup_steps=warmup_steps) for name, rate in rates.items()
    }


def make_optimizer(fields, rates: dict[str, optax.Schedule]) -> optax.GradientTransformation:
    """Two SGDs, one a group, with weight decay added to the gradient before the momentum.

    With `clip_norm` the whole gradient is scaled down to that norm first.

    Args:
      fields: `config.optimizer`.
      rates: as made by `schedules`.
    """

    def sgd(name, weight_decay, mask):
        return optax.chain(
            optax.add_decayed_weights(weight_decay, mask),
            optax.sgd(rates[name], momentum=fields.momentum, nesterov=fields.nesterov),
        )

    both = optax.multi_transform(
        {
            "weights": sgd("weights", fields.weight_decay, decays),
            "neurons": sgd("neurons", fields.neuron_weight_decay, None),
        },
        label,
    )
    if not fields.clip_norm:
        return both
    return optax.chain(optax.clip_by_global_norm(fields.clip_norm), both)
