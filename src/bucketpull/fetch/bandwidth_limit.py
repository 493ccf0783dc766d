"""A cap on what all transfers together receive."""


class BandwidthLimit:
    """Bytes that may be read, refilled evenly; times are monotonic seconds.

    Sockets are read only while there is something left. Debt is made by a socket that had more than was left, and
    is waited off, so that the mean is right however large a read is. What is saved up is bounded by `BURST_SECONDS`.
    """

    BURST_SECONDS = 0.1

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, bytes_per_second: float, now: float) -> None:
        self._rate = max(1.0, bytes_per_second)
        self._most = self._rate * self.BURST_SECONDS
        self._left = self._most
        self._at = now

    def spend(self, size: int) -> None:
        """Count bytes that came."""
        self._left -= size

    def refill(self, now: float) -> float:
        """Add what became due and return the bytes that are left; 0 or less means wait."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    def delay(self) -> float:
        """Return in how many seconds from the last refill there is something left; 0 is now."""
        return 0.0 if self._left > 0 else (1.0 - self._left) / self._rate
