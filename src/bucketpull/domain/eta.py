"""When a job ends: with a band, and never as a share of a backlog that still grows. Pure.

The speed is the mean of the whole session, because over days throttling, night and day, and sick disks come and go,
and every shorter look follows them: a look at the last third was off by up to 60 % where the mean was off by 25 %.
Two exceptions. A slow beginning (connections, the search for the right concurrency) is left out. And the level of the last
eighth is believed to last three times as long as it has lasted already, after which the mean comes back; so an outage of two
minutes moves the estimate of a week by minutes, while a new limit on the link is believed fully after a while; a cap of ours below
the speed is believed at once.

Neither helps at the very end, where a few objects are left that are not like the others: what is retried, or trickles, has no
speed. They are believed to take as long as they have taken already (`Tail`).
"""

from bucketpull.domain.model import Counters, Outstanding
from bucketpull.domain.progress import Estimate
from bucketpull.domain.rates import ActiveTime, Series

FIRST_SECONDS = 3.0  # before that nothing can be said
WARM_UP_SECONDS = 60.0
BLOCKS = 24
RECENT_BLOCKS = 3
NOTABLE = 0.1
BELIEF = 3.0
USAGE_SLACK = 1.02  # objects may be added while the job runs
TAIL_SECONDS = 10.0  # receipts come in lumps
TAIL_FACTOR = 2.0
TAIL_BAND = 4.0


class Forecast:
    """Estimates when a job ends. Sample it as often as a `SpeedMeter`.

    `usage_bytes` is what the source says that the bucket holds; None where it says nothing, or where only a part of
    the bucket is pulled. Progress is measured in listed bytes, so that image versions, whose size nobody knows before
    they are fetched, do not disturb it. What was skipped, failed or vanished is done too. Where no size is listed at all, as in
    a list of URLs, objects are counted in place of bytes. `cap` is how many bytes a second may be received from now on, None for any:
    nothing that was seen before counts for more.
    """

    def __init__(self, usage_bytes: int | None = None) -> None:
        self.usage_bytes = usage_bytes
        self.cap: float | None = None
        self._time = ActiveTime()
        self._fetched = Series()
        self._listed = Series()
        self._objects = Series()
        self._tail = Tail()

    def sample(self, at: float, counters: Counters, outstanding: Outstanding, running: bool = True) -> None:
        """Note where the books stand at a time in seconds."""
        seconds = self._time.advance(at, running)
        ended = counters.listed_bytes - outstanding.bytes
        in_place = counters.skipped_bytes + counters.recovered_bytes
        self._fetched.append(seconds, ended - in_place)
        self._listed.append(seconds, counters.listed_bytes)
        wanted = counters.listed - counters.excluded
        self._tail.sample(seconds, outstanding.objects)
        in_place = counters.skipped + counters.recovered
        self._objects.append(seconds, wanted - outstanding.objects - in_place)

    def estimate(
        self, counters: Counters, outstanding: Outstanding, listing_done: bool, waits: float = 0.0
    ) -> Estimate:
        """Say when the job ends, as far as anything can be said; for so many seconds it only `waits`.

        Without a known total, `seconds` and `low` are the time for what is listed already and `high` is None.
        """
        result = self._by_speed(counters, outstanding, listing_done)
        if listing_done and result.seconds is not None and result.high is not None:
            tail = self._tail.left(self._time.seconds, outstanding.objects)
            if tail > TAIL_FACTOR * result.seconds + TAIL_SECONDS:
                result.seconds, result.high = tail, max(result.high, TAIL_BAND * tail)
            result.seconds = max(result.seconds, waits)
            result.low, result.high = max(result.low or 0.0, waits), max(result.high, waits)
        return result

    def _by_speed(self, counters: Counters, outstanding: Outstanding, listing_done: bool) -> Estimate:
        if counters.listed_bytes <= 0 and outstanding.objects:
            return self._by_count(counters, outstanding, listing_done)
        if listing_done:
            return self._of_rest(counters, outstanding, counters.listed_bytes, 0)
        total = self._total(counters)
        if total is None:
            seconds = self._seconds(outstanding.bytes)
            if seconds is not None:
                seconds = max(seconds, self._seconds_at_cap(outstanding.bytes, counters, outstanding))
            return Estimate(seconds=seconds, low=seconds)
        return self._of_rest(counters, outstanding, total, total - counters.listed_bytes)

    def _by_count(self, counters: Counters, outstanding: Outstanding, listing_done: bool) -> Estimate:
        """Say when the job ends by its objects alone."""
        rest, wanted = outstanding.objects, counters.listed - counters.excluded
        seconds = self._seconds(rest, self._objects)
        if not listing_done:
            return Estimate(seconds=seconds, low=seconds)
        result = Estimate(
            total_objects=wanted, share=min(max(0.0, 1 - rest / wanted), 0.9999) if wanted else 0.0
        )
        if seconds is not None:
            views = [seconds, *(rest / speed for speed in self._looks(self._objects) if speed > 0)]
            result.seconds, result.low, result.high = seconds, min(views) * 0.97, max(views) * 1.03
        return result

    def _total(self, counters: Counters) -> int | None:
        usage = self.usage_bytes
        if not usage or counters.listed_bytes > usage * USAGE_SLACK:
            return None
        return max(usage, counters.listed_bytes)

    def _of_rest(self, counters: Counters, outstanding: Outstanding, total: int, unlisted: int) -> Estimate:
        ended = counters.listed_bytes - outstanding.bytes
        done = not unlisted and not outstanding.objects
        share = 1.0 if done else min(ended / total, 0.9999) if total else 0.0
        wanted = counters.listed - counters.excluded
        mean_size = counters.listed_bytes / wanted if wanted else 0.0
        unlisted_objects = unlisted / mean_size if mean_size else 0.0
        result = Estimate(
            total_bytes=total,
            total_objects=round(wanted + unlisted_objects) if wanted else 0,
            share=max(0.0, share),
        )
        if done:
            result.seconds = result.low = result.high = 0.0
            return result
        # Of what is not listed yet, as large a part will be found in place as of what is listed.
        afresh = 1.0 - counters.skipped_bytes / counters.listed_bytes if counters.listed_bytes else 1.0
        rest = outstanding.bytes + unlisted * afresh
        rest_objects = outstanding.objects + unlisted_objects * afresh
        at_cap = self._seconds_at_cap(rest, counters, outstanding)
        self._fill_in(result, rest, rest_objects, unlisted, at_cap)
        return result

    def _seconds_at_cap(self, rest: float, counters: Counters, outstanding: Outstanding) -> float:
        """Return how long so many listed bytes take at least; less comes than is listed where it is image versions."""
        if not self.cap:
            return 0.0
        in_place = counters.skipped_bytes + counters.recovered_bytes
        ended = counters.listed_bytes - outstanding.bytes - in_place
        came = min(1.0, counters.fetched[1] / ended) if ended > 0 else 1.0
        return rest * came / self.cap

    def _fill_in(
        self, result: Estimate, rest: float, rest_objects: float, unlisted: int, at_cap: float
    ) -> None:
        listing = self._listing_seconds(unlisted)
        seconds = self._seconds(rest)
        if seconds is None and rest <= 0:
            seconds = listing
        if seconds is None:
            return
        views = [rest / speed for speed in self._looks(self._fetched) if speed > 0]
        views += [rest_objects / speed for speed in self._looks(self._objects)[:1] if speed > 0]
        slack = 0.03 + (0.10 * unlisted / result.total_bytes if result.total_bytes else 0.0)
        floor = max(listing or 0.0, at_cap)
        result.seconds = max(seconds, floor)
        result.low = max(floor, min([seconds, *views]) * (1 - slack))
        result.high = max(floor, seconds, *views) * (1 + slack)

    def _listing_seconds(self, unlisted: int) -> float | None:
        speed = self._listed.speed(0.0, self._time.seconds)
        return unlisted / speed if speed > 0 and self._time.seconds >= FIRST_SECONDS else None

    def _looks(self, series: Series) -> list[float]:
        """Return the speed over the whole session, its last half and its last quarter."""
        now, start = self._time.seconds, self._start(series)
        return [series.speed(now - (now - start) * part, now) for part in (1.0, 0.5, 0.25)]

    def _start(self, series: Series) -> float:
        """Return the end of the slow beginning, in active seconds."""
        now = self._time.seconds
        warm = min(WARM_UP_SECONDS, now / 2)
        return warm if series.speed(0.0, warm) < 0.85 * series.speed(warm, now) else 0.0

    def _seconds(self, rest: float, series: Series | None = None) -> float | None:
        """Return how long so many bytes take (or what `series` counts); None while no speed is known."""
        series = series or self._fetched
        now = self._time.seconds
        if now < FIRST_SECONDS:
            return None
        start = self._start(series)
        mean = series.speed(start, now)
        if mean <= 0:
            return None
        lasted = _level_seconds(series, start, now)
        level = series.speed(now - lasted, now)
        if level <= 0:
            return rest / mean
        at_level = min(rest, BELIEF * lasted * level)
        return at_level / level + (rest - at_level) / mean


class Tail:
    """How long the last objects have been the last ones: for each power of two, when at least so many were left."""

    def __init__(self) -> None:
        self._marks: list[float] = []

    def sample(self, seconds: float, objects: int) -> None:
        """Note how many objects are left at a time in active seconds."""
        reached = objects.bit_length()
        self._marks[:reached] = [seconds] * reached

    def left(self, seconds: float, objects: int) -> float:
        """Return how long so many objects take, if they are as slow as those that went before them; 0 if none did."""
        power = (2 * objects - 1).bit_length() if objects else 0
        if not 0 < power < len(self._marks):
            return 0.0
        return (seconds - self._marks[power]) * objects / ((1 << power) - objects)


def _level_seconds(series: Series, start: float, now: float) -> float:
    """Return for how long the speed has been about what it was lately."""
    width = (now - start) / BLOCKS
    level = series.speed(now - RECENT_BLOCKS * width, now)
    lasted = RECENT_BLOCKS
    while lasted < BLOCKS and abs(series.speed(now - (lasted + 1) * width, now) - level) < NOTABLE * level:
        lasted += 1
    return lasted * width
