"""Whether the CDN's copy of an object is as young as the listing says: a stale copy may be as long as the new object (contract 6.2)."""

import time
from typing import Final

from bucketpull.sources.answers import seconds_of

STAMP_CHARACTERS: Final = 29
_DAY_SECONDS: Final = 86_400
_MOST_DAYS: Final = 10_000
_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


class Dates:
    """The `Last-Modified` of a lane's answers against the listing's times of change (Unix seconds; -1 is not known).

    Stale copies are few, and so are objects that were changed after they were listed. Where many dates differ, this server's
    mean something else (the time of a copy, a clock that is off): then they are believed no more. `useful` tells whether they
    still are.
    """

    FREE: Final = 8
    SHARE: Final = 0.2

    def __init__(self) -> None:
        self.useful = True
        self._equal = 0
        self._other = 0
        self._days: dict[int, bytes] = {}

    def agree(self, stated: bytes, mtime: int) -> bool:
        """Tell quickly that a date is the listed one; 0.6 µs."""
        if stated != self.stamp(mtime):
            return False
        self._equal += 1
        return True

    def is_stale(self, stated: str, mtime: int) -> bool:
        """Tell whether a date is older than the listed one, and that means something."""
        if not self.useful or mtime < 0:
            return False
        changed = seconds_of(stated)
        if changed is None:
            return False
        if changed == mtime:
            self._equal += 1
            return False
        self._other += 1
        self.useful = self._other <= self.FREE + self.SHARE * self._equal
        return self.useful and changed < mtime

    def stamp(self, seconds: int) -> bytes:
        """Write a time as headers do: `Sun, 06 Nov 1994 08:49:37 GMT`."""
        day, left = divmod(seconds, _DAY_SECONDS)
        date = self._days.get(day)
        if date is None:
            date = self._write_day(day)
        minutes, second = divmod(left, 60)
        return b"%s%02d:%02d:%02d GMT" % (date, minutes // 60, minutes % 60, second)

    def _write_day(self, day: int) -> bytes:
        there = time.gmtime(day * _DAY_SECONDS)
        date = b"%s, %02d %s %04d " % (
            _DAYS[there.tm_wday],
            there.tm_mday,
            _MONTHS[there.tm_mon - 1],
            there.tm_year,
        )
        if len(self._days) >= _MOST_DAYS:
            self._days.clear()
        self._days[day] = date
        return date
