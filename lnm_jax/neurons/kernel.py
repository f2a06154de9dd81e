"""One Pallas (Triton) kernel for every neuron: it traces the neuron's own step.

Forward reads the currents once and writes the spikes once. Backward reads currents and
cotangents once, recomputes the potentials in registers, takes `jax.vjp` of the unrolled steps
inside the kernel, and writes one gradient. Parameters are spread over a block's neurons; their
gradients are summed over several blocks in registers, and reduced once a program. No equation of
a neuron stands here.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from lnm_jax.neurons.neuron import Neuron, Params, PerChannel, state_dtype

TIMESTEPS = 32  # at most: the backward pass keeps all of a neuron's in registers


class _Launch(NamedTuple):
    """How a kernel is cut into programs.

    Attributes:
      block: neurons of a block, a power of 2.
      warps: of 32 threads, that share a block.
      blocks: that a program goes through one after the other.
    """

    block: int
    warps: int
    blocks: int


# Measured on an H200. The backward pass keeps all timesteps of a thread's neurons in registers:
# the more timesteps, the fewer neurons; the first entry whose timesteps suffice is taken.
_FORWARD = _Launch(2048, 4, 1)
_BACKWARD = {2: _Launch(512, 4, 8), 4: _Launch(512, 4, 4), 32: _Launch(256, 4, 1)}


def _backward_launch(timesteps: int) -> _Launch:
    """The backward pass's, of at most 32 timesteps."""
    return next(launch for most, launch in _BACKWARD.items() if timesteps <= most)


class _Tiles(NamedTuple):
    """The neurons as a matrix, cut into blocks.

    Attributes:
      size: number of neurons; the last row of the matrix may have fewer than the others.
      columns: of the matrix; the channels where they have parameters of their own.
      block: (rows, columns) of a block, powers of 2.
      grid: (row, column) blocks.
    """

    size: int
    columns: int
    block: tuple[int, int]
    grid: tuple[int, int]


def _cut(shape: tuple[int, ...], channels: bool, block: int) -> _Tiles:
    """The neurons of a shape in blocks.

    Args:
      shape: of the currents of one timestep.
      channels: whether columns must be the channels.
      block: neurons of a block, a power of 2.
    """
    size = math.prod(shape)
    columns = shape[-1] if channels else min(pl.next_power_of_2(size), block)
    rows = pl.cdiv(size, columns)
    block_columns = min(pl.next_power_of_2(columns), block)
    block_rows = min(pl.next_power_of_2(rows), block // block_columns)
    grid = (pl.cdiv(rows, block_rows), pl.cdiv(columns, block_columns))
    return _Tiles(size, columns, (block_rows, block_columns), grid)


def _columns(tiles):
    """Column indices of this program's blocks."""
    column = pl.program_id(1) * tiles.block[1] + jnp.arange(tiles.block[1])[None, :]
    return jnp.broadcast_to(column, tiles.block)


def _place(tiles, number, column):
    """Positions of a row block's neurons, and which of them are there."""
    row = number * tiles.block[0] + jnp.arange(tiles.block[0])[:, None]
    position = row * tiles.columns + column
    return position, (column < tiles.columns) & (position < tiles.size)


class Rows(tuple):
    """Entries of a parameter leaf, each a scalar or one value a neuron of the block.

    Triton cannot slice an array in registers. This stands for the leaf (N,): it has a shape,
    is indexed and iterated, which is how neurons use their parameters.
    """

    __slots__ = ()

    @property
    def shape(self):
        """(N,)."""
        return (len(self),)

    @property
    def ndim(self):
        """1."""
        return 1

    def __getitem__(self, index):
        """An entry, or `Rows` of a slice."""
        found = super().__getitem__(index)
        return Rows(found) if isinstance(index, slice) else found


jax.tree_util.register_pytree_node(Rows, lambda rows: (tuple(rows), None), lambda _, x: Rows(x))


def _read_params(refs, structure, lengths, column, channels):
    """The parameters as the step uses them: scalars, or the value of each neuron's channel."""
    from jax.experimental.pallas import triton

    def entry(ref, k):
        if channels is None:
            return ref[k]
        return triton.load(ref.at[k, column], mask=column < channels, other=0.0)

    leaves = [
        entry(ref, 0) if length is None else Rows(entry(ref, k) for k in range(length))
        for ref, length in zip(refs, lengths, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


def _forward_kernel(neuron, tiles, channels, structure, lengths, dtype, _, *refs):
    from jax.experimental.pallas import triton

    *param_refs, currents, spikes = refs
    column = _columns(tiles)
    position, inside = _place(tiles, pl.program_id(0), column)
    params = _read_params(param_refs, structure, lengths, column, channels)
    state = neuron.reset(tiles.block, dtype)
    for t in range(currents.shape[0]):
        current = triton.load(currents.at[t, position], mask=inside, other=0.0)
        # Triton cannot lower a custom_vjp; the primal of jax.vjp has only its forward rule.
        step = functools.partial(neuron.step, params)
        (state, fired), _ = jax.vjp(step, state, current.astype(dtype))
        triton.store(spikes.at[t, position], fired.astype(spikes.dtype), mask=inside)


def _backward_kernel(neuron, tiles, channels, structure, lengths, dtype, blocks, *refs):
    from jax.experimental.pallas import triton

    leaves = len(lengths)
    param_refs, (currents, cotangents, d_currents) = refs[:leaves], refs[leaves : leaves + 3]
    d_param_refs = refs[leaves + 3 :]
    column = _columns(tiles)
    params = _read_params(param_refs, structure, lengths, column, channels)
    spread = jax.tree.map(lambda x: jnp.broadcast_to(x, tiles.block), params)
    timesteps = range(currents.shape[0])

    def unrolled(params, currents):
        state, spikes = neuron.reset(tiles.block, dtype), []
        for current in currents:
            state, fired = neuron.step(params, state, current)
            spikes.append(fired)
        return spikes

    def block(number, total):
        position, inside = _place(tiles, number, column)

        def read(ref, t):  # what is outside reads as 0, and gives gradients of 0
            return triton.load(ref.at[t, position], mask=inside, other=0.0).astype(dtype)

        _, pullback = jax.vjp(unrolled, spread, [read(currents, t) for t in timesteps])
        d_spread, d_read = pullback([read(cotangents, t) for t in timesteps])
        for t in timesteps:
            value = d_read[t].astype(d_currents.dtype)
            triton.store(d_currents.at[t, position], value, mask=inside)
        return jax.tree.map(jnp.add, total, d_spread)

    i, j = pl.program_id(0), pl.program_id(1)
    # As many for every program: what is beyond the last block is masked.
    total = jax.lax.fori_loop(
        0,
        blocks,
        lambda n, total: block(i * blocks + n, total),
        jax.tree.map(jnp.zeros_like, spread),
    )
    for ref, leaf in zip(d_param_refs, jax.tree.leaves(total, is_leaf=_is_rows), strict=True):
        for k, entry in enumerate(leaf if isinstance(leaf, Rows) else (leaf,)):
            if channels:
                ref[i, k, pl.ds(j * tiles.block[1], tiles.block[1])] = jnp.sum(entry, 0)
            else:
                ref[i, j, k] = jnp.sum(entry)


def _is_rows(x):
    return isinstance(x, Rows)


def _call(body, neuron, params, currents, extra, outputs, launch, interpret):
    """Runs a kernel over all blocks: parameters, currents and extra arrays in, outputs out.

    Args: outputs, (grid, leaves, tiles) -> what the kernel writes.
    """
    from jax.experimental.pallas import triton

    channels = currents.shape[-1] if isinstance(neuron, PerChannel) else None
    tiles = _cut(currents.shape[1:], channels is not None, launch.block)
    leaves, structure = jax.tree.flatten(params)
    plain = [leaf.ndim - (channels is not None) for leaf in leaves]
    lengths = [
        None if ndim == 0 else leaf.shape[0] for ndim, leaf in zip(plain, leaves, strict=True)
    ]
    # A scalar is a leaf of one entry.
    leaves = [leaf if ndim else leaf[None] for ndim, leaf in zip(plain, leaves, strict=True)]
    flat = [x.reshape(x.shape[0], tiles.size) for x in (currents, *extra)]
    grid = (pl.cdiv(tiles.grid[0], launch.blocks), tiles.grid[1])
    dtype = state_dtype(currents)
    body = functools.partial(
        body, neuron, tiles, channels, structure, lengths, dtype, launch.blocks
    )
    return pl.pallas_call(
        body,
        grid=grid,
        out_shape=outputs(grid, leaves, tiles),
        compiler_params=triton.CompilerParams(num_warps=launch.warps, num_stages=1),
        interpret=interpret,
    )(*leaves, *flat)


def forward(neuron: Neuron, params: Params, currents: Float[Array, "T ..."], interpret=False):
    """Spikes over time by one kernel.

    Args:
      neuron, params, currents: as for `run`.
      interpret: run on any device, slowly, for tests.
    """

    def outputs(grid, leaves, tiles):
        return jax.ShapeDtypeStruct((currents.shape[0], tiles.size), currents.dtype)

    spikes = _call(_forward_kernel, neuron, params, currents, (), outputs, _FORWARD, interpret)
    return spikes.reshape(currents.shape)


def backward(neuron, params, currents, cotangent, interpret=False):
    """(d_params, d_currents) of `forward` by one kernel.

    Args:
      neuron, params, currents: as for `run`.
      cotangent: (T, ...) of the spikes.
      interpret: run on any device, slowly, for tests.
    """
    channels = isinstance(neuron, PerChannel)

    def outputs(grid, leaves, tiles):
        dtype, width = state_dtype(currents), grid[1] * tiles.block[1]
        partial = [
            jax.ShapeDtypeStruct(
                (grid[0], len(leaf), width) if channels else (*grid, len(leaf)), dtype
            )
            for leaf in leaves
        ]
        return [jax.ShapeDtypeStruct((currents.shape[0], tiles.size), currents.dtype), *partial]

    launch = _backward_launch(currents.shape[0])
    if not jax.tree.leaves(params):
        launch = launch._replace(blocks=1)  # no sums are to be reduced
    d_currents, *partial = _call(
        _backward_kernel, neuron, params, currents, (cotangent,), outputs, launch, interpret
    )
    leaves, structure = jax.tree.flatten(params)

    def total(blocks, leaf):
        summed = blocks.sum(0)[:, : currents.shape[-1]] if channels else blocks.sum((0, 1))
        return summed.reshape(leaf.shape).astype(leaf.dtype)

    d_leaves = [total(blocks, leaf) for blocks, leaf in zip(partial, leaves, strict=True)]
    return jax.tree.unflatten(structure, d_leaves), d_currents.reshape(currents.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def run(neuron: Neuron, params: Params, currents: Float[Array, "T ..."], interpret: bool = False):
    """Spikes over time; differentiable, the backward pass is `backward`."""
    return forward(neuron, params, currents, interpret)


def _run_forward(neuron, params, currents, interpret):
    return forward(neuron, params, currents, interpret), (params, currents)


def _run_backward(neuron, interpret, saved, cotangent):
    return backward(neuron, *saved, cotangent, interpret)


run.defvjp(_run_forward, _run_backward)


def refusal(neuron: Neuron, params: Params, currents: Float[Array, "T ..."]) -> str | None:
    """Why the kernel cannot run this neuron on these currents, or None.

    Both passes are lowered for CUDA, which needs no GPU.
    """
    if currents.shape[0] > TIMESTEPS:
        return f"T = {currents.shape[0]} timesteps are more than {TIMESTEPS}"
    if currents.size == 0:
        return "there are no neurons"
    if currents.size >= 2**31:
        return f"{currents.size} currents are more than an index of 32 bits"
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (params, currents))
    leaves, structure = jax.tree.flatten(shapes)
    return _not_lowered(neuron, structure, tuple(leaves))


@functools.lru_cache(maxsize=256)  # layers of one shape are many, and lowering takes a while
def _not_lowered(neuron, structure, leaves) -> str | None:
    """What lowering both passes for CUDA raises, or None."""
    shapes = jax.tree.unflatten(structure, leaves)

    def both(params, currents):
        spikes, pullback = jax.vjp(functools.partial(run, neuron), params, currents)
        return pullback(spikes)

    try:
        jax.jit(both).trace(*shapes).lower(lowering_platforms=("cuda",))
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return None
