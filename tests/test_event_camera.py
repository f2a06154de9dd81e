"""The simulated event camera: what its model implies, and the sets that are made with it."""

import functools

import numpy as np
import pytest
from PIL import Image

from lnm_jax import data
from lnm_jax.data import digits, event_camera, events, simulated
from lnm_jax.data.event_camera import Camera, Motion
from lnm_jax.errors import ConfigError

IDEAL = Camera(threshold_sigma=0, refractory_us=0, noise_hz=0)  # what theory is about
SHAPE = (12, 16)


def scene(seed=0):
    return np.random.default_rng(seed).random(SHAPE)


def per_pixel(fired, on):
    counts = np.zeros(SHAPE, int)
    chosen = fired[fired["p"] == on]
    np.add.at(counts, (chosen["y"], chosen["x"]), 1)
    return counts


def ramp(change, on=0.3, off=0.2):
    """Events of pixels whose log light goes in one step from 0 to `change`."""
    change = np.atleast_2d(change)
    light = np.stack([np.zeros_like(change), change])
    full = np.ones_like(change)
    return event_camera.signal(light, 1, 1000, on * full, off * full)


def test_a_scene_that_stands_still_gives_no_signal():
    assert len(event_camera.record(scene(), camera=IDEAL, motion=Motion(radius=0))) == 0
    assert len(event_camera.record(np.full(SHAPE, 0.5), camera=IDEAL)) == 0


def test_an_event_is_when_the_line_between_two_samples_crosses_its_level():
    for change in (0.05, 0.29, 0.31, 0.95, 3.1, -0.19, -0.21, -0.5, -2.9):
        fired = ramp(change)
        assert len(fired) == int(abs(change) / (0.3 if change > 0 else 0.2))
        assert (fired["p"] == (change > 0)).all()
    np.testing.assert_array_equal(np.sort(ramp(1.0)["t"]), [300, 600, 900])
    np.testing.assert_array_equal(np.sort(ramp(-0.5)["t"]), [400, 800])


def test_reversed_contrast_swaps_the_polarity():
    log_light = np.random.default_rng(1).normal(size=(5, *SHAPE))
    threshold = np.full(SHAPE, 0.25)
    fired = event_camera.signal(log_light, 9, 10_000, threshold, threshold)
    negative = event_camera.signal(-log_light, 9, 10_000, threshold, threshold)
    assert len(fired) > 1000
    for field in "txy":
        np.testing.assert_array_equal(fired[field], negative[field])
    np.testing.assert_array_equal(fired["p"], ~negative["p"])


@pytest.mark.parametrize("loops", [1, 5])
def test_after_whole_loops_every_pixel_is_within_a_threshold_of_where_it_began(loops):
    camera = IDEAL._replace(threshold_sigma=0.05)
    fired = event_camera.record(scene(), camera=camera, motion=Motion(loops=loops))
    on, off = event_camera.thresholds(camera, SHAPE)
    ups, downs = per_pixel(fired, True), per_pixel(fired, False)
    assert (ups > 0).mean() > 0.9
    assert (np.abs(ups * on - downs * off) <= np.maximum(on, off) + 1e-9).all()


def test_thresholds_differ_between_pixels_by_their_sigma_and_not_between_recordings():
    camera = Camera(on_threshold=0.2, off_threshold=0.4, threshold_sigma=0.03)
    on, off = event_camera.thresholds(camera, (100, 100))
    # 10,000 draws: 5 standard errors of the mean and of the deviation.
    np.testing.assert_allclose([on.mean(), off.mean()], [0.2, 0.4], atol=5 * 0.03 / 100)
    np.testing.assert_allclose([on.std(), off.std()], 0.03, atol=5 * 0.03 / np.sqrt(2e4))
    np.testing.assert_array_equal(on, event_camera.thresholds(camera, (100, 100))[0])
    assert (on != event_camera.thresholds(camera._replace(seed=1), (100, 100))[0]).any()
    wild = event_camera.thresholds(camera._replace(threshold_sigma=1), (100, 100))[0]
    assert wild.min() == event_camera.MIN_THRESHOLD


def test_noise_is_a_poisson_process_of_its_rate():
    camera = IDEAL._replace(noise_hz=20)
    motion = Motion(radius=0)
    fired = event_camera.record(np.ones((64, 64)), camera=camera, motion=motion, seed=3)
    expected = 20 * 64 * 64 * motion.duration_us * 1e-6
    assert abs(len(fired) - expected) < 5 * np.sqrt(expected)
    assert abs(fired["p"].sum() - expected / 2) < 5 * np.sqrt(expected / 2)
    counts = np.bincount(fired["y"].astype(int) * 64 + fired["x"], minlength=64 * 64)
    # The variance of a Poisson count is its mean m; over n pixels its standard error is about
    # m sqrt(2 / n).
    mean = expected / counts.size
    assert abs(counts.var() - mean) < 5 * mean * np.sqrt(2 / counts.size)


def test_a_seed_gives_the_same_recording_and_another_differs_in_the_noise_alone():
    camera = Camera(noise_hz=5, refractory_us=0)
    first, again, other = (event_camera.record(scene(), camera=camera, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.tobytes() != other.tobytes()
    signal = event_camera.record(scene(), camera=camera._replace(noise_hz=0))
    for fired in (first, other):
        assert set(signal.tolist()) <= set(fired.tolist())


def test_events_are_sorted_and_inside_of_the_recording_and_the_sensor():
    motion = Motion(period_s=0.07, loops=3)
    fired = event_camera.record(scene(), camera=Camera(noise_hz=10), motion=motion)
    assert fired.dtype == event_camera.EVENT
    assert (np.diff(fired["t"]) >= 0).all()
    assert 0 <= fired["t"].min() <= fired["t"].max() <= motion.duration_us == 210_000
    # The movement goes on to the end, and so do the events.
    assert fired["t"].max() > 0.95 * motion.duration_us
    for field, size in (("y", SHAPE[0]), ("x", SHAPE[1])):
        assert (fired[field].min(), fired[field].max()) == (0, size - 1)


def test_no_pixel_fires_twice_within_the_refractory_period():
    free = event_camera.record(scene(), camera=Camera(refractory_us=0))
    fired = event_camera.record(scene(), camera=Camera(refractory_us=2000))
    assert 0.2 * len(free) < len(fired) < 0.9 * len(free)
    kept = []  # the definition, event by event
    last = {}
    for event in free.tolist():
        t, x, y, _ = event
        if t - last.get((x, y), -2000) >= 2000:
            last[x, y] = t
            kept.append(event)
    assert fired.tolist() == kept


def test_a_moving_edge_fires_where_it_passes_and_in_the_order_it_passes():
    light = np.zeros((16, 32))
    light[:, 16:] = 1  # bright to the right
    motion = Motion(radius=5, loops=1, period_s=0.4)
    fired = event_camera.record(light, camera=IDEAL, motion=motion)
    # The edge goes from 5 pixels left of the middle to 5 right and back; a pixel is one wide.
    assert (fired["x"].min(), fired["x"].max()) == (11, 20)
    rightwards = fired[fired["t"] < 200_000]  # dark follows the edge
    assert not rightwards["p"].any()
    assert fired[fired["t"] >= 200_000]["p"].all()
    passed = [np.median(rightwards["t"][rightwards["x"] == x]) for x in range(11, 21)]
    # 10 pixels in 200 ms: 20 ms a pixel, from the middle of the first.
    np.testing.assert_allclose(np.diff(passed), 20_000, atol=2500)


def test_the_loop_closes_and_stays_on_the_diamond():
    motion = Motion(radius=3, step=0.4)
    loop = motion.loop()
    np.testing.assert_allclose(np.abs(loop).sum(1), 3)
    steps = np.diff(np.concatenate([loop, loop[:1]]), axis=0)
    assert 0.3 < np.abs(steps).max() <= 0.4
    np.testing.assert_allclose(np.abs(steps), np.abs(steps).max())  # constant speed
    np.testing.assert_allclose(loop.mean(0), 0, atol=1e-12)


def test_rendering_moves_by_pixels_exactly_and_between_them_linearly():
    light = scene()
    moved = event_camera.render(light, np.array([(2.0, -3.0), (0.25, 0.0)]))
    np.testing.assert_array_equal(moved[0][:-3, 2:], light[3:, :-2])
    np.testing.assert_allclose(moved[1][:, 1:], 0.75 * light[:, 1:] + 0.25 * light[:, :-1])


def test_luminance_is_that_of_srgb():
    image = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [188, 188, 188]]], np.uint8)
    # 188 is the grey that gives half of white's light (0.5029 of it).
    light = event_camera.luminance(image)
    np.testing.assert_allclose(light, [[1, 0, 0.2126, 0.5029]], atol=1e-4)
    np.testing.assert_allclose(event_camera.luminance(image[..., 0])[0, 3], 0.5029, atol=1e-4)


def test_images_of_a_folder_are_seen_by_the_camera(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            small = generator.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            image = Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC)
            image.save(tmp_path / split / name / "0.png")
    brief = Motion(loops=1, radius=2)
    monkeypatch.setattr(event_camera, "Motion", lambda: brief)
    load = functools.partial(data.load, "folder_dvs", directory=str(tmp_path), timesteps=4)
    dataset = load()
    assert (dataset.num_classes, dataset.train.images.shape) == (2, (2, 4, 48, 48, 2))
    assert dataset.split == "directories train and test, simulated recordings"
    assert (dataset.train.images.mean((1, 2, 3, 4)) > 0.002).all()
    # Images are on the sensor as they are: 128x128, in the light of their grey values.
    light = event_camera.luminance(
        data.load("folder", directory=str(tmp_path), image_size=128)[1][0][1]
    )
    seen = event_camera.record(light, motion=brief, seed=3)
    expected = events.frames(seen, sensor_size=(128, 128), timesteps=4, image_size=48)
    np.testing.assert_array_equal(dataset.test.images[1], expected)
    monkeypatch.setattr(simulated, "_frames", lambda *args, **rest: pytest.fail("simulated again"))
    np.testing.assert_array_equal(load().test.images, dataset.test.images)
    with pytest.raises(ConfigError, match="memory_limit=1e-06 GiB of images"):
        load(memory_limit=1e-6)
    with pytest.raises(ConfigError, match="timesteps = 0: must be at least 1"):
        load(timesteps=0)


def test_digits_are_recorded_in_their_own_split_and_told_apart(tmp_path, monkeypatch):
    from sklearn.neighbors import KNeighborsClassifier

    whole = digits.load()  # of which forty and ten are simulated in a second
    few = whole._replace(
        train=data.Split(*(part[:40] for part in whole.train)),
        test=data.Split(*(part[:10] for part in whole.test)),
    )
    monkeypatch.setattr(digits, "load", lambda: few)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = simulated.load_digits(timesteps=5)
    assert dataset.train.images.shape == (40, 5, 32, 32, 2)
    assert dataset.test.images.shape == (10, 5, 32, 32, 2)
    np.testing.assert_array_equal(dataset.test.labels, few.test.labels)
    assert dataset.split == "stratified 80/20, fixed, simulated recordings"
    # Every digit moves, in both directions, and never out of sight.
    assert (dataset.train.images.max((2, 3)) > 0).all()
    light = simulated.digit_light(few.train.images[7])
    recorded = event_camera.record(light, motion=simulated.DIGITS_MOTION, seed=7)
    expected = events.frames(recorded, sensor_size=(32, 32), timesteps=5, image_size=32)
    np.testing.assert_array_equal(dataset.train.images[7], expected)
    monkeypatch.setattr(simulated, "_frames", lambda *args, **rest: pytest.fail("simulated again"))
    assert len(list((tmp_path / "lnm_jax" / "digits_dvs").iterdir())) == 1
    again = simulated.load_digits(timesteps=5)
    np.testing.assert_array_equal(again.train.images, dataset.train.images)
    np.testing.assert_array_equal(again.test.images, dataset.test.images)
    flat = lambda split: split.images.reshape(len(split.labels), -1).astype(np.float32)
    model = KNeighborsClassifier(1).fit(flat(dataset.train), dataset.train.labels)
    # By chance 50 % or more of ten would be right one time in 600.
    assert model.score(flat(dataset.test), dataset.test.labels) >= 0.5


@pytest.mark.parametrize(
    "light", [np.full((4, 4), np.nan), np.full((4, 4), -1), np.ones((4, 4, 3))]
)
def test_light_that_is_none_is_refused(light):
    with pytest.raises(ValueError, match=r"^light must be \(H, W\), finite and not below 0, got"):
        event_camera.record(light)
