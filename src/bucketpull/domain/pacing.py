"""How fast to ask: one limiter a lane, which finds by itself what the source and the line bear. Sans-I/O.

Two things are limited. The *level*, transfers in flight: doubled each round while that brings more, then moved up a little
at a time while it brings more, and down when many answers are timeouts or 5xx. And, once the source has said "too many"
(429, a ban), the *ceiling*, requests a second: cut at most once a round trip, then raised along a cubic that is flat where it
was cut, so that it stays close below the source's limit, touches it seldom, and still follows when the limit is lifted.

    may_start(now) -> started(now) -> finished(now, reason, seconds, received)       delay(now): when to ask again
"""

import math

from bucketpull.domain.errors import Reason

FIRST_LEVEL = 32
HIGHEST_LEVEL = 1024
LOWEST_CEILING = 1.0
_THROTTLES = frozenset({Reason.THROTTLED, Reason.BANNED})
_TROUBLES = frozenset({Reason.SERVER_ERROR, Reason.TIMEOUT, Reason.STALLED, Reason.CONNECT, Reason.DNS})
_BURST_SECONDS = 0.02
_ROUND_SECONDS = 0.25
_ROUND_TRIPS = 2.0  # a round must outlast the answers to what was sent at the former level
_MISSES = 3  # rounds that brought no more, before the doubling ends: one alone may be noise
_GAIN = 1.1
_CUT = 0.9
_FIRST_CUT = 0.6
_MUCH = 0.2  # share of throttled answers above which the success rate is a better measure than the ceiling
_NEARLY_ALL = 0.9
_CUBIC_SECONDS = 8.0  # from a cut of 10 % back to the wall; 20 s later twice as fast
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_BAN_SECONDS = 60.0
_LONGEST_BAN_SECONDS = 600.0
_TROUBLE_SHARE = 0.05
_TROUBLE_CUT = 0.7
_LONGEST_REST_ROUNDS = 64


class TokenBucket:
    """At most so many requests a second, evenly; None is no limit. May be shared by several limiters."""

    __slots__ = ("_burst", "_interval", "_next", "per_second")

    def __init__(self, per_second: float | None, burst_seconds: float = _BURST_SECONDS) -> None:
        self._burst = burst_seconds
        self._next = -math.inf
        self.set_rate(per_second)

    def set_rate(self, per_second: float | None) -> None:
        """Change the rate from now on."""
        self.per_second = per_second
        self._interval = 0.0 if per_second is None else 1.0 / per_second if per_second > 0 else math.inf

    def delay(self, now: float) -> float:
        """Return in how many seconds a request may start; 0 is now."""
        wait = self._next - self._burst - now
        return wait if self._interval and wait > 0.0 else 0.0

    def take(self, now: float) -> None:
        """Count a request that starts."""
        self._next = (self._next if self._next > now else now) + self._interval


class Limiter:
    """One lane of one process.

    Args:
        highest: The most transfers in flight, whatever they bring.
        fixed: Transfers in flight as the user wants them; the source's throttling is heeded all the same.
        bucket: A hard cap of requests a second (`--rate`), perhaps shared with other lanes.

    """

    def __init__(
        self,
        first: int = FIRST_LEVEL,
        highest: int = HIGHEST_LEVEL,
        fixed: int | None = None,
        bucket: TokenBucket | None = None,
    ) -> None:
        self.bucket = bucket
        self.highest = highest
        self.fixed = fixed
        self.level = float(fixed if fixed is not None else min(first, highest))
        self.ceiling: float | None = None
        self.in_flight = 0
        self.requests = 0
        self.throttled = 0
        self.seconds = 0.0
        self.received = 0
        self._opens = -math.inf  # nothing starts before: pauses and the ceiling's pace
        self._paused_until = -math.inf
        self._paced = -math.inf
        self._round = Round()
        self._trip = 0.0  # smoothed seconds of an answer
        self._climb = Climb()
        self._wall = 0.0
        self._since_cut = 0.0
        self._cubic = 0.0
        self._may_cut = -math.inf
        self._pause = _FIRST_PAUSE_SECONDS
        self._ban = _BAN_SECONDS
        self._anchor: tuple[float, float] | None = None

    def may_start(self, now: float) -> bool:
        """Tell whether one more request may start now (seconds of any clock that never goes back)."""
        if self.in_flight >= self.level or now < self._opens:
            return False
        return self.bucket is None or self.bucket.delay(now) <= 0.0

    def delay(self, now: float) -> float:
        """Return in how many seconds to ask again; `math.inf` where that is when a request has finished."""
        if self.in_flight >= self.level:
            return math.inf
        wait = max(0.0, self._opens - now)
        return wait if self.bucket is None else max(wait, self.bucket.delay(now))

    def started(self, now: float) -> None:
        """Count a request that starts."""
        self.in_flight += 1
        self.requests += 1
        if self.in_flight > self._round.peak:
            self._round.peak = self.in_flight
        if self.ceiling is not None:
            self._pace(now, self.ceiling)
        if self.bucket is not None:
            self.bucket.take(now)

    def finished(
        self,
        now: float,
        reason: Reason | None,
        seconds: float,
        received: int = 0,
        asked_seconds: float | None = None,
    ) -> None:
        """Count an answer: why it failed (None: it did not), how long it took, and what the source asked to wait."""
        self.in_flight -= 1
        self.seconds += seconds
        self.received += received
        measured = self._round
        if reason in _THROTTLES:
            self._throttle(now, reason is Reason.BANNED, asked_seconds)
            return
        if reason in _TROUBLES:
            measured.troubles += 1
        else:
            measured.fine += 1
            self._trip += (seconds - self._trip) * (0.05 if self._trip else 1.0)
        if now >= measured.ends:
            self._end_round(now)

    def limit(self, concurrency: int | None, highest: int = HIGHEST_LEVEL) -> None:
        """Change what the user allows, from now on."""
        self.highest = highest
        if concurrency is not None:
            self.level = float(concurrency)
        elif self.fixed is not None or self.level > highest:
            self.level = float(min(self.level, highest))
        self.fixed = concurrency

    def _pace(self, now: float, ceiling: float) -> None:
        self._paced = (self._paced if self._paced > now else now) + 1.0 / ceiling
        opens = self._paced - _BURST_SECONDS
        self._opens = opens if opens > self._paused_until else self._paused_until

    def _throttle(self, now: float, banned: bool, asked_seconds: float | None) -> None:
        self.throttled += 1
        self._round.throttles += 1
        if now >= self._may_cut:
            self._cut(now)
        if banned and now >= self._paused_until:
            self._rest(now, max(self._ban, asked_seconds or 0.0))
            self._ban = min(self._ban * 2.0, _LONGEST_BAN_SECONDS)

    def _cut(self, now: float) -> None:
        """Lower the ceiling, once for all that was in flight."""
        measured = self._round
        succeeded, share = measured.rate(now), measured.share()
        if self.ceiling is None:
            keep = _FIRST_CUT if self._climb.doubling else _CUT
            self._wall = max(succeeded, measured.former, LOWEST_CEILING)
            self.ceiling = self._wall * keep
        elif self._is_indifferent(share):
            self._wall = self.ceiling
        else:
            self._wall = self.ceiling
            self.ceiling *= _CUT
            if share > _MUCH:
                self.ceiling = min(self.ceiling, max(succeeded * 0.95, self._wall * 0.5))
        self.ceiling = max(self.ceiling, LOWEST_CEILING)
        if share > _NEARLY_ALL and measured.throttles >= 3:
            self._rest(now, self._pause)
            self._pause = min(self._pause * 2.0, _LONGEST_PAUSE_SECONDS)
        self._climb.stop()
        self._since_cut = now
        self._cubic = (
            _CUBIC_SECONDS * ((1.0 - self.ceiling / self._wall) / 0.1) ** (1 / 3) if self._wall else 0.0
        )
        self._may_cut = now + self._round_seconds()
        self._next_round(now, measured.former)

    def _is_indifferent(self, share: float) -> bool:
        """Tell whether halving the pace has not made throttling rarer, so that it must have another cause."""
        assert self.ceiling is not None
        if self._anchor is None:
            self._anchor = (self.ceiling, share)
            return False
        rate, before = self._anchor
        if share > before and self.ceiling > rate * 0.8:
            self._anchor = (rate, share)
        return self.ceiling <= rate * 0.5 and before * 0.5 <= share < 0.5

    def _rest(self, now: float, seconds: float) -> None:
        self._paused_until = now + seconds
        self._opens = max(self._opens, self._paused_until)
        self._may_cut = self._paused_until

    def _round_seconds(self) -> float:
        return max(_ROUND_SECONDS, _ROUND_TRIPS * self._trip)

    def _next_round(self, now: float, former: float) -> None:
        self._round = Round(now, now + self._round_seconds(), self.in_flight, former)

    def _end_round(self, now: float) -> None:
        measured = self._round
        if not measured.begins:
            self._next_round(now, 0.0)
            return
        rate = measured.rate(now)
        if not measured.throttles:
            self._anchor = None
            self._pause = _FIRST_PAUSE_SECONDS
            self._ban = _BAN_SECONDS
        if self.ceiling is not None:
            self._raise_ceiling(now, rate)
        if self.fixed is None:
            self._move_level(measured, rate)
        self._next_round(now, rate)

    def _raise_ceiling(self, now: float, rate: float) -> None:
        """Follow the cubic, but only while the ceiling is what holds us back."""
        assert self.ceiling is not None
        if rate < self.ceiling * 0.7:
            self._since_cut += now - self._round.begins
            return
        at = (now - self._since_cut - self._cubic) / _CUBIC_SECONDS
        self.ceiling = max(self.ceiling, self._wall * (1.0 + 0.1 * at**3))

    def _move_level(self, measured: "Round", rate: float) -> None:
        troubles = measured.troubles
        if troubles >= 3 and troubles > (measured.fine + troubles) * _TROUBLE_SHARE:
            self.level = max(1.0, self.level * _TROUBLE_CUT)
            self._climb.stop()
        elif measured.peak >= self.level * 0.9:
            self.level = max(1.0, min(float(self.highest), self._climb.next_level(self.level, rate)))


class Round:
    """What came back in one round; `former` is the success rate of the round before."""

    __slots__ = ("begins", "ends", "fine", "former", "peak", "throttles", "troubles")

    def __init__(
        self, begins: float = 0.0, ends: float = -math.inf, peak: int = 0, former: float = 0.0
    ) -> None:
        self.begins = begins
        self.ends = ends
        self.peak = peak
        self.former = former
        self.fine = 0
        self.throttles = 0
        self.troubles = 0

    def rate(self, now: float) -> float:
        """Return the successes a second."""
        return self.fine / (now - self.begins) if now > self.begins > 0.0 else 0.0

    def share(self) -> float:
        """Return the share of throttled answers."""
        return self.throttles / (self.fine + self.throttles + self.troubles or 1)


class Climb:
    """Where the level goes when all of it is used: up while that brings more, and back if it did not."""

    __slots__ = ("_before", "_misses", "_rest", "_rests", "_tried", "doubling")

    def __init__(self) -> None:
        self.doubling = True
        self._before = 0.0
        self._misses = 0
        self._rests = 0
        self._rest = 1
        self._tried = 0.0

    def stop(self) -> None:
        """End the doubling: the source, or the line, has had enough."""
        self.doubling = False
        self._tried = 0.0
        self._rests = 0

    def next_level(self, level: float, rate: float) -> float:
        """Return the next round's level, given this round's successes a second."""
        return self._double(level, rate) if self.doubling else self._step(level, rate)

    def _double(self, level: float, rate: float) -> float:
        if rate > self._before * _GAIN:
            self._before = rate
            self._misses = 0
            return level * 2.0
        self._misses += 1
        if self._misses >= _MISSES:
            self.stop()
        return level

    def _step(self, level: float, rate: float) -> float:
        """Try a tenth more for a round; keep it if it brought a third of that, else rest twice as long as last time."""
        if self._tried:
            before, self._tried = self._tried, 0.0
            if rate > before * 1.03:
                self._rest = 1
                return level
            self._rest = min(self._rest * 2, _LONGEST_REST_ROUNDS)
            self._rests = self._rest
            return level / 1.1
        if self._rests:
            self._rests -= 1
            return level
        self._tried = max(rate, 1e-9)
        return max(level * 1.1, level + 1.0)
