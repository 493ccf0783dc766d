"""A few seconds of fetching, to see how fast it goes from here; what comes is dropped."""

import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from bucketpull.domain.exchange import Response
from bucketpull.domain.model import Part
from bucketpull.ports import Fetcher, Source
from bucketpull.report.plan import Speed

_SECONDS: Final = 3.0
_OBJECTS: Final = 400
_IN_FLIGHT: Final = 32

_Object = tuple[bytes, bytes, int]


def measure(
    source: Source, fetcher: Fetcher, parts: Sequence[Part], concurrency: int | None = None
) -> Speed | None:
    """Fetch some of the objects; None where there are none, or none came."""
    objects = [
        (part.directory, name, size)
        for part in parts
        for name, size in zip(part.names, part.sizes, strict=True)
    ]
    random.Random(1).shuffle(objects)
    attempt = _Attempt(source, fetcher, objects[:_OBJECTS])
    attempt.run(concurrency or _IN_FLIGHT)
    if not attempt.objects:
        return None
    return Speed(
        attempt.objects / attempt.seconds,
        attempt.received / attempt.seconds,
        attempt.received / attempt.listed if attempt.listed else 1.0,
        concurrency or _IN_FLIGHT,
        attempt.seconds,
        attempt.failed,
    )


class _Attempt:
    """Fetches until the objects or the time are at their end; counts whole answers."""

    def __init__(self, source: Source, fetcher: Fetcher, waiting: list[_Object]) -> None:
        self._source = source
        self._fetcher = fetcher
        self._waiting = waiting
        self._ended = False
        self.objects = self.listed = self.received = self.failed = 0
        self.seconds = 0.0

    def run(self, concurrency: int) -> None:
        began = time.monotonic()
        while not self._ended and (self._waiting or self._fetcher.in_flight):
            while self._waiting and self._fetcher.in_flight < concurrency:
                self._submit(*self._waiting.pop())
            self._fetcher.run_once(0.1)
            self.seconds = time.monotonic() - began
            self._ended = self.seconds >= _SECONDS

    def _submit(self, directory: bytes, name: bytes, size: int) -> None:
        lane = self._source.lanes(directory, name, size)[0]
        request = self._source.object_request(directory, name, size, lane, time.time())
        self._fetcher.submit(request, partial(self._note, size))

    def _note(self, size: int, response: Response) -> None:
        if self._ended:
            return
        if response.status != 200 or response.failure is not None:
            self.failed += 1
            return
        self.objects += 1
        self.listed += size
        self.received += response.received
