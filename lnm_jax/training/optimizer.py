"""Gradient descent with a decaying rate; neurons, and with Muon kernels, have rates of their own.

Table 4 is SGD with cosine decay and two rates.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import optax

from lnm_jax.errors import ConfigError

GROUPS = ("neurons", "weights", "kernels")
DECAYS = ("cosine", "linear")
# Layers whose results are the network's, and so is the scale of their kernels; "weights" is the
# one of `models.RecordedLayer`.
OUTPUTS = ("classifier", "weights")


def group(path: tuple, *, rule: str = "sgd") -> str:
    """The group of the parameter at that path: everything below a "neuron" key is a neuron's.

    With the rule "muon" kernels are a group, but for those of output layers.

    Args: path, names or `jax.tree_util.DictKey`s; rule, `config.optimizer.name`.
    """
    keys = [getattr(key, "key", key) for key in path]
    if "neuron" in keys:
        return "neurons"
    kernel = rule == "muon" and keys[-1] == "kernel" and not set(keys) & set(OUTPUTS)
    return "kernels" if kernel else "weights"


def label(params, *, rule: str = "sgd") -> dict:
    """A tree like params, of group names: every parameter is in exactly one.

    Raises: ConfigError for Muon without a kernel to update.
    """
    labels = jax.tree_util.tree_map_with_path(lambda path, _: group(path, rule=rule), params)
    assert set(jax.tree.leaves(labels)) <= set(GROUPS)
    if rule == "muon" and "kernels" not in jax.tree.leaves(labels):
        raise ConfigError(
            "config.optimizer.name muon needs a model with kernels before its output layer"
        )
    return labels


def decays(params) -> dict:
    """A tree like params: True for kernels, the only weights that weight decay acts on."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def learning_rates(fields) -> dict[str, float]:
    """The highest learning rate of each group, from `config.optimizer`."""
    neurons = {"neurons": fields.neuron_learning_rate}
    if fields.name != "muon":
        return neurons | {"weights": fields.learning_rate}
    return neurons | {"weights": fields.sgd_learning_rate, "kernels": fields.learning_rate}


def schedule(
    learning_rate: float | jax.Array, *, steps: int, warmup_steps: int, decay: str = "cosine"
) -> optax.Schedule:
    """Linear warm-up from 0, then decay to 0 at the last of `steps`, by a name in `DECAYS`."""
    rest = max(1, steps - warmup_steps)
    falling = {
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, rest),
        "linear": lambda: optax.linear_schedule(learning_rate, 0.0, rest),
    }[decay]()
    if warmup_steps == 0:
        return falling
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, falling], [warmup_steps])


def rate_schedules(
    rates: dict[str, float | jax.Array], *, steps: int, warmup_steps: int, decay: str = "cosine"
) -> dict[str, optax.Schedule]:
    """The learning rate of each group as a function of the step.

    Args:
      rates: as `learning_rates` has them; may be traced.
      steps: of the whole run, warm-up included.
      warmup_steps: of them with a rising rate.
      decay: after it, a name in `DECAYS`.
    """
    make = functools.partial(schedule, steps=steps, warmup_steps=warmup_steps, decay=decay)
    return {name: make(rate) for name, rate in rates.items()}


def _sgd(fields, rate, weight_decay, mask):
    sgd = optax.sgd(rate, momentum=fields.momentum, nesterov=fields.nesterov)
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), sgd)


def _adam(fields, rate, weight_decay, mask):
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.adam(rate))


def _adamw(fields, rate, weight_decay, mask):
    return optax.adamw(rate, weight_decay=weight_decay, mask=mask)


def _stacked_by_shape(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """`inner` over one array (N, *shape) for all N leaves of a shape: fewer, larger programs."""

    def stack(tree):
        shapes = {}
        for leaf in jax.tree.leaves(tree):
            shapes.setdefault("x".join(map(str, leaf.shape)), []).append(leaf)
        return {shape: jnp.stack(leaves) for shape, leaves in shapes.items()}

    def update(updates, state, params=None):
        stacks, state = inner.update(stack(updates), state)
        each = {shape: iter(leaves) for shape, leaves in stacks.items()}
        return jax.tree.map(lambda u: next(each["x".join(map(str, u.shape))]), updates), state

    return optax.GradientTransformation(lambda params: inner.init(stack(params)), update)


def _dimensions(stacks):
    """Kernels (N, ..., in, out) are N matrices of out columns: all else that a channel sums."""
    return jax.tree.map(
        lambda x: optax.contrib.MuonDimensionNumbers(tuple(range(1, x.ndim - 1)), x.ndim - 1),
        stacks,
    )


def _fixed_norm() -> optax.GradientTransformation:
    """Projects each updated kernel (..., out) to the Frobenius norm sqrt(out)."""

    def update(updates, state, params):
        def project(w, u):
            new = w + u
            return new * (math.sqrt(w.shape[-1]) / (jnp.linalg.norm(new) + 1e-7)) - w

        return jax.tree.map(project, params, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def muon(
    rate: optax.Schedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = True,
    iterations: int = 5,
    fixed_norm: bool = True,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Muon for kernels (..., in, out), each a matrix of `out` columns.

    The update is rate times the momentum's nearest semi-orthogonal matrix, by Newton-Schulz
    iterations. BatchNorm after a convolution makes the result independent of the kernel's own norm,
    which therefore is held at sqrt(out), so that the rate alone says how far a step turns it. A
    spiking head has no norm; it starts at that norm and is held there too.

    Args:
      rate: learning rate as a function of the step.
      momentum, nesterov: of the gradients.
      iterations: of Newton-Schulz; with 0 the update is the momentum scaled to the Frobenius norm
        that a semi-orthogonal matrix has: a step of the same length, not orthogonal.
      fixed_norm: hold kernels at their norm; else they decay by rate * weight_decay.
      weight_decay: without a fixed norm.
    References: Jordan et al. (2024), Muon, kellerjordan.github.io/posts/muon; the norm is that of
      Jordan's airbench94_muon.py.
    """
    scale = optax.contrib.scale_by_muon(
        ns_steps=iterations,
        beta=momentum,
        nesterov=nesterov,
        weight_dimension_numbers=_dimensions,
    )

    def lengthen(updates, params=None):
        def one(u):
            return u * math.sqrt(min(u.size // u.shape[-1], u.shape[-1]))

        return updates if iterations else jax.tree.map(one, updates)

    return optax.chain(
        _stacked_by_shape(scale),
        optax.stateless(lengthen),
        optax.identity() if fixed_norm else optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
        _fixed_norm() if fixed_norm else optax.identity(),
    )


# (fields, learning rate, weight decay, mask of what decays) -> transformation.
RULES = {"sgd": _sgd, "adam": _adam, "adamw": _adamw, "muon": _sgd}


def make_optimizer(fields, rates: dict[str, optax.Schedule]) -> optax.GradientTransformation:
    """The rule of that name for every group; with Muon, SGD for all but kernels.

    SGD and Adam take weight decay as part of the gradient; AdamW (Loshchilov and Hutter 2019)
    as part of the update.
    With `clip_norm` the whole gradient is scaled down to that norm first.

    Args:
      fields: `config.optimizer`.
      rates: as made by `rate_schedules`.
    """

    def rule(name, weight_decay, mask):
        return RULES[fields.name](fields, rates[name], weight_decay, mask)

    groups = {
        "weights": rule("weights", fields.weight_decay, decays),
        "neurons": rule("neurons", fields.neuron_weight_decay, None),
    }
    if fields.name == "muon":
        groups["kernels"] = muon(
            rates["kernels"],
            momentum=fields.momentum,
            nesterov=fields.nesterov,
            iterations=fields.newton_schulz,
            fixed_norm=fields.fixed_norm,
            weight_decay=fields.weight_decay,
        )
    both = optax.multi_transform(groups, functools.partial(label, rule=fields.name))
    if not fields.clip_norm:
        return both
    return optax.chain(optax.clip_by_global_norm(fields.clip_norm), both)
