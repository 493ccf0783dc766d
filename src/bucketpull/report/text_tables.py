"""Tables and keys in plain text, for terminals of any width."""

from collections.abc import Iterable, Sequence

_MARK = "…"


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
    return head + _MARK + tail
