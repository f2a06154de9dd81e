"""Rematerialisation of Flax modules, by `lnm_jax.recompute`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
from flax.core import lift
from jaxtyping import Array

from lnm_jax.recompute import recomputed


def _lifted(run, scopes, *arguments):
    def inner(scopes_of, repack, variables, keys, *arguments):
        def call(variables, *arguments):
            scopes = scopes_of(variables, keys)
            return run(scopes, *arguments), repack(scopes)

        return recomputed(call)(variables, *arguments)

    return lift.pack(inner, (True,), (True,), (True,), name="remat")(scopes, *arguments)


def remat(run: Callable, modules: Sequence[nn.Module], x: Array) -> Array:
    """`run(modules, x)`, which the backward pass computes again from x and the variables.

    Not for a module's initialisation. `nn.remat` would do but for XLA on CPUs, see `recomputed`.

    Args:
      run: calls the modules, which are those given, and no other.
      modules: named modules of the caller.
      x: floats.
    """
    first, *others = modules

    def call(first, x, *others):
        return run((first, *others), x)

    return nn.transforms.lift_direct_transform(_lifted, (call,), first, x, *others)
