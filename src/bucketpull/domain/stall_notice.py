"""Notices a job to which nothing comes although it keeps asking, so that nobody waits before a still display without a word."""

from collections.abc import Mapping
from typing import NamedTuple

_FIRST_SECONDS = 10.0


class Silence(NamedTuple):
    """Nothing has come for so many seconds; requests were repeated meanwhile, mostly for this reason, so often."""

    seconds: float
    reason: str
    times: int


class Listener:
    """Compares what has come with how often was asked again. Speaks after 10 s of silence, and whenever it has doubled."""

    def __init__(self) -> None:
        self._gain = -1
        self._since = 0.0
        self._before: dict[str, int] = {}
        self._speaks_after = _FIRST_SECONDS

    def look(self, now: float, gain: int, retries: Mapping[str, int]) -> Silence | None:
        """Return the silence if it is worth telling. `gain` grows with whatever comes; `now` is monotonic seconds."""
        if gain != self._gain:
            self._gain, self._since, self._before = gain, now, dict(retries)
            self._speaks_after = _FIRST_SECONDS
            return None
        seconds = now - self._since
        grown = {reason: times - self._before.get(reason, 0) for reason, times in retries.items()}
        reason = max(grown, key=lambda reason: grown[reason], default="")
        if seconds < self._speaks_after or not reason or grown[reason] <= 0:
            return None
        self._speaks_after = 2 * seconds
        return Silence(seconds, reason, grown[reason])
