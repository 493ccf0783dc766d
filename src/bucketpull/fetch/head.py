"""Reading the head of an answer: only the usual one is understood here, and everything else is known to be unusual.

Usual is HTTP/1.1 with a body of stated length. Chunked bodies, interim answers, folded or doubled headers, other line
ends: all of that is legal or at least happens, and libcurl understands it.
"""

from typing import Final

from bucketpull.domain.exchange import NUMBERS
from bucketpull.domain.memo import Memo

END: Final = b"\r\n\r\n"
LONGEST: Final = 64 << 10
_LENGTH: Final = b"\r\ncontent-length:"
_NOT_MODIFIED: Final = 304
_NO_CONTENT: Final = 204
_MOST_DIGITS: Final = 15
_TAB: Final = 9
_WHOLE: Final = b"HTTP/1.1 200 "
_MOST_SHAPES: Final = 4096  # names of days, months and caches make some hundreds


def read_head(head: bytes) -> tuple[int, int, bool] | None:
    """Understand a whole head, its blank line included; None if it is unusual in any way.

    `find` takes 0.15 µs where `in` takes 0.2-0.8 µs for the same bytes, and `in` takes 0.02 µs for a number.

    Returns:
        Status, length of the body in bytes, and whether the connection ends with it.

    """
    text = head.lower()
    if text.startswith(b"http/1.1 304 "):
        return _read_unchanged(text)
    at = text.find(_LENGTH)
    if at < 0 or not text.startswith(b"http/1.1 ") or text.find(b"\r\ntransfer-encoding") >= 0:
        return None
    after = text.index(b"\r\n", at + 2)
    digits, status = text[at + len(_LENGTH) : after].strip(b" \t"), text[9:12]
    if not (digits.isdigit() and len(digits) <= _MOST_DIGITS and status.isdigit() and text[12] in b" \r"):
        return None
    code = int(status)
    if code < 200 or code == _NO_CONTENT or text.find(_LENGTH, after) >= 0 or _is_odd(text):
        return None
    return code, int(digits), text.find(b"close") >= 0 and _closes(text)


def _read_unchanged(text: bytes) -> tuple[int, int, bool] | None:
    """Understand an answer without a body, which may state the length that it would have."""
    if _is_odd(text) or text.find(b"\r\ntransfer-encoding") >= 0:
        return None
    return _NOT_MODIFIED, 0, text.find(b"close") >= 0 and _closes(text)


class HeadReader:
    """Reads one head after another. One of a known shape takes 0.8 µs, one that is looked at 2.2 µs."""

    __slots__ = ("_lengths",)

    def __init__(self) -> None:
        self._lengths = Memo[bytes, bytes](_MOST_SHAPES)
        """By shape, how the server writes the length's header."""

    def read(self, head: bytes) -> tuple[int, int, bool, bytes] | None:
        """Understand a whole head, its blank line included; None if it is unusual in any way.

        Returns:
            Status, length of the body in bytes, whether the connection ends with it, and the shape (`Response.shape`).

        """
        shape = head.translate(None, NUMBERS)
        written = self._lengths.get(shape)
        if written is None or not head.startswith(_WHOLE):
            return self._look(head, shape)
        at = head.find(written) + len(written)
        digits = head[at : head.find(b"\r", at)]
        if not digits.isdigit() or len(digits) > _MOST_DIGITS:
            return self._look(head, shape)
        return 200, int(digits), False, shape

    def _look(self, head: bytes, shape: bytes) -> tuple[int, int, bool, bytes] | None:
        found = read_head(head)
        if found is None:
            return None
        status, length, closes = found
        if not head.startswith(_WHOLE):
            return status, length, closes, shape
        at = head.lower().find(_LENGTH) + len(_LENGTH)
        if not closes and head[at : at + 1] == b" " and head[at + 1 : at + 2] != b" ":
            self._lengths[shape] = head[at - len(_LENGTH) : at + 1]
        return status, length, closes, shape


def may_begin(data: bytes) -> bool:
    """Tell whether an incomplete head may yet become a usual one."""
    return len(data) <= LONGEST and b"\n\n" not in data and data[:9].lower() == b"http/1.1 "[: len(data)]


def _is_odd(text: bytes) -> bool:
    """Find lines that are folded, or that end in another way than they should; and what no header may hold."""
    lines = text.count(b"\r\n")
    return (
        text.count(b"\n") != lines
        or text.count(b"\r") != lines
        or text.find(b"\n ") >= 0
        or (_TAB in text and text.find(b"\n\t") >= 0)
        or 0 in text
    )


def _closes(text: bytes) -> bool:
    return any(
        line.startswith(b"connection:") and b"close" in line.partition(b":")[2]
        for line in text.split(b"\r\n")
    )
