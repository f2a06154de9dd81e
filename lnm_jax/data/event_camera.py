"""A simulated event camera in front of a moving image: what a recording would look like.

A pixel remembers the logarithm of the light at its last event and fires again when the light has
changed by its contrast threshold: ON for brighter, OFF for darker (ESIM, Rebecq et al. 2018, An
Open Event Camera Simulator, CoRL). Thresholds differ from pixel to pixel and some events are
noise (v2e, Hu et al. 2021, From Video Frames to Realistic DVS Events, CVPR Workshops). The image
moves as in Li et al. (2017), CIFAR10-DVS, Frontiers in Neuroscience 11:309: smoothly, again and
again, along a closed loop of four paths.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

EVENT = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.bool_)])
VERSION = 1  # of the model: raised when the same parameters give other events
MIN_THRESHOLD = 0.01  # that of v2e: no pixel fires without end


class Camera(NamedTuple):
    """The sensor.

    Attributes:
      on_threshold, off_threshold: contrast, change of the natural logarithm of the light that
        fires an event (v2e: 0.2).
      threshold_sigma: standard deviation of both between pixels, in the same unit (v2e: 0.03).
      refractory_us: microseconds for which a pixel is silent after an event (ESIM: 100).
      noise_hz: events that no light caused, per pixel and second, half of them ON; a Poisson
        process (v2e's leak rate: 0.1).
      black: light that a black image still gives, as a share of white. A display is not quite
        black, and without it the logarithm has no bound. The value is ours.
      seed: of the thresholds: one seed is one sensor.
    """

    on_threshold: float = 0.2
    off_threshold: float = 0.2
    threshold_sigma: float = 0.03
    refractory_us: int = 100
    noise_hz: float = 0.1
    black: float = 0.2
    seed: int = 0


class Motion(NamedTuple):
    """The image's path: around a diamond, at constant speed. The values are ours.

    Attributes:
      radius: pixels from the centre to a corner; 0 keeps the image still.
      period_s: seconds for a loop.
      loops: times around.
      step: pixels, at most, that the image moves along an axis between two rendered samples.
    """

    radius: float = 4.0
    period_s: float = 0.2
    loops: int = 6
    step: float = 0.5

    @property
    def duration_us(self) -> int:
        """Of the recording, microseconds."""
        return round(self.period_s * self.loops * 1e6)

    def loop(self) -> np.ndarray:
        """Where the image is in one loop, (samples, 2), pixels right and down of the centre.

        The sample after the last is the first again.
        """
        corners = self.radius * np.array([(-1, 0), (0, 1), (1, 0), (0, -1), (-1, 0)])
        samples = max(1, math.ceil(self.radius / self.step))
        along = np.arange(samples)[:, None] / samples
        paths = [(1 - along) * a + along * b for a, b in itertools.pairwise(corners)]
        return np.concatenate(paths)


def luminance(image: np.ndarray) -> np.ndarray:
    """Light that a display gives off, (H, W), as a share of white.

    Args:
      image: (H, W) or (H, W, 3), uint8, as sRGB stores it.
    References: IEC 61966-2-1 (sRGB); ITU-R BT.709 (weights of the primaries).
    """
    share = image / 255.0
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return light @ np.array([0.2126, 0.7152, 0.0722]) if light.ndim == 3 else light


def thresholds(camera: Camera, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """ON and OFF thresholds of every pixel, two (H, W), in log units."""
    generator = np.random.default_rng(camera.seed)
    on, off = (
        np.maximum(generator.normal(mean, camera.threshold_sigma, shape), MIN_THRESHOLD)
        for mean in (camera.on_threshold, camera.off_threshold)
    )
    return on, off


def render(light: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The image moved to each position, (S, H, W), between pixels by bilinear interpolation.

    Args:
      light: (H, W).
      positions: (S, 2), pixels right and down. Beyond the image its edge goes on.
    """
    height, width = light.shape
    margin = math.ceil(np.abs(positions).max()) + 1
    padded = np.pad(light, margin, mode="edge")
    moved = np.empty((len(positions), height, width))
    for frame, (right, down) in zip(moved, positions, strict=True):
        top, left = math.floor(margin - down), math.floor(margin - right)
        dy, dx = margin - down - top, margin - right - left
        window = padded[top : top + height + 1, left : left + width + 1]
        rows = (1 - dy) * window[:-1] + dy * window[1:]
        frame[:] = (1 - dx) * rows[:, :-1] + dx * rows[:, 1:]
    return moved


def signal(
    log_light: np.ndarray, steps: int, duration_us: int, on: np.ndarray, off: np.ndarray
) -> np.ndarray:
    """Events of a scene that repeats, sample by sample: no noise, no refractory period.

    Between two samples the logarithm of the light is a line; each time it is a threshold away
    from the pixel's reference an event fires there, and the reference follows (ESIM).

    Args:
      log_light: (S, H, W), natural logarithms. After the last sample comes the first.
      steps: from sample to sample, in the whole recording.
      duration_us: of the recording, microseconds.
      on, off: (H, W), thresholds.
    Returns: (N,) of `EVENT`, in no order.
    """
    samples = len(log_light)
    reference = log_light[0].copy()
    references = np.empty((steps, *reference.shape))
    counts = np.empty((steps, *reference.shape), np.int32)  # of the step, OFF events negative
    for step in range(steps):
        change = log_light[(step + 1) % samples] - reference
        threshold = np.where(change > 0, on, off)
        count = np.trunc(change / threshold)
        references[step], counts[step] = reference, count
        reference += count * threshold
    step, y, x = np.nonzero(counts)
    count = counts[step, y, x]
    # From here on one entry an event: the n-th of its step and pixel.
    each = np.repeat(np.arange(len(count)), np.abs(count))
    first = np.cumsum(np.abs(count)) - np.abs(count)
    nth = np.arange(len(each)) - first[each] + 1
    step, y, x, count = step[each], y[each], x[each], count[each]
    threshold = np.where(count > 0, on[y, x], -off[y, x])
    level = references[step, y, x] + nth * threshold
    start, stop = log_light[step % samples, y, x], log_light[(step + 1) % samples, y, x]
    time = step + np.clip((level - start) / (stop - start), 0, 1)
    return _events(np.rint(time * duration_us / steps), x, y, count > 0)


def refractory(events: np.ndarray, period_us: int) -> np.ndarray:
    """Leaves out each event less than `period_us` after the last that its pixel fired.

    Args: events, (N,), sorted by time.
    """
    pixel = events["y"].astype(np.int32) * (events["x"].max(initial=0) + 1) + events["x"]
    # NumPy sorts 16 bits by radix, in time that grows with their number alone.
    pixel = pixel.astype(np.min_scalar_type(pixel.max(initial=0)))
    kept = np.argsort(pixel, kind="stable")  # pixel after pixel, each in the order of time
    while True:
        close = np.zeros(len(kept), bool)
        close[1:] = (pixel[kept[1:]] == pixel[kept[:-1]]) & (np.diff(events["t"][kept]) < period_us)
        # Of a burst only the first that is too close is sure to go: it decides about the next.
        dropped = close.copy()
        dropped[1:] &= ~close[:-1]
        if not dropped.any():
            return events[np.sort(kept)]
        kept = kept[~dropped]


def record(
    light: np.ndarray,
    *,
    camera: Camera = Camera(),  # noqa: B008 - a constant
    motion: Motion = Motion(),  # noqa: B008
    seed: int | Sequence[int] = 0,
) -> np.ndarray:
    """A recording of one image that moves around its loop.

    Args:
      light: (H, W), light as a share of white, as `luminance` gives; the sensor's size.
      camera, motion: parameters.
      seed: of the noise; the rest has no chance in it.
    Returns: (N,) of `EVENT`: t in microseconds, sorted, from 0 to the duration; x to the right
      and y down, pixels; p, True for ON.
    Raises: ValueError for light of another shape, that is not finite or below 0.
    """
    if light.ndim != 2 or not (np.isfinite(light) & (light >= 0)).all():
        raise ValueError(f"light must be (H, W), finite and not below 0, got shape {light.shape}")
    log_light = np.log(camera.black + (1 - camera.black) * render(light, motion.loop()))
    on, off = thresholds(camera, light.shape)
    duration, (height, width) = motion.duration_us, light.shape
    caused = signal(log_light, len(log_light) * motion.loops, duration, on, off)
    generator = np.random.default_rng(seed)
    number = generator.poisson(camera.noise_hz * height * width * duration * 1e-6)
    noise = (generator.integers(0, end, number) for end in (duration, width, height, 2))
    events = np.concatenate([caused, _events(*noise)])
    events = events[np.argsort(events["t"], kind="stable")]
    return refractory(events, camera.refractory_us)


def _events(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    events = np.empty(len(t), EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events
