"""A discrete-event world for limiters: sources with latency, queues and limits; time is a number."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from bucketpull.domain.errors import Reason
from bucketpull.domain.pacing import Limiter


@dataclass
class World:
    """`latency` seconds an answer; `capacity` answers a second at most (then they queue); `limit` requests a second are
    let in, with `burst` at once; `refuse` may refuse for another reason; objects never run out."""

    latency: float = 0.2
    capacity: float = float("inf")
    limit: Callable[[float], float] = lambda _now: float("inf")
    burst_seconds: float = 0.25
    window_seconds: float = 0.0
    refuse: Callable[[float, Random], Reason | None] = lambda _now, _random: None
    jitter: float = 0.1
    seed: int = 1
    free_at: float = 0.0
    tokens: float | None = None
    at: float = 0.0
    window: tuple[int, int] = (-1, 0)
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def admit(self, now: float) -> bool:
        limit = self.limit(now)
        if limit == float("inf"):
            return True
        if self.window_seconds:
            return self._admit_in_window(now, limit)
        room = max(1.0, limit * self.burst_seconds)
        tokens = room if self.tokens is None else min(room, self.tokens + (now - self.at) * limit)
        self.at = now
        self.tokens = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1

    def _admit_in_window(self, now: float, limit: float) -> bool:
        number = int(now / self.window_seconds)
        count = self.window[1] if self.window[0] == number else 0
        self.window = (number, count + 1)
        return count < limit * self.window_seconds

    def answer(self, now: float) -> tuple[float, Reason | None]:
        """Return when the answer to a request sent now is there, and what it says."""
        there = now + self.latency * 0.5 * self.random.uniform(1 - self.jitter, 1 + self.jitter)
        reason = self.refuse(there, self.random) or (None if self.admit(there) else Reason.THROTTLED)
        back = self.latency * 0.5 * self.random.uniform(1 - self.jitter, 1 + self.jitter)
        if reason is not None:
            return there + back, reason
        self.free_at = max(self.free_at, there) + 1.0 / self.capacity
        return self.free_at + back, None


@dataclass
class Tally:
    """Answers by second: good ones and throttled ones."""

    good: list[int]
    throttled: list[int]
    level: list[float]

    def rate(self, begin: int, end: int | None = None) -> float:
        part = self.good[begin:end]
        return sum(part) / len(part)

    def share(self, begin: int = 0, end: int | None = None) -> float:
        throttled = sum(self.throttled[begin:end])
        return throttled / max(1, throttled + sum(self.good[begin:end]))


def run(limiters: list[Limiter], world: World, seconds: int, began: float = 1000.0) -> Tally:
    """Let limiters ask a world for so long."""
    tally = Tally([0] * seconds, [0] * seconds, [0.0] * seconds)
    events: list[tuple[float, int, int, float, Reason | None]] = []
    count = 0
    wakes = dict.fromkeys(range(len(limiters)), -1.0)
    for index in range(len(limiters)):
        heapq.heappush(events, (0.0, count := count + 1, index, -1.0, None))
    while events:
        now, _, index, sent, reason = heapq.heappop(events)
        if now >= seconds:
            break
        limiter = limiters[index]
        if sent >= 0.0:
            limiter.finished(began + now, reason, now - sent, 1000)
            (tally.good if reason is None else tally.throttled)[int(now)] += 1
            tally.level[int(now)] = limiter.level
        elif now < wakes[index]:
            continue
        while limiter.may_start(began + now):
            limiter.started(began + now)
            there, reason = world.answer(now)
            heapq.heappush(events, (there, count := count + 1, index, now, reason))
        wait = limiter.delay(began + now)
        if wait != float("inf"):
            wakes[index] = now + max(wait, 1e-4)
            heapq.heappush(events, (wakes[index], count := count + 1, index, -1.0, None))
    return tally
