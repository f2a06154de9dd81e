"""Images a second of the input pipelines, beside bare decoding on as many processes.

Photographs are imitated: 500x375 pixels of noise with a natural image's spectrum, as JPEGs of
quality 90 (about 110 kB, as ImageNet's are on average), read from a page cache that is warm.
Event recordings are simulated, and turned into frames by tonic.
Bare decoding is a file read and decoded to an array; `decode + crop` adds the random resized
crop that every training image needs. Pipelines are timed from batch to batch once they run.
"""

import concurrent.futures
import functools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from lnm_jax import data
from lnm_jax.data import crops, event_camera, events

SIZE = 224


def _photograph(rng: np.random.Generator) -> Image.Image:
    """Noise whose amplitude falls as 1 / frequency, as that of natural scenes does."""
    height, width = 375, 500
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(rng.normal(size=(4, height, width))) / frequency
    noise = np.fft.irfft2(noise, (height, width))
    noise /= noise.std((1, 2), keepdims=True)
    # The colours of a scene vary less than its brightness.
    pixels = 128 + 55 * noise[0, ..., None] + 15 * np.moveaxis(noise[1:], 0, -1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _write_tree(directory: str, images: int) -> list[str]:
    """A tree of one class; returns the paths of its training images."""
    paths = []
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("val", 1)):
        os.makedirs(os.path.join(directory, split, "n0"))
        for index in range(count):
            path = os.path.join(directory, split, "n0", f"{index:03}.JPEG")
            _photograph(rng).save(path, quality=90)
            paths.append(path)
    return paths[:images]


def _read(paths: list[str], crop: bool) -> None:
    rng = np.random.default_rng(0)
    for path in paths:
        with open(path, "rb") as file:
            encoded = file.read()
        if crop:
            crops.read(encoded, path, SIZE, rng)
        else:
            crops.decode(encoded, path)


def _bare(paths: list[str], processes: int, rounds: int, crop: bool) -> float:
    """Images/s of processes that read and decode, and crop if asked."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        read = functools.partial(_read, crop=crop)
        list(pool.map(read, [paths] * processes))  # they start, and the page cache fills
        start = time.perf_counter()
        list(pool.map(read, [paths] * (processes * rounds)))
        return processes * rounds * len(paths) / (time.perf_counter() - start)


def _rate(stream: Iterator, skip: int) -> float:
    """Images/s of an iterator of batches, after the first `skip`."""
    images = 0
    for step, batch in enumerate(stream, 1):
        if step > skip:
            images += len(batch["label"])
        elif step == skip:
            start = time.perf_counter()
    return images / (time.perf_counter() - start)


def _frames(recordings: int, motion: event_camera.Motion) -> float:
    """Recordings/s that become frames as CIFAR10-DVS's do."""
    light = np.random.default_rng(0).random(events.SENSOR)
    recorded = event_camera.record(light, motion=motion)
    start = time.perf_counter()
    for _ in range(recordings):
        events.frames(recorded, sensor_size=events.SENSOR, timesteps=10, image_size=48)
    return recordings / (time.perf_counter() - start)


def run(short: bool) -> list[dict]:
    """Rows: bare decoding, streaming with 0, 1 and 2 workers, a set in memory, event frames.

    A pipeline with 0 workers reads in threads and is compared with a process a core, the others
    with as many processes as they have workers.
    """
    images, rounds, batch, steps = (8, 1, 4, 4) if short else (256, 8, 32, 96)
    rows, rates = [], {}

    def add(pipeline, processes, rate):
        decode, crop = rates.get(processes, (np.nan, np.nan))
        rows.append(
            {
                "pipeline": pipeline,
                "processes": processes,
                "examples/s": rate,
                "of decode %": 100 * rate / decode,
                "of decode + crop %": 100 * rate / crop,
            }
        )

    with tempfile.TemporaryDirectory() as directory:
        paths = _write_tree(directory, images)
        cores = os.cpu_count()
        workers = (0, 1) if short else (0, 1, 2)
        for processes in sorted({w or cores for w in workers}):
            rates[processes] = [_bare(paths, processes, rounds, crop) for crop in (False, True)]
            add("decode", processes, rates[processes][0])
            add("decode + crop", processes, rates[processes][1])
        for count in workers:
            fields = {"directory": directory, "image_size": SIZE, "workers": count}
            stream = data.load("imagenet2012", **fields).train
            ahead = data.train_batches(stream, 0, batch, 0, steps)
            add(f"streamed, {count} workers", count or cores, _rate(ahead, steps // 4))
    count, steps = (1_000, 4) if short else (50_000, 2_000)
    split = data.Split(np.zeros((count, 32, 32, 3), np.uint8), np.zeros(count, np.int32))
    add("in memory, 32x32x3", "-", _rate(data.train_batches(split, 0, 128, 0, steps), 1))
    brief = event_camera.Motion(loops=1, period_s=0.01, radius=1)
    motion = brief if short else event_camera.Motion()
    add("event frames", "-", _frames(2 if short else 20, motion))
    return rows
