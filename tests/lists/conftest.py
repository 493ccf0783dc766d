"""The installed command on lists of URLs: web servers that know some paths, and a machine with one volume."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from tests.s3.conftest import Puller


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Answers over connections that stay, and prints nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Serving:
    """A web server on the loopback, at `url`."""

    def __init__(self, handler: type[QuietHandler]) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Web(Serving):
    """A web server of some objects by path; `requests` are the paths asked for."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.requests: list[str] = []
        web = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                web.requests.append(self.path)
                body = web.objects.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.send_header("Last-Modified", "Wed, 09 Nov 2016 14:26:58 GMT")
                self.end_headers()
                self.wfile.write(body or b"")

        super().__init__(Handler)


@pytest.fixture
def make_web() -> Iterator[Callable[[dict[str, bytes]], Web]]:
    with ExitStack() as stack:
        yield lambda objects: stack.enter_context(Web(objects))


class Listed(Puller):
    """A machine that pulls a list."""

    def arguments(self, *options: str) -> list[str]:
        line = super().arguments(*options)
        at = line.index(f"s3://{self.bucket}")
        return [*line[:at], self.bucket, line[at + 1], *line[at + 4 :]]


@pytest.fixture
def pull(tmp_path: Path) -> Callable[[Path], Listed]:
    """Make the machine for a list."""

    def make(path: Path) -> Listed:
        folder = tmp_path / f"machine-{path.name}"
        (folder / "volume").mkdir(parents=True)
        return Listed("", f"urls:{path}", folder, {})

    return make
