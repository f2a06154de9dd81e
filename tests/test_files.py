"""Files and folders written whole or not at all, locks, and what a file system refuses."""

import errno
import os
import subprocess
import sys

import pytest

from lnm_jax import files
from lnm_jax.errors import ConfigError


def half_written(path):
    with open(path, "w") as file:
        file.write("thr")
    raise ZeroDivisionError


def full_disk(path):
    with files.replacing(path) as new:
        os.mkdir(new)
        raise OSError(errno.ENOSPC, "No space left on device")


def deleted(folder):
    with files.writing(str(folder)):
        os.stat(folder / "file")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file"
    files.write(str(path), "one")
    (tmp_path / "folder" / "file.tmp").write_text("half, of a killed process")
    files.write(str(path), b"two")
    with pytest.raises(ZeroDivisionError), files.replacing(str(path)) as new:
        half_written(new)
    assert path.read_text() == "two"
    assert os.listdir(tmp_path / "folder") == ["file"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    for name in ("one", "two"):
        with files.replacing(str(path), several=True) as new:
            os.mkdir(new)
            files.write(os.path.join(new, name), name)
    with pytest.raises(ConfigError, match=r"\(No space left on device\)$"):
        full_disk(str(path))
    assert os.listdir(path) == ["two"]
    assert os.listdir(tmp_path) == ["folder"]


def test_what_a_file_system_refuses_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/x: cannot be written \(.*\); choose another$"):
        files.write(f"{tmp_path}/file/x", "x", "choose another")
    with pytest.raises(ConfigError, match=r"No such file or directory\)$"):
        deleted(tmp_path / "gone")


HOLDER = """
import sys
from lnm_jax import files
with files.locked(sys.argv[1], str):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path, capfd):
    path = str(tmp_path / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(ConfigError, match=f"^held by {other.pid} on "),
            files.locked(path, lambda holder: f"held by {holder}"),
        ):
            pass
        other.kill()  # a crash leaves no lock behind
        with files.locked(path, lambda holder: f"waiting for {holder}", wait=True):
            pass
    assert capfd.readouterr().err in ("", f"waiting for {other.pid} on {os.uname().nodename}\n")
