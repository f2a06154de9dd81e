"""Image folders: decoding, crops, and trees of good and bad files."""

import io
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lnm_jax.data import crops, eval_batches, folder, prepared
from lnm_jax.data.dataset import Split, Stream, info_of
from lnm_jax.errors import ConfigError


def smooth(width, height, seed=0):
    """Pixels that JPEG keeps nearly as they are."""
    coarse = np.random.default_rng(seed).integers(40, 216, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def tree(tmp_path):
    """Two classes, four training and two test images of each, 32x32."""
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                image = smooth(32, 32, seed=100 * label + i + 10 * (split == "test"))
                image.save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def load(tree, **options):
    return folder.load(directory=str(tree), progress=False, **options)


def refused(tree, **options):
    """The message, which is one line."""
    with pytest.raises(ConfigError) as error:
        load(tree, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# Decoding


@pytest.mark.parametrize(
    ("mode", "kind", "tolerance"),
    [("L", "JPEG", 6), ("CMYK", "JPEG", 8), ("P", "PNG", 0), ("RGBA", "PNG", 0), ("LA", "PNG", 0)],
)
def test_every_kind_of_image_becomes_8_bit_rgb(mode, kind, tolerance):
    image = smooth(48, 36)
    expected = image if mode == "CMYK" else image.convert(mode).convert("RGB")
    pixels = crops.decode(encoded(image.convert(mode), kind), "x")
    assert (pixels.shape, pixels.dtype) == ((36, 48, 3), np.uint8)
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= tolerance


def test_16_bits_are_scaled_and_a_palette_with_transparency_makes_no_warning():
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    pixels = crops.decode(encoded(Image.fromarray(grey), "PNG"), "x")
    np.testing.assert_array_equal(pixels, np.repeat((grey >> 8)[..., None], 3, axis=2))
    image = smooth(16, 16).quantize(8)
    data = encoded(image, "PNG", transparency=bytes([0, 128] + [255] * 6))
    np.testing.assert_array_equal(crops.decode(data, "x"), np.asarray(image.convert("RGB")))


# 2 bright corners of an upright picture, as a camera stores them for each EXIF orientation.
STORED = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "TL", 6: "BL", 7: "BR", 8: "TR"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_exif_says(orientation):
    upright = np.full((40, 60, 3), 20, np.uint8)
    upright[:20, :20] = 220  # the top left corner
    # EXIF 2.32, table 6: the sides at which row 0 and column 0 of what is stored are seen.
    rows = upright.swapaxes(0, 1) if orientation >= 5 else upright
    rows = rows[:: -1 if orientation in (3, 4, 6, 7) else 1]
    stored = rows[:, :: -1 if orientation in (2, 3, 7, 8) else 1]
    row, column = STORED[orientation]
    corner = stored[0 if row == "T" else -1, 0 if column == "L" else -1, 0]
    assert corner == 220, "the case itself"
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind, options in (("JPEG", {"quality": 95}), ("PNG", {})):
        data = encoded(Image.fromarray(stored), kind, exif=exif, **options)
        assert np.abs(crops.decode(data, "x").astype(int) - upright).max() < 40  # JPEG rings
        part = crops.read(data, "x", 8, None)  # a JPEG is decoded at half its size
        np.testing.assert_array_equal(part[..., 0] > 120, upright[2:40:5, 12:50:5, 0] > 120)
        as_stored = crops.read(data, "x", 40, None, upright=False)
        middle = stored[:, 10:50] if orientation < 5 else stored[10:50]
        assert np.abs(as_stored.astype(int) - middle).max() < 40
    broken = encoded(Image.fromarray(stored), exif=b"Exif\0\0nothing that can be read")
    assert crops.decode(broken, "x").shape == stored.shape
    assert crops.read(broken, "x", 8, np.random.default_rng(0)).shape == (8, 8, 3)


def png_of_16_bits(values, colour):
    """A PNG of values (H, W, C); Pillow writes grey ones alone."""

    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_values_that_do_not_fill_8_bits_are_refused_or_warned_of(colour, channels, caplog):
    values = np.zeros((8, 8, channels), np.uint16)
    values[..., -1] = 65535 if channels in (2, 4) else 0  # alpha is none of them
    if channels == 1:
        assert not crops.decode(png_of_16_bits(values, colour), "x").any()  # black is black
    values[3, 3, 0] = 4095  # 12 bits
    with pytest.raises(ConfigError) as error:
        crops.decode(png_of_16_bits(values, colour), "a/b.png")
    assert str(error.value) == (
        "a/b.png: 16 bits a value, but none above 4095, so that 8 bits keep 0 to 15; if white is "
        "not 65535, scale the values to it, or save 8 bits"
    )
    assert not isinstance(error.value, crops.CorruptImageError)  # not left out in silence
    values[3, 3, 0] = 16383  # 14 bits, or a dark photograph
    crops._warned_of_depth.clear()
    for name in ("a/b.png", "a/c.png"):
        assert crops.decode(png_of_16_bits(values, colour), name).max() == 63
    [line] = caplog.messages
    assert line.startswith("a/b.png: 16 bits a value, but none above 16383, so that 8 bits keep 0")
    values[3, 3, 0] = 32768
    crops._warned_of_depth.clear()
    assert crops.decode(png_of_16_bits(values, colour), "x").max() == 128
    assert len(caplog.messages) == 1


GOOD = encoded(smooth(48, 36))
PNG = encoded(smooth(48, 36), "PNG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (GOOD[:-100], "truncated"),
        (GOOD[:10], "corrupt|not an image"),
        (PNG[: len(PNG) // 2], "corrupt"),
        (b"<html>not found</html>", "not an image"),
    ],
)
@pytest.mark.parametrize("read", [crops.decode, lambda data, name: crops.read(data, name, 8, None)])
def test_a_corrupt_image_is_named(data, reason, read):
    with pytest.raises(ConfigError, match=rf"^dir/7\.jpg: .*({reason})"):
        read(data, "dir/7.jpg")


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 36 // 3)  # twice this raises
    with pytest.raises(ConfigError, match=r"^x: a corrupt image .*decompression bomb"):
        crops.decode(GOOD, "x")


# Crops


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (300, 299), (64, 900)])
def test_the_centre_crop_is_that_of_resize_then_crop(width, height):
    image = smooth(width, height)
    scale = 64 / min(width, height)
    resized = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 56) / 2), round((resized.height - 56) / 2)
    expected = np.asarray(resized).astype(int)[top : top + 56, left : left + 56]
    crop = crops.read(encoded(image, "PNG"), "x", 56, None, fraction=0.875)
    assert np.abs(crop.astype(int) - expected).max() <= 1


def test_training_crops_have_the_areas_and_aspects_of_the_paper():
    rng = np.random.default_rng(0)
    boxes = np.array([crops._train_box(400, 400, rng) for _ in range(4000)])
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    assert (boxes.min(), boxes.max()) == (0, 400)
    area, aspect = width * height / 400**2, np.log(width / height)
    assert 0.078 < area.min() < 0.09  # sides are whole pixels
    assert area.max() > 0.95
    assert 0.27 < np.abs(aspect).max() < 0.30  # log 4/3 = 0.288
    # Uniform in area and log aspect r where the crop fits, area < exp(-|r|): by integration
    # the mean area is 0.478, and the aspect is symmetric. Four standard errors.
    assert abs(area.mean() - 0.478) < 0.016
    assert abs(aspect.mean()) < 0.01


def test_a_crop_that_never_fits_is_the_centre():
    assert crops._train_box(1000, 10, np.random.default_rng(0)) == (493, 0, 506, 10)
    assert crops._train_box(10, 1000, np.random.default_rng(0)) == (0, 493, 10, 506)


def test_half_of_the_training_crops_are_flipped():
    image = np.zeros((40, 40, 3), np.uint8) + 6 * np.arange(40, dtype=np.uint8)[:, None]
    data, rng = encoded(Image.fromarray(image), "PNG"), np.random.default_rng(0)
    rows = [crops.read(data, "x", 16, rng)[8, :, 0].astype(int) for _ in range(300)]
    assert 0.4 < np.mean([crop[0] > crop[-1] for crop in rows]) < 0.6


@pytest.mark.parametrize("seed", [0, 1, 2, None])
def test_reading_equals_decoding_and_cropping_and_a_large_jpeg_is_decoded_small(seed, monkeypatch):
    decoded = []
    rgb = crops._rgb
    monkeypatch.setattr(
        crops, "_rgb", lambda image, *x: decoded.append(image.width) or rgb(image, *x)
    )
    for width, height, size, tolerance in ((500, 375, 224, 0), (1199, 901, 64, 3)):
        data = encoded(smooth(width, height), quality=90)
        rng = lambda: None if seed is None else np.random.default_rng(seed)
        # A PNG is never decoded at a part of its size.
        whole = encoded(Image.fromarray(crops.decode(data, "x")), "PNG")
        expected = crops.read(whole, "x", size, rng()).astype(int)
        assert np.abs(crops.read(data, "x", size, rng()) - expected).max() <= tolerance
        assert decoded[-1] == 500 if tolerance == 0 else decoded[-1] <= 600


# Trees


def test_a_small_tree_is_decoded_into_memory(tree):
    (tree / "train" / "cat" / ".hidden.png").write_bytes(b"")
    (tree / "train" / "cat" / "notes.txt").write_text("")
    (tree / "train" / "readme").write_text("")
    dataset = load(tree)
    assert isinstance(dataset.train, Split)
    shapes = [split.images.shape for split in (dataset.train, dataset.test)]
    assert shapes == [(8, 32, 32, 3), (4, 32, 32, 3)]
    assert (dataset.train.labels.tolist(), dataset.num_classes) == ([0] * 4 + [1] * 4, 2)
    assert dataset.classes == ("cat", "dog")
    assert dataset.split == "directories train and test; not images and ignored: 3"
    np.testing.assert_array_equal(dataset.train.images[4], np.asarray(smooth(32, 32, seed=100)))
    pixels = dataset.train.images.astype(np.float64)
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), rtol=1e-6)


def test_links_are_followed_and_val_serves_as_test(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "dogs"
    (tree / "train" / "dog").rename(elsewhere)
    (tree / "train" / "dog").symlink_to(elsewhere)
    (tree / "test").rename(tree / "val")
    dataset = load(tree)
    assert len(dataset.train.labels) == 8
    assert dataset.split == "directories train and val"


def test_images_of_another_size_need_image_size(tree):
    odd = tree / "train" / "dog" / "9.png"
    smooth(48, 64).save(odd)
    message = f"{odd}: 48x64 pixels, but the first image has 32x32; set config.data.image_size"
    assert refused(tree) == message
    images = load(tree, image_size=32).train.images
    np.testing.assert_array_equal(images[0], np.asarray(smooth(32, 32)))  # untouched
    expected = np.asarray(smooth(48, 64).resize((32, 42), Image.Resampling.BILINEAR))[5:37]
    assert np.abs(images[8].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("bad", [b"", PNG[:200]])
def test_a_corrupt_file_is_named_or_left_out_and_counted(tree, bad):
    path = tree / "train" / "cat" / "0.png"  # the first, which also tells the size
    path.write_bytes(bad)
    message = refused(tree)
    assert str(path) in message
    assert "config.data.skip_corrupt" in message
    dataset = load(tree, skip_corrupt=True)
    assert dataset.train.labels.tolist() == [0] * 3 + [1] * 4
    np.testing.assert_array_equal(dataset.train.images[0], np.asarray(smooth(32, 32, seed=1)))
    assert "corrupt and left out: 1 for training, 0 for test" in dataset.split


def test_a_tree_above_the_limit_is_streamed(tree):
    assert "config.data.image_size" in refused(tree, memory_limit=1e-6)
    dataset = load(tree, memory_limit=1e-6, image_size=24, workers=3)
    stream = pickle.loads(pickle.dumps(dataset.train))  # as it goes to worker processes
    assert isinstance(stream, Stream)
    assert (stream.shape, stream.workers) == ((24, 24, 3), 3)
    np.testing.assert_array_equal(stream.labels, [0] * 4 + [1] * 4)
    expected = crops.read(encoded(smooth(32, 32, seed=100), "PNG"), "x", 24, None)
    np.testing.assert_array_equal(stream.read(4, None), expected)
    drawn = [stream.read(4, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    images = np.stack([stream.read(i, None) for i in range(8)]).astype(np.float64)
    np.testing.assert_allclose(dataset.mean, images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(dataset.std, images.std((0, 1, 2)), rtol=1e-6)


def test_a_corrupt_image_is_replaced_in_a_streams_training_and_left_out_of_its_test(tree, caplog):
    (tree / "train" / "cat" / "3.png").write_bytes(PNG[:200])  # the last of its class
    (tree / "test" / "cat" / "0.png").write_bytes(PNG[:200])
    options = {"directory": str(tree), "image_size": 24}
    whole = load(tree, image_size=24, skip_corrupt=True).test
    (tree / "test").rename(tree / "val")
    for split, place in (("train", 3), ("test", 0)):
        with pytest.raises(ConfigError, match=rf"{place}\.png: .*config\.data\.skip_corrupt"):
            getattr(prepared.load_imagenet(**options), split).read(place, None)
    for dataset in (
        prepared.load_imagenet(skip_corrupt=True, progress=False, **options),
        load(tree, image_size=24, skip_corrupt=True, memory_limit=1e-6),
    ):
        assert "/val/cat/0.png: a corrupt image" in caplog.text
        assert dataset.split == (
            "directories train and val; corrupt and left out: 1 for test; one for training is "
            "replaced by the next of its class"
        )
        assert dataset.test.labels.tolist() == whole.labels.tolist() == [0, 1, 1]
        test = pickle.loads(pickle.dumps(dataset.test))  # as it goes to worker processes
        if dataset.eval_crop == 1:  # the folder's
            images = [test.read(index, None) for index in range(3)]
            np.testing.assert_array_equal(images, whole.images)
            assert sum(batch["mask"].sum() for batch in eval_batches(test, 2)) == 3
        image = dataset.train.read(3, None)
        assert "train/cat/3.png: a corrupt image" in caplog.text
        np.testing.assert_array_equal(image, dataset.train.read(0, None))
    (tree / "val" / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"^every test image of class cat is corrupt$"):
        prepared.load_imagenet(skip_corrupt=True, progress=False, **options)
    for path in (tree / "train" / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match="every other image of its class"):
        dataset.train.read(3, None)


def test_test_images_are_the_same_in_memory_and_streamed_but_imagenets_as_published(tree):
    exif = Image.Exif()
    exif[0x0112] = 6
    for index, size in enumerate(((60, 48), (48, 60), (300, 200), (32, 32))):
        data = encoded(smooth(*size, seed=index), exif=exif)
        (tree / "test" / "cat" / f"{index}.jpg").write_bytes(data)
    memory, stream = (load(tree, image_size=24, memory_limit=limit) for limit in (4.0, 1e-6))
    assert (memory.eval_crop, stream.eval_crop) == (1, 1)
    np.testing.assert_array_equal(memory.test.labels, stream.test.labels)
    streamed = [stream.test.read(index, None) for index in range(len(stream.test.labels))]
    np.testing.assert_array_equal(memory.test.images, streamed)
    for index, image in enumerate(memory.test.images[[0, 2]]):  # 0.jpg, 0.png, 1.jpg
        path = tree / "test" / "cat" / f"{index}.jpg"
        told = crops.read_example(str(path), info_of(stream))
        np.testing.assert_array_equal(told, image)
    (tree / "test").rename(tree / "val")
    published = prepared.load_imagenet(directory=str(tree), image_size=56)
    short = smooth(60, 48).resize(
        (80, 64), Image.Resampling.BILINEAR
    )  # as stored; 64 is 56 / 0.875
    expected = np.asarray(short).astype(int)[4:60, 12:68]
    assert np.abs(published.test.read(0, None) - expected).max() <= 12  # JPEG
    assert published.eval_crop == 0.875


def test_the_imagenet_tree_is_streamed_with_its_published_statistics(tree):
    with pytest.raises(ConfigError, match="val: no such directory"):
        prepared.load_imagenet(directory=str(tree))
    (tree / "test").rename(tree / "val")
    dataset = prepared.load_imagenet(directory=str(tree), workers=2)
    assert dataset.train.read(0, np.random.default_rng(0)).shape == dataset.train.shape
    assert dataset.train.shape == (224, 224, 3)
    np.testing.assert_allclose(dataset.mean, [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(dataset.std, [58.395, 57.12, 57.375], rtol=1e-6)


def names(files):
    return {files.path(index) for index in range(len(files.labels))}


def test_a_flat_tree_is_split_by_seed_and_a_new_image_moves_no_other(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for number in range(10):
            smooth(8, 8, seed=20 * label + number).save(tmp_path / name / f"{number}.png")
    (tmp_path / "simulated_frames").mkdir()  # what folder_dvs keeps
    dataset = load(tmp_path)
    assert np.bincount(dataset.train.labels).tolist() == [8, 8]
    assert (np.bincount(dataset.test.labels).tolist(), dataset.classes) == ([2, 2], ("cat", "dog"))
    assert dataset.split == (
        "drawn with seed 0, 20 % of each class for testing: 16 train, 4 test; "
        "not images and ignored: 1"
    )
    rows = lambda split: {image.tobytes() for image in split.images}
    assert not rows(dataset.train) & rows(dataset.test)
    assert rows(load(tmp_path, seed=1).test) != rows(dataset.test)
    assert len(load(tmp_path, test_share=0.01).test.labels) == 2  # one of each class
    assert len(load(tmp_path, test_share=0.99).train.labels) == 2
    drawn = lambda: names(folder.list_splits(tmp_path, ("test",), False, drawn=(0, 0.2))[1])
    before = drawn()
    for number in range(10, 14):  # 0.2 x 14 is 3
        smooth(8, 8).save(tmp_path / "cat" / f"{number}.png")
        assert len(drawn() ^ before) <= 1
        before = drawn()
    for number in range(1, 10):
        (tmp_path / "dog" / f"{number}.png").unlink()
    alone = f"{tmp_path}/dog/0.png: the only one of its class; at least 2 are needed to split"
    assert refused(tmp_path) == alone
    (tmp_path / "dog" / "0.png").unlink()
    assert refused(tmp_path).startswith(f"{tmp_path}/dog: no images (.jpg, ")


def move(directory, to):
    directory.rename(directory.with_name(to))


def empty(tree):
    for path in (tree / "test" / "dog").iterdir():
        path.write_bytes(b"")


def leave_no_class(tree):
    move(tree / "test", "other")
    (tree / "val").mkdir()


NO_DIRECTORY = "no such directory; images belong in train/<class>/"
BAD_TREES = {  # what is done to a tree, and the message of one line that says so
    "no tree": (lambda tree: move(tree, "elsewhere"), f"{{}}: {NO_DIRECTORY}"),
    "no train": (lambda tree: move(tree / "train", "x"), f"{{}}/train: {NO_DIRECTORY}"),
    "no test": (lambda tree: move(tree / "test", "x"), f"{{}}/test: {NO_DIRECTORY}"),
    "a class of one split": (
        lambda tree: move(tree / "test" / "dog", "wolf"),
        "{}: only one of train/ and test/ has class dog, wolf",
    ),
    "a class without images": (
        lambda tree: (tree / "train" / "emu").mkdir(),
        "{}/train/emu: no images",
    ),
    "no class": (leave_no_class, "{}/val: no class directories"),
    "no readable image": (empty, "{}/test/dog: every image of it is corrupt"),
    "a dangling link": (
        lambda tree: (tree / "train" / "cat" / "4.png").symlink_to(tree / "gone.png"),
        "{}/train/cat/4.png: No such file",  # named, not ignored
    ),
    "no permission": (
        lambda tree: (tree / "train" / "cat" / "1.png").chmod(0),
        "{}/train/cat/1.png: Permission denied; make it readable",
    ),
}


@pytest.mark.parametrize("name", BAD_TREES)
def test_what_is_wrong_with_a_tree_is_named(tree, name):
    if name == "no permission" and (os.name != "posix" or os.geteuid() == 0):
        pytest.skip("root reads everything")
    spoil, message = BAD_TREES[name]
    spoil(tree)
    assert refused(tree, skip_corrupt=True).startswith(message.format(tree))
