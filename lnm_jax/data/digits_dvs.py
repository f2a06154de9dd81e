"""Simulated recordings of handwritten digits: event data that needs no download."""

from __future__ import annotations

import importlib.metadata
import os

import numpy as np

from lnm_jax.data import digits, event_camera, events
from lnm_jax.data.dataset import Dataset, Split

SENSOR = (32, 32)
DIGIT = 24  # pixels; the rest is room to move in
CAMERA = event_camera.Camera()
# One loop: with 10 timesteps a frame sees one direction of movement, or two around a corner.
MOTION = event_camera.Motion(radius=4, period_s=0.2, loops=1)


def load(*, timesteps: int = 10, image_size: int = 32, cache: str | None = None) -> Dataset:
    """scikit-learn's digits as a simulated 32x32 event camera sees them move around a diamond.

    Images are (N, T, H, W, 2), float16, made of events as those of CIFAR10-DVS are; see
    `events.frames`, and `event_camera` for the model. 1,437 train and 360 test, the split of
    `digits`. Not normalised: mean 0, standard deviation 1.

    The first call simulates, later ones read what it kept.

    Args:
      timesteps: frames of a recording.
      image_size: height and width of a frame, pixels.
      cache: folder of the kept frames; None for lnm_jax/digits_dvs in $XDG_CACHE_HOME or ~/.cache.
    Raises: ConfigError if a size is not positive.
    """
    events.positive(timesteps=timesteps, image_size=image_size)
    still = digits.load()
    images = np.concatenate([still.train.images, still.test.images])
    if cache is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        cache = os.path.join(home, "lnm_jax", "digits_dvs")
    made = events.cached(
        cache,
        {
            "versions": [events.VERSION, event_camera.VERSION],
            "libraries": {
                name: importlib.metadata.version(name)
                for name in ("numpy", "pillow", "scikit-learn", "tonic")
            },
            "camera": CAMERA._asdict(),
            "motion": MOTION._asdict(),
            "sensor": [*SENSOR, DIGIT],
            "timesteps": timesteps,
            "image_size": image_size,
            "images": len(images),
        },
        (len(images), timesteps, image_size, image_size, 2),
        lambda: (
            events.frames(
                record(image, seed), sensor_size=SENSOR, timesteps=timesteps, image_size=image_size
            )
            for seed, image in enumerate(images)
        ),
    )
    trained = len(still.train.labels)
    return Dataset(
        train=Split(made[:trained], still.train.labels),
        test=Split(made[trained:], still.test.labels),
        num_classes=still.num_classes,
        mean=np.zeros(2, np.float32),
        std=np.ones(2, np.float32),
        split=f"{still.split}, simulated recordings",
    )


def record(image: np.ndarray, seed: int) -> np.ndarray:
    """Events of one digit, (N,) of `event_camera.EVENT`.

    Args:
      image: (8, 8, 1), grey values 0 to 16; ink gives light.
      seed: of the noise.
    """
    from PIL import Image

    light = Image.fromarray(image[..., 0].astype(np.float32) / 16)
    light = np.asarray(light.resize((DIGIT, DIGIT), Image.Resampling.BICUBIC), np.float64)
    light = np.pad(light.clip(0, 1), (SENSOR[0] - DIGIT) // 2)  # bicubic overshoots
    return event_camera.record(light, camera=CAMERA, motion=MOTION, seed=seed)
