"""`--bandwidth` as it is written, one limit or limits by time of day, and which of them holds when. Pure."""

import re

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import or_off, parse_size, shown_value

_DAY_SECONDS = 86_400
_ENTRY = r"([01]?[0-9]|2[0-3]):([0-5][0-9]),(\S+)"


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
    with or_off():
        limit = parse_size("--bandwidth", word)
    if limit < 1:
        raise ConfigError(f"--bandwidth: {shown_value(word)} would stop everything; write 'off' for no limit")
    return float(limit)
