"""The lanes of one process: how many requests may be in flight on each, who waits, and when a lane rests.

A gate is asked once a turn of the loop how many may start (`open`), so that a start costs two additions.
"""

from collections import deque
from typing import Generic, Protocol, TypeVar

from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Lane, LaneStatus
from bucketpull.engine.breaker import Breaker, Trip

T = TypeVar("T")


class Limiter(Protocol):
    """Finds a lane's own level of transfers in flight. Sans-I/O; `now` is monotonic seconds."""

    @property
    def level(self) -> float:
        """Transfers in flight that are allowed."""
        ...

    def room(self, in_flight: int, now: float) -> int:
        """Return how many may start now."""
        ...

    def started(self, count: int, now: float) -> None:
        """Note that so many started."""
        ...

    def ended(self, seconds: float, now: float) -> None:
        """Note a request that went well."""
        ...

    def slow(self, now: float, asked_seconds: float | None) -> None:
        """Note that the source asks for less, or times out."""
        ...

    def wake_seconds(self, now: float) -> float | None:
        """Return in how many seconds there may be room again without anything ending; None if not by time."""
        ...


class Gate(Generic[T]):
    """One lane: its limiter and breaker, its transfers in flight, and those that wait for a slot in order."""

    def __init__(self, lane: Lane, limiter: Limiter, breaker: Breaker) -> None:
        self.lane = lane
        self.limiter = limiter
        self.breaker = breaker
        self.waiting: deque[T] = deque()
        self.room = 0
        self.in_flight = 0
        self.requests = 0
        self.throttled = 0
        self.seconds = 0.0
        self.rests_until = 0.0

    def open(self, now: float) -> None:
        """Find out how many may start in this turn."""
        if self.rests_until:
            if now < self.rests_until:
                self.room = 0
                return
            self.rests_until = 0.0
            self.breaker.rested()
        self.room = self.limiter.room(self.in_flight, now)

    def start(self, now: float) -> None:
        """Count a request that starts."""
        self.room -= 1
        self.in_flight += 1
        self.requests += 1
        self.limiter.started(1, now)

    def end(self, seconds: float) -> None:
        """Count a request that ended, in whatever way."""
        self.in_flight -= 1
        self.seconds += seconds

    def good(self, seconds: float, now: float) -> None:
        """Note a wanted answer."""
        self.breaker.good()
        self.limiter.ended(seconds, now)

    def slow(self, now: float, asked_seconds: float | None) -> None:
        """Note that the source asks for less."""
        self.throttled += 1
        self.limiter.slow(now, asked_seconds)

    def refused(self, reason: Reason, now: float) -> Trip:
        """Note a refusal that is no passing trouble; a lane that was proven good before rests after too many."""
        trip = self.breaker.bad(reason)
        if trip is Trip.PAUSE:
            self.rests_until = now + self.breaker.pause_seconds
        return trip

    def wake_seconds(self, now: float) -> float | None:
        """Return when this gate may open by the passing of time alone; None if only an end opens it."""
        if self.rests_until:
            return max(self.rests_until - now, 0.0)
        return self.limiter.wake_seconds(now)

    def status(self) -> LaneStatus:
        """Return the counters."""
        return LaneStatus(
            self.in_flight, self.limiter.level, self.requests, self.throttled, round(self.seconds, 3)
        )
