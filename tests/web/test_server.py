"""The HTTP server: it answers what it understands, and whoever says nothing, too much or too slowly keeps nobody out."""

import asyncio
import contextlib
import http.client
import socket
import threading
import time

import pytest

from bucketpull.web.api import ApiResponse
from bucketpull.web.http_connection import MOST_BODY_BYTES
from bucketpull.web.server import Server

DEADLINE_SECONDS = 20


async def echo(request):
    words = f"{request.method} {request.path} {dict(request.query)} {request.body.decode()} {request.client}"
    return ApiResponse(200, words.encode(), "text/plain", {"X-Seen": request.headers.get("x-asked", "")})


class Running:
    def __init__(self, answer=echo, **options):
        self._answer = answer
        self.told = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.told.append(context["exception"]))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._server = self._call(self._start(listener, options))

    async def _start(self, listener, options):
        server = Server(self._answer, lambda connection: f"client {connection.getpeername()[0]}", **options)
        server.start(listener)
        return server

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE_SECONDS)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS)

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def close(self):
        self._call(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def run():
    made = []

    def start(**options):
        made.append(Running(**options))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_a_request_comes_with_its_path_query_headers_and_body_decoded(run):
    status, headers, text = run().ask("POST", "/a%20b?x=1&y=%E5%9B%BE&z=", b"body", {"X-Asked": "this"})

    assert status == 200
    assert text == "POST /a b {'x': '1', 'y': '图', 'z': ''} body client 127.0.0.1"
    assert headers["X-Seen"] == "this"
    assert headers["Content-Type"] == "text/plain"


def test_a_connection_serves_one_request_after_the_other(run):
    running = run()
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=DEADLINE_SECONDS)
    with contextlib.closing(connection):
        for number in range(5):
            connection.request("GET", f"/{number}")
            assert f"/{number}" in connection.getresponse().read().decode()


def test_requests_that_were_sent_together_are_answered_in_order(run):
    with run().connect() as connection:
        connection.sendall(
            b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answers = read_all(connection)

    assert answers.index(b"GET /1 ") < answers.index(b"GET /2 ")


def test_a_head_has_no_body(run):
    status, headers, text = run().ask("HEAD", "/x")

    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"z" * 100_000, b"413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nz", b"400"),
    ],
)
def test_what_is_not_understood_or_too_large_is_refused(run, sent, status):
    running = run()
    with running.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        assert read_all(connection).split(b" ")[1] == status

    assert running.ask("GET", "/")[0] == 200


def test_a_body_of_the_greatest_length_is_taken(run):
    assert run().ask("POST", "/", b"x" * MOST_BODY_BYTES)[0] == 200


def test_whoever_does_not_end_a_request_is_dropped(run):
    with run(request_seconds=0.2).connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        assert read_all(connection) == b""

    assert time.monotonic() - began < 30


def test_many_who_say_nothing_keep_nobody_out(run):
    running = run(most_connections=8)
    silent = [running.connect() for _ in range(300)]
    try:
        assert running.ask("GET", "/")[0] == 200
        for connection in silent[:200]:
            assert read_all(connection) == b""
    finally:
        for connection in silent:
            connection.close()


def test_an_error_of_ours_is_answered_and_told_once_however_often_it_is_provoked(run):
    async def fail(request):
        raise KeyError(request.path)

    running = run(answer=fail)
    statuses = [running.ask("GET", f"/{number}")[0] for number in range(20)]

    assert statuses == [500] * 20
    assert [str(error) for error in running.told] == ["'/0'"]


def test_whoever_goes_in_the_middle_harms_nobody(run):
    running = run()
    for sent in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"):
        with running.connect() as connection:
            connection.sendall(sent)

    assert running.ask("GET", "/")[0] == 200


def read_all(connection):
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received
