"""The past of a job for its charts: fine points of the last minutes, coarse ones of the whole job.

Both are bounded, so a job of weeks costs what a job of an hour costs. They are kept in a file beside the journal, for the job's next run.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from bucketpull.domain.counting import growth, summed_counts
from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.endpoints import Purpose
from bucketpull.domain.progress import JobState, Snapshot
from bucketpull.report.document import endpoints_of

FINE_POINTS = 600  # at one every two seconds: 20 minutes
COARSE_POINTS = 600
FILE: Final = "charts.json"
SAMPLE_SECONDS: Final = 2.0
SAVE_SAMPLES: Final = 30
MOST_BYTES: Final = 4 << 20


class Point(msgspec.Struct):
    """One moment. `at` in Unix seconds; speeds a second; `latency` in milliseconds, None where nothing was answered.

    `failures` and `retries` count by reason what was added since the point before.
    """

    at: float
    objects: float
    bytes: float
    listed: float
    latency: float | None
    in_flight: int
    failures: dict[str, int]
    retries: dict[str, int]


class Kept(msgspec.Struct):
    """What a history is begun again from. A coarse point is made of `merged` fine ones."""

    fine: list[Point] = []
    coarse: list[Point] = []
    merged: int = 1


class History:
    """Collects points; add a snapshot every two seconds. `kept` is what an earlier one had."""

    def __init__(self, kept: Kept | None = None) -> None:
        kept = kept or Kept()
        self.fine: deque[Point] = deque(kept.fine, maxlen=FINE_POINTS)
        self.coarse = kept.coarse[-COARSE_POINTS:]
        self._pending: list[Point] = []
        self._merged = max(1, kept.merged)
        self._requests = 0
        self._seconds = 0.0
        self._failures: dict[str, int] = {}
        self._retries: dict[str, int] = {}
        self._begun = False

    def add(self, snapshot: Snapshot) -> None:
        """Note where the job stands."""
        point = Point(
            at=snapshot.at,
            objects=snapshot.rates.objects_now,
            bytes=snapshot.rates.bytes_now,
            listed=snapshot.rates.listed_now,
            latency=self._latency(snapshot),
            in_flight=sum(endpoint.in_flight for endpoint in endpoints_of(snapshot).values()),
            failures=growth(self._failures, snapshot.failures) if self._begun else {},
            retries=growth(self._retries, snapshot.retries) if self._begun else {},
        )
        self._failures, self._retries = dict(snapshot.failures), dict(snapshot.retries)
        self._begun = snapshot.state != JobState.STARTING  # until then the books of earlier runs are not read
        self.fine.append(point)
        self._add_coarse(point)

    def keep(self) -> Kept:
        """Return what another history can be begun again from."""
        return Kept(list(self.fine), self.coarse, self._merged)

    def since(self, at: float) -> list[Point]:
        """Return the fine points after a time (Unix seconds)."""
        return [point for point in self.fine if point.at > at]

    def _latency(self, snapshot: Snapshot) -> float | None:
        """Return the mean duration of the object requests that ended since the last call."""
        endpoints = [endpoint for name, endpoint in endpoints_of(snapshot).items() if name != Purpose.LIST]
        requests = sum(endpoint.requests - endpoint.in_flight for endpoint in endpoints)
        seconds = sum(endpoint.seconds for endpoint in endpoints)
        new, spent = requests - self._requests, seconds - self._seconds
        known = self._begun and new > 0 and spent >= 0  # a worker that left takes its counters along
        self._requests, self._seconds = requests, seconds
        return spent / new * 1000 if known else None

    def _add_coarse(self, point: Point) -> None:
        self._pending.append(point)
        if len(self._pending) < self._merged:
            return
        self.coarse.append(_merge(self._pending))
        self._pending = []
        if len(self.coarse) >= COARSE_POINTS:
            self.coarse = [_merge(self.coarse[index : index + 2]) for index in range(0, len(self.coarse), 2)]
            self._merged *= 2


def _merge(points: list[Point]) -> Point:
    """Make one point of several: means of speeds, sums of counts."""
    if len(points) == 1:
        return points[0]
    latencies = [point.latency for point in points if point.latency is not None]
    return Point(
        at=points[-1].at,
        objects=sum(point.objects for point in points) / len(points),
        bytes=sum(point.bytes for point in points) / len(points),
        listed=sum(point.listed for point in points) / len(points),
        latency=sum(latencies) / len(latencies) if latencies else None,
        in_flight=round(sum(point.in_flight for point in points) / len(points)),
        failures=summed_counts(point.failures for point in points),
        retries=summed_counts(point.retries for point in points),
    )


_decode = json_decoder(Kept)


def load_history(folder: str) -> History:
    """Return the history of a job; where none can be read, a new one: charts are not worth a job."""
    with contextlib.suppress(OSError, msgspec.DecodeError), open(os.path.join(folder, FILE), "rb") as file:
        return History(_decode(file.read(MOST_BYTES)))
    return History()


def save_history(folder: str, kept: Kept) -> None:
    """Write it in one step; where that cannot be, the last one stays."""
    path = os.path.join(folder, FILE)
    with contextlib.suppress(OSError):
        with open(f"{path}.new", "wb") as file:
            file.write(msgspec.json.encode(kept))
        os.replace(f"{path}.new", path)


async def record_history(history: History, snapshot: Callable[[], Snapshot], folder: str) -> None:
    """Add a point every two seconds and save once a minute, until cancelled; then save."""
    try:
        while True:
            for _ in range(SAVE_SAMPLES):
                history.add(snapshot())
                await asyncio.sleep(SAMPLE_SECONDS)
            await asyncio.to_thread(save_history, folder, history.keep())
    finally:
        history.add(snapshot())
        save_history(folder, history.keep())
