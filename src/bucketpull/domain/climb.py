"""How the number of transfers in flight is found of which more bring no more: the `Climb` of a limiter. Sans-I/O."""


class Climb:
    """How the level changes while all of it is used: up as long as that brings more, else back."""

    __slots__ = (
        "_before",
        "_goal",
        "_is_falling",
        "_is_interrupted",
        "_misses",
        "_rest",
        "_rests",
        "_tried",
        "doubling",
    )

    GAIN = 1.1
    MISSES = 3  # rounds that brought no more, before the doubling ends: one alone may be noise
    LONGEST_REST_ROUNDS = 64

    def __init__(self) -> None:
        self.doubling = True
        self._is_interrupted = False
        self._goal = 0.0  # the level before troubles, to which to return quickly
        self._is_falling = False  # cut after cut: the first was at the level before them
        self._before = 0.0
        self._misses = 0
        self._rests = 0
        self._rest = 1
        self._tried = 0.0

    def stop(self) -> None:
        """End the doubling: the source or the line bears no more."""
        self.doubling = self._is_interrupted = False
        self._tried = 0.0
        self._rests = 0

    def interrupt(self) -> None:
        """End the doubling because of refusals, unless it turns out that they have another cause."""
        was_doubling = self.doubling or self._is_interrupted
        self.stop()
        self._is_interrupted = was_doubling

    def resume(self) -> None:
        """Go on with a doubling that was interrupted."""
        if self._is_interrupted:
            self.doubling, self._is_interrupted, self._misses = True, False, 0

    def retreat(self, level: float) -> None:
        """Note that the level is cut because of failures: it was too high."""
        if not self._is_falling and level >= self._goal * 0.7:
            self._goal = level * 0.8
        self._is_falling = True
        self.stop()

    def next_level(self, level: float, rate: float) -> float:
        """Return the next round's level, given this round's successes a second."""
        self._is_falling = False
        if level < self._goal * 0.7:
            return level * 1.5 + 1.0
        return self._double(level, rate) if self.doubling else self._step(level, rate)

    def _double(self, level: float, rate: float) -> float:
        if rate > self._before * self.GAIN:
            self._before = rate
            self._misses = 0
            return level * 2.0
        self._misses += 1
        if self._misses >= self.MISSES:
            self.stop()
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
