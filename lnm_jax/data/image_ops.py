"""PIL's operations on one image, in JAX, as AutoAugment uses them.

They take and return (H, W, 3) uint8. The geometric ones take the same pixels as PIL, the others
are PIL's to within 1 grey level. Their parts are public too: `auto_augment` combines them so
that under vmap all operations cost little more than one.

References: Pillow's Geometry.c, Blend.c, Filter.c, ImageOps.py and ImageEnhance.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, UInt8

    Image = UInt8[Array, "H W 3"]

FILL = 128

# Geometric operations: each output pixel takes the nearest input pixel.


def fixed_point(matrix) -> Int[np.ndarray, "6"]:
    """PIL's inverse affine matrix (a, b, c, d, e, f), in its 16.16 fixed point.

    The offset is that of the output's first pixel centre. Integers give PIL's own pixels, ties
    included; float32 would not.
    """
    a, b, c, d, e, f = matrix
    offsets = (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)
    return np.array([math.floor(65536 * v + 0.5) for v in offsets], np.int32)


def resample(image: Image, fixed: Int[Array, "6"], fill: int) -> Image:
    """Output pixel (x, y) is the input's at (a x + b y + c, d x + e y + f), or `fill`."""
    height, width, channels = image.shape
    y, x = jnp.mgrid[:height, :width]
    a, b, c, d, e, f = fixed
    from_x, from_y = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    # The fill is one more pixel to take, so that what follows reads finished pixels.
    pixels = jnp.pad(image.reshape(-1, channels), ((0, 1), (0, 0)), constant_values=fill)
    place = jnp.where(inside, from_y * width + from_x, height * width)
    return pixels.at[place].get(mode="promise_in_bounds")


def rotation(degrees: float, height: int, width: int) -> tuple[float, ...]:
    """Inverse matrix of a counterclockwise turn about the centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def shear_x(image: Image, slope: float, fill: int = FILL) -> Image:
    """Moves row y left by `slope` * y pixels; `slope` is a Python number."""
    return resample(image, fixed_point((1, slope, 0, 0, 1, 0)), fill)


def shear_y(image: Image, slope: float, fill: int = FILL) -> Image:
    """Moves column x up by `slope` * x pixels; `slope` is a Python number."""
    return resample(image, fixed_point((1, 0, 0, slope, 1, 0)), fill)


def translate_x(image: Image, pixels: float, fill: int = FILL) -> Image:
    """Moves the image right by `pixels`, a Python number."""
    return resample(image, fixed_point((1, 0, -pixels, 0, 1, 0)), fill)


def translate_y(image: Image, pixels: float, fill: int = FILL) -> Image:
    """Moves the image down by `pixels`, a Python number."""
    return resample(image, fixed_point((1, 0, 0, 0, 1, -pixels)), fill)


def rotate(image: Image, degrees: float, fill: int = FILL) -> Image:
    """Turns the image counterclockwise about its centre by `degrees`, a Python number."""
    return resample(image, fixed_point(rotation(degrees, *image.shape[:2])), fill)


# Operations on grey levels, each channel alone.


def solarize(image: Image, threshold: float) -> Image:
    """Inverts grey levels of at least `threshold`; 256 changes nothing."""
    return jnp.where(image < jnp.float32(threshold), image, 255 - image)


def invert(image: Image) -> Image:
    """255 - image."""
    return 255 - image


def bit_mask(bits: int) -> np.uint8:
    """The highest 1 .. 8 `bits` of a grey level."""
    return np.uint8(256 - 2 ** (8 - bits))


def posterize(image: Image, bits: int) -> Image:
    """Keeps the highest 1 .. 8 `bits`, a Python number."""
    return image & bit_mask(bits)


def _places(image: Image) -> Int[Array, "H W 3"]:
    """Of each grey level in a flat table (3, 256); they cannot be out of bounds."""
    return image.astype(jnp.int32) + 256 * np.arange(image.shape[-1], dtype=np.int32)


def histogram(image: Image) -> Int[Array, "3 256"]:
    """Pixels of each channel at each grey level."""
    counts = jnp.zeros(256 * image.shape[-1], jnp.int32)
    return counts.at[_places(image)].add(1, mode="promise_in_bounds").reshape(-1, 256)


class Levels(NamedTuple):
    """A map of grey levels v: floor((table[v] + offset) * scale), at most 255, a channel.

    The offset holds half of the smallest step of a quotient, so that rounding of float32
    cannot push a whole number below itself.
    """

    table: Float[Array, "3 256"]
    offset: Float[Array, "3"]
    scale: Float[Array, "3"]


def map_levels(image: Image, levels: Levels) -> Image:
    """Applies it to each channel."""
    value = levels.table.reshape(-1).at[_places(image)].get(mode="promise_in_bounds")
    value = jnp.floor((value + levels.offset) * levels.scale)
    return jnp.minimum(value, 255).astype(jnp.uint8)


def same(counts: Int[Array, "3 256"]) -> Levels:
    """Every level to itself."""
    channels = counts.shape[0]
    table = jnp.broadcast_to(jnp.arange(256.0), counts.shape)
    return Levels(table, offset=jnp.zeros(channels), scale=jnp.ones(channels))


def stretching(counts: Int[Array, "3 256"]) -> Levels:
    """From the darkest and the lightest level to 0 .. 255."""
    levels = jnp.arange(256.0)
    low = jnp.where(counts > 0, levels, 255).min(1)
    high = jnp.where(counts > 0, levels, 0).max(1)
    varies = high > low
    return Levels(
        table=jnp.broadcast_to(levels, counts.shape),
        offset=jnp.where(varies, 0.5 / 255 - low, 0),
        scale=jnp.where(varies, 255 / (high - low), 1),
    )


def equalizing(counts: Int[Array, "3 256"]) -> Levels:
    """From the number of darker pixels to 0 .. 255."""
    levels = jnp.arange(256)
    high = jnp.where(counts > 0, levels, 0).max(1, keepdims=True)
    others = jnp.where(levels < high, counts, 0).sum(1)
    step = others // 255
    varies = step > 0
    darker = counts.cumsum(1) - counts
    return Levels(
        table=jnp.where(varies[:, None], darker, levels).astype(jnp.float32),
        offset=jnp.where(varies, step // 2 + 0.5, 0),
        scale=jnp.where(varies, 1 / step, 1),
    )


def auto_contrast(image: Image) -> Image:
    """Stretches each channel to 0 .. 255; a constant channel stays as it is.

    PIL's double precision falls just below some whole numbers: there it is one level darker.
    """
    return map_levels(image, stretching(histogram(image)))


def equalize(image: Image) -> Image:
    """Makes each channel's histogram flat; one with few grey levels may stay as it is."""
    return map_levels(image, equalizing(histogram(image)))


# Blends: factor 0 is a degenerate image, 1 the image itself, more exaggerates it.


def blend(degenerate: Array, image: Image, factor: float) -> Image:
    """degenerate + factor * (image - degenerate), cut to 0 .. 255 and, as in PIL, not rounded."""
    degenerate, image = degenerate.astype(jnp.float32), image.astype(jnp.float32)
    return jnp.clip(degenerate + factor * (image - degenerate), 0, 255).astype(jnp.uint8)


def luminance(image: Image) -> Int[Array, "H W 1"]:
    """Luminance of ITU-R 601-2 in PIL's fixed point."""
    red, green, blue = jnp.moveaxis(image.astype(jnp.int32), -1, 0)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)[..., None]


def mean_level(grey: Int[Array, "H W 1"]) -> Int[Array, ""]:
    """Mean, rounded, halves up."""
    return (2 * grey.sum() + grey.size) // (2 * grey.size)


def smooth(image: Image) -> Float[Array, "H W 3"]:
    """PIL's SMOOTH: 3x3, all weights 1, the centre's 5, over 13; the border is not filtered."""
    height, width, _ = image.shape
    image = image.astype(jnp.float32)
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * image
    inner = np.zeros((height, width, 1), bool)
    inner[1:-1, 1:-1] = True
    return jnp.where(inner, jnp.floor((total + 6.5) / 13), image)


def brightness(image: Image, factor: float) -> Image:
    """Away from black."""
    return blend(jnp.zeros_like(image), image, factor)


def contrast(image: Image, factor: float) -> Image:
    """Away from the mean luminance."""
    return blend(mean_level(luminance(image)), image, factor)


def color(image: Image, factor: float) -> Image:
    """Away from the grey image."""
    return blend(luminance(image), image, factor)


def sharpness(image: Image, factor: float) -> Image:
    """Away from the smoothed image."""
    return blend(smooth(image), image, factor)
