"""How fast all processes of a machine ask an address of an endpoint that refuses more than a number: found from what all of them count. Pure.

A limit of the source is for all of them together. What one process sees of it is little, and says less the more others ask: what it
leaves they take. So as soon as one of several is refused, all report four times a second, what they count is put together, and one
`Ceiling` is learnt of it, of which each that asks gets an equal share. They ask one after the other: where a source takes a few
requests a second, two at once are one too many. A process that hears nothing goes by what it counts itself, as a single one does.
"""

import math
from collections.abc import Mapping

from msgspec.structs import replace

from bucketpull.domain.ceiling import Ceiling, Round
from bucketpull.domain.endpoints import Counted, Pace, Symptoms
from bucketpull.domain.messages import Paces
from bucketpull.domain.retry_comparison import RetryComparison

ASKING_SECONDS = 5.0  # since its last answer; at a low pace nothing may be under way
ROUND_SECONDS = 0.25
TELL_SECONDS = 1.0
TELL_CHANGE = 0.02  # a smaller one waits: each one shifts whose turn it is


class MachinePace:
    """The paces of a machine's processes at all addresses of all endpoints."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._shared: dict[tuple[str, str], SharedPace] = {}

    def look(self, process: int, symptoms: Mapping[str, Symptoms], now: float) -> list[tuple[int, Paces]]:
        """Take a process's report (`now` in monotonic seconds); return what to tell which process."""
        told = [Paces({}) for _ in range(self._processes)]
        for endpoint, seen in symptoms.items():
            for target, counted in seen.counted.items():
                shared = self._shared.setdefault((endpoint, target), SharedPace())
                shared.hear(process, counted, now, has_work=seen.has_work)
                for each, pace in shared.tell(now):
                    told[each].paces.setdefault(endpoint, {})[target] = pace
        return [(each, paces) for each, paces in enumerate(told) if paces.paces]


class Heard:
    """What one process counted last, and when (monotonic seconds)."""

    __slots__ = ("answered_at", "at", "counted", "has_work")

    def __init__(self) -> None:
        self.at = self.answered_at = -math.inf
        self.counted = Counted()
        self.has_work = False

    def is_asking(self, now: float) -> bool:
        """Tell whether it asks, or is about to; not if it does not report."""
        is_busy = self.has_work or self.counted.in_flight > 0 or now - self.answered_at < ASKING_SECONDS
        return is_busy and now - self.at < ASKING_SECONDS


class SharedPace:
    """The pace of all processes at one address."""

    def __init__(self) -> None:
        self._heard: dict[int, Heard] = {}
        self._ceiling = Ceiling()
        self._comparison = RetryComparison()
        self._round = Round()
        self._seconds: dict[int, float] = {}
        """For how long each process counted in this round."""
        self._counts_from = -math.inf
        self._told: dict[int, Pace] = {}
        self._told_at = -math.inf

    def hear(self, process: int, counted: Counted, now: float, has_work: bool) -> None:
        """Take what a process has counted by now; it begins at 0 with the process."""
        heard = self._heard.setdefault(process, Heard())
        before = heard.counted if heard.counted.answers <= counted.answers else Counted()
        since, heard.at, heard.counted, heard.has_work = heard.at, now, counted, has_work
        if counted.answers > before.answers:
            heard.answered_at = now
        has_turned = self._comparison.learn(counted.expected - before.expected, counted.came - before.came)
        if has_turned and self._comparison.is_once:
            self._ceiling = self._ceiling.explored(now)
            self._next_round(now, now)
        elif since >= self._counts_from and math.isfinite(since):
            self._count(process, before, counted, now - since)

    def _count(self, process: int, before: Counted, counted: Counted, seconds: float) -> None:
        refused = counted.refused - before.refused
        self._round.throttles += refused
        self._round.throttled_retries += counted.refused_retries - before.refused_retries
        self._round.fine += counted.answers - before.answers - refused
        self._seconds[process] = self._seconds.get(process, 0.0) + seconds

    def tell(self, now: float) -> list[tuple[int, Pace]]:
        """Return at which pace which process is to go on; nothing where none was refused, or a single one asks."""
        asking = sorted(process for process, heard in self._heard.items() if heard.is_asking(now))
        if not any(self._heard[process].counted.ceiling for process in asking):
            self._ceiling, self._told = Ceiling(), {}
            return []
        rest_seconds = 0.0
        if self._ceiling.rate is None:
            if len(asking) < 2:
                return []
            self._take_over(now, asking)
        elif now >= self._round.ends and self._round.answers() and self._seconds.keys() >= set(asking):
            rest_seconds = self._end_round(now, asking)
        return self._news(now, asking, rest_seconds)

    def _take_over(self, now: float, asking: list[int]) -> None:
        self._ceiling.begin(now, sum(self._heard[process].counted.ceiling for process in asking))
        self._next_round(now, now)

    def _end_round(self, now: float, asking: list[int]) -> float:
        """Learn from what all counted; return for how many seconds to ask for nothing at all."""
        measured, ceiling = self._round, self._ceiling
        measured.begins = now - sum(self._seconds.values()) / len(self._seconds)
        before = ceiling.pace
        if measured.throttles:
            in_flight = sum(self._heard[process].counted.in_flight for process in asking)
            pause = ceiling.cut(now, measured, in_flight, used=False)
        else:
            pause = 0.0
            ceiling.lift(now, measured)
        self._next_round(now, now if ceiling.pace < before else -math.inf)
        return pause

    def _next_round(self, now: float, counts_from: float) -> None:
        """Begin to count; what was asked for at a higher pace does not count."""
        self._round, self._seconds, self._counts_from = Round(now, now + ROUND_SECONDS), {}, counts_from

    def _news(self, now: float, asking: list[int], rest_seconds: float) -> list[tuple[int, Pace]]:
        """Return what to tell: what has changed at once, the rest now and then."""
        share, random_share = self._ceiling.pace / len(asking), self._ceiling.random_share
        is_once = self._comparison.is_once
        if list(self._told) == asking:
            news = {
                process: replace(pace.at(now, share), random_share=random_share, is_once=is_once)
                for process, pace in self._told.items()
            }
        else:
            news = {
                process: Pace(share, now, turn / len(asking), random_share, 0.0, is_once)
                for turn, process in enumerate(asking)
            }
        if list(self._told) == asking and _are_alike(news[asking[0]], self._told[asking[0]]):
            if now - self._told_at < TELL_SECONDS and not rest_seconds:
                return []
        else:
            self._told = news
        self._told_at = now
        return [(process, replace(pace, rest_seconds=rest_seconds)) for process, pace in self._told.items()]


def _are_alike(pace: Pace, told: Pace) -> bool:
    change = abs(pace.per_second - told.per_second)
    is_near = change <= TELL_CHANGE * told.per_second
    return is_near and (pace.random_share, pace.is_once) == (told.random_share, told.is_once)
