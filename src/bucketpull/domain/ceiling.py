"""The requests a second that a source bears, learnt from what it refuses: the `Ceiling` of a limiter. Sans-I/O."""

import math

LOWEST_CEILING = 1.0
_SHUT = 30


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
        return self.fine / (now - self.begins) if now > self.begins else 0.0

    def offered(self, now: float, in_flight: int) -> float:
        """Return the requests a second, answered or not yet."""
        return (in_flight + self.answers()) / max(now - self.begins, 0.1)

    def share(self) -> float:
        """Return the share of refused answers."""
        return self.throttles / (self.answers() or 1)

    def is_shut(self) -> bool:
        """Tell whether so much is refused that it needs no round to see it."""
        return self.throttles >= _SHUT and self.throttles >= self.answers() * Ceiling.NEARLY_ALL

    def answers(self) -> int:
        """Return how many answers came."""
        return self.fine + self.throttles + self.troubles


class Ceiling:
    """The requests a second that the source is believed to bear: `rate`, None before it refused any.

    `pace` is what may be sent: the rate, or a few probes while the source refuses nearly everything.
    """

    __slots__ = (
        "_blocked",
        "_cubic",
        "_episode",
        "_explored",
        "_exploring",
        "_pause",
        "_since",
        "_suspicion",
        "_wall",
        "pace",
        "rate",
    )

    KEEP = 0.9
    KEEP_FIRST = 0.5
    EPISODE_SECONDS = 2.0  # cuts so close belong together: the wall is where the first of them was
    EXPLORE = 1.5
    MUCH = 0.2  # share of refused answers above which the success rate tells more than the ceiling
    NEARLY_ALL = 0.9
    CUBIC_SECONDS = 8.0  # from a cut of 10 % back to the wall; 20 s later it is twice the wall
    PROBES_PER_SECOND = 4.0
    ALONE = 0.3
    MANY = 3  # refusals
    SURELY_MANY = 10
    FIRST_PAUSE_SECONDS = 0.5
    LONGEST_PAUSE_SECONDS = 60.0
    CALM_SECONDS = 30.0

    def __init__(self) -> None:
        self.rate: float | None = None
        self.pace = math.inf
        self._wall = 0.0  # the rate at which the source last refused
        self._episode = -math.inf
        self._since = 0.0
        self._cubic = 0.0
        self._pause = self.FIRST_PAUSE_SECONDS
        self._blocked = False
        self._suspicion = Suspicion()
        self._exploring = False  # refused before there was a rate to compare with: no wall is known yet
        self._explored = 0

    def cut(self, now: float, measured: Round, in_flight: int, used: bool) -> float:
        """Lower the rate because requests were refused; return for how many seconds to send nothing at all.

        `used` says whether all of the level was in use, so that the former round's rate was all that it could bring.
        """
        share, offered = measured.share(), measured.offered(now, in_flight)
        self._suspicion.note(measured)
        if self.rate is None:
            self._begin(now, offered, measured.former if used else 0.0)
            return 0.0
        if now - self._episode > self.EPISODE_SECONDS:
            self._episode, self._wall = now, self.rate
        if share >= self.NEARLY_ALL and self._is_block(measured, offered):
            return self._block(now, measured.throttles >= self.MANY)
        self._exploring = self._exploring and self._explored < 3
        self._set(now, self._suspicion.advise(self.rate) or self._lower(now, measured, share))
        return 0.0

    def adopt(self, now: float, rate: float) -> None:
        """Take a rate for what the source bears."""
        self._wall, self._exploring = rate, False
        self._set(now, rate)

    def _is_block(self, measured: Round, offered: float) -> bool:
        """Tell whether a round in which nearly all was refused means that all is; where some always is, a few say nothing."""
        assert self.rate is not None
        if self._suspicion.is_held:
            return measured.throttles >= self.SURELY_MANY
        # A few requests, far fewer than the ceiling, all refused: it is not their number.
        alone = offered < self.rate * self.ALONE
        return self._blocked or alone or measured.throttles >= self.MANY

    def _begin(self, now: float, offered: float, former: float) -> None:
        """Set the first rate: below what was borne with all of the level in use, else by what was asked for."""
        self._wall = former or max(offered, LOWEST_CEILING)
        self._set(now, self._wall * (self.KEEP if former else self.KEEP_FIRST))
        self._exploring = not former

    def _lower(self, now: float, measured: Round, share: float) -> float:
        assert self.rate is not None
        lower = self.rate * self.KEEP
        return min(lower, max(measured.rate(now) * 0.95, self.rate * 0.5)) if share > self.MUCH else lower

    def lift(self, now: float, measured: Round, rate: float) -> None:
        """Follow the cubic after a round, but only while the ceiling is what holds us back."""
        if self.rate is None:
            return
        self._suspicion.note(measured)
        if not measured.throttles:
            self._calm(now)
        if rate < self.rate * 0.7:
            self._since += now - measured.begins
            return
        if self._exploring and not measured.throttles:
            self._explored += 1
            self.rate = self.pace = self._wall = self.rate * self.EXPLORE
        at = (now - self._since - self._cubic) / self.CUBIC_SECONDS
        self.rate = self.pace = max(self.rate, self._wall * (1.0 + 0.1 * at**3))

    def _set(self, now: float, rate: float) -> None:
        self.rate = self.pace = max(rate, LOWEST_CEILING)
        self._since = now
        self._wall = max(self._wall, self.rate)
        self._cubic = self.CUBIC_SECONDS * (max(0.0, 1.0 - self.rate / self._wall) / 0.1) ** (1 / 3)

    def _block(self, now: float, many: bool) -> float:
        """Halve the rate, once for a block however long, and let a few probes find its end."""
        assert self.rate is not None
        if not self._blocked:
            self._blocked = True
            self._set(now, self.rate * 0.5)
        self.pace = min(self.pace, self.PROBES_PER_SECOND)
        pause = self._pause
        if many:
            self._pause = min(self._pause * 2.0, self.LONGEST_PAUSE_SECONDS)
        return pause

    def _calm(self, now: float) -> None:
        """Note a round without refusals."""
        assert self.rate is not None
        if self._blocked:
            self._blocked = False
            self._pause = self.FIRST_PAUSE_SECONDS
            self._set(now, self.rate)
        if now - self._since > self.CALM_SECONDS:
            self._suspicion = Suspicion()


class Suspicion:
    """Whether refusals have another cause than our pace: they have, if half the pace did not make them half as rare.

    Then lowering it further would only cost time. It ends when going up again makes them clearly more.
    """

    __slots__ = ("_anchor", "_answers", "_before", "_held", "_refusals")

    ENOUGH = 40  # answers that a share is taken of
    LARGEST_SHARE = 0.4

    def __init__(self) -> None:
        self._anchor = 0.0  # the rate at which refusals began
        self._before = 0.0  # their share above half of that
        self._held = 0.0
        self._answers = 0
        self._refusals = 0

    @property
    def is_held(self) -> bool:
        """Whether refusals were found to have another cause."""
        return self._held > 0.0

    def note(self, measured: Round) -> None:
        """Count the answers of a round."""
        self._answers += measured.answers()
        self._refusals += measured.throttles

    def advise(self, rate: float) -> float:
        """Return the rate to go on with though some were refused; 0 is to lower it."""
        if self._held:
            if self._answers >= 2 * self.ENOUGH and self._share() > self._held * 1.5 + 0.05:
                self._begin(rate)
        elif not self._anchor:
            self._begin(rate)
        elif not self._before:
            if rate <= self._anchor * 0.5:
                self._before = self._share()
                return rate
        elif self._answers < self.ENOUGH:
            return rate
        else:
            self._decide(rate)
        return rate * 1.1 if self._held else 0.0

    def _decide(self, rate: float) -> None:
        before, share = self._before, self._share()
        self._begin(rate)
        if before * 0.5 <= share < self.LARGEST_SHARE:
            self._held = max(before, share)

    def _begin(self, rate: float) -> None:
        self.__init__()  # type: ignore[misc]
        self._anchor = rate

    def _share(self) -> float:
        share = self._refusals / max(1, self._answers)
        self._answers = self._refusals = 0
        return share
