"""Times for people: those of the clock in the zone of this machine, given in Unix seconds, and durations in two units, in English and Chinese.

The page has its own, in `web/static/times.js`.
"""

import re
import time
from typing import Final

_SPANS = {
    "en": (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)),
    "zh": (("天", 86400), ("小时", 3600), ("分", 60), ("秒", 1)),
}
_DURATION: Final = r"[0-9]+ (d|h|min|s)( [0-9]+ (h|min|s))?"


def time_stamp(at: float) -> str:
    """Write a time as the console's lines begin: `2026-05-01 13:37:00`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def zoned_time_stamp(at: float) -> str:
    """Write a time with its distance from UTC, as a log file's lines begin: `2026-05-01 13:37:00+0800`."""
    return time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(at))


def clock(at: float) -> str:
    """Write a time of these hours: `13:37:00`."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def clock_minutes(at: float) -> str:
    """Write the same to the minute: `13:37`."""
    return time.strftime("%H:%M", time.localtime(at))


def duration(seconds: float, language: str = "en") -> str:
    """Write seconds in the two largest units that matter: `3 h 12 min`, `42 s`."""
    left = round(max(0.0, seconds))
    spans = _SPANS[language]
    for index, (unit, length) in enumerate(spans):
        if left >= length or length == 1:
            text = f"{left // length} {unit}"
            rest = left % length // spans[index + 1][1] if length > 1 else 0
            return f"{text} {rest} {spans[index + 1][0]}" if rest else text
    raise AssertionError  # the last length is 1


def duration_in(language: str, text: str) -> str:
    """Return a `duration` that was written in English in another language; any other text as it is."""
    if not re.fullmatch(_DURATION, text):
        return text
    names = {english: name for (english, _), (name, _) in zip(_SPANS["en"], _SPANS[language], strict=True)}
    return " ".join(names.get(part, part) for part in text.split(" "))


def elapsed(seconds: float, language: str = "en") -> str:
    """Write how long something took: as `duration`, but below ten seconds with a tenth."""
    return f"{seconds:.1f} {_SPANS[language][-1][0]}" if seconds < 9.95 else duration(seconds, language)
