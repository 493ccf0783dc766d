"""Judges answers that look like an earlier good one by what may differ between them, and nothing else.

The heads of one server's answers are alike but for numbers: lengths, dates, hashes (see `Response.shape`). What `verdicts` found
out about a whole head holds for all of its shape: the next takes 1.2 µs, its date compared, in place of 1.8 µs without.
"""

from typing import Final

import msgspec

from bucketpull.domain.exchange import NUMBERS, Response, Verdict
from bucketpull.domain.memo import Memo
from bucketpull.sources.http import http_date, seconds_of
from bucketpull.sources.upyun.verdicts import MARKUP_STARTS, quick

STAMP_CHARACTERS: Final = 29
_DAY_SECONDS: Final = 86_400
_MOST_DAYS: Final = 4096
_SIXTY: Final = tuple(b"%02d:" % number for number in range(60))
_MINUTES: Final = tuple(hour + minute for hour in _SIXTY[:24] for minute in _SIXTY)
_SECONDS: Final = tuple(b"%02d GMT" % second for second in range(60))
_HEX: Final = b"0123456789abcdefABCDEF"
_MD5_CHARACTERS: Final = 32
_MD5_ENDS: Final = b'"\r'
_MOST_SHAPES: Final = 4096


class Dates:
    """Whether copies are as recent as listed: a stale one may have the size of the new object.

    It compares the `Last-Modified` of an endpoint's answers against the listing's times of change (Unix seconds; -1 is not known).

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
        self._days = Memo[int, bytes](_MOST_DAYS)

    def agree(self, stated: bytes, mtime: int) -> bool:
        """Tell quickly that a date is the listed one; 0.3 µs."""
        day, second = self._days.get(mtime // _DAY_SECONDS), mtime % _DAY_SECONDS
        if stated != (
            self.stamp(mtime) if day is None else day + _MINUTES[second // 60] + _SECONDS[second % 60]
        ):
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
        day, second = divmod(seconds, _DAY_SECONDS)
        written = self._days.get(day)
        if written is None:
            written = http_date(seconds)[: len("Sun, 06 Nov 1994 ")].encode()
            self._days[day] = written
        return written + _MINUTES[second // 60] + _SECONDS[second % 60]


class _Known(msgspec.Struct, frozen=True, gc=False):
    """What stands before the values of a shape's headers, as the server writes it; b"" where there is no such header."""

    md5: bytes
    date: bytes


class FastPath:
    """What is known of the answers of one endpoint; `dates` is None where they say nothing about staleness."""

    __slots__ = ("_dates", "_endpoint", "_known")

    def __init__(self, endpoint: str, dates: Dates | None) -> None:
        self._endpoint = endpoint
        self._dates = dates
        self._known = Memo[bytes, _Known](_MOST_SHAPES)

    def judge(self, name: bytes, size: int, response: Response, mtime: int) -> Verdict | None:
        """Judge the usual answer: 200, whole, as long and as young as listed, nothing odd in its head. None: look closely."""
        head = response.header_lines[0] if response.shape else b"".join(response.header_lines)
        shape = response.shape or head.translate(None, NUMBERS)
        known = self._known.get(shape)
        if (
            known is None
            or response.status != 200
            or response.received != size
            or response.failure is not None
            or (response.chunks and response.chunks[0][0] in MARKUP_STARTS)
        ):
            return self._look(name, size, response, mtime, head, shape)
        before = known.md5
        if not self._is_young(known, head, mtime):
            return None
        if not before:
            return Verdict(None, "", None, size)
        at = head.find(before) + len(before)
        stated = head[at : at + _MD5_CHARACTERS]
        if stated.translate(None, _HEX) or head[at + _MD5_CHARACTERS] not in _MD5_ENDS:
            return quick(name, size, self._endpoint, response)
        return Verdict(None, "", None, size, stated.decode("ascii").lower())

    def _look(
        self, name: bytes, size: int, response: Response, mtime: int, head: bytes, shape: bytes
    ) -> Verdict | None:
        verdict = quick(name, size, self._endpoint, response)
        if verdict is None:
            return None
        known = self._known[shape] = _known_of(head)
        return verdict if self._is_young(known, head, mtime) else None

    def _is_young(self, known: _Known, head: bytes, mtime: int) -> bool:
        dates, date = self._dates, known.date
        if dates is None or not dates.useful or not date or mtime < 0:
            return True
        at = head.find(date) + len(date)
        return dates.agree(head[at : at + STAMP_CHARACTERS], mtime)


def _known_of(head: bytes) -> _Known:
    text = head.lower()
    etag, md5, date = (
        _before_value(head, text, name) for name in (b"etag", b"content-md5", b"last-modified")
    )
    if etag:
        at = head.find(etag) + len(etag)
        value = head[at : head.find(b"\r", at)]
        if value[:1] == value[-1:] == b'"' and not value[1:-1].translate(None, _HEX):
            return _Known(etag + b'"', date)
    return _Known(md5, date)


def _before_value(head: bytes, text: bytes, name: bytes) -> bytes:
    """Return a header's name as the server writes it, with what surrounds it; b"" where it is not there, or spaced oddly."""
    at = text.find(b"\r\n%s: " % name)
    return b"" if at < 0 else head[at : at + len(name) + 4]
