"""What the user limits of a job (`--rate`, `--bandwidth`, `--concurrency`, a pause): the values, bandwidth by time of day, and what commands changed of them while it runs. Pure."""

import math
import re
from collections.abc import Mapping

import msgspec

from bucketpull.domain.decoding import Float, Int, Text
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.values import parse_size, shown_value

BURST_SECONDS = 0.02  # so early a request may start that is evenly spaced from others
_DAY_SECONDS = 86_400
_ENTRY = r"([01]?[0-9]|2[0-3]):([0-5][0-9]),(\S+)"


class Limits(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What one worker may use. None is no cap; `concurrency` None is automatic.

    Rates are per second, bandwidth in bytes per second, for all processes of the worker together.
    """

    concurrency: Int | None = None
    requests_per_second: Float | None = None
    bytes_per_second: Float | None = None
    paused: bool = False


class TokenBucket:
    """At most so many requests a second, evenly; None is no limit. May be shared by several limiters."""

    __slots__ = ("_interval", "_next", "per_second")

    def __init__(self, per_second: float | None) -> None:
        self._next = -math.inf
        self.set_rate(per_second)

    def set_rate(self, per_second: float | None) -> None:
        """Change the rate from now on."""
        self.per_second = per_second
        self._interval = 0.0 if per_second is None else 1.0 / per_second if per_second > 0 else math.inf

    def delay(self, now: float) -> float:
        """Return in how many seconds a request may start; 0 is now."""
        wait = self._next - BURST_SECONDS - now
        return wait if self._interval and wait > 0.0 else 0.0

    def take(self, now: float) -> None:
        """Count a request that starts."""
        self._next = max(self._next, now) + self._interval


class Steering(msgspec.Struct, frozen=True):
    """What commands changed of the limits: the next coordinator of the same run goes by it.

    `limits` are those of the whole job, `schedule` the bandwidth by time of day that they follow, None for none.
    `options` are the limits as they stood on the command line, by name: where the next one says others, these hold.
    """

    options: dict[Text, Text]
    limits: Limits
    schedule: Text | None = None

    def resumed(self) -> "Steering":
        """Return the same without a pause."""
        return msgspec.structs.replace(self, limits=msgspec.structs.replace(self.limits, paused=False))

    def under(self, options: Mapping[str, str], asked: Limits) -> "Steering":
        """Return what holds for a coordinator with these options, which ask for these limits: a pause stays in any case."""
        if options == self.options:
            return self
        limits = msgspec.structs.replace(asked, paused=self.limits.paused)
        return Steering(dict(options), limits, options.get("bandwidth"))


class BandwidthSchedule:
    """What may be received, in bytes a second, at each time of day (local, round the clock); None is no limit."""

    def __init__(self, entries: list[tuple[int, float | None]]) -> None:
        self._entries = sorted(entries)

    def at(self, second_of_day: float) -> float | None:
        """Return the limit at so many seconds after local midnight."""
        limit = self._entries[-1][1] if self._entries else None
        for begins, value in self._entries:
            if begins <= second_of_day % _DAY_SECONDS:
                limit = value
        return limit

    def next_change(self, second_of_day: float) -> float | None:
        """Return in how many seconds the next entry begins; None if the limit never changes."""
        if len(self._entries) < 2:
            return None
        waits = [
            (begins - second_of_day) % _DAY_SECONDS or float(_DAY_SECONDS) for begins, _ in self._entries
        ]
        return min(waits)


def parse_bandwidth(text: str) -> BandwidthSchedule:
    """Read a limit, such as "100M" or "off", or limits by time of day: "08:00,10M 20:00,off".

    Raises ConfigError where it is neither, a time comes twice, or a limit is 0.
    """
    words = text.split()
    if len(words) == 1 and "," not in text:
        return BandwidthSchedule([(0, _limit(words[0]))])
    entries = [_entry(word) for word in words]
    if not entries:
        raise ConfigError("--bandwidth: empty; write a limit such as 100M, or 'off'")
    if len({begins for begins, _ in entries}) < len(entries):
        raise ConfigError(f"--bandwidth: {shown_value(text)} gives one time twice; leave one out")
    return BandwidthSchedule(entries)


def _entry(word: str) -> tuple[int, float | None]:
    found = re.fullmatch(_ENTRY, word)
    if found is None:
        raise ConfigError(
            f"--bandwidth: {shown_value(word)} is not a time and a limit; write them as 08:00,10M"
        )
    return int(found[1]) * 3600 + int(found[2]) * 60, _limit(found[3])


def _limit(word: str) -> float | None:
    if word.lower() == "off":
        return None
    limit = parse_size("--bandwidth", word)
    if limit < 1:
        raise ConfigError(f"--bandwidth: {shown_value(word)} would stop everything; write 'off' for no limit")
    return float(limit)
