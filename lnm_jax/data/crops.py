"""Decodes and crops photographs with Pillow, the whole of it or no more than a crop needs.

They are turned as their EXIF says, as every viewer shows them, unless pixels are asked for as they
are stored: ImageNet's published scores are of those.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lnm_jax.data.dataset import Info
from lnm_jax.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")
ORIENTATION = 0x0112  # EXIF's tag
TURNS = {  # what brings stored pixels upright, by its value; from 5 on width and height change
    **{2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"},
    **{6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"},
}
AREA = (0.08, 1.0)  # of a training crop, as a share of the image
ASPECT = (3 / 4, 4 / 3)  # of a training crop, width / height

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
_warned_of_depth = threading.Event()


class CorruptImageError(ConfigError):
    """An image whose content can't be decoded; files that can't be read are another matter.

    Its argument is the problem; the message also says what to do about it.
    """

    def __str__(self):
        advice = "replace it, or set config.data.skip_corrupt to leave such images out"
        return f"{self.args[0]}; {advice}"


def decode(data: bytes, name: str) -> np.ndarray:
    """The pixels of an encoded image, upright, (H, W, 3), uint8.

    Greyscale, palette, CMYK and 16-bit images become 8-bit RGB; alpha is dropped.

    Args:
      data: a JPEG, PNG, BMP, WebP or PPM file.
      name: of the file, for the message.
    Raises: CorruptImageError if `data` is empty, corrupt, truncated, or above Pillow's pixel limit;
      ConfigError for a 16-bit PNG whose values use 12 bits or fewer, of which nothing would stay.
    """
    with _open(data, name) as image:
        orientation = _orientation(image)
        return np.asarray(_turned(_rgb(image, data, name), orientation))


def read(
    data: bytes,
    name: str,
    size: int,
    rng: np.random.Generator | None,
    *,
    fraction: float = 1.0,
    upright: bool = True,
) -> np.ndarray:
    """A part of an encoded image, (size, size, 3), uint8: random, or with rng None the centre.

    A random part has 8 to 100 % of the image's area and an aspect of 3/4 to 4/3; where ten tries
    find no such place, it is the largest centre crop of such an aspect. Half of them are flipped.
    For the centre, the short side is resized to round(size / fraction), and size x size pixels
    are cut out; only those are computed. Both are bilinear and antialiased.

    A JPEG whose crop has more than twice the pixels a side that are asked for is decoded at 1/2,
    1/4 or 1/8 of its size, several times as fast. From a factor of two on, what is left to the
    antialiased resize makes the result hard to tell from a full decode's (Pillow's
    `reducing_gap`); smaller images give the very pixels of `decode` and a crop.

    Args:
      data, name: as `decode`.
      size: pixels a side.
      rng: advanced by the draws.
      fraction: of the short side that the centre keeps, at most 1.
      upright: turn the image as its EXIF says.
    Raises: as `decode`.
    References: Szegedy et al. (2015), Going deeper with convolutions, section 6;
      torchvision's RandomResizedCrop draws alike.
    """
    from PIL import Image

    with _open(data, name) as image:
        orientation = _orientation(image) if upright else 1
        width, height = image.size if orientation < 5 else image.size[::-1]
        if rng is None:
            box, flip = _eval_box(width, height, size, fraction), False
        else:
            box, flip = _train_box(width, height, rng), rng.random() < 0.5
        share = 2 * size / min(box[2] - box[0], box[3] - box[1])
        if share < 1:
            wanted, stored = [math.ceil(side * share) for side in image.size], image.width
            if drafted := image.draft(None, tuple(wanted)):  # None if it is not a JPEG
                scale = drafted[1][2] / stored
                box = tuple(edge * scale for edge in box)
        image = _turned(_rgb(image, data, name), orientation)
        # Scaled edges may lie a rounding error outside, which Pillow refuses.
        box = (*box[:2], min(box[2], image.width), min(box[3], image.height))
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
        return pixels[:, ::-1] if flip else pixels


def read_example(path: str, info: Info) -> np.ndarray:
    """An image file as an example of a data set, (H, W, C), or what a .npy file holds.

    The image is turned upright, resized and cut as the data set's test images are; grey where C is
    1 (ITU-R 601), and scaled from 255 to the data set's white.

    Raises: ConfigError if the file can't be read, or the data set is none of images.
    """
    try:
        if path.endswith(".npy"):
            return np.load(path, allow_pickle=False)
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    height, width, channels = info.shape[-3:]
    if len(info.shape) != 3 or channels not in (1, 3) or info.dtype != "uint8":
        raise ConfigError(f"{path}: the network takes examples {info.shape}: give a .npy file")
    if height == width:
        pixels = read(content, path, height, None, fraction=info.eval_crop)
    else:
        pixels = decode(content, path)
        if pixels.shape[:2] != (height, width):
            raise ConfigError(
                f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, not {width}x{height}"
            )
    if channels == 1:
        pixels = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
    return np.rint(pixels * (info.white / 255)).astype(np.uint8)


@contextlib.contextmanager
def _open(data: bytes, name: str) -> Iterator[Image.Image]:
    """An image whose header was read; what Pillow raises meanwhile becomes a CorruptImageError."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise CorruptImageError(f"{name}: an empty file, not an image")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except UnidentifiedImageError:
        raise CorruptImageError(f"{name}: not an image ({', '.join(FORMATS)})") from None
    except (MemoryError, ConfigError):
        raise
    except Exception as error:  # decoders raise whatever corrupt bytes lead them to
        raise CorruptImageError(f"{name}: a corrupt image ({one_line(error)})") from None


def one_line(error: Exception) -> str:
    """Its message without line breaks, or its type."""
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8; 1, upright, where it says nothing that can be read."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # of any type; viewers show such an image as it is stored
        return 1
    return value if value in TURNS else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

    return image if orientation == 1 else image.transpose(Image.Transpose[TURNS[orientation]])


def _rgb(image: Image.Image, data: bytes, name: str) -> Image.Image:
    """8-bit RGB, decoded; alpha is dropped."""
    from PIL import Image

    # Bits a value of a PNG. A PPM says what its white is, and Pillow scales it by that.
    deep = image.format == "PNG" and data[24] == 16
    if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255
        values = np.asarray(image)
        deep = deep and values.any()  # black is black
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if this step is left out
    if image.mode == "RGB":
        image.load()
    else:
        image = image.convert("RGB")
    if deep:
        _check_depth(max(high for _, high in image.getextrema()), name)
    return image


def _check_depth(highest: int, name: str) -> None:
    """Refuses 16-bit values of which 8 bits keep nothing, and warns where they keep little.

    Args:
      highest: of the upper 8 bits.
    """
    if highest >= 128:
        return
    problem = (
        f"{name}: 16 bits a value, but none above {256 * highest + 255}, so that 8 bits keep 0 to "
        f"{highest}; if white is not 65535, scale the values to it, or save 8 bits"
    )
    if highest < 16:  # 12 bits, as many cameras have, or fewer
        raise ConfigError(problem)
    if not _warned_of_depth.is_set():  # once a process: others are likely of the same kind
        _warned_of_depth.set()
        logging.warning("%s", problem)


def _train_box(width: int, height: int, rng: np.random.Generator) -> Box:
    for _ in range(10):
        area = width * height * rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(width - w + 1))
            top = int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * ASPECT[1]))
    h = min(height, round(width / ASPECT[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _eval_box(width: int, height: int, size: int, fraction: float) -> Box:
    """Whole pixels of the resized image, as torchvision cuts them, in those of this one."""
    short = round(size / fraction)
    resized = [int(short * side / min(width, height)) for side in (width, height)]
    left, top = (round((side - size) / 2) for side in resized)
    x, y = width / resized[0], height / resized[1]
    return left * x, top * y, (left + size) * x, (top + size) * y
