"""Limits of the simulated service: requests a second, and bytes a second."""

from collections.abc import Callable
from heapq import heapify, heapreplace


class Gate:
    """Lets `rate` requests a second pass and refuses the others; a quarter of a second's worth may come at once."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate, clock
        self._room = max(1.0, rate / 4)
        self._tokens, self._at = self._room, clock()

    def admit(self) -> bool:
        """Return whether one more request may pass now."""
        if not self._rate:
            return True
        now = self._clock()
        self._tokens = min(self._room, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Throttle:
    """Spreads bytes over time at `rate` bytes a second."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate, self._clock = rate, clock
        self._free = 0.0

    def reserve(self, count: int) -> float:
        """Book `count` bytes; return the seconds to wait before they may go."""
        if not self.rate:
            return 0.0
        now = self._clock()
        begin = max(now, self._free)
        self._free = begin + count / self.rate
        return begin - now


class Desk:
    """Serves `slots` requests at a time; the others wait their turn. With no slots nobody waits."""

    def __init__(self, slots: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._free = [clock()] * slots
        heapify(self._free)

    def delay(self, seconds: float) -> float:
        """Book a service of so many seconds; return the seconds until it is done."""
        if not self._free:
            return seconds
        now = self._clock()
        done = max(now, self._free[0]) + seconds
        heapreplace(self._free, done)
        return done - now
