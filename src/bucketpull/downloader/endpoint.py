"""The endpoints of one process: each has a limiter, a breaker, and those that wait for a slot, in order."""

import math
from collections import deque
from typing import Generic, TypeVar

from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import LaneStatus
from bucketpull.domain.pacing import Limiter
from bucketpull.downloader.breaker import Breaker, Trip

T = TypeVar("T")


class Endpoint(Generic[T]):
    """One endpoint. `waiting` are those that could not start yet, or are to start again."""

    __slots__ = ("breaker", "free", "is_origin", "limiter", "name", "rests_until", "site", "waiting")

    def __init__(self, spec: EndpointSpec, limiter: Limiter, breaker: Breaker) -> None:
        self.name = spec.name
        self.is_origin = spec.is_origin
        self.site = spec.sites[0] if spec.sites else ""
        self.limiter = limiter
        self.breaker = breaker
        self.waiting: deque[T] = deque()
        self.free = 0
        """How many may start before `open` has to be asked again."""
        self.rests_until = 0.0

    def open(self, now: float) -> bool:
        """Find out whether, and how many, requests may start now: many at once where nothing but the level holds them."""
        self.free = 0
        if self.rests_until and not self._has_rested(now):
            return False
        limiter = self.limiter
        if not limiter.may_start(now):
            return False
        bucket = limiter.bucket
        if limiter.ceiling is None and (bucket is None or bucket.per_second is None):
            self.free = math.ceil(limiter.level - limiter.in_flight)
        else:
            self.free = 1
        return True

    def start(self, now: float) -> None:
        """Count a request that starts."""
        self.free -= 1
        self.limiter.started(now)

    def _has_rested(self, now: float) -> bool:
        if now < self.rests_until:
            return False
        self.rests_until = 0.0
        self.breaker.rested()
        return True

    def refused(self, reason: Reason, now: float) -> Trip:
        """Note a refusal that is no passing trouble; an endpoint that was proven good rests after too many."""
        trip = self.breaker.bad(reason)
        if trip is Trip.PAUSE and not self.rests_until:
            self.rests_until = now + self.breaker.pause_seconds
        return trip

    def delay(self, now: float) -> float:
        """Return in how many seconds this endpoint may open by the passing of time; `math.inf` if only an end opens it."""
        if self.rests_until:
            return max(self.rests_until - now, 0.0)
        wait = self.limiter.delay(now)
        return wait if wait > 0.0 else math.inf

    def status(self) -> LaneStatus:
        """Return the counters."""
        limiter = self.limiter
        return LaneStatus(
            limiter.in_flight,
            limiter.level,
            limiter.requests,
            limiter.throttled,
            round(limiter.seconds, 3),
            self.is_origin,
            limiter.received,
        )
