"""Reading the head of an answer: only the usual one is understood here, and everything else is known to be unusual.

Usual is HTTP/1.1 with a body of stated length. Chunked bodies, interim answers, folded or doubled headers, other line
ends: all of that is legal or at least happens, and libcurl understands it.
"""

from typing import Final

END: Final = b"\r\n\r\n"
LONGEST: Final = 64 << 10
_LENGTH: Final = b"\r\ncontent-length:"
_WITHOUT_BODY: Final = frozenset({204, 304})
_MOST_DIGITS: Final = 15
_TAB: Final = 9


def read_head(head: bytes) -> tuple[int, int, bool] | None:
    """Understand a whole head, its blank line included; None if it is unusual in any way.

    `find` takes 0.15 µs where `in` takes 0.2-0.8 µs for the same bytes, and `in` takes 0.02 µs for a number.

    Returns:
        Status, length of the body in bytes, and whether the connection ends with it.

    """
    text = head.lower()
    at = text.find(_LENGTH)
    if at < 0 or not text.startswith(b"http/1.1 ") or text.find(b"\r\ntransfer-encoding") >= 0:
        return None
    after = text.index(b"\r\n", at + 2)
    digits, status = text[at + len(_LENGTH) : after].strip(b" \t"), text[9:12]
    if not (digits.isdigit() and len(digits) <= _MOST_DIGITS and status.isdigit() and text[12] in b" \r"):
        return None
    code = int(status)
    if code < 200 or code in _WITHOUT_BODY or text.find(_LENGTH, after) >= 0 or _is_odd(text):
        return None
    return code, int(digits), text.find(b"close") >= 0 and _closes(text)


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
