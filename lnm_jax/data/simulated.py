"""Image sets as a simulated event camera sees them move: event data that needs no recording."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Callable

import numpy as np

from lnm_jax.data import digits, event_camera, events, folder
from lnm_jax.data.dataset import Dataset, Split, digest_of, positive, unnormalised
from lnm_jax.errors import ConfigError
from lnm_jax.files import cached

SENSOR = (32, 32)  # for digits
DIGIT = 24  # pixels; the rest is room to move in
# One loop: with 10 timesteps a frame sees one direction of movement, or two around a corner.
DIGITS_MOTION = event_camera.Motion(radius=4, period_s=0.2, loops=1)


def load_digits(*, timesteps: int = 10, image_size: int = 32) -> Dataset:
    """scikit-learn's digits as a simulated 32x32 event camera sees them move around a diamond.

    Images are (N, T, H, W, 2), float16, made of events as those of CIFAR10-DVS are; see
    `events.frames`, and `event_camera` for the model. 1,437 train and 360 test, the split of
    `digits`. Not normalised: mean 0, standard deviation 1.

    The first call simulates, later ones read what it kept in lnm_jax/digits_dvs, in
    $XDG_CACHE_HOME or ~/.cache.

    Args and Raises: see `before_camera`.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    cache = os.path.join(home, "lnm_jax", "digits_dvs")
    sizes = {"timesteps": timesteps, "image_size": image_size}
    return before_camera(digits.load(), digit_light, DIGITS_MOTION, cache=cache, **sizes)


def load_folder(
    *,
    directory: str,
    timesteps: int = 10,
    image_size: int = 48,
    skip_corrupt: bool = False,
    workers: int = 0,
    memory_limit: float = 4.0,
    progress: bool = True,
    seed: int = 0,
    test_share: float = 0.2,
) -> Dataset:
    """The images of a folder as a simulated 128x128 event camera sees them move.

    As `load_digits`, of the images that `folder.load` finds, cut to a square of 128x128 pixels;
    frames are kept in <directory>/simulated_frames.

    Args:
      directory, skip_corrupt, memory_limit, progress, seed, test_share: see `folder.load`.
      timesteps, image_size, workers: see `before_camera`.
    Raises: ConfigError if the images do not fit into memory, or as `folder.load`.
    """
    still = folder.load(
        directory=directory,
        image_size=events.SENSOR[0],
        skip_corrupt=skip_corrupt,
        memory_limit=memory_limit,
        progress=progress,
        seed=seed,
        test_share=test_share,
    )
    if not isinstance(still.train, Split):
        raise ConfigError(
            f"{directory}: more than config.data.memory_limit={memory_limit:g} GiB of images of "
            "128x128 pixels; raise the limit"
        )
    return before_camera(
        still,
        event_camera.luminance,
        event_camera.Motion(),
        timesteps=timesteps,
        image_size=image_size,
        cache=os.path.join(directory, folder.SIMULATED),
        workers=workers,
    )


def before_camera(
    still: Dataset,
    light: Callable[[np.ndarray], np.ndarray],
    motion: event_camera.Motion,
    *,
    timesteps: int,
    image_size: int,
    cache: str,
    workers: int = 0,
) -> Dataset:
    """Any set of images in memory, each as the simulated camera sees it move: frames of events.

    Args:
      still: its images are uint8.
      light: of an image, as a share of white, (H, W), the sensor's size; a function of a module.
      timesteps: frames of a recording.
      image_size: height and width of a frame, pixels.
      cache: folder of the kept frames.
      workers: processes that simulate; 0 does so in this one.
    Raises: ConfigError if a size is not positive.
    """
    positive(timesteps=timesteps, image_size=image_size)
    images = np.concatenate([still.train.images, still.test.images])
    parameters = {
        "versions": [events.VERSION, event_camera.VERSION],
        "libraries": {
            name: importlib.metadata.version(name) for name in ("numpy", "pillow", "tonic")
        },
        "images": hashlib.sha256(images).hexdigest(),
        "light": [light.__name__, *SENSOR, DIGIT],
        "camera": event_camera.Camera()._asdict(),
        "motion": motion._asdict(),
        "timesteps": timesteps,
        "image_size": image_size,
    }

    def make():
        frames = functools.partial(
            _frames, light=light, motion=motion, timesteps=timesteps, image_size=image_size
        )
        shape = (timesteps, image_size, image_size, 2)
        return {
            "frames": events.stacked(frames, [*enumerate(images)], shape, workers, "simulating")
        }

    made = cached(cache, parameters, make)["frames"]
    trained = len(still.train.labels)
    return unnormalised(
        train=Split(made[:trained], still.train.labels),
        test=Split(made[trained:], still.test.labels),
        num_classes=still.num_classes,
        split=f"{still.split}, simulated recordings",
        classes=still.classes,
    )._replace(digest=digest_of(still.train, still.test))  # frames are rounded as the machine does


def digit_light(image: np.ndarray) -> np.ndarray:
    """Light of a digit on the sensor, (32, 32): ink gives light.

    Args:
      image: (8, 8, 1), grey values 0 to 16.
    """
    from PIL import Image

    light = Image.fromarray(image[..., 0].astype(np.float32) / 16)
    light = np.asarray(light.resize((DIGIT, DIGIT), Image.Resampling.BICUBIC), np.float64)
    return np.pad(light.clip(0, 1), (SENSOR[0] - DIGIT) // 2)  # bicubic overshoots


def _frames(
    numbered: tuple[int, np.ndarray], *, light, motion, timesteps: int, image_size: int
) -> np.ndarray:
    """Frames of an image, whose number seeds the noise."""
    number, image = numbered
    seen = light(image)
    return events.frames(
        event_camera.record(seen, motion=motion, seed=number),
        sensor_size=seen.shape[::-1],
        timesteps=timesteps,
        image_size=image_size,
    )
