"""Servers that differ: one that takes no notice of Range and If-Match, one that archives, one that is elsewhere. Right or refused."""

import gzip
import http.server
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from tests.s3.conftest import COMMAND, Puller
from tests.servers.proxy import Proxy
from tests.servers.s3_pages import BUCKET, Fault, PageServer
from tests.servers.s3_servers import Server, moto, rclone


@pytest.fixture(scope="module")
def careless(tmp_path_factory) -> Iterator[Server]:
    """rclone's server: a range comes with status 200, If-Match is ignored."""
    with rclone(tmp_path_factory.mktemp("rclone") / "server") as server:
        server.put("bucket")
        yield server


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Iterator[Server]:
    """moto's server."""
    with moto(tmp_path_factory.mktemp("moto") / "server") as server:
        yield server


def test_a_bucket_of_a_careless_server_comes_down_once(careless, make_puller):
    objects = {f"a b/{number:03d}+é%.jpg".encode(): b"%d" % number * 9 for number in range(300)}
    careless.put("plain")
    for key, body in objects.items():
        careless.put("plain", key, body)
    puller = make_puller(careless.url, "plain", careless.environment)
    assert puller.sync()["stored"] == len(objects)
    assert puller.objects() == objects
    assert puller.sync()["stored"] == 0


def _partial_bytes(puller: Puller) -> int:
    return sum(
        path.stat().st_size for path in (puller.volume / ".bucketpull").glob("partial/**/*") if path.is_file()
    )


def _pull_through_a_cut(puller: Puller, proxy: Proxy, when_cut) -> None:
    """Begin a large object slowly, cut its connection in the middle, and let it come to its end."""
    with subprocess.Popen(
        puller.arguments("--bandwidth", "8M"),
        env=puller.all_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while _partial_bytes(puller) < 3 << 20:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            when_cut()
            proxy.cut()
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors


@pytest.fixture
def large() -> list[bytes]:
    """Two versions of one object, of one length."""
    source = random.Random(5)
    return [source.randbytes(14 << 20) for _ in range(2)]


@pytest.fixture
def stores(request, ceph, bucket, careless):
    """Each kind of server by how an object is stored in a bucket of it, and its address."""
    if request.param == "careless":
        return careless, "bucket", lambda body: careless.put("bucket", b"large.bin", body)
    return ceph, bucket, lambda body: ceph.put(bucket, b"large.bin", body)


@pytest.mark.parametrize("stores", ["ceph", "careless"], indirect=True)
@pytest.mark.parametrize("changes", [False, True], ids=["same", "replaced"])
def test_a_large_object_that_broke_off_is_one_version_in_the_end(stores, make_puller, large, changes):
    server, bucket, store = stores
    store(large[0])
    with Proxy(server.port, "127.0.0.1") as proxy:
        puller = make_puller(f"http://127.0.0.1:{proxy.port}", bucket, server.environment)
        _pull_through_a_cut(puller, proxy, lambda: store(large[1]) if changes else None)
    assert puller.objects() == {b"large.bin": large[1] if changes else large[0]}


def test_stored_gzip_comes_as_it_is_stored(ceph, bucket, puller):
    body = gzip.compress(os.urandom(100) * 50)
    ceph.put(bucket, b"page.html", body, {"Content-Encoding": "gzip", "Content-Type": "text/html"})
    puller.sync()
    assert puller.objects() == {b"page.html": body}


def test_an_archived_object_is_a_failure_with_that_reason_and_the_others_come(archive, make_puller):
    archive.put("cold")
    archive.put("cold", b"frozen", b"ice", x_amz_storage_class="GLACIER")
    archive.put("cold", b"warm", b"water")
    puller = make_puller(archive.url, "cold", archive.environment)
    summary = puller.sync(expect=3)
    assert (summary["stored"], summary["failures"]) == (1, {"archived": 1})
    assert "frozen" in puller.command("failures", "--reason", "archived")


def _checks(puller: Puller, expect: int) -> dict[str, str]:
    """Return how doctor's checks of the source end, by name."""
    source = [f"s3://{puller.bucket}", "--api-url", puller.url]
    done = puller.run(*COMMAND, "doctor", *source, "--json", expect=expect)
    return {check["name"]: check["verdict"] for check in map(json.loads, done.stdout.splitlines())}


def test_doctor_warns_of_a_bucket_whose_first_objects_are_all_archived(archive, make_puller):
    archive.put("frozen")
    for number in range(4):
        archive.put("frozen", b"%d" % number, b"ice", x_amz_storage_class="GLACIER")
    checks = _checks(make_puller(archive.url, "frozen", archive.environment), expect=0)
    assert (checks["credentials"], checks["S3"]) == ("pass", "warn")


def test_doctor_says_of_a_bucket_that_is_not_there_that_it_is_the_bucket(archive, make_puller):
    checks = _checks(make_puller(archive.url, "nowhere", archive.environment), expect=3)
    assert checks["bucket"] == "fail"
    assert "credentials" not in checks


def test_a_second_server_agrees_on_keys_and_pages(archive, make_puller):
    objects = {f"k/{number:04d} +&<é>.bin".encode(): b"%d" % number for number in range(1_100)}
    archive.put("many")
    for key, body in objects.items():
        archive.put("many", key, body)
    puller = make_puller(archive.url, "many", archive.environment)
    puller.sync()
    assert puller.objects() == objects


_KEYS = [b"%s%04d" % (letter, number) for letter in (b"a", b"B", b"c") for number in range(500)]


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.ORDER, Fault.TWICE], ids=lambda fault: fault.name)
def test_a_service_that_lists_in_its_own_way_is_pulled_whole_and_each_key_once(make_puller, fault):
    with PageServer(_KEYS, fault) as server:
        puller = make_puller(server.url, BUCKET, {}, "--anonymous")
        summary = puller.sync()
        assert (summary["listed"], summary["stored"]) == (len(_KEYS), len(_KEYS))
        assert server.requests["object"] == len(_KEYS)
    assert puller.objects() == {key: key for key in _KEYS}


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """Answers as AWS does for a bucket of another region."""

    def do_GET(self) -> None:
        self.send_response(301)
        self.send_header("x-amz-bucket-region", "eu-central-1")
        body = b"<Error><Code>PermanentRedirect</Code><Message>wrong endpoint</Message></Error>"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_bucket_in_another_region_stops_the_job_and_the_region_is_named(make_puller):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        puller = make_puller(
            f"http://127.0.0.1:{server.server_port}",
            "b",
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"},
        )
        said = puller.refused()
        server.shutdown()
    assert "use --region eu-central-1" in said
