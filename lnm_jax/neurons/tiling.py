"""How the GPU kernel cuts a layer's neurons into blocks, and blocks into programs."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.experimental import pallas as pl


class Launch(NamedTuple):
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
FORWARD = Launch(2048, 4, 1)
BACKWARD = {2: Launch(512, 4, 8), 4: Launch(512, 4, 4), 32: Launch(256, 4, 1)}


def backward(timesteps: int) -> Launch:
    """The backward pass's, of at most 32 timesteps."""
    return next(launch for most, launch in BACKWARD.items() if timesteps <= most)


class Tiles(NamedTuple):
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


def cut(shape: tuple[int, ...], channels: bool, block: int) -> Tiles:
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
    return Tiles(size, columns, (block_rows, block_columns), grid)


def columns(tiles):
    """Column indices of this program's blocks."""
    column = pl.program_id(1) * tiles.block[1] + jnp.arange(tiles.block[1])[None, :]
    return jnp.broadcast_to(column, tiles.block)


def place(tiles, number, column):
    """Positions of a row block's neurons, and which of them are there."""
    row = number * tiles.block[0] + jnp.arange(tiles.block[0])[:, None]
    position = row * tiles.columns + column
    return position, (column < tiles.columns) & (position < tiles.size)
