"""The requests a second that a source bears, learnt from what it refuses: the `Ceiling` of a limiter. Sans-I/O.

The rate goes the way of TCP CUBIC (RFC 9438): a refusal cuts it by a tenth, then it rises along a cubic that is flat at the *wall*,
the rate at which the source refused, and steep behind it. Other cases:

* the first refusal finds no rate to compare with: what was borne with all of the level in use is kept, less a tenth; else half of
  what was asked for, if that was not little, and then the rate is *explored*, half as much again after each round without refusals;
* where much is refused, what came through says more than the rate does, and the rate falls towards it;
* where nearly all is refused, however little is asked, the source *blocks* us: the rate is halved once, and after pauses that
  double a few probes find the end of it;
* where as much is refused when less is asked for, the pace is not the cause (`Suspicion`), and the rate rises again;
* until a retry is refused as well, for at most two seconds, objects may be refused once each, whatever the pace: the rate is not
  lowered far, and nothing is taken for a block.
"""

import math

LOWEST_CEILING = 1.0
_SHUT_REFUSED = 30  # in one round


class Round:
    """What came back in one round; `former` is the success rate of the round before."""

    __slots__ = ("begins", "ends", "fine", "former", "peak", "throttled_retries", "throttles", "troubles")

    def __init__(
        self, begins: float = 0.0, ends: float = -math.inf, peak: int = 0, former: float = 0.0
    ) -> None:
        self.begins = begins
        self.ends = ends
        self.peak = peak
        self.former = former
        self.fine = 0
        self.throttles = 0
        self.throttled_retries = 0
        self.troubles = 0

    def rate(self, now: float, random_share: float = 0.0) -> float:
        """Return the successes a second; where some are refused at random, those to be expected of so many answers: they vary less."""
        fine = self.answers() * (1.0 - random_share) if random_share else self.fine
        return fine / (now - self.begins) if now > self.begins else 0.0

    def offered(self, now: float, in_flight: int) -> float:
        """Return the requests a second, answered or not yet."""
        return (in_flight + self.answers()) / max(now - self.begins, 0.1)

    def share(self) -> float:
        """Return the share of refused answers."""
        return self.throttles / (self.answers() or 1)

    def is_shut(self) -> bool:
        """Tell whether so much is refused that it needs no round to see it."""
        return self.throttles >= _SHUT_REFUSED and self.throttles >= self.answers() * Ceiling.NEARLY_ALL

    def answers(self) -> int:
        """Return how many answers came."""
        return self.fine + self.throttles + self.troubles


class Ceiling:
    """The requests a second that the source is believed to bear: `rate`, None before it refused any.

    `pace` is what may be sent: the rate, or a few probes while the source refuses nearly everything.
    """

    __slots__ = (
        "_began",
        "_blocked",
        "_confirmed_at",
        "_curve_began",
        "_episode_began",
        "_explored_rounds",
        "_exploring",
        "_least",
        "_pause",
        "_seconds_to_wall",
        "_suspicion",
        "_wall",
        "pace",
        "rate",
    )

    CUT_TO = 0.9  # share of the rate that a cut leaves
    FIRST_CUT_TO = 0.5
    LEAST_BEGUN = 100.0  # requests a second, the first rate: of a few requests a listing begins with, a refused one tells no limit
    CONFIRM_SECONDS = 2.0  # after the first refusal: by then it is known whether retries are refused too
    EPISODE_SECONDS = 2.0  # cuts so close belong together: the wall is where the first of them was
    EXPLORE = 1.5  # times the rate, after a round without refusals
    MUCH_REFUSED = 0.2  # share of refused answers above which the success rate tells more than the ceiling
    NEARLY_ALL = 0.9  # share of refused answers
    CUBIC_SECONDS = 8.0  # from a cut of 10 % back to the wall; 20 s later it is twice the wall
    PROBES_PER_SECOND = 4.0  # while blocked
    FEW_ANSWERS = 5  # say nothing of shares
    MANY_REFUSED = 6  # in one round
    BY_CHANCE = 1e-3
    FIRST_PAUSE_SECONDS = 0.5
    LONGEST_PAUSE_SECONDS = 60.0
    CALM_SECONDS = 30.0  # without a cut: then what was found of other causes is forgotten

    def __init__(self) -> None:
        self.rate: float | None = None
        self.pace = math.inf
        self._wall = 0.0  # the rate at which the source last refused
        self._episode_began = -math.inf
        self._began = -math.inf
        self._least = self.LEAST_BEGUN
        self._confirmed_at = -math.inf  # from then on refusals are believed to be of the pace
        self._curve_began = 0.0  # when the rate was set, from which it rises
        self._seconds_to_wall = 0.0  # along the cubic, from then on
        self._pause = self.FIRST_PAUSE_SECONDS
        self._blocked = False
        self._suspicion = Suspicion()
        self._exploring = False  # refused before there was a rate to compare with: no wall is known yet
        self._explored_rounds = 0

    @property
    def random_share(self) -> float:
        """The share of refusals that were found to have another cause than the pace."""
        return self._suspicion.share

    def cut(self, now: float, measured: Round, in_flight: int, used: bool) -> float:
        """Lower the rate because requests were refused; return for how many seconds to send nothing at all.

        `used` says whether all of the level was in use, so that the former round's rate was all that it could bring.
        """
        share = measured.share()
        usual_share = self._suspicion.usual.share
        self._suspicion.note(now, measured)
        if measured.throttled_retries:
            self._confirmed_at = now
        if self.rate is None:
            self._begin(now, measured.offered(now, in_flight), measured.former if used else 0.0)
            return 0.0
        if now - self._episode_began > self.EPISODE_SECONDS:
            self._episode_began, self._wall = now, self.rate
        if share >= self.NEARLY_ALL and self._is_block(now, measured, usual_share):
            return self._block(now, measured.throttles >= self.MANY_REFUSED)
        if self._blocked:
            self._unblock(now)
            return 0.0
        self._exploring = self._exploring and self._explored_rounds < 3
        steered = self._steer(now, measured)
        self._set(now, self._lower(now, measured, share) if steered is None else steered)
        return 0.0

    def explored(self, now: float) -> "Ceiling":
        """Return a new one, which begins above what was borne: the refusals that were met turned out to say nothing of it."""
        new = Ceiling()
        if self.rate is not None:
            new._exploring = True
            new._set(now, self.rate * self.EXPLORE)
        return new

    def begin(self, now: float, rate: float) -> None:
        """Begin with a rate that others have found, of which it is not known whether more is borne."""
        self._began, self._confirmed_at = now, now + self.CONFIRM_SECONDS
        self._exploring, self._least = True, rate
        self._set(now, rate)

    def follow(self, now: float, rate: float) -> None:
        """Go by a rate that others have found."""
        self._blocked = self._exploring = False
        self.rate = self.pace = self._wall = rate
        self._curve_began, self._seconds_to_wall = now, 0.0

    def _steer(self, now: float, measured: Round) -> float | None:
        """Return the rate to go on with because of what is found of other causes; None for what is usual."""
        assert self.rate is not None
        if now < self._confirmed_at:
            return None
        was_refuted = self._suspicion.is_refuted
        rate = self._suspicion.steer(now, self.rate, measured.throttles > 0)
        if rate is not None and self._suspicion.is_refuted and not was_refuted:
            self._wall, self._exploring = rate, False  # what was given before
        return rate

    def _is_block(self, now: float, measured: Round, usual_share: float) -> bool:
        """Tell whether a round in which nearly all was refused means that all is; where some always is, a few say nothing."""
        may_be_chance = now < self._confirmed_at or usual_share**measured.throttles > self.BY_CHANCE
        return self._blocked or (measured.throttles >= self.MANY_REFUSED and not may_be_chance)

    def _begin(self, now: float, offered: float, former: float) -> None:
        """Set the first rate: below what was borne with all of the level in use, else by what was asked for."""
        self._began, self._confirmed_at = now, now + self.CONFIRM_SECONDS
        self._wall = former or max(offered, self.LEAST_BEGUN / self.FIRST_CUT_TO)
        self._set(now, self._wall * (self.CUT_TO if former else self.FIRST_CUT_TO))
        self._exploring = not former

    def _lower(self, now: float, measured: Round, share: float) -> float:
        assert self.rate is not None
        lower = self.rate * self.CUT_TO
        if share > self.MUCH_REFUSED and measured.answers() >= self.FEW_ANSWERS:
            least = max(measured.rate(now) * 0.95, self.rate * 0.5, self._suspicion.usual.given * 0.5)
            lower = min(lower, least)
        return lower if now >= self._confirmed_at else max(lower, min(self.rate, self._least))

    def lift(self, now: float, measured: Round) -> None:
        """Follow the cubic after a round, but only while the ceiling is what holds us back."""
        if self.rate is None:
            return
        self._suspicion.note(now, measured)
        if not measured.throttles:
            self._calm(now)
        steered = self._steer(now, measured)
        if steered is not None:
            self._set(now, steered)
            return
        if measured.rate(now) < self.rate * 0.7:
            self._curve_began += now - measured.begins
            return
        if self._exploring and not measured.throttles:
            self._explored_rounds += 1
            self.rate = self.pace = self._wall = self.rate * self.EXPLORE
        at = (now - self._curve_began - self._seconds_to_wall) / self.CUBIC_SECONDS
        self.rate = self.pace = max(self.rate, self._wall * (1.0 + 0.1 * at**3))

    def _set(self, now: float, rate: float) -> None:
        self.rate = self.pace = max(rate, LOWEST_CEILING)
        self._curve_began = now
        self._wall = max(self._wall, self.rate)
        self._seconds_to_wall = self.CUBIC_SECONDS * (max(0.0, 1.0 - self.rate / self._wall) / 0.1) ** (1 / 3)

    def _block(self, now: float, many: bool) -> float:
        """Halve the rate, once for a block however long, and let a few probes find its end; at first the one before all refusals."""
        assert self.rate is not None
        if not self._blocked:
            self._blocked = True
            self._suspicion.abandon()
            is_first = now - self._began < self.CONFIRM_SECONDS
            self._set(now, (self._wall if is_first else self.rate) * 0.5)
        self.pace = min(self.pace, self.PROBES_PER_SECOND)
        pause = self._pause
        if many:
            self._pause = min(self._pause * 2.0, self.LONGEST_PAUSE_SECONDS)
        return pause

    def _unblock(self, now: float) -> None:
        assert self.rate is not None
        self._blocked, self._pause = False, self.FIRST_PAUSE_SECONDS
        self._suspicion.abandon()
        self._set(now, self.rate)

    def _calm(self, now: float) -> None:
        """Note a round without refusals."""
        assert self.rate is not None
        if self._blocked:
            self._unblock(now)
        if now - self._curve_began > self.CALM_SECONDS:
            self._suspicion = Suspicion()


class AnswerCount:
    """How many answers came in how many seconds, and how many of them were refusals; what is older than a few seconds fades."""

    __slots__ = ("fades_seconds", "number", "refused", "seconds")

    def __init__(self, fades_seconds: float = 2.0) -> None:
        self.fades_seconds = fades_seconds
        self.number = self.refused = self.seconds = 0.0

    def add(self, now: float, measured: Round) -> None:
        """Count a round's."""
        if self.seconds > self.fades_seconds:
            self.number, self.refused, self.seconds = self.number / 2, self.refused / 2, self.seconds / 2
        self.number += measured.answers()
        self.refused += measured.throttles
        self.seconds += now - measured.begins

    @property
    def share(self) -> float:
        """The share of refusals."""
        return self.refused / (self.number or 1.0)

    @property
    def given(self) -> float:
        """The answers a second that were no refusals."""
        return (self.number - self.refused) / self.seconds if self.seconds else 0.0


class Suspicion:
    """Whether refusals have another cause than our pace: they have, if as many come when less is asked for than was given before.

    Then lowering the pace would only cost time: it rises until clearly more is refused.
    """

    __slots__ = (
        "_before",
        "_below",
        "_due",
        "_known",
        "_rate_before",
        "_rate_below",
        "_trial_began",
        "_usual_given",
        "is_refuted",
        "share",
        "usual",
    )

    SETTLED_SECONDS = 0.7  # of a trial: by then answers to what was asked before are in
    TRIAL_SECONDS = 1.6
    BETWEEN_SECONDS = 1.4
    HELD_SECONDS = 21.0  # between trials, once they have shown something
    LEAST_SHARE = 0.015
    LEAST_REFUSED = 3
    LEAST_SECONDS = 1.0  # a limit for each second of the clock gives all of it at once
    ENOUGH = 30  # answers, before more is asked for
    ENOUGH_SEEN = 4  # refused in trials, though less was asked for than was given
    ENOUGH_EXPECTED = 9  # refused in trials if as much is as before: then three or fewer are no chance
    AS_MUCH = 0.6  # times the share of before
    RARER = 0.35
    LONGEST_TRIAL_SECONDS = 8.0  # if the answers do not tell before
    TELLING_SHARE = (
        0.1  # of refusals, from which on it goes on so long; with fewer it costs more than they do
    )
    BELOW = 0.65
    FOUND_RATE = (
        200.0  # requests a second at least, once the pace is not the cause: it was lowered for nothing
    )
    FOUND_SHARE = 0.35  # at most; where more is refused, that may be others' load all the same
    GROWTH = 1.5
    CLEARLY = 2.5  # standard errors

    def __init__(self) -> None:
        self.usual = AnswerCount()
        """Those that came outside of trials."""
        self._below = AnswerCount(math.inf)
        """Those that came in trials, since the last result."""
        self._before = AnswerCount(math.inf)
        """Those that came before these trials."""
        self.share = 0.0
        """The share of refusals that have another cause, 0 where none have, or it is not known yet."""
        self._known = 1.0  # answers that tell the share
        self.is_refuted = False
        """Whether fewer are refused when less is asked for: our pace is the cause."""
        # Of the trial that is on:
        self._rate_before = 0.0  # 0 outside of one
        self._rate_below = 0.0  # and in it
        self._usual_given = 0.0  # answers a second before it
        self._trial_began = -math.inf
        self._due = -math.inf  # the next one

    def note(self, now: float, measured: Round) -> None:
        """Count the answers of a round."""
        if not self._rate_before:
            self.usual.add(now, measured)
        elif measured.begins >= self._trial_began + self.SETTLED_SECONDS:
            self._below.add(measured.begins, measured)

    def steer(self, now: float, rate: float, is_refused: bool) -> float | None:
        """Return the rate to go on with; None for what is usual. `is_refused` says that some just were."""
        if self._rate_before:
            return self._rate_below if now < self._trial_began + self.TRIAL_SECONDS else self._end(now)
        if is_refused and now >= self._due and self._is_suspicious():
            return self._begin(now, rate)
        return self._go_up(rate) if self.share else None

    def _is_suspicious(self) -> bool:
        usual = self.usual
        is_known = usual.seconds >= self.LEAST_SECONDS and usual.refused >= self.LEAST_REFUSED
        return is_known and usual.share >= self.LEAST_SHARE

    def _begin(self, now: float, rate: float) -> float:
        """Ask for less than was given, for a while."""
        self._trial_began, self._rate_before = now, rate
        self._before.number += self.usual.number
        self._before.refused += self.usual.refused
        self._usual_given = self.usual.given
        self._rate_below = max(LOWEST_CEILING, min(rate, self.BELOW * self._usual_given))
        return self._rate_below

    def abandon(self) -> None:
        """End a trial without a result, and count anew: nothing at all is given."""
        self._rate_before = 0.0
        self.usual = AnswerCount()
        self._forget()

    def _forget(self) -> None:
        self._below, self._before = AnswerCount(math.inf), AnswerCount(math.inf)

    def _share_before(self) -> float:
        """Return the share of refusals outside of trials: what is known of it, with what came since."""
        known, before = self._known if self.share else 0.0, self._before
        return (self.share * known + before.refused) / (known + before.number or 1.0)

    def _end(self, now: float) -> float:
        """Decide, once enough answers have come in trials; go on as before."""
        rate = self._rate_before
        below, before = self._below, self._share_before()
        is_as_much = self.ENOUGH_SEEN <= below.refused < below.number and below.share >= before * self.AS_MUCH
        is_rarer = below.number * before >= self.ENOUGH_EXPECTED and below.share < before * self.RARER
        is_open = not is_as_much and not is_rarer and before >= self.TELLING_SHARE
        if is_open and now < self._trial_began + self.LONGEST_TRIAL_SECONDS:
            return self._rate_below
        self._rate_before = 0.0
        if is_as_much or is_rarer:
            self.is_refuted = is_rarer
            self.share, self._known = 0.0 if is_rarer else max(before, below.share), below.number
            self._forget()
            if is_rarer:
                rate = min(rate, self._usual_given)
            elif self.share <= self.FOUND_SHARE:
                rate = max(rate, self.FOUND_RATE)
        self._due = now + (self.HELD_SECONDS if self.share or self.is_refuted else self.BETWEEN_SECONDS)
        self.usual = AnswerCount()
        return rate

    def _go_up(self, rate: float) -> float | None:
        """Ask for more, unless that got clearly more refused."""
        usual = self.usual
        if usual.number < self.ENOUGH:
            return rate
        self.usual = AnswerCount()
        error = math.sqrt(self.share * (1.0 - self.share) * (1.0 / usual.number + 1.0 / self._known))
        if usual.share > self.share + self.CLEARLY * error + 0.05:
            self.share = 0.0
            return None
        asked = usual.number / max(usual.seconds, 0.1)
        return max(rate, min(rate, asked) * self.GROWTH)
