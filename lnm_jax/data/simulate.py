"""Makes an event-camera version of any image folder, in the layout of CIFAR10-DVS.

python -m lnm_jax.data.simulate FOLDER OUT            FOLDER holds <class>/* or train/<class>/*
python -m lnm_jax.data.simulate FOLDER OUT --limit=100 --workers=8

Writes OUT/CIFAR10DVS/<class>/<number>.aedat4, which the data set cifar10dvs reads, and a
README.txt that says that they are simulated. Images are cut to a square and resized to 128x128.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import uuid

import numpy as np

from lnm_jax.data import aedat4, event_camera, events
from lnm_jax.errors import ConfigError
from lnm_jax.version import __version__

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
CAMERA = event_camera.Camera()
MOTION = event_camera.Motion()


def simulate(folder: str, out: str, *, limit: int | None = None, workers: int = 0) -> int:
    """Records every image; the result appears whole or not at all.

    Args:
      folder: of images, <class>/* or train/<class>/*.
      out: folder of the result, made if it is not there.
      limit: images of a class, the first by number; None for all.
      workers: processes; 0 for this one.
    Returns: how many recordings were written.
    Raises: ConfigError if there is no image, one is damaged, or the result is there already
      or can't be written.
    """
    if limit is not None:
        events.positive(limit=limit)
    classes = _images(folder, limit)
    target = os.path.join(out, "CIFAR10DVS")
    if os.path.exists(target):
        raise ConfigError(f"{target}: is there already; delete it or name another folder")
    temporary = f"{target}.{uuid.uuid4().hex}.part"
    jobs = [
        (path, os.path.join(temporary, name, f"{number}.aedat4"), (label, number))
        for label, (name, paths) in enumerate(classes.items())
        for number, path in enumerate(paths)
    ]
    try:
        for name in classes:
            os.makedirs(os.path.join(temporary, name))
        for _ in events.each(_record, jobs, workers, "simulating"):
            pass
        with open(os.path.join(temporary, "README.txt"), "w", encoding="utf-8") as file:
            file.write(_readme(folder, {name: len(paths) for name, paths in classes.items()}))
        os.rename(temporary, target)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(jobs)


def _images(folder: str, limit: int | None) -> dict[str, list[str]]:
    """Image files of each class, in the order of their numbers."""
    train = os.path.join(folder, "train")
    root = train if os.path.isdir(train) else folder
    classes = {}
    try:
        for name in sorted(os.listdir(root)):
            inside = os.path.join(root, name)
            if os.path.isdir(inside):
                files = [file for file in os.listdir(inside) if file.lower().endswith(IMAGES)]
                files.sort(key=events.number)
                if files:
                    classes[name] = [os.path.join(inside, file) for file in files[:limit]]
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not classes:
        raise ConfigError(f"{root}: no images; expected {root}/<class>/<image>")
    return classes


def _record(job: tuple[str, str, tuple[int, int]]) -> None:
    """Writes the recording of one image; `job` is its path, the recording's, and a seed."""
    source, target, seed = job
    light = event_camera.luminance(_square(source))
    recorded = event_camera.record(light, camera=CAMERA, motion=MOTION, seed=seed)
    aedat4.write(target, recorded, events.SENSOR)


def _square(path: str) -> np.ndarray:
    """The middle of an image, resized to the sensor, (H, W, 3), uint8."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            # Bicubic, as Li et al. (2017) enlarged the images that they recorded.
            image = ImageOps.fit(image.convert("RGB"), events.SENSOR, Image.Resampling.BICUBIC)
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path}: not a whole image; replace or remove it ({error})") from error


def _readme(folder: str, counts: dict[str, int]) -> str:
    name = os.path.basename(os.path.abspath(folder))
    lines = [
        f"{events.SIMULATED} recordings: no event camera saw these images.",
        f"Made by lnm_jax {__version__}, python -m lnm_jax.data.simulate, of the images in {name}.",
        "Layout and format are those of CIFAR10-DVS (Li et al. 2017); the data are not.",
        f"Sensor {events.SENSOR[0]}x{events.SENSOR[1]}, model version {event_camera.VERSION}",
        *(f"camera {name} = {value}" for name, value in CAMERA._asdict().items()),
        *(f"motion {name} = {value}" for name, value in MOTION._asdict().items()),
        *(f"class {name}: {count} recordings" for name, count in counts.items()),
    ]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lnm_jax.data.simulate",
        description="Makes an event-camera version of an image folder, as AEDAT4 files.",
    )
    parser.add_argument("folder", help="holds <class>/* or train/<class>/*")
    parser.add_argument("out", help="gets CIFAR10DVS/<class>/<number>.aedat4")
    parser.add_argument("--limit", type=int, help="images of a class (all)")
    parser.add_argument("--workers", type=int, default=0, help="processes (0: this one)")
    arguments = parser.parse_args(argv)
    try:
        written = simulate(**vars(arguments))
    except ConfigError as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    print(f"{written} simulated recordings in {os.path.join(arguments.out, 'CIFAR10DVS')}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
