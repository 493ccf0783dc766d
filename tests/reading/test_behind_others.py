"""`bucketpull serve` as it is used: behind nginx, and by a browser that shows a page of images."""

import http.client
import struct
import zlib
from urllib.parse import quote_from_bytes

import pytest
from tests.cli.conftest import until
from tests.reading.test_object_server import serving
from tests.servers.web_server import WebServer
from tests.volumes.filling import ODD_KEYS, Filler
from tests.web.conftest import browser, driver_port, only_browser

from bucketpull.domain.model import key_of
from bucketpull.domain.packing import Packing

__all__ = ["browser", "driver_port", "only_browser"]

BODY = bytes(range(256)) * 40
LARGE = b"0123456789abcdef" * 100_000
CACHE = (
    "proxy_cache_path {} keys_zone=objects:1m; upstream bucketpull {{ server 127.0.0.1:{}; keepalive 16; }}"
)
LOCATION = """
    proxy_pass http://bucketpull; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_cache objects; proxy_cache_revalidate on; add_header X-Cache $upstream_cache_status always;
"""


class Client:
    """One connection to a web server, kept alive."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path, method="GET", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, headers=named)
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def close(self):
        self._connection.close()


@pytest.fixture
def client(tmp_path):
    """A client of an nginx that caches what a server of packs gives."""
    objects = {key: b"body of " + key_of(*key) for key in ODD_KEYS}
    objects |= {(b"a", b"b.jpg"): BODY, (b"", b"large.bin"): LARGE}
    (tmp_path / "disk").mkdir()
    with Filler(tmp_path / "disk", Packing()) as filler:
        filler.store(objects)
    log = tmp_path / "log"
    with serving(tmp_path / "disk", "--cache-control", "max-age=600", "--access-log", log) as server:
        outside = CACHE.format(tmp_path / "cache", server.port)
        with WebServer(tmp_path / "disk", tmp_path / "nginx", LOCATION, outside) as nginx:
            found = Client(nginx.port)
            yield found
            found.close()


def test_nginx_passes_on_and_keeps_what_the_server_says_of_an_object(client, tmp_path):
    status, headers, body = client.get("/a/b.jpg")
    assert (status, body, headers["X-Cache"]) == (200, BODY, "MISS")
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("image/jpeg", "max-age=600")

    status, again, body = client.get("/a/b.jpg")
    assert (status, body, again["X-Cache"]) == (200, BODY, "HIT")
    assert again["ETag"] == headers["ETag"]

    assert client.get("/a/b.jpg", If_None_Match=headers["ETag"])[::2] == (304, b"")
    assert client.get("/a/b.jpg", Range="bytes=100-199")[::2] == (206, BODY[100:200])
    assert client.get("/a/b.jpg", "HEAD")[::2] == (200, b"")
    assert client.get("/large.bin")[2] == LARGE
    assert client.get("/none")[0] == 404
    log = tmp_path / "log"
    until(lambda: "/none" in log.read_text(), "the last line of the log, which is written with others")
    asked = log.read_text().splitlines()
    assert ["/a/b.jpg" in line for line in asked] == [True, False, False], "asked once, and then kept"


def test_nginx_passes_on_every_key_but_those_that_it_takes_for_ways_up(client):
    for key in ODD_KEYS:
        path = "/" + quote_from_bytes(key_of(*key), safe="/").replace(".", "%2E")
        expected = (400, None) if b".." in key else (200, b"body of " + key_of(*key))
        status, _, body = client.get(path)
        assert (status, body if status == 200 else None) == expected, path


PAGE = """<!doctype html><meta charset="utf-8"><title>images</title><link rel="icon" href="data:,">%s"""


def png(width):
    """Return a PNG of one line."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" + bytes(width))),
        (b"IEND", b""),
    ]
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_a_browser_shows_a_page_of_images(tmp_path, browser):
    names = [f"图 {number}.png".encode() for number in range(1, 101)]
    images = {(b"2024", name): png(width) for width, name in enumerate(names, 1)}
    page = PAGE % "".join(f'<img src="2024/{quote_from_bytes(name)}">' for name in names)
    with Filler(tmp_path, Packing()) as filler:
        filler.store(images | {(b"", b"index.html"): page.encode()})

    with serving(tmp_path) as server:
        browser.open(f"http://127.0.0.1:{server.port}/index.html")
        browser.wait("return [...document.images].every(image => image.complete)")
        widths = browser.run("return [...document.images].map(image => image.naturalWidth)")
        browser.open("about:blank")

    assert widths == list(range(1, 101))
    assert browser.errors() == []


HOSTILE = """<!doctype html><meta charset="utf-8"><title>quiet</title><link rel="icon" href="data:,"><p id="said">quiet</p>
<img src="mark.svg"><script>document.title = "loud"</script><img src="none.jpg" onerror="document.title = 'loud'">"""
MARK = """<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"><script>document.documentElement.id = "loud"</script></svg>"""


def test_no_script_of_the_source_runs_in_the_browser_of_who_opens_an_object(tmp_path, browser):
    """It would read every other object, and ask other servers of this machine as one of the same site."""
    with Filler(tmp_path) as filler:
        filler.store({(b"", b"page.html"): HOSTILE.encode(), (b"", b"mark.svg"): MARK.encode()})

    with serving(tmp_path) as server:
        browser.open(f"http://127.0.0.1:{server.port}/page.html")
        browser.wait(
            "return document.images.length == 2 && [...document.images].every(image => image.complete)"
        )
        assert browser.run("return [document.title, document.images[0].naturalWidth, origin]") == [
            "quiet",
            7,
            "null",
        ]
        browser.open(f"http://127.0.0.1:{server.port}/mark.svg")
        assert browser.run("return document.documentElement.id") == ""
        browser.open("about:blank")
    browser.errors()  # it tells of what was kept from running
