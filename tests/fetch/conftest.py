import time
from collections.abc import Callable, Iterator

import pytest

from bucketpull.domain.exchange import Request, Response
from bucketpull.domain.model import Lane
from bucketpull.fetch.loop import CurlLoop
from bucketpull.fetch.options import FetchOptions

DEADLINE_SECONDS = 20.0


class Fetch:
    """A loop, and the short ways of asking it for something."""

    def __init__(self, options: FetchOptions) -> None:
        self.loop = CurlLoop(options)

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            assert time.monotonic() < end, "it never came to that"
            self.loop.run_once(0.5)

    def ask(
        self,
        url: str,
        *headers: str,
        method: str = "GET",
        most: int = 1 << 20,
        follow: int = 0,
        sink: Callable[[bytes], object] | None = None,
    ) -> Response:
        answers: list[Response] = []
        self.loop.submit(Request(url, headers, Lane.CDN, most, method, follow), answers.append, sink)
        self.until(lambda: answers)
        assert len(answers) == 1
        return answers[0]


@pytest.fixture
def fetching() -> Iterator[Callable[..., Fetch]]:
    """Makes loops with short timeouts."""
    made: list[Fetch] = []

    def make(**changes: object) -> Fetch:
        options = {"connect_seconds": 5.0, "first_byte_seconds": 5.0, "stall_seconds": 5.0} | changes
        made.append(Fetch(FetchOptions(**options)))
        return made[-1]

    yield make
    for fetch in made:
        fetch.loop.close()


@pytest.fixture
def fetch(fetching: Callable[..., Fetch]) -> Fetch:
    return fetching()
