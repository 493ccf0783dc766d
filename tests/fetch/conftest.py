import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from bucketpull.domain.http_exchange import Request, Response
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.fetch.loop import FetchLoop

DEADLINE_SECONDS = 20.0


class Fetch:
    """A loop, and the short ways of asking it for something. With `is_taught` it knows all sites before the first contact."""

    def __init__(self, options: FetchOptions, is_taught: bool) -> None:
        self.loop = FetchLoop(options)
        self.is_taught = is_taught

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            assert time.monotonic() < end, "it never came to that"
            self.loop.run_once(0.5)

    def submit(
        self,
        url: str,
        done: Callable[[Response], object],
        headers: tuple[str, ...] = (),
        most: int = 1 << 20,
        sink: Callable[[bytes], object] | None = None,
        begun: Callable[[Response], object] | None = None,
    ) -> None:
        host = (
            urlsplit(url).hostname
            if self.is_taught and url.startswith("http") and "[::/" not in url
            else None
        )
        if host in {"127.0.0.1", "::1", "localhost"}:
            self.loop.direct.learn(
                Request(url, (), 0), host.replace("localhost", "127.0.0.1"), time.monotonic()
            )
        self.loop.submit(self.request(url, headers, most), done, sink, begun)

    @staticmethod
    def request(url: str, headers: tuple[str, ...] = (), most: int = 1 << 20) -> Request:
        return Request(url, headers, most)

    def ask(self, url: str, *headers: str, **rest: Any) -> Response:
        answers: list[Response] = []
        self.submit(url, answers.append, headers, **rest)
        self.until(lambda: answers)
        assert len(answers) == 1
        return answers[0]


@pytest.fixture(params=["mixed", "direct", "libcurl"])
def fetching(request: pytest.FixtureRequest) -> Iterator[Callable[..., Fetch]]:
    """Makes loops with short timeouts: as users have them, with direct connections from the first request on, without any."""
    made: list[Fetch] = []

    def make(**changes: object) -> Fetch:
        options = {"connect_seconds": 5.0, "first_byte_seconds": 5.0, "stall_seconds": 5.0} | changes
        options["direct"] = request.param != "libcurl"
        made.append(Fetch(FetchOptions(**options), request.param == "direct"))
        return made[-1]

    yield make
    for fetch in made:
        fetch.loop.close()


@pytest.fixture
def fetch(fetching: Callable[..., Fetch]) -> Fetch:
    return fetching()
