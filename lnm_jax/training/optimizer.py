"""Gradient descent with cosine decay, and a learning rate of its own for neurons (Table 4)."""

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


def learning_rates(fields) -> dict[str, float]:
    """The highest learning rate of each group, from `config.optimizer`."""
    return {"weights": fields.learning_rate, "neurons": fields.neuron_learning_rate}


def schedule(learning_rate: float | jax.Array, *, steps: int, warmup_steps: int) -> optax.Schedule:
    """Linear warm-up from 0, then cosine decay to 0 at the last of `steps`."""
    cosine = optax.cosine_decay_schedule(learning_rate, max(1, steps - warmup_steps))
    if warmup_steps == 0:
        return cosine
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, cosine], [warmup_steps])


def schedules(
    rates: dict[str, float | jax.Array], *, steps: int, warmup_steps: int
) -> dict[str, optax.Schedule]:
    """The learning rate of each group as a function of the step.

    Args:
      rates: as `learning_rates` has them; may be traced.
      steps: of the whole run, warm-up included.
      warmup_steps: of them with a rising rate.
    """
    return {
        name: schedule(rate, steps=steps, warmup_steps=warmup_steps) for name, rate in rates.items()
    }


def _sgd(fields, rate, weight_decay, mask):
    sgd = optax.sgd(rate, momentum=fields.momentum, nesterov=fields.nesterov)
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), sgd)


def _adam(fields, rate, weight_decay, mask):
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.adam(rate))


def _adamw(fields, rate, weight_decay, mask):
    return optax.adamw(rate, weight_decay=weight_decay, mask=mask)


# (fields, learning rate, weight decay, mask of what decays) -> transformation.
RULES = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}


def make_optimizer(fields, rates: dict[str, optax.Schedule]) -> optax.GradientTransformation:
    """Two rules of the same name, one a group.

    SGD and Adam take weight decay as part of the gradient; AdamW (Loshchilov and Hutter 2019)
    as part of the update.
    With `clip_norm` the whole gradient is scaled down to that norm first.

    Args:
      fields: `config.optimizer`.
      rates: as made by `schedules`.
    """

    def rule(name, weight_decay, mask):
        return RULES[fields.name](fields, rates[name], weight_decay, mask)

    both = optax.multi_transform(
        {
            "weights": rule("weights", fields.weight_decay, decays),
            "neurons": rule("neurons", fields.neuron_weight_decay, None),
        },
        label,
    )
    if not fields.clip_norm:
        return both
    return optax.chain(optax.clip_by_global_norm(fields.clip_norm), both)
