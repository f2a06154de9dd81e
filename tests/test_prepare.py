"""Preparing CIFAR, from archives in the true format and from bad ones."""

import contextlib
import errno
import hashlib
import io
import os
import resource
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from lnm_jax.data import download, prepare
from lnm_jax.errors import ConfigError

LAYOUT = {  # prefix, train files, test file, label files with their numbers of names
    "cifar10": (
        "cifar-10-batches-bin/",
        [f"data_batch_{i}.bin" for i in range(1, 6)],
        "test_batch.bin",
        {"batches.meta.txt": 10},
    ),
    "cifar100": (
        "cifar-100-binary/",
        ["train.bin"],
        "test.bin",
        {"coarse_label_names.txt": 20, "fine_label_names.txt": 100},
    ),
}


def members(name, images=4):
    """Files of a small CIFAR in the binary format: labels, then 3x32x32 grey values, a record."""
    prefix, train, test, labels = LAYOUT[name]
    random = np.random.default_rng(0)
    files = {}
    for file in (*train, test):
        records = random.integers(0, 256, (images, len(labels) + 3072), dtype=np.uint8)
        for key, classes in enumerate(labels.values()):
            records[:, key] %= classes
        files[prefix + file] = records.tobytes()
    for file, classes in labels.items():
        files[prefix + file] = ("\n".join(f"class{i}" for i in range(classes)) + "\n\n").encode()
    return files


def write(path, files, extra=()):
    """A .tar.gz of `files` and further members; returns its `Source`."""
    with tarfile.open(path, "w:gz") as tar:
        for member in extra:
            tar.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return source_of(path.read_bytes())


def source_of(data, url="http://127.0.0.1:9/archive.tar.gz"):
    return download.Source(url, len(data), hashlib.sha256(data).hexdigest())


def everything_under(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if not p.name.endswith(".lock"))


@pytest.mark.parametrize("name", LAYOUT)
def test_the_official_builder_reads_what_is_prepared(tmp_path, monkeypatch, capsys, name):
    import socket

    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import hashing

    connections = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: connections.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: connections.append(args))
    files = members(name)
    source = write(tmp_path / "archive", files)
    arguments = {"directory": tmp_path / "d", "archive": tmp_path / "archive", "source": source}
    assert prepare.prepare(name, **arguments)
    assert not connections
    assert everything_under(tmp_path / "d")[0] == name  # nothing else is left
    assert capsys.readouterr().out == ""

    prefix, train, test, labels = LAYOUT[name]
    sources = tfds.data_source(name, data_dir=tmp_path / "d", download=False)
    for split, batches in (("train", train), ("test", [test])):
        data = np.frombuffer(b"".join(files[prefix + file] for file in batches), np.uint8)
        records = data.reshape(-1, len(labels) + 3072)
        order = sorted(range(len(records)), key=hashing.Hasher(split).hash_key)
        assert len(sources[split]) == len(records)
        for index, example in zip(order, sources[split], strict=True):
            record = records[index]
            image = record[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
            np.testing.assert_array_equal(example["image"], image)
            assert example["id"].decode() == f"{split}_{index:05d}"
            assert example["label"] == record[len(labels) - 1]
            if name == "cifar100":
                assert example["coarse_label"] == record[0]
    info = tfds.builder(name, data_dir=tmp_path / "d").info
    assert info.features["label"].names[1] == "class1"
    # Again: nothing to do, whatever has become of the archive.
    assert not prepare.prepare(name, **arguments | {"archive": tmp_path / "gone"})
    assert prepare.main([name, "--data-dir", str(tmp_path / "d")]) == 0
    assert "was already prepared" in capsys.readouterr().out


def changed(name, change):
    """Members with one file changed."""
    files = members("cifar10")
    prefix = LAYOUT["cifar10"][0]
    files[prefix + name] = change(files[prefix + name])
    return files


def without(name):
    return {key: data for key, data in members("cifar10").items() if not key.endswith(name)}


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


BATCH = LAYOUT["cifar10"][0] + "data_batch_3.bin"


@pytest.mark.parametrize(
    ("files", "extra", "message"),
    [
        (without("data_batch_3.bin"), (), f"no file {BATCH}"),
        (without("data_batch_3.bin"), [link(BATCH, "/etc/passwd", tarfile.SYMTYPE)], "no file"),
        (without("data_batch_3.bin"), [link(BATCH, "../secret", tarfile.LNKTYPE)], "no file"),
        (without("data_batch_3.bin"), [link(BATCH, "", tarfile.FIFOTYPE)], "no file"),
        (changed("test_batch.bin", lambda data: data[:-1]), (), "12291 bytes, which are not whole"),
        (changed("test_batch.bin", lambda data: b""), (), "0 bytes"),
        (changed("test_batch.bin", lambda data: b"\x0a" + data[1:]), (), "a label 10"),
        (changed("batches.meta.txt", lambda data: b"cat\n"), (), "has 1 names, not 10"),
    ],
)
def test_an_archive_with_the_wrong_content_is_refused(tmp_path, files, extra, message):
    source = write(tmp_path / "archive", files, extra)
    with pytest.raises(ConfigError, match=message) as error:
        prepare.prepare(
            "cifar10", directory=tmp_path / "d", archive=tmp_path / "archive", source=source
        )
    assert str(error.value).startswith(f"{tmp_path / 'archive'}: ")
    assert "\n" not in str(error.value)
    assert everything_under(tmp_path / "d") == []


@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_a_truncated_archive_is_refused(tmp_path, share):
    write(tmp_path / "archive", members("cifar10"))
    data = (tmp_path / "archive").read_bytes()
    data = data[: int(share * len(data))]
    (tmp_path / "archive").write_bytes(data)
    # Even one of which the size and the checksum are as expected.
    with pytest.raises(ConfigError, match=r"archive: truncated or not a \.tar\.gz"):
        prepare.prepare(
            "cifar10",
            directory=tmp_path / "d",
            archive=tmp_path / "archive",
            source=source_of(data),
        )
    assert everything_under(tmp_path / "d") == []


def test_nothing_in_an_archive_escapes_the_directory(tmp_path):
    extra = [
        tarfile.TarInfo("../escaped"),
        tarfile.TarInfo(str(tmp_path / "absolute")),
        link("away", "..", tarfile.SYMTYPE),
        tarfile.TarInfo("away/escaped"),
        link("device", "", tarfile.CHRTYPE),
    ]
    source = write(tmp_path / "archive", members("cifar10"), extra)
    prepare.prepare(
        "cifar10", directory=tmp_path / "d", archive=tmp_path / "archive", source=source
    )
    assert sorted(os.listdir(tmp_path)) == ["archive", "d"]
    assert not [path for path in everything_under(tmp_path / "d") if "escaped" in path]


def test_the_command_refuses_another_archive_in_one_line(tmp_path, capsys):
    source = write(tmp_path / "archive", members("cifar10"))
    arguments = ["cifar10", "--data-dir", str(tmp_path / "d"), "--archive"]
    assert prepare.main([*arguments, str(tmp_path / "archive")]) == 2
    error = capsys.readouterr().err
    assert f"expected 170052171 bytes, found {source.size}" in error
    assert error.count("\n") == 1
    assert prepare.main([*arguments, str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "nowhere: No such file or directory" in error
    assert error.count("\n") == 1
    with pytest.raises(ConfigError, match=f"expected SHA-256 {'0' * 64}, found {source.sha256}"):
        download.verify(tmp_path / "archive", source._replace(sha256="0" * 64))
    assert everything_under(tmp_path / "d") == []


def full_disk(monkeypatch):
    def png(image):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prepare, "_png", png)
    return contextlib.nullcontext()


@contextlib.contextmanager
def small_files(monkeypatch):
    """The system refuses to write more than a few records' worth, as a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("limit", "reason"), [(full_disk, "No space left on device"), (small_files, "File too large")]
)
def test_a_full_disk_leaves_nothing_half_prepared(tmp_path, monkeypatch, limit, reason):
    source = write(tmp_path / "archive", members("cifar10"))
    arguments = {"directory": tmp_path / "d", "archive": tmp_path / "archive", "source": source}
    with limit(monkeypatch), pytest.raises(ConfigError, match=reason) as error:
        prepare.prepare("cifar10", **arguments)
    assert str(error.value).startswith(f"{tmp_path / 'd'}: ")
    assert "\n" not in str(error.value)
    assert everything_under(tmp_path / "d") == []
    monkeypatch.undo()
    assert prepare.prepare("cifar10", **arguments)


def test_a_directory_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert prepare.main(["cifar10", "--data-dir", str(tmp_path / "file" / "d")]) == 2
    assert f"{tmp_path / 'file' / 'd'}: Not a directory" in capsys.readouterr().err


def test_processes_that_prepare_the_same_set_take_turns(tmp_path):
    source = write(tmp_path / "archive", members("cifar10", images=50))
    # As a process leaves it that was killed while it prepared.
    (tmp_path / "d" / ".cifar10.preparing" / "cifar10").mkdir(parents=True)
    (tmp_path / "d" / ".cifar10.lock").touch()
    code = (
        "import runpy\n"
        "from lnm_jax.data import download\n"
        # As python -m runs it: a script, which belongs to no package.
        "prepare = runpy.run_module('lnm_jax.data.prepare', run_name='script')['prepare']\n"
        f"source = download.Source{tuple(source)!r}\n"
        f"print(prepare('cifar10', directory={str(tmp_path / 'd')!r},"
        f" archive={str(tmp_path / 'archive')!r}, source=source))"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    assert sorted(out.strip() for out, _ in results) == ["False", "True"], results
    assert everything_under(tmp_path / "d")[0] == "cifar10"
