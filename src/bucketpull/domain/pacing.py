"""How fast to send requests: one limiter for each address of an endpoint, which finds out what source and line bear. Sans-I/O.

Two things are limited. The *level*, transfers in flight: doubled each round while that brings more, then moved up a little
at a time while it brings more, and down when many answers are timeouts or 5xx. It stays where answers take longer than a
second and twice as long as they did: they wait for each other, so that whoever asks for more only takes from others, or
objects have become larger, or the source slower, which are the more forgotten the lower the level is. Timeouts of objects that
are never answered, as far as no load explains them, do not lower it. And, once the source has said "too many"
(429, a ban), the *ceiling*, requests a second: cut at most once a round trip, then raised along a cubic that is flat where it
was cut, so that it stays close below the source's limit, touches it seldom, and still follows when the limit is lifted. Failures
of first requests count for neither where it turns out that objects fail once each (`RetryComparison`).

    may_start(now) -> started(now) -> finished(now, reason, seconds, received)       delay(now): when to ask again
"""

import math

from bucketpull.domain.ceiling import Ceiling, Round
from bucketpull.domain.endpoints import OUTAGE, THROTTLES, Counted, Pace
from bucketpull.domain.errors import Reason
from bucketpull.domain.retry import LONGEST_ASKED_SECONDS, tries_by_chance
from bucketpull.domain.retry_comparison import RetryComparison
from bucketpull.domain.user_limits import BURST_SECONDS, TokenBucket

FIRST_LEVEL = 32
HIGHEST_LEVEL = 1024
# A transfer that stalls holds its place for as long as it takes to notice that: it must not be the only one.
LOWEST_LEVEL = 4.0
_TROUBLES = OUTAGE - {Reason.TRUNCATED, Reason.GARBAGE}  # these two came in time
_NOT_LET_IN = frozenset({Reason.CONNECT, Reason.RESET})
_FAILURES = _TROUBLES | {Reason.THROTTLED}
_ROUND_SECONDS = 0.25
_IDLE_SECONDS = 5.0  # a round that was interrupted for so long tells nothing of rates
_ROUND_TRIPS = 2.0  # a round must outlast the answers to what was sent at the former level
_SMOOTHING = 0.01  # a single answer's weight in the share of troubled ones
# A few per cent of 5xx and stalls are no sign of load. One hundred answers smoothed: 4 % stay below this.
_TROUBLE_SHARE = 0.1
_TROUBLES_IN_A_ROUND = 3
_TROUBLE_CUT = 0.7
# Behind a line that is full, an answer takes longer the more are asked for; who asks for more gets more, but only from the others.
_CROWDED_SECONDS = 1.0
_CROWDED_FACTOR = 2.0  # times the least that answers took
# Or objects are larger than they were: the least is raised by 2 % a round at 64 transfers, by 0.2 % at 640.
_CROWDED_FORGETTING = 1.28
_FEW_REFUSED = 0.005  # share of a round's answers: fewer cost less than a lower pace does, and may be single objects' own
_BAN_SECONDS = 60.0
_LONGEST_BAN_SECONDS = 600.0
_LED_SECONDS = 3.0  # after the machine's last word on the pace
_TURN_SECONDS = 0.04  # between requests: at a higher pace it does not matter whose turn it is


class Limiter:
    """One address of an endpoint, of one process.

    Args:
        highest: The most transfers in flight, whatever they bring.
        fixed: Transfers in flight as the user wants them; the source's throttling is respected all the same.
        bucket: A hard cap of requests a second (`--rate`), perhaps shared with others.

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
        self.in_flight = 0
        self.requests = 0
        self.throttled = 0
        self.bad = 0
        self.seconds = 0.0
        self._first = min(first, highest)
        self.received = 0
        self._opens = -math.inf  # nothing starts before: pauses and the ceiling's pace
        self.rests_until = -math.inf
        """Until when nothing starts: the source asked for it, or refuses whatever it is asked."""
        self._paced = -math.inf
        self._may_cut = -math.inf
        self._round = Round()
        self.trip = 0.0
        """Seconds that an answer takes, smoothed; 0 before the first."""
        self._least_trip = math.inf
        self._trouble = 0.0
        self._witness_seconds = math.inf
        self._answered_at = -math.inf
        self._climb = Climb()
        self._ceiling = Ceiling()
        self._comparison = RetryComparison()
        self._ban = _BAN_SECONDS
        self._refused = self._refused_retries = 0
        self._lead: Pace | None = None
        self._led_until = -math.inf
        self._last = 0.0  # when a request started that was paced

    def share(self, parts: int) -> "Limiter":
        """Return a new limiter for one of several addresses, which begins with its share of the level."""
        return Limiter(math.ceil(self._first / parts), self.highest, self.fixed, self.bucket)

    @property
    def ceiling(self) -> float | None:
        """The requests a second that the source is believed to bear; None if it never refused one."""
        return self._ceiling.rate

    @property
    def random_share(self) -> float:
        """The share of requests that the source refuses whatever the pace; 0 where none is, or none is known."""
        return self._ceiling.random_share if self._lead is None else self._lead.random_share

    @property
    def is_troubled(self) -> bool:
        """Whether many of the latest answers were timeouts or 5xx, so that the level is lowered."""
        return self._trouble > _TROUBLE_SHARE

    def tries_by_chance(self, reason: Reason) -> int:
        """Return how often in a row an object may fail for a reason before that says anything of it or of the pace."""
        is_once = reason is Reason.THROTTLED and self._comparison.is_once
        return max(int(is_once), tries_by_chance(reason, self.random_share))

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
        if not self.in_flight and now - self._round.ends > _IDLE_SECONDS:
            self._next_round(now, 0.0)
        self.in_flight += 1
        self.requests += 1
        if self.in_flight > self._round.peak:  # noqa: PLR1730 - max() takes three times as long
            self._round.peak = self.in_flight
        if self._ceiling.rate is not None:
            self._pace(now, self._ceiling.pace)
        if self.bucket is not None and self.bucket.per_second is not None:
            self.bucket.take(now)

    def finished(
        self,
        now: float,
        reason: Reason | None,
        seconds: float,
        received: int = 0,
        asked_seconds: float | None = None,
        is_retry: bool = False,
    ) -> None:
        """Count an answer: why it failed (None: it did not), how long it took, and what the source asked to wait.

        `is_retry` says that the same was asked for before.
        """
        self.in_flight -= 1
        self.seconds += seconds
        self.received += received
        if reason is not None:
            self.bad += 1
            self.throttled += reason in THROTTLES
        if self.bad and self._fails_once(now, reason, is_retry):
            self._round.fine += 1
        elif reason in THROTTLES:
            self._round.throttled_retries += is_retry
            self._refused += 1
            self._refused_retries += is_retry
            self._throttle(now, reason is Reason.BANNED, asked_seconds)
            return
        elif reason in _TROUBLES:
            self._note_trouble(now, reason, seconds)
        else:
            self._answered_at = now
            self._round.fine += 1
            self._trouble -= self._trouble * _SMOOTHING
            self.trip += (seconds - self.trip) * (0.05 if self.trip else 1.0)
        if now >= self._round.ends:
            self._end_round(now)

    def quickened(self, seconds: float) -> None:
        """Use the time of a single answer, if it is shorter than the usual one: it is the first after a pause."""
        self.trip = min(self.trip, seconds)

    def note_witness(self, seconds: float) -> None:
        """Note how long an object took that was asked for because others had no answer."""
        self._witness_seconds = seconds

    @property
    def good(self) -> int:
        """The number of good answers."""
        return self.requests - self.in_flight - self.bad

    def rest(self, now: float, seconds: float) -> None:
        """Start nothing for a while: the source asked for it."""
        if now + seconds > self.rests_until:
            self._rest(now, min(seconds, LONGEST_ASKED_SECONDS))

    def recover(self) -> None:
        """Start over: what was learnt is about trouble that is over."""
        self.level = max(self.level, float(self._first)) if self.fixed is None else self.level
        self._trouble, self._ban = 0.0, _BAN_SECONDS
        self._climb, self._ceiling, self._round = Climb(), Ceiling(), Round()
        self.rests_until = self._opens = self._paced = self._may_cut = -math.inf
        self._lead = None

    def lead(self, now: float, pace: Pace) -> None:
        """Go on at the machine's pace, whatever is refused here, for as long as it is told again."""
        is_news, self._comparison.is_once = pace.is_once and not self._comparison.is_once, pace.is_once
        if is_news:
            self.forget_failures(now)
        self._lead, self._led_until = pace, now + _LED_SECONDS
        self._ceiling.follow(now, pace.per_second)
        if pace.rest_seconds:
            self._rest(now, pace.rest_seconds)
        if pace.per_second * _TURN_SECONDS < 1.0:
            self._take_turn(now, pace)

    @property
    def counted(self) -> Counted:
        """What there is to report, so that the machine finds its pace."""
        return Counted(
            round(self.ceiling or 0.0, 2),
            self.in_flight,
            self.requests - self.in_flight,
            self._refused,
            self._refused_retries,
            *self._comparison.seen,
        )

    def _is_led(self, now: float) -> bool:
        if self._lead is not None and now >= self._led_until:
            self._lead = None
        return self._lead is not None

    def limit(self, concurrency: int | None) -> None:
        """Change how many transfers in flight the user wants, from now on; None lets the limiter find that."""
        self.fixed = concurrency
        self.level = min(self.level, float(self.highest)) if concurrency is None else float(concurrency)

    def _pace(self, now: float, per_second: float) -> None:
        seconds, self._last = 1.0 / per_second, now
        if self._lead is not None and seconds > _TURN_SECONDS:
            self._take_turn(now, self._lead)
            return
        self._paced = max(self._paced, now) + seconds
        self._opens = max(self._paced - BURST_SECONDS, self.rests_until)

    def _take_turn(self, now: float, pace: Pace) -> None:
        self._opens = self._paced = pace.next_turn(max(now, self.rests_until), self._last)

    def _fails_once(self, now: float, reason: Reason | None, is_retry: bool) -> bool:
        """Compare an answer with others; tell whether it is a failure as each object has one, which says nothing of pace and load."""
        has_failed = reason in _FAILURES
        if self._comparison.note(now, is_retry, has_failed):
            self.forget_failures(now)
        return has_failed and not is_retry and self._comparison.is_once

    def forget_failures(self, now: float) -> None:
        """Undo what was done because of failures that turn out to say nothing of pace and load."""
        paused_until, ceiling = self.rests_until, self._ceiling.explored(now)
        self.recover()
        self.rests_until = self._opens = paused_until
        self._ceiling = ceiling
        self._next_round(now, 0.0)

    def _throttle(self, now: float, banned: bool, asked_seconds: float | None) -> None:
        self._round.throttles += 1
        if banned and now >= self.rests_until:
            self._rest(now, max(self._ban, asked_seconds or 0.0))
            self._ban = min(self._ban * 2.0, _LONGEST_BAN_SECONDS)
        elif self._round.share() >= _FEW_REFUSED and (
            now >= self._may_cut or (now >= self.rests_until and self._round.is_shut())
        ):
            self._cut(now)

    def _cut(self, now: float) -> None:
        """Lower the ceiling, once for all requests in flight."""
        measured, pause = self._round, 0.0
        if not self._is_led(now):
            pause = self._ceiling.cut(now, measured, self.in_flight, measured.peak >= self.level * 0.9)
        self._may_cut = now + self._round_seconds()
        if pause:
            self._rest(now, pause)
        self._next_round(now, measured.former)

    def _rest(self, now: float, seconds: float) -> None:
        self.rests_until = self._may_cut = now + seconds
        self._opens = max(self._opens, self.rests_until)

    def _note_trouble(self, now: float, reason: Reason, seconds: float) -> None:
        if reason is Reason.TIMEOUT and self._is_unexplained(now, seconds):
            return
        self._round.troubles += 1
        self._trouble += (1.0 - self._trouble) * _SMOOTHING
        if reason in _NOT_LET_IN and seconds < self.trip:
            self._keep_place(now)

    def _is_unexplained(self, now: float, seconds: float) -> bool:
        """Tell whether load is no cause of a silence: neither requests that wait for each other, all of which would have been answered
        meanwhile, nor places that others took, for none was answered.
        """
        return self.level * self._witness_seconds < seconds < now - self._answered_at

    def _keep_place(self, now: float) -> None:
        """Have a request that was not let in keep its place for as long as an answer takes, and make do with the places of the others.

        A server that takes so many connections and no more refuses the next at once: each free place would be tried a thousand times
        a second, and a thousand objects would spend all their tries. Of many refused at once none waits for more than an answer, or a round.
        """
        after_others = max(self._opens, now) + self.trip / self.level
        self._opens = max(self._opens, min(after_others, now + max(self.trip, _ROUND_SECONDS)))
        if self.fixed is None and self._trouble > _TROUBLE_SHARE and self.in_flight < self.level:
            self._climb.retreat(self.level)
            self.level = max(1.0, float(self.in_flight))  # each place more is an object refused in vain
            if not self.in_flight:
                self._opens = max(self._opens, now + _ROUND_SECONDS)  # others have all places

    def _round_seconds(self) -> float:
        return max(_ROUND_SECONDS, _ROUND_TRIPS * self.trip)

    def _next_round(self, now: float, former: float) -> None:
        self._round = Round(now, now + self._round_seconds(), self.in_flight, former)

    def _end_round(self, now: float) -> None:
        measured = self._round
        rate = measured.rate(now)
        # What came while not all of the level was used says nothing of what the source bears.
        telling = rate if measured.peak >= self.level * 0.9 else 0.0
        if not measured.throttles:
            self._ban = _BAN_SECONDS
        if not self._is_led(now):
            self._ceiling.lift(now, measured)
        self._least_trip = min(self._least_trip, self.trip)
        if self.fixed is None:
            self._move_level(measured, measured.rate(now, self.random_share))
        self._next_round(now, telling)

    def _move_level(self, measured: Round, rate: float) -> None:
        if measured.troubles >= _TROUBLES_IN_A_ROUND and self._trouble > _TROUBLE_SHARE:
            self._climb.retreat(self.level)
            self.level = max(min(self.level, LOWEST_LEVEL), self.level * _TROUBLE_CUT)
        elif self._is_crowded():
            self._least_trip *= 1.0 + _CROWDED_FORGETTING / self.level
        elif measured.peak >= self.level * 0.9:
            self.level = max(1.0, min(float(self.highest), self._climb.next_level(self.level, rate)))

    def _is_crowded(self) -> bool:
        """Tell whether answers wait for each other: more transfers would only make each take longer."""
        return self.trip > max(_CROWDED_SECONDS, _CROWDED_FACTOR * self._least_trip)


class Climb:
    """How the level changes while all of it is used: up as long as that brings more, else back."""

    __slots__ = ("_before", "_doubling", "_goal", "_is_falling", "_misses", "_rest", "_rests", "_tried")

    GAIN = 1.1
    MISSES = 3  # rounds that brought no more, before the doubling ends: one alone may be noise
    LONGEST_REST_ROUNDS = 64

    def __init__(self) -> None:
        self._doubling = True
        self._goal = 0.0  # the level before troubles, to which to return quickly
        self._is_falling = False  # cut after cut: the first was at the level before them
        self._before = 0.0
        self._misses = 0
        self._rests = 0
        self._rest = 1
        self._tried = 0.0

    def _stop(self) -> None:
        """End the doubling: the source or the line bears no more."""
        self._doubling = False
        self._tried = 0.0
        self._rests = 0

    def retreat(self, level: float) -> None:
        """Note that the level is cut because of failures: it was too high."""
        if not self._is_falling and level >= self._goal * 0.7:
            self._goal = level * 0.8
        self._is_falling = True
        self._stop()

    def next_level(self, level: float, rate: float) -> float:
        """Return the next round's level, given this round's successes a second."""
        self._is_falling = False
        if level < self._goal * 0.7:
            return level * 1.5 + 1.0
        return self._double(level, rate) if self._doubling else self._step(level, rate)

    def _double(self, level: float, rate: float) -> float:
        if rate > self._before * self.GAIN:
            self._before = rate
            self._misses = 0
            return level * 2.0
        self._misses += 1
        if self._misses >= self.MISSES:
            self._stop()
        return level

    def _step(self, level: float, rate: float) -> float:
        """Try a tenth more for a round; keep it if it brought at least a third of that, else wait twice as long before the next try."""
        if self._tried:
            before, self._tried = self._tried, 0.0
            if rate > before * 1.03:
                self._rest = 1
                return level
            self._rest = min(self._rest * 2, self.LONGEST_REST_ROUNDS)
            self._rests = self._rest
            return level / 1.1
        if self._rests:
            self._rests -= 1
            return level
        self._tried = max(rate, 1e-9)
        return max(level * 1.1, level + 1.0)
