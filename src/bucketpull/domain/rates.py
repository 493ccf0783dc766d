"""Speeds from samples of counters: of the last seconds, and of the whole session. Pure, O(1) memory.

Time in which the job was paused or had no room does not count: it says nothing about how fast the job is.
"""

from bisect import bisect_right
from collections import deque

from bucketpull.domain.progress import Rates, StageProgress

NOW_SECONDS = 10.0  # receipts come in lumps of a batch; a shorter look makes the figure jump
SERIES_POINTS = 512


class ActiveTime:
    """Counts the seconds in which the job ran."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: float | None = None
        self._ran = False

    def advance(self, at: float, running: bool) -> float:
        """Go on to a time (seconds of any clock); what passed since the last call counts if the job ran then and now."""
        if self._last is not None and self._ran and running:
            self.seconds += max(0.0, at - self._last)
        self._last, self._ran = at, running
        return self.seconds


class Series:
    """A counter over active time, thinned to at most 512 points however long the job runs."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._values: list[float] = []
        self._spacing = 0.0

    def append(self, seconds: float, value: float) -> None:
        """Add a point; one that lies too near to the point before it replaces it."""
        if len(self._seconds) > 1 and seconds - self._seconds[-2] < self._spacing:
            self._seconds[-1], self._values[-1] = seconds, value
            return
        self._seconds.append(seconds)
        self._values.append(value)
        if len(self._seconds) > SERIES_POINTS:
            self._thin()

    def _thin(self) -> None:
        del self._seconds[1:-1:2], self._values[1:-1:2]
        self._spacing = (self._seconds[-1] - self._seconds[0]) / SERIES_POINTS * 2

    def value_at(self, seconds: float) -> float:
        """Return the counter at a time, by interpolation between points."""
        index = bisect_right(self._seconds, seconds)
        if index == 0:
            return self._values[0]
        if index == len(self._seconds):
            return self._values[-1]
        before, after = self._seconds[index - 1], self._seconds[index]
        share = (seconds - before) / (after - before)
        return self._values[index - 1] + share * (self._values[index] - self._values[index - 1])

    def speed(self, start: float, end: float) -> float:
        """Return the mean growth a second between two times; 0 where there is no time between them."""
        if not self._seconds or end <= start:
            return 0.0
        return max(0.0, (self.value_at(end) - self.value_at(start)) / (end - start))


class SpeedMeter:
    """Turns the counters that a job shows into `Rates`. Give it a sample twice a second.

    The last sample before the job runs is where the session begins: what was done in earlier ones is not its speed.
    """

    def __init__(self) -> None:
        self._time = ActiveTime()
        self._recent: deque[tuple[float, int, int, int]] = deque()
        self._first: tuple[float, int, int, int] | None = None

    def sample(self, at: float, objects: int, size: int, listed: int, running: bool = True) -> None:
        """Note the counters (objects stored, bytes stored or on their way, objects listed) at a time in seconds."""
        point = (self._time.advance(at, running), objects, size, listed)
        if self._first is None or point[0] == 0.0:
            self._first = point
            self._recent.clear()
        self._recent.append(point)
        while len(self._recent) > 2 and self._recent[1][0] <= point[0] - NOW_SECONDS:
            self._recent.popleft()

    def rates(self, running: bool = True) -> Rates:
        """Return the speeds; those of now are 0 while the job does not run."""
        if self._first is None:
            return Rates()
        last = self._recent[-1]
        _, objects_mean, bytes_mean, _ = _growth(self._first, last)
        _, objects_now, bytes_now, listed_now = _growth(self._recent[0], last)
        if not running:
            objects_now = bytes_now = listed_now = 0.0
        return Rates(objects_now, objects_mean, bytes_now, bytes_mean, listed_now)


class StageMeter:
    """Turns the counters of an object's way into `StageProgress`. Give it a sample twice a second, of the same stages in the same order."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, dict[str, int]]] = deque()

    def sample(self, at: float, counters: dict[str, int]) -> dict[str, StageProgress]:
        """Note the counters at a time in seconds; return them with their speeds. One that falls has none."""
        self._recent.append((at, counters))
        while len(self._recent) > 2 and self._recent[1][0] <= at - NOW_SECONDS:
            self._recent.popleft()
        start, before = self._recent[0]
        seconds = at - start
        return {
            name: StageProgress(number, max(0.0, (number - before[name]) / seconds) if seconds > 0 else 0.0)
            for name, number in counters.items()
        }


def _growth(
    start: tuple[float, int, int, int], end: tuple[float, int, int, int]
) -> tuple[float, float, float, float]:
    """Return the seconds between two points and the growth a second of each counter."""
    seconds = end[0] - start[0]
    if seconds <= 0:
        return 0.0, 0.0, 0.0, 0.0
    objects, size, listed = (max(0.0, (end[index] - start[index]) / seconds) for index in (1, 2, 3))
    return seconds, objects, size, listed
