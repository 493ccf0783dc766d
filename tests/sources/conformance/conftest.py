"""The worlds that every source is held against: a service with known objects, and the configuration that reaches it."""

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.servers.web_server import WebServer

from bucketpull.sources.registry import SOURCES, settings_of
from bucketpull.sources.source_settings import SourceSettings
from upyun_simulator import Simulator, content

EXAMPLE = Path(__file__).parents[3] / "examples" / "http_index.py"
FILES = {
    "a.jpg": b"\xff\xd8" + bytes(range(256)) * 9,
    "empty": b"",
    "a b+c%20%.jpg": b"blanks",
    "deep/er/目录/ü&;=.bin": b"umlaut" * 1000,
    "deep/#hash?query": b"hash",
    "deep/'\"<>[]{}.txt": b"quotes",
}


class World(NamedTuple):
    """A service that runs: the source's configuration, and every object by key.

    `has_sizes` says whether its listing tells sizes, `has_parts` whether it serves parts of an object.
    """

    settings: SourceSettings
    objects: dict[bytes, bytes]
    has_sizes: bool = True
    has_parts: bool = True


@contextmanager
def upyun(_folder: Path) -> Iterator[World]:
    """UPYUN's REST service and a CDN domain, simulated."""
    with Simulator("odd", operators=("alpha-op:beta-word",)) as simulator:
        options = {
            "api_url": simulator.api_url,
            "cdn_url": simulator.cdn_url,
            "operator": simulator.operator,
            "password": simulator.password,
        }
        objects = {
            item.key.encode("utf-8", "surrogateescape"): content(item.key, item.size, item.version)
            for item in simulator.contents.walk()
            if item.type != "F"
        }
        yield World(settings_of(f"upyun://{simulator.bucket}", options), objects)


@contextmanager
def index_of_nginx(folder: Path) -> Iterator[World]:
    """The example of a source of one's own, against nginx."""
    _write(folder / "files")
    with WebServer(folder / "files", folder / "nginx", "autoindex on;") as server:
        objects = {key.encode(): body for key, body in FILES.items()}
        yield World(_example(server.url), objects, has_sizes=False)


@contextmanager
def index_of_python(folder: Path) -> Iterator[World]:
    """The example against Python's own server, which knows neither parts nor versions."""
    _write(folder)
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            objects = {key.encode(): body for key, body in FILES.items()}
            url = f"http://127.0.0.1:{server.server_port}"
            yield World(_example(url), objects, has_sizes=False, has_parts=False)
        finally:
            server.shutdown()


WORLDS: dict[str, Callable[[Path], AbstractContextManager[World]]] = {
    "upyun": upyun,
    "index-nginx": index_of_nginx,
    "index-python": index_of_python,
}


@pytest.fixture(scope="module", params=list(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Each service in turn."""
    with WORLDS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _write(folder: Path) -> None:
    for key, body in FILES.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def _example(url: str) -> SourceSettings:
    """Make the example's configuration, registered as its own `main` does it."""
    name = "http_index"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    SOURCES["index"] = f"{name}:IndexSettings"
    return settings_of(f"index:{url}/", {})
