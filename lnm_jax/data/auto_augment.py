"""AutoAugment's policy for CIFAR-10, on the device.

Under vmap, `lax.switch` would run all fourteen operations for every image, each from the image
to the image. The policy runs one `Pass` twice instead: a fixed row of cheap steps, in which
every operation is a choice of numbers that leaves the other steps without effect.

The sub-policies are those of the paper's table. The paper's ranges are for ImageNet and its
release differs from them; here ranges, signs and the ten levels are torchvision's
(`AutoAugmentPolicy.CIFAR10`), which agree with those of DeepVoltaire/AutoAugment but for whole
pixels in translations and nearest pixels in shears. Pixels from outside the image are grey,
128, as in DeepVoltaire/AutoAugment (torchvision leaves the colour to the user, and black if
none is given).

References: Cubuk et al. (2019), AutoAugment, arXiv:1805.09501, appendix, policy on CIFAR-10;
  torchvision.transforms.AutoAugment; Pillow's Geometry.c, Blend.c, Filter.c, ImageOps.py and
  ImageEnhance.py.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

Image = UInt8[Array, "H W 3"]

# (operation, probability, level 0 .. 9 or None) twice: one is drawn, its two run in this order.
POLICY = (
    (("Invert", 0.1, None), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, None), ("Equalize", 0.9, None)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, None), ("Equalize", 0.5, None)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, None), ("AutoContrast", 0.4, None)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, None)),
    (("Equalize", 0.2, None), ("AutoContrast", 0.6, None)),
    (("Equalize", 0.2, None), ("Equalize", 0.6, None)),
    (("Color", 0.9, 9), ("Equalize", 0.6, None)),
    (("AutoContrast", 0.8, None), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, None)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, None), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, None), ("Invert", 0.1, None)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None)),
)

FILL = 128  # grey level of pixels from outside the image
KEEP, AUTO_CONTRAST, EQUALIZE = range(3)
BLACK, MEAN, GREY, SMOOTH = range(4)


# PIL's operations on one image (H, W, 3), uint8. The geometric ones take the same pixels as PIL,
# the others are PIL's to within 1 grey level.

# Geometric operations: each output pixel takes the nearest input pixel.


def fixed_point(matrix) -> Int[np.ndarray, "6"]:
    """PIL's inverse affine matrix (a, b, c, d, e, f), in its 16.16 fixed point.

    The offset is that of the output's first pixel centre. Integers give PIL's own pixels, ties
    included; float32 would not.
    """
    a, b, c, d, e, f = matrix
    offsets = (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)
    return np.array([math.floor(65536 * v + 0.5) for v in offsets], np.int32)


def resample(image: Image, fixed: Int[Array, "6"]) -> Image:
    """Output pixel (x, y) is the input's at (a x + b y + c, d x + e y + f), or FILL."""
    height, width, channels = image.shape
    y, x = jnp.mgrid[:height, :width]
    a, b, c, d, e, f = fixed
    from_x, from_y = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    # The fill is one more pixel to take, so that what follows reads finished pixels.
    pixels = jnp.pad(image.reshape(-1, channels), ((0, 1), (0, 0)), constant_values=FILL)
    place = jnp.where(inside, from_y * width + from_x, height * width)
    return pixels.at[place].get(mode="promise_in_bounds")


def rotation(degrees: float, height: int, width: int) -> tuple[float, ...]:
    """Inverse matrix of a counterclockwise turn about the centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


# Operations on grey levels, each channel alone.


def _places(image: Image) -> Int[Array, "H W 3"]:
    """Of each grey level in a flat table (3, 256); they cannot be out of bounds."""
    return image.astype(jnp.int32) + 256 * np.arange(image.shape[-1], dtype=np.int32)[None, None]


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


def same(counts: Int[Array, "3 256"]) -> Levels:
    """Every level to itself."""
    table = jnp.broadcast_to(jnp.arange(256.0), counts.shape)
    return Levels(table, offset=jnp.zeros(len(counts)), scale=jnp.ones(len(counts)))


def stretching(counts: Int[Array, "3 256"]) -> Levels:
    """From the darkest and the lightest level to 0 .. 255; a constant channel stays as it is.

    PIL's double precision falls just below some whole numbers: there it is one level darker.
    """
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
    """From the number of darker pixels to 0 .. 255; with few levels it may stay as it is."""
    levels = jnp.arange(256)[None]
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


# Blends: factor 0 is a degenerate image, 1 the image itself, more exaggerates it.


def blend(degenerate: Array, image: Image, factor: float) -> Image:
    """degenerate + factor * (image - degenerate), cut to 0 .. 255 and, as in PIL, not rounded."""
    degenerate, image = degenerate.astype(jnp.float32), image.astype(jnp.float32)
    return jnp.clip(degenerate + factor * (image - degenerate), 0, 255).astype(jnp.uint8)


def luminance(image: Image) -> Int[Array, "H W 1"]:
    """Luminance of ITU-R 601-2 in PIL's fixed point."""
    red, green, blue = jnp.moveaxis(image.astype(jnp.int32), -1, 0)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)[..., None]


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


# The policy: each operation as one pass.


class Pass(NamedTuple):
    """What one pass does to an image: at most one operation, since the defaults do nothing.

    Grey levels of at least `threshold` are inverted, then only the bits of `mask` stay.
    """

    fixed: Array = fixed_point((1, 0, 0, 0, 1, 0))
    degenerate: Array = BLACK
    factor: Array = 1.0
    histogram: Array = KEEP
    threshold: Array = 256.0
    mask: Array = np.uint8(255)


def _pass(name: str, level: int | None, sign: int, height: int, width: int) -> Pass:
    """An operation of the policy; `sign`, -1 or 1, matters to those whose range is about 0."""
    share = (level or 0) / 9
    slope, factor = sign * 0.3 * share, 1 + sign * 0.9 * share
    # Whole pixels; the range is that of the paper's ImageNet images, 331 pixels wide.
    right, down = (sign * int(150 / 331 * size * share) for size in (width, height))
    return {
        "ShearX": Pass(fixed_point((1, slope, 0, 0, 1, 0))),
        "ShearY": Pass(fixed_point((1, 0, 0, slope, 1, 0))),
        "TranslateX": Pass(fixed_point((1, 0, -right, 0, 1, 0))),
        "TranslateY": Pass(fixed_point((1, 0, 0, 0, 1, -down))),
        "Rotate": Pass(fixed_point(rotation(sign * 30 * share, height, width))),
        "Invert": Pass(threshold=0.0),
        "Solarize": Pass(threshold=255 - 255 * share),
        "Posterize": Pass(mask=np.uint8(256 - 2 ** round(4 * share))),  # of the highest bits
        "Brightness": Pass(degenerate=BLACK, factor=factor),
        "Contrast": Pass(degenerate=MEAN, factor=factor),
        "Color": Pass(degenerate=GREY, factor=factor),
        "Sharpness": Pass(degenerate=SMOOTH, factor=factor),
        "AutoContrast": Pass(histogram=AUTO_CONTRAST),
        "Equalize": Pass(histogram=EQUALIZE),
    }[name]


def _passes(height: int, width: int) -> Pass:
    """Of every sub-policy, operation and outcome, (25, 2, 3): left out, sign -1, sign 1."""
    rows = [
        Pass() if sign == 0 else _pass(name, level, sign, height, width)
        for sub_policy in POLICY
        for name, _, level in sub_policy
        for sign in (0, -1, 1)
    ]
    fields = (jnp.asarray(np.stack(field)) for field in zip(*rows, strict=True))
    return Pass(*(field.reshape(len(POLICY), 2, 3, *field.shape[1:]) for field in fields))


def _run(image: Image, step: Pass) -> Image:
    image = resample(image, step.fixed)
    grey = luminance(image)
    degenerate = jnp.where(step.degenerate == SMOOTH, smooth(image), 0)
    degenerate = jnp.where(step.degenerate == GREY, grey, degenerate)
    mean = (2 * grey.sum() + grey.size) // (2 * grey.size)  # rounded, halves up
    degenerate = jnp.where(step.degenerate == MEAN, mean, degenerate)
    image = blend(degenerate, image, step.factor)
    counts = histogram(image)
    levels = same(counts)
    for choice, make in ((AUTO_CONTRAST, stretching), (EQUALIZE, equalizing)):
        chosen = functools.partial(jnp.where, step.histogram == choice)
        levels = Levels(*map(chosen, make(counts), levels))
    value = levels.table.reshape(-1).at[_places(image)].get(mode="promise_in_bounds")
    value = jnp.floor((value + levels.offset[None, None]) * levels.scale[None, None])
    image = jnp.minimum(value, 255).astype(jnp.uint8)
    image = jnp.where(image < jnp.float32(step.threshold), image, 255 - image)
    return image & step.mask


def draw(key: PRNGKeyArray) -> tuple[Int[Array, ""], Bool[Array, "2"], Int[Array, "2"]]:
    """A sub-policy 0 .. 24, which of its operations are applied, and their signs, -1 or 1."""
    policy_key, applied_key, sign_key = jax.random.split(key, 3)
    sub_policy = jax.random.randint(policy_key, (), 0, len(POLICY))
    probabilities = jnp.array([[p for _, p, _ in pair] for pair in POLICY])
    applied = jax.random.uniform(applied_key, (2,)) < probabilities[sub_policy]
    return sub_policy, applied, jax.random.rademacher(sign_key, (2,), jnp.int32)


def auto_augment(key: PRNGKeyArray, image: Image) -> Image:
    """Applies one of the 25 sub-policies, drawn at random, to an image before normalisation."""
    sub_policy, applied, signs = draw(key)
    outcome = jnp.where(applied, jnp.where(signs > 0, 2, 1), 0)
    steps = (field[sub_policy, jnp.arange(2), outcome] for field in _passes(*image.shape[:2]))
    for step in zip(*steps, strict=True):
        image = _run(image, Pass(*step))
    return image
