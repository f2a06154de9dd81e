"""Downloads from a server on the loopback that truncates, stalls and lies."""

import contextlib
import http.server
import re
import threading

import numpy as np
import pytest
from test_prepare import everything_under, members, small_files, source_of, write

from lnm_jax.data import download, prepare
from lnm_jax.errors import ConfigError

DATA = np.random.default_rng(1).bytes(600_000)


@pytest.fixture
def server():
    """Serves its data as `plan` says, a word a request, then well. Keeps the Range headers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            wanted = self.headers["Range"]
            httpd.ranges.append(wanted)
            how = httpd.plan.pop(0) if httpd.plan else "good"
            self.close_connection = True
            if how == "disconnect":
                return
            if how.isdigit():
                self.send_error(int(how))
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            start = 0 if how in ("ignores range", "other bytes") else start
            data = httpd.data
            body = data[start:] if how != "other bytes" else bytes(len(data))
            length = len(body)
            if how == "claims less":
                body, length = body[: length // 2], length // 2
            if how == "claims more":
                length *= 2
            if how in ("truncates", "stalls"):
                body = body[: length // 2]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(length))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may have had enough
                self.wfile.write(body)
                self.wfile.flush()
            if how == "stalls":
                httpd.released.wait(20)

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.plan, httpd.ranges, httpd.released = [], [], threading.Event()
    httpd.data = DATA
    httpd.source = source_of(DATA, f"http://127.0.0.1:{httpd.server_port}/archive.tar.gz")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield httpd
    httpd.released.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def fetch(server, target, **options):
    download.fetch(server.source, target, **{"timeout": 0.5, "backoff": 0.01} | options)


HALF = f"bytes={len(DATA) // 2}-"


@pytest.mark.parametrize(
    ("plan", "ranges"),
    [
        ([], [None]),
        (["truncates"], [None, HALF]),
        (["truncates", "truncates"], [None, HALF, f"bytes={len(DATA) * 3 // 4}-"]),
        (["stalls"], [None, HALF]),
        (["claims less"], [None, HALF]),
        (["claims more"], [None]),
        (["disconnect"], [None, None]),
        (["500", "503", "429"], [None] * 4),
        (["truncates", "ignores range"], [None, HALF]),
        (["truncates", "416"], [None, HALF, None]),
        (["truncates", "disconnect"], [None, HALF, HALF]),
    ],
)
def test_a_download_survives_the_server(server, tmp_path, plan, ranges):
    server.plan = list(plan)
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert server.ranges == ranges
    assert everything_under(tmp_path) == ["file"]


def test_a_later_call_resumes_what_an_earlier_one_left(server, tmp_path):
    server.plan = ["truncates"]
    with pytest.raises(ConfigError, match="connection closed after 300000 of 600000 bytes"):
        fetch(server, tmp_path / "file", attempts=1)
    assert everything_under(tmp_path) == ["file.part"]
    fetch(server, tmp_path / "file")
    assert server.ranges == [None, HALF]
    fetch(server, tmp_path / "file")  # complete: verified, not asked for
    assert len(server.ranges) == 2
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_part_of_another_file_is_thrown_away(server, tmp_path):
    for left in (bytes(1000), bytes(len(DATA)), bytes(len(DATA) + 1)):
        (tmp_path / "file.part").write_bytes(left)
        fetch(server, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == DATA
        (tmp_path / "file").unlink()


@pytest.mark.parametrize(
    ("plan", "message", "requests"),
    [
        (["404"], "HTTP 404 Not Found", 1),
        (["500"] * 3, "HTTP 500 Internal Server Error, 3 times", 3),
        (["stalls"] * 3, "timed out, 3 times", 3),
        (["other bytes"], "sent another file: expected SHA-256 .*, found", 1),
    ],
)
def test_a_download_that_fails_says_so_in_one_line(server, tmp_path, plan, message, requests):
    server.plan = plan
    with pytest.raises(ConfigError, match=message) as error:
        fetch(server, tmp_path / "file", attempts=3, timeout=0.2)
    assert server.source.url in str(error.value)
    assert "\n" not in str(error.value)
    assert len(server.ranges) == requests
    assert not (tmp_path / "file").exists()


def test_attempts_wait_twice_as_long_each_time(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    server.plan = ["500"] * 4
    fetch(server, tmp_path / "file", backoff=3)
    assert waits == [3, 6, 12, 24]


def test_the_archive_is_downloaded_and_kept(server, tmp_path):
    source = write(tmp_path / "archive", members("cifar10"))._replace(url=server.source.url)
    server.data = (tmp_path / "archive").read_bytes()
    assert prepare.prepare("cifar10", directory=tmp_path / "d", source=source)
    kept = tmp_path / "d" / "downloads" / "archive.tar.gz"
    assert kept.read_bytes() == server.data
    assert len(server.ranges) == 1


def test_a_download_to_a_full_disk_leaves_nothing(server, tmp_path):
    with small_files(None), pytest.raises(ConfigError, match=r"part: File too large"):
        fetch(server, tmp_path / "file")
    assert everything_under(tmp_path) == []
