"""A discrete-event world for limiters: sources with latency, queues and limits; time is a number."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from bucketpull.domain.endpoints import Symptoms
from bucketpull.domain.errors import Reason
from bucketpull.domain.machine_pace import MachinePace
from bucketpull.domain.pacing import Limiter
from bucketpull.domain.retry import backoff_seconds
from bucketpull.downloader.process import PACED_SECONDS, TICK_SECONDS

BACKOFF_SECONDS = 0.4


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


REPORT = -2.0  # in place of when a request was sent


class Machine:
    """Has limiters report, and tells them their pace, as processes and agent do. `report` is the rest of such an event."""

    def __init__(self, limiters: list[Limiter], ties: Iterator[int], report: tuple) -> None:
        self._limiters, self._ties, self._report = limiters, ties, report
        self._sharing = MachinePace(len(limiters))

    def begin(self, events: list) -> None:
        """Plan the first reports, at odd times."""
        for index in range(len(self._limiters)):
            self._plan(events, 0.5 * index / len(self._limiters), index)

    def _plan(self, events: list, at: float, index: int) -> None:
        heapq.heappush(events, (at, next(self._ties), index, *self._report))

    def report(self, events: list, index: int, now: float, began: float) -> None:
        counted = {"": self._limiters[index].counted}
        for each, told in self._sharing.look(index, {"": Symptoms(counted=counted)}, began + now):
            self._limiters[each].lead(began + now, told.paces[""][""])
        is_paced = self._limiters[index].ceiling is not None
        self._plan(events, now + (PACED_SECONDS if is_paced else TICK_SECONDS), index)


def run(
    limiters: list[Limiter], world: World, seconds: int, began: float = 1000.0, *, shared: bool = False
) -> Tally:
    """Let limiters ask a world for so long. What is refused is asked for again: the first requests after a back-off are retries.

    `shared`: they are the processes of one machine, which finds their pace.
    """
    tally = Tally([0] * seconds, [0] * seconds, [0.0] * seconds)
    events: list[tuple[float, int, int, float, Reason | None, bool]] = []
    due = [deque[float]() for _ in limiters]
    ties = count()
    wakes = dict.fromkeys(range(len(limiters)), -1.0)
    machine = Machine(limiters, ties, (REPORT, None, False))
    for index in range(len(limiters)):
        heapq.heappush(events, (0.0, next(ties), index, -1.0, None, False))
    if shared:
        machine.begin(events)
    while events:
        now, _, index, sent, reason, is_retry = heapq.heappop(events)
        if now >= seconds:
            break
        limiter = limiters[index]
        if sent >= 0.0:
            limiter.finished(began + now, reason, now - sent, 1000, is_retry=is_retry)
            if reason is not None:
                due[index].append(now + BACKOFF_SECONDS)
            (tally.good if reason is None else tally.throttled)[int(now)] += 1
            tally.level[int(now)] = limiter.level
        elif sent == REPORT:
            machine.report(events, index, now, began)
        elif now < wakes[index]:
            continue
        while limiter.may_start(began + now):
            limiter.started(began + now)
            if is_retry := bool(due[index] and due[index][0] <= now):
                due[index].popleft()
            there, reason = world.answer(now)
            heapq.heappush(events, (there, next(ties), index, now, reason, is_retry))
        wait = limiter.delay(began + now)
        if wait != float("inf") and (wakes[index] <= now or now + wait < wakes[index]):
            wakes[index] = now + max(wait, 1e-4)
            heapq.heappush(events, (wakes[index], next(ties), index, -1.0, None, False))
    return tally


@dataclass
class Fetched:
    """What it took to fetch objects; `share` is that of the refused requests, `rate` the good answers a second."""

    seconds: float
    objects: int
    refused: int

    @property
    def rate(self) -> float:
        return self.objects / self.seconds

    @property
    def share(self) -> float:
        return self.refused / (self.refused + self.objects)


def fetch(
    limiters: list[Limiter],
    world: World,
    objects: int,
    refuse: Callable[[int, int], Reason | None] = lambda _number, _tries: None,
    began: float = 1000.0,
    most_seconds: float = 300.0,
    *,
    shared: bool = False,
) -> Fetched:
    """Let limiters ask for so many objects, again after a back-off for those that fail, until all are there.

    `refuse` says why a request fails before the world is asked, given the object's number and how often it was asked for by now. `shared`: as in `run`.
    """
    number, tries, refused, left = 0, [0] * objects, 0, objects
    lines = [deque[int]() for _ in limiters]
    wakes = [0.0] * len(limiters)
    ties = count()
    events = [(0.0, next(ties), index, -1, -1.0, None) for index in range(len(limiters))]
    machine = Machine(limiters, ties, (-1, REPORT, None))
    if shared:
        machine.begin(events)
    now = 0.0
    while left:
        now, _, index, answered, sent, reason = heapq.heappop(events)
        assert now < most_seconds, f"{left} of {objects} objects are missing"
        limiter, line = limiters[index], lines[index]
        if sent >= 0.0:
            limiter.finished(began + now, reason, now - sent, 1000, is_retry=tries[answered] > 1)
            if reason is None:
                left -= 1
            else:
                refused += 1
                by_chance = limiter.tries_by_chance(reason)
                wait = backoff_seconds(reason, tries[answered], world.random, None, by_chance)
                heapq.heappush(events, (now + wait, next(ties), index, answered, -1.0, None))
        elif answered >= 0:
            line.append(answered)
        elif sent == REPORT:
            machine.report(events, index, now, began)
        elif now < wakes[index]:
            continue
        while (line or number < objects) and limiter.may_start(began + now):
            asked = line.popleft() if line else number
            number += asked == number
            tries[asked] += 1
            limiter.started(began + now)
            reason = refuse(asked, tries[asked])
            there, reason = (now + world.latency, reason) if reason is not None else world.answer(now)
            heapq.heappush(events, (there, next(ties), index, asked, now, reason))
        wait = max(limiter.delay(began + now), 1e-4)
        if (
            (line or number < objects)
            and wait != float("inf")
            and (wakes[index] <= now or now + wait < wakes[index])
        ):
            wakes[index] = now + wait
            heapq.heappush(events, (wakes[index], next(ties), index, -1, -1.0, None))
    return Fetched(now, objects, refused)
