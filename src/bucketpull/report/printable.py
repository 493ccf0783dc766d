"""The one place that makes text fit to be shown, in the last step before a terminal, a pipe or a log file; and its alignment in columns.

Keys, answers, messages and paths come from others. Whatever they hold, a terminal obeys nothing of it and a line stays a line.
What programs read has escapes of its own: a line of JSON is ASCII without DEL, so that it survives a terminal or a log in GBK.
`list` and `export` write bytes as they are, but on a terminal.
"""

import codecs
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_SPACES: Final = frozenset("\u3000\xa0")
_NOT_ASCII: Final = r"[^\x00-\x7e]+"


def printable(text: str) -> str:
    r"""Return a text in one line: control characters, line ends, invisible marks and bytes that are no text as escapes (`\x1b`).

    So are the marks that turn the direction of writing: with them a name shows another one (`gpj.exe` for `exe.jpg`).
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in _SPACES else ascii(mark)[1:-1] for mark in text)


class PrintableStream(io.BufferedIOBase):
    """Passes lines of UTF-8 on to a terminal, made printable; tabs stay. A program that reads from a pipe gets them as they are.

    In CSV a line end between quotes is a key's own; it is shown as an escape too.
    """

    def __init__(self, terminal: BinaryIO, *, is_csv: bool = False) -> None:
        self._terminal = terminal
        self._marks = re.compile('([\n\t"])' if is_csv else "([\n\t])")
        self._is_quoted = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write bytes; return how many were taken."""
        given = bytes(data)
        pieces = self._marks.split(self._decoder.decode(given))
        self._terminal.write("".join(map(self._shown, pieces)).encode())
        return len(given)

    def _shown(self, piece: str) -> str:
        if piece == "\n":
            return "\\n" if self._is_quoted else piece
        if piece == '"':
            self._is_quoted = not self._is_quoted
        return piece if piece == "\t" else printable(piece)

    def flush(self) -> None:
        """Have the terminal show what was written."""
        self._terminal.flush()


def json_line(value: object) -> str:
    """Return a value as one line of JSON without its end."""
    text = msgspec.json.encode(value).decode()
    return re.sub(_NOT_ASCII, _as_utf16, text)


def _as_utf16(found: re.Match[str]) -> str:
    return re.sub("....", r"\\u\g<0>", found[0].encode("utf-16-be", "surrogatepass").hex())


# --- columns of a terminal


def table(rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> list[str]:
    """Align rows of text; the columns in `numbers` to the right, the last one as it is."""
    right = set(numbers)
    widths = [max(columns(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            " " * (width - columns(cell)) + cell if index in right else cell + " " * (width - columns(cell))
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def columns(text: str) -> int:
    """Return how many columns a text takes; a Chinese character takes two."""
    return sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)


def label(text: str, width: int = 14) -> str:
    """Pad to a width in columns."""
    return text + " " * max(1, width - columns(text))


def fitted(text: str, width: int) -> str:
    """Shorten a text to so many columns in the middle: the end of a key says more than its middle."""
    if columns(text) <= width:
        return text
    head, tail, room = "", "", width - 1
    for index in range(len(text)):
        front, back = text[index], text[-1 - index]
        if columns(head + front + tail) > room:
            break
        head += front
        if columns(head + back + tail) > room:
            break
        tail = back + tail
    return head + "…" + tail
