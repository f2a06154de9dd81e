"""AutoAugment: its operations against PIL, its policy against the published table."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from lnm_jax.data import auto_augment, image_ops
from lnm_jax.errors import ConfigError


def images():
    """Of 32 x 32, RGB: noise, ramps, constant, one level in most pixels, few levels, dark."""
    noise = np.random.default_rng(0)
    ramp = np.add.outer(5 * np.arange(32), 3 * np.arange(32))
    dot = np.zeros((32, 32, 3), int)
    dot[9, 20] = 255, 0, 130
    made = {
        "noise": noise.integers(0, 256, (32, 32, 3)),
        "ramps": np.stack([ramp, ramp[::-1], ramp.T], -1) // 2 + 20,
        "constant": np.full((32, 32, 3), (77, 0, 255)),
        "mostly one level": np.where(ramp[..., None] > 30, 200, (3, 50, 90)),
        "half one level": np.where(ramp[..., None] > 110, 0, (3, 50, 90)),
        "few levels": 60 * noise.integers(0, 4, (32, 32, 3)) + 9,
        "dark": noise.integers(90, 120, (32, 32, 3)),
        "dot": dot,
    }
    return {name: image.astype(np.uint8) for name, image in made.items()}


IMAGES = images()
GREY = (128, 128, 128)


def affine(image, *matrix, fill=GREY):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)


SLOPES = (-0.3, -0.2, 0.1, 0.2667, 0.5)  # 0.2: samples halfway between two pixels
SHIFTS = (-14, 0, 4, 12, 40, 2.3)
FACTORS = (0.0, 0.1, 0.7, 1.0, 1.3, 1.9)
PIL = {  # operation: (the same with PIL, magnitudes)
    "shear_x": (lambda image, slope: affine(image, 1, slope, 0, 0, 1, 0), SLOPES),
    "shear_y": (lambda image, slope: affine(image, 1, 0, 0, slope, 1, 0), SLOPES),
    "translate_x": (lambda image, pixels: affine(image, 1, 0, -pixels, 0, 1, 0), SHIFTS),
    "translate_y": (lambda image, pixels: affine(image, 1, 0, 0, 0, 1, -pixels), SHIFTS),
    "rotate": (
        lambda image, degrees: image.rotate(degrees, fillcolor=GREY),
        (-30, -20 / 3, 0, 1, 20, 90, 133),
    ),
    "solarize": (ImageOps.solarize, (0, 1, 28.3, 170, 255, 256)),
    "posterize": (ImageOps.posterize, (1, 4, 5, 7, 8)),
    "brightness": (lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), FACTORS),
    "contrast": (lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), FACTORS),
    "color": (lambda image, factor: ImageEnhance.Color(image).enhance(factor), FACTORS),
    "sharpness": (lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), FACTORS),
    "auto_contrast": (ImageOps.autocontrast, ()),
    "equalize": (ImageOps.equalize, ()),
    "invert": (ImageOps.invert, ()),
}

# One level may be lost. Blends: XLA may add and multiply in one instruction, which rounds once,
# PIL does not, and neither rounds to the nearest level at the end. auto_contrast: PIL's double
# precision may fall just below a whole number. All others give the very same pixels.
ROUNDED = ("brightness", "contrast", "color", "sharpness", "auto_contrast")


def with_pil(operation, image):
    return np.asarray(operation(Image.fromarray(np.asarray(image)))).astype(int)


@pytest.mark.parametrize("name", PIL)
def test_an_operation_is_pils(name):
    ours, (pils, magnitudes) = getattr(image_ops, name), PIL[name]
    tolerance = 1 if name in ROUNDED else 0
    stack = np.stack(list(IMAGES.values()))
    for arguments in [(magnitude,) for magnitude in magnitudes] or [()]:
        batch = jax.jit(jax.vmap(lambda image, a=arguments: ours(image, *a)))(stack)
        assert batch.dtype == jnp.uint8
        for label, image, ours_of_it in zip(IMAGES, stack, batch, strict=True):
            expected = with_pil(lambda image, a=arguments: pils(image, *a), image)
            worst = np.abs(np.asarray(ours_of_it).astype(int) - expected).max()
            assert worst <= tolerance, (label, arguments)


@pytest.mark.parametrize("name", ["rotate", "shear_y", "translate_x", "sharpness", "contrast"])
def test_an_operation_is_pils_on_an_oblong_image(name):
    image = np.random.default_rng(1).integers(0, 256, (11, 18, 3), dtype=np.uint8)
    operation, magnitudes = PIL[name]
    magnitude = magnitudes[2]
    ours = np.asarray(getattr(image_ops, name)(jnp.asarray(image), magnitude)).astype(int)
    expected = with_pil(lambda i: operation(i, magnitude), image)
    assert np.abs(ours - expected).max() <= (1 if name in ROUNDED else 0)


def test_what_comes_from_outside_has_the_chosen_colour():
    image = jnp.asarray(IMAGES["noise"])
    black = np.asarray(image_ops.rotate(image, 20, fill=0)).astype(int)
    np.testing.assert_array_equal(black, with_pil(lambda i: i.rotate(20), image))
    assert (np.asarray(image_ops.translate_x(image, 5))[:, :5] == 128).all()
    assert (np.asarray(image_ops.translate_y(image, -5))[-5:] == 128).all()


# From the table "AutoAugment policy found on reduced CIFAR-10" (arXiv:1805.09501), a line each:
# operation, probability, magnitude, twice. Magnitudes of operations without one are left as
# printed.
PUBLISHED = """
Invert 0.1 7 Contrast 0.2 6
Rotate 0.7 2 TranslateX 0.3 9
Sharpness 0.8 1 Sharpness 0.9 3
ShearY 0.5 8 TranslateY 0.7 9
AutoContrast 0.5 8 Equalize 0.9 2
ShearY 0.2 7 Posterize 0.3 7
Color 0.4 3 Brightness 0.6 7
Sharpness 0.3 9 Brightness 0.7 9
Equalize 0.6 5 Equalize 0.5 1
Contrast 0.6 7 Sharpness 0.6 5
Color 0.7 7 TranslateX 0.5 8
Equalize 0.3 7 AutoContrast 0.4 8
TranslateY 0.4 3 Sharpness 0.2 6
Brightness 0.9 6 Color 0.2 8
Solarize 0.5 2 Invert 0.0 3
Equalize 0.2 0 AutoContrast 0.6 0
Equalize 0.2 8 Equalize 0.6 4
Color 0.9 9 Equalize 0.6 6
AutoContrast 0.8 4 Solarize 0.2 8
Brightness 0.1 3 Color 0.7 0
Solarize 0.4 5 AutoContrast 0.9 3
TranslateY 0.9 9 TranslateY 0.7 9
AutoContrast 0.9 2 Solarize 0.8 3
Equalize 0.8 8 Invert 0.1 3
TranslateY 0.7 9 AutoContrast 0.9 1
"""
WITHOUT_MAGNITUDE = ("Invert", "AutoContrast", "Equalize")


def published():
    """The table as ((operation, probability, magnitude), twice), 25 times."""
    for line in PUBLISHED.split("\n")[1:-1]:
        words = line.split()
        yield tuple(
            (name, float(p), None if name in WITHOUT_MAGNITUDE else int(level))
            for name, p, level in (words[:3], words[3:])
        )


def test_the_policy_is_the_published_table():
    assert len(auto_augment.POLICY) == 25
    assert tuple(published()) == auto_augment.POLICY


def test_operations_are_drawn_with_the_published_probabilities():
    draws = 100_000
    keys = jax.random.split(jax.random.key(3), draws)
    chosen, applied, signs = jax.device_get(jax.jit(jax.vmap(auto_augment.draw))(keys))
    within = lambda rate, p, n: abs(rate - p) <= 5 * np.sqrt(p * (1 - p) / n)  # five deviations
    expected, seen = collections.Counter(), collections.Counter()
    for k, sub_policy in enumerate(published()):
        mine = chosen == k
        assert within(mine.mean(), 1 / 25, draws)
        for which, (name, p, _) in enumerate(sub_policy):
            assert within(applied[mine, which].mean(), p, mine.sum()), (k, name)
            expected[name] += p / 25
            seen[name] += (applied[:, which] & mine).sum() / draws
    assert seen == pytest.approx(expected, abs=0.01)
    assert set(np.unique(signs)) == {-1, 1}
    assert all(within(share, 0.5, draws) for share in (signs > 0).mean(0))
    # The two signs are independent of each other.
    assert within((signs[:, 0] == signs[:, 1]).mean(), 0.5, draws)


def snake(name):
    return "".join("_" + c.lower() if c.isupper() else c for c in name)[1:]


def policy_with_pil(image, sub_policy, applied, signs):
    """torchvision's AutoAugment written with PIL, nearest pixels and a grey fill."""
    shift = np.linspace(0, 150 / 331 * 32, 10)
    factors = np.linspace(0, 0.9, 10)
    for (name, _, level), apply, sign in zip(sub_policy, applied, signs, strict=True):
        if not apply:
            continue
        level = level or 0
        magnitude = {
            "ShearY": sign * np.linspace(0, 0.3, 10)[level],
            "TranslateX": int(sign * shift[level]),
            "TranslateY": int(sign * shift[level]),
            "Rotate": sign * np.linspace(0, 30, 10)[level],
            "Solarize": np.linspace(255, 0, 10)[level],
            "Posterize": int(8 - np.round(level / (9 / 4))),
        }.get(name, 1 + sign * factors[level])
        operation, magnitudes = PIL[snake(name)]
        image = operation(image, magnitude) if magnitudes else operation(image)
    return image


@functools.cache
def program():
    return jax.jit(jax.vmap(auto_augment.auto_augment))


def examples(n):
    """Keys, and images of several kinds in turn."""
    names = ("noise", "mostly one level", "few levels", "dot")
    stack = np.stack([IMAGES[names[k % len(names)]] for k in range(n)])
    return jax.random.split(jax.random.key(7), n), stack


def test_the_policy_on_images_is_pils():
    keys, stack = examples(1024)
    out = np.asarray(program()(keys, stack))
    assert (out.dtype, out.shape) == (np.uint8, stack.shape)
    table = list(published())
    drawn = zip(*jax.device_get(jax.vmap(auto_augment.draw)(keys)), strict=True)
    covered = set()
    for image, ours, (k, applied, signs) in zip(stack, out, drawn, strict=True):
        theirs = with_pil(
            lambda i, k=k, a=applied, s=signs: policy_with_pil(i, table[k], a, s), image
        )
        names = [snake(name) for (name, *_), apply in zip(table[k], applied, strict=True) if apply]
        rounded = [name in ROUNDED for name in names]
        difference = np.abs(ours - theirs)
        # One level of difference may grow in an operation that follows, in few pixels.
        limit = 0 if not any(rounded) else 1 if not any(rounded[:-1]) else 6
        assert np.mean(difference > limit) <= (0.01 if limit > 1 else 0), (names, signs)
        covered |= {(int(k), *map(bool, applied))}
    # Of the 100 outcomes some have probability 0, others a few in ten thousand.
    assert {k for k, *_ in covered} == set(range(25))
    assert len(covered) > 70


def test_a_key_and_an_image_determine_the_result_alone_or_in_a_batch():
    keys, stack = examples(1024)
    batch = np.asarray(program()(keys, stack))
    np.testing.assert_array_equal(batch, program()(keys, stack))
    alone = jax.jit(auto_augment.auto_augment)
    for k in range(0, 1024, 64):
        np.testing.assert_array_equal(batch[k], alone(keys[k], stack[k]))
    other = program()(keys[::-1], stack)
    assert (np.asarray(other) != batch).any((1, 2, 3)).mean() > 0.5


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 8, 1), "uint8"), ((8, 8, 3), "float32"), ((2, 8, 8, 3), "uint8")]
)
def test_auto_augment_refuses_what_is_not_a_colour_image(shape, dtype):
    with pytest.raises(ConfigError, match="AutoAugment needs colour images") as error:
        auto_augment.auto_augment(jax.random.key(0), jnp.zeros(shape, dtype))
    assert "\n" not in str(error.value)
