"""`convolve`: a convolution that is fast on CPUs, elsewhere XLA's own.

Wide 3x3 kernels of stride 1 go through Winograd's minimal filtering F(2x2, 3x3) there, as do the
gradients of their inputs: a tile of 2 x 2 results takes 16 multiplications a pair of channels
instead of 36. The products are matrix products, which run near a CPU's peak; the transforms before
and after them are sums of a few slices. The kernel's gradient is XLA's own: by tiles it is little
faster, and takes three times as long to compile. XLA computes it as a convolution whose channels
are images, more slowly an image the more there are, so it is summed over parts of them.

Reference: Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# y = RESULT ((KERNEL k KERNEL^T) * (DATA d DATA^T)) RESULT^T for a 4x4 tile d and a 3x3 kernel k.
DATA = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
RESULT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
LEAST_CHANNELS, LEAST_PIXELS = 32, 64  # from which on the transforms pay
PART, MOST_PARTS = 32, 32  # images a part, parts


def _sums(matrix, terms):
    """matrix @ terms, for a sequence of arrays and a matrix of 0, 1 and -1."""
    rows = ([f * x if f < 0 else x for f, x in zip(row, terms, strict=True) if f] for row in matrix)
    return [functools.reduce(jnp.add, row) for row in rows]


def _both_sides(matrix, grid):
    """matrix @ grid @ matrix^T, for a grid (a sequence of rows) of arrays."""
    columns = [_sums(matrix, column) for column in zip(*grid, strict=True)]
    return [_sums(matrix, row) for row in zip(*columns, strict=True)]


def winograd(
    x: Float[Array, "N H W C"], kernel: Float[Array, "3 3 C F"]
) -> Float[Array, "N H W F"]:
    """The convolution with stride 1 and zeros around x; H and W are even."""
    images, height, width, channels = x.shape
    weights = jnp.einsum("pi,ijcf,qj->pqcf", KERNEL, kernel, KERNEL).astype(x.dtype)
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Element (i, j) of every tile as (tiles, C).
    tiles = [
        [
            x[:, i : i + height - 1 : 2, j : j + width - 1 : 2].reshape(-1, channels)
            for j in range(4)
        ]
        for i in range(4)
    ]
    tiles = _both_sides(DATA, tiles)
    products = [[tile @ weights[p, q] for q, tile in enumerate(r)] for p, r in enumerate(tiles)]
    shape = (images, height // 2, width // 2, kernel.shape[-1])
    grid = _both_sides(RESULT, products)
    rows = [jnp.stack([y.reshape(shape) for y in row], 3) for row in grid]
    return jnp.stack(rows, 2).reshape(images, height, width, kernel.shape[-1])


def _native(x, kernel, strides=(1, 1), padding=((1, 1), (1, 1))):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


def _in_parts(x, gradient, kernel, strides, padding):
    """The kernel's gradient, summed over parts of the images."""
    size = max(PART, -(-len(x) // MOST_PARTS))
    return sum(
        _kernel_gradient(x[i : i + size], gradient[i : i + size], kernel, strides, padding)
        for i in range(0, len(x), size)
    )


def _kernel_gradient(x, gradient, kernel, strides, padding):
    return jax.linear_transpose(lambda k: _native(x, k, strides, padding), kernel)(gradient)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolution(x, kernel, strides, padding, tiled):
    if tiled:
        return jax.lax.platform_dependent(x, kernel, cpu=winograd, default=_native)
    return _native(x, kernel, strides, padding)


def _forward(x, kernel, *how):
    return _convolution(x, kernel, *how), (x, kernel)


def _backward(strides, padding, tiled, saved, gradient):
    x, kernel = saved
    if tiled:
        turned = kernel[::-1, ::-1].swapaxes(2, 3)
        d_x = _convolution(gradient, turned, strides, padding, tiled)
    else:
        d_x = jax.linear_transpose(lambda x: _native(x, kernel, strides, padding), x)(gradient)[0]
    how = {"strides": strides, "padding": padding}
    d_kernel = jax.lax.platform_dependent(
        *(x, gradient, kernel),
        cpu=functools.partial(_in_parts, **how),
        default=functools.partial(_kernel_gradient, **how),
    )
    return d_x, d_kernel


_convolution.defvjp(_forward, _backward)


def convolve(
    x: Float[Array, "N H W C"],
    kernel: Float[Array, "h w C F"],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Float[Array, "N H2 W2 F"]:
    """Convolution; strides and padding are those of both directions."""
    suits = kernel.shape[:2] == (3, 3) and strides == (1, 1) and padding == ((1, 1), (1, 1))
    wide = min(kernel.shape[2:]) >= LEAST_CHANNELS and x.dtype == jnp.float32
    height, width = x.shape[1:3]
    tiled = suits and wide and height % 2 == width % 2 == 0 and height * width >= LEAST_PIXELS
    small = not isinstance(x.shape[0], int) or len(x) <= PART  # exports have any number of images
    if small and not tiled:
        return _native(x, kernel, strides, padding)
    return _convolution(x, kernel, strides, padding, tiled)
