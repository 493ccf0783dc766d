"""A simulator in a thread of this process (it starts in milliseconds), and a client that controls every byte."""

import asyncio
import base64
import http.client
import json
import socket
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

import msgspec
import pytest
import uvloop

from upyun_simulator import Server, Settings


class Hosted:
    """A `Server` whose event loop runs in a thread; `world` may be changed between requests."""

    def __init__(self, **options):
        self.settings = msgspec.convert({"spec": "flat:10,size=1000", **options}, Settings)

    def __enter__(self):
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self._call(self._make())
        self.ready, self.world = self.server.ready, self.server.world
        self.api, self.cdn, self.control = (
            urlsplit(url).port for url in (self.ready.api_url, self.ready.cdn_url, self.ready.control_url)
        )
        return self

    def __exit__(self, *exc_info):
        self._call(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _make(self):
        server = Server(self.settings)
        await server.start()
        return server

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def rest(self, path, method="GET", auth=True, **headers):
        """Request `/<bucket>/<path>`; underscores of header names are dashes."""
        target = path if path.startswith("/") else f"/{self.settings.bucket}/{path}"
        return fetch(self.api, target, method, (basic() if auth else {}) | headers)

    def get(self, path, method="GET", **headers):
        """Request `/<path>` of the CDN."""
        return fetch(self.cdn, f"/{path}", method, headers)

    def page(self, folder="", **headers):
        """Return the names of a JSON page and its cursor."""
        reply = self.rest(folder, **{"accept": "application/json", "x-upyun-folder": "true", **headers})
        assert reply.status == 200, reply.body
        page = json.loads(reply.body)
        return [entry["name"] for entry in page["files"]], page["iter"]

    def order(self, method, path, body=None):
        """Ask the control listener."""
        reply = fetch(self.control, path, method, {}, None if body is None else json.dumps(body))
        return reply.status, json.loads(reply.body)


class Fetched:
    def __init__(self, reply, body):
        self.status, self.headers, self.body = reply.status, reply.headers, body

    @property
    def code(self):
        """The error code of the body, and that the header agrees."""
        code = json.loads(self.body)["code"]
        assert str(code) == self.headers["x-error-code"]
        return int(code)


def basic(name="operator", password="password"):
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def fetch(port, target, method="GET", headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, target, body, {k.replace("_", "-"): v for k, v in (headers or {}).items()})
        reply = connection.getresponse()
        return Fetched(reply, reply.read())
    finally:
        connection.close()


def raw(port, text, has_all=lambda _: False, silence_seconds=1.0):
    """Send bytes, return all that comes and how it ended: `end`, `reset`, or `silence` for so long once `has_all` says so of what came."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as connection:
        connection.sendall(text)
        try:
            while True:
                if has_all(received):
                    connection.settimeout(silence_seconds)
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        except ConnectionResetError:
            return received, "reset"
        except TimeoutError:
            return received, "silence"
    return received, "end"


@pytest.fixture(scope="module")
def host_for_module():
    """Start simulators with options, ended with the module's tests."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Hosted(**options))


@pytest.fixture
def send_raw():
    """Send bytes to a port, see `raw`."""
    return raw


@pytest.fixture
def host():
    """Start simulators with options, ended with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Hosted(**options))
