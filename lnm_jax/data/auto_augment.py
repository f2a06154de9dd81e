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
  torchvision.transforms.AutoAugment.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lnm_jax.data import image_ops
from lnm_jax.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Int, PRNGKeyArray, UInt8

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

KEEP, AUTO_CONTRAST, EQUALIZE = range(3)
BLACK, MEAN, GREY, SMOOTH = range(4)


class Pass(NamedTuple):
    """What one pass does to an image: at most one operation, since the defaults do nothing."""

    fixed: Array = image_ops.fixed_point((1, 0, 0, 0, 1, 0))
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
        "ShearX": Pass(image_ops.fixed_point((1, slope, 0, 0, 1, 0))),
        "ShearY": Pass(image_ops.fixed_point((1, 0, 0, slope, 1, 0))),
        "TranslateX": Pass(image_ops.fixed_point((1, 0, -right, 0, 1, 0))),
        "TranslateY": Pass(image_ops.fixed_point((1, 0, 0, 0, 1, -down))),
        "Rotate": Pass(image_ops.fixed_point(image_ops.rotation(sign * 30 * share, height, width))),
        "Invert": Pass(threshold=0.0),
        "Solarize": Pass(threshold=255 - 255 * share),
        "Posterize": Pass(mask=image_ops.bit_mask(8 - round(4 * share))),
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


def _run(image: Image, step: Pass, fill: int) -> Image:
    image = image_ops.resample(image, step.fixed, fill)
    luminance = image_ops.luminance(image)
    degenerate = jnp.where(step.degenerate == SMOOTH, image_ops.smooth(image), 0)
    degenerate = jnp.where(step.degenerate == GREY, luminance, degenerate)
    degenerate = jnp.where(step.degenerate == MEAN, image_ops.mean_level(luminance), degenerate)
    image = image_ops.blend(degenerate, image, step.factor)
    counts = image_ops.histogram(image)
    levels = image_ops.same(counts)
    for choice, make in ((AUTO_CONTRAST, image_ops.stretching), (EQUALIZE, image_ops.equalizing)):
        chosen = functools.partial(jnp.where, step.histogram == choice)
        levels = image_ops.Levels(*map(chosen, make(counts), levels))
    return image_ops.solarize(image_ops.map_levels(image, levels), step.threshold) & step.mask


def draw(key: PRNGKeyArray) -> tuple[Int[Array, ""], Bool[Array, "2"], Int[Array, "2"]]:
    """A sub-policy 0 .. 24, which of its operations are applied, and their signs, -1 or 1."""
    policy_key, applied_key, sign_key = jax.random.split(key, 3)
    sub_policy = jax.random.randint(policy_key, (), 0, len(POLICY))
    probabilities = jnp.array([[p for _, p, _ in pair] for pair in POLICY])
    applied = jax.random.uniform(applied_key, (2,)) < probabilities[sub_policy]
    return sub_policy, applied, jax.random.rademacher(sign_key, (2,), jnp.int32)


def auto_augment(key: PRNGKeyArray, image: Image, fill: int = image_ops.FILL) -> Image:
    """Applies one of the 25 sub-policies, drawn at random.

    Args:
      key: of this image.
      image: (H, W, 3), uint8, before normalisation.
      fill: grey level of pixels from outside the image.
    Returns: image, the same shape and type.
    Raises: ConfigError if the image is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != jnp.uint8:
        raise ConfigError(
            "AutoAugment needs colour images (H, W, 3) of type uint8, got "
            f"{tuple(image.shape)} {image.dtype}: turn it off for this data set"
        )
    sub_policy, applied, signs = draw(key)
    outcome = jnp.where(applied, jnp.where(signs > 0, 2, 1), 0)
    steps = (field[sub_policy, jnp.arange(2), outcome] for field in _passes(*image.shape[:2]))
    for step in zip(*steps, strict=True):
        image = _run(image, Pass(*step), fill)
    return image
