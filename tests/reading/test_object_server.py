"""`bucketpull serve`: what comes over HTTP is what lies on the disks, to the byte."""

import asyncio
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from email.utils import formatdate
from urllib.parse import quote_from_bytes

import pytest
from tests.servers.broker import free_ports
from tests.volumes.filling import ODD_KEYS, SMALL_PACKS, Filler, bodies

from bucketpull.domain.model import key_of
from bucketpull.domain.packing import Packing
from bucketpull.reading.object_server import ObjectServer, Options
from bucketpull.reading.readable_volumes import OpenVolumes, read_now

BODY = bytes(range(256)) * 40
LARGE = os.urandom(3_000_000)
MTIME = 1_600_000_000


@pytest.fixture(scope="module", params=[None, Packing(), SMALL_PACKS], ids=["files", "packs", "small packs"])
def packing(request):
    return request.param


class Served:
    """A running server. `errors` is what it said."""

    def __init__(self, process, port):
        self.process = process
        self.port = port
        self.errors = ""

    def get(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def wait_for(self, path, status):
        deadline = time.monotonic() + 30
        while self.get(path)[0] != status:
            assert time.monotonic() < deadline, f"{path} is not answered by {status}"
            time.sleep(0.05)


@contextmanager
def serving(*arguments, at="127.0.0.1:0"):
    command = [sys.executable, "-m", "bucketpull", "serve", at, *map(str, arguments)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    try:
        said = ""
        while "serving" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        served = Served(process, int(re.search(r":(\d+)/", said)[1]))
        yield served
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        served.errors = errors
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory, packing):
    """A server for all who only read."""
    folder = tmp_path_factory.mktemp("served")
    with Filler(folder, packing) as filler:
        filler.store({(b"a", b"b.jpg"): BODY, (b"", b"large.bin"): LARGE, (b"", b"empty"): b""}, mtime=MTIME)
    with serving(folder, "--cache-control", "max-age=60") as server:
        yield server


def test_an_object_comes_with_all_that_a_cache_wants_to_know(served):
    status, headers, body = served.get("/a/b.jpg?style=ignored")
    assert (status, body) == (200, BODY)
    assert headers["Content-Type"] == "image/jpeg"
    assert headers["Content-Length"] == str(len(BODY))
    assert headers["Last-Modified"] == formatdate(MTIME, usegmt=True)
    assert headers["Cache-Control"] == "max-age=60"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"].startswith('"')
    assert served.get("/a/b.jpg")[1]["ETag"] == headers["ETag"]
    assert served.get(f"http://127.0.0.1:{served.port}/a/b.jpg")[2] == BODY


def test_head_says_the_same_without_a_body(served):
    for path in ("/a/b.jpg", "/large.bin", "/empty"):
        get, head = served.get(path), served.get(path, "HEAD")
        ignored = {"Date", "Transfer-Encoding"}
        assert head[0] == 200
        assert head[2] == b""
        assert {k: v for k, v in head[1].items() if k not in ignored} == {
            k: v for k, v in get[1].items() if k not in ignored
        }


def test_large_and_empty_objects_come_whole(served):
    assert served.get("/large.bin")[2] == LARGE
    assert served.get("/empty")[::2] == (200, b"")


def test_a_range_is_that_part(served):
    status, headers, body = served.get("/a/b.jpg", Range="bytes=100-199")
    assert (status, body) == (206, BODY[100:200])
    assert headers["Content-Range"] == f"bytes 100-199/{len(BODY)}"
    assert served.get("/large.bin", Range="bytes=1000000-")[2] == LARGE[1_000_000:]
    assert served.get("/a/b.jpg", Range="bytes=-7")[2] == BODY[-7:]
    status, headers, _ = served.get("/a/b.jpg", Range="bytes=99999999-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(BODY)}")
    assert served.get("/a/b.jpg", Range="lines=1-2")[::2] == (200, BODY)
    assert served.get("/a/b.jpg", Range="bytes=0-9", If_Range='"other"')[::2] == (200, BODY)


def test_several_ranges_are_parts_of_one_answer(served):
    status, headers, body = served.get("/a/b.jpg", Range="bytes=0-1, 10-12, -4")
    assert status == 206
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", headers["Content-Type"])[1].encode()
    parts = body.split(b"--" + boundary)
    assert [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]] == [
        BODY[:2],
        BODY[10:13],
        BODY[-4:],
    ]
    assert b"Content-Range: bytes 10-12/" in parts[2]
    assert int(headers["Content-Length"]) == len(body)


def test_who_has_it_gets_no_body(served):
    etag = served.get("/a/b.jpg")[1]["ETag"]
    assert served.get("/a/b.jpg", If_None_Match=etag)[::2] == (304, b"")
    assert served.get("/a/b.jpg", If_Modified_Since=formatdate(MTIME, usegmt=True))[0] == 304
    assert served.get("/a/b.jpg", If_Modified_Since=formatdate(MTIME - 1, usegmt=True))[0] == 200
    assert served.get("/a/b.jpg", If_Match='"other"')[0] == 412


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/",
        "/a",
        "/a/",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/.bucketpull/ledger",
        "/packs",
        "/a/b.jpg/",
        "//a/b.jpg",
    ],
)
def test_no_path_leads_anywhere_but_to_objects(served, path):
    assert served.get(path)[0] == 404


def test_other_methods_are_refused(served):
    status, headers, _ = served.get("/a/b.jpg", "PUT")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert served.get("/a/b.jpg", "DELETE")[0] == 405


def test_every_odd_key_has_an_address(tmp_path, packing):
    objects = {key: b"body of " + key_of(*key) for key in ODD_KEYS}
    with Filler(tmp_path, packing) as filler:
        filler.store(objects)
    with serving(tmp_path) as server:
        for key, body in objects.items():
            path = "/" + quote_from_bytes(key_of(*key), safe="/").replace("..", "%2E%2E")
            assert server.get(path)[::2] == (200, body), path


def test_what_is_stored_meanwhile_is_served(tmp_path, packing):
    with Filler(tmp_path, packing) as filler:
        filler.store(bodies(5))
        with serving(tmp_path) as server:
            assert server.get("/new")[0] == 404
            filler.store({(b"", b"new"): b"one"})
            server.wait_for("/new", 200)


def test_while_a_disk_is_away_the_others_are_served(disks):
    one, two = disks.ext4(), disks.ext4()
    for disk, name in ((one, b"one"), (two, b"two")):
        with Filler(disk.path, Packing()) as filler:
            filler.store({(b"", name): name})
    with serving(one.path, two.path) as server:
        assert [server.get(path)[0] for path in ("/one", "/two", "/three")] == [200, 200, 404]
        two.unmount(lazily=True)
        server.wait_for("/two", 503)
        assert [server.get(path)[0] for path in ("/one", "/two", "/three")] == [200, 503, 503]
        assert server.get("/two")[1]["Retry-After"] == "5"
        two.mount()
        server.wait_for("/two", 200)
        assert [server.get(path)[0] for path in ("/one", "/two", "/three")] == [200, 200, 404]
    gone, back = server.errors.splitlines()
    assert gone.startswith(f"volume {two.path}: ")
    assert back == f"volume {two.path}: is back"


def test_a_disk_that_fails_ends_an_answer_it_does_not_falsify_it(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"large"): LARGE, (b"", b"small"): b"x" * 9})
    [pack] = tmp_path.glob("packs/*.tar")
    with serving(tmp_path) as server:
        os.truncate(pack, 1_500_000)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            server.get("/large")
        assert server.get("/small")[0] == 503


def test_more_connections_than_the_limit_are_told_so(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"a"): b"x"})
    with serving(tmp_path, "--connections", "2") as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        server.wait_for("/a", 503)
        for connection in held:
            connection.close()
        server.wait_for("/a", 200)


def test_requests_are_logged_and_counted(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"a.jpg"): b"12345"})
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with serving(tmp_path, "--access-log", tmp_path / "log", "--metrics", f"127.0.0.1:{port}") as server:
        server.get("/a.jpg", Referer="http://x/", User_Agent='odd "agent"')
        server.get("/none")
        metrics = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        metrics.request("GET", "/metrics")
        text = metrics.getresponse().read().decode()
        metrics.request("GET", "/healthz")
        assert metrics.getresponse().status == 200
        metrics.close()
    assert 'bucketpull_serve_responses_total{status="200"} 1.0' in text
    assert "bucketpull_serve_sent_bytes_total 5.0" in text
    first, second = (tmp_path / "log").read_text().splitlines()
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[.* \+0000\] "GET /a\.jpg HTTP/1\.1" 200 5 "http://x/" "odd \\"agent\\"" 0\.\d+',
        first,
    )
    assert '" 404 ' in second


class Writes(io.StringIO):
    """Counts what is written at once."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def write(self, text):
        self.count += 1
        return super().write(text)


def test_the_lines_of_many_requests_are_written_together(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"a.jpg"): b"12345"})
    stream = Writes()

    def ask(port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /a.jpg HTTP/1.1\r\nHost: a\r\nUser-Agent: odd\r\n\r\n" * 50)
            answers = client.makefile("rb")
            for _ in range(50):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                while answers.readline() != b"\r\n":
                    pass
                assert answers.read(5) == b"12345"

    async def serve():
        server = ObjectServer(OpenVolumes([str(tmp_path)]), Options(log=stream))
        await asyncio.to_thread(ask, await server.start("127.0.0.1", 0))
        await server.close()

    asyncio.run(serve())
    lines = stream.getvalue().splitlines()
    assert (len(lines), stream.getvalue().count('"GET /a.jpg HTTP/1.1" 200 5')) == (50, 50)
    assert stream.count < 10


def test_on_loopback_a_foreign_name_that_was_made_to_point_here_reads_nothing(tmp_path):
    """DNS rebinding: the page of a name that leads to 127.0.0.1 is of the same origin as what is served there."""
    with Filler(tmp_path) as filler:
        filler.store({(b"", b"a.jpg"): b"12345"})
    (port,) = free_ports(1)
    named = ("--host-name", "photos.example.com", "--host-name", "p.example.com")
    with serving(tmp_path, *named, "--metrics", str(port)) as server:
        metrics = Served(server.process, port)
        for host in (
            f"127.0.0.1:{server.port}",
            "localhost",
            "objects",
            "Photos.example.com",
            "p.example.com:80",
        ):
            assert server.get("/a.jpg", Host=host)[::2] == (200, b"12345")
            status, headers, _ = metrics.get("/healthz", Host=host)
            assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
        for host in ("evil.example:8378", "photos.example.com.evil.example"):
            status, _, body = server.get("/a.jpg", Host=host)
            assert status == 403
            assert (
                body.decode()
                == f"host '{host}' is no name of this server; if it is yours, start serve with --host-name {host.split(':')[0]}\n"
            )
            assert metrics.get("/healthz", Host=host)[0] == metrics.get("/metrics", Host=host)[0] == 403


def test_on_every_address_any_name_is_answered_unless_names_are_given(tmp_path):
    with Filler(tmp_path) as filler:
        filler.store({(b"", b"a.jpg"): b"12345"})
    with serving(tmp_path, at="0.0.0.0:0") as server:
        assert server.get("/a.jpg", Host="nas.example")[0] == 200
    with serving(tmp_path, "--host-name", "nas.example", at="0.0.0.0:0") as server:
        assert server.get("/a.jpg", Host="nas.example")[0] == 200
        assert server.get("/a.jpg", Host="evil.example")[0] == 403


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["{}", "--host-name", "http://a/"],
            "--host-name http://a/: write a name alone, such as photos.example.com",
        ),
        (["{}", "--types", "absent"], "--types absent: not read"),
        (["{}", "--access-log", "/absent/log"], "--access-log /absent/log: not opened"),
        (["99999", "{}"], "HOST:PORT"),
        (["/absent", "/gone"], "none of the volumes can be read, /absent, /gone: volume /absent: not opened"),
    ],
)
def test_wrong_use_ends_with_2_and_one_line(tmp_path, arguments, words):
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"a"): b"x"})
    command = [sys.executable, "-m", "bucketpull", "serve", *(each.format(tmp_path) for each in arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2, run.stderr
    assert words in run.stderr
    assert run.stderr.count("\n") == 1


def test_what_lies_in_a_file_system_of_memory_is_read_without_a_thread():
    """It knows no reading without waiting, for it never waits."""
    fd = os.memfd_create("objects")
    try:
        os.write(fd, BODY)
        assert read_now(fd, 100, 50) == BODY[50:150]
        with pytest.raises(BlockingIOError):
            read_now(fd, 100, len(BODY) - 50)
    finally:
        os.close(fd)
