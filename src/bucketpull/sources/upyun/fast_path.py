"""Judging answers that look like an earlier good one: what may differ between them is looked at, and nothing else.

The heads of one server's answers are alike but for numbers: lengths, dates, hashes (see `Response.shape`). What `judging` found
out about a whole head holds for all of its shape: the next takes 1.2 µs, its date compared, in place of 1.8 µs without.
"""

from typing import Final, NamedTuple

from bucketpull.domain.exchange import NUMBERS, Response, Verdict
from bucketpull.domain.memo import Memo
from bucketpull.sources.upyun.dates import STAMP_CHARACTERS, Dates
from bucketpull.sources.upyun.judging import MARKUP_STARTS, quick

_HEX: Final = b"0123456789abcdefABCDEF"
_MD5_CHARACTERS: Final = 32
_MD5_ENDS: Final = b'"\r'
_MOST_SHAPES: Final = 4096


class _Known(NamedTuple):
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
        before, _ = known
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
