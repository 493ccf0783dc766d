"""Where to cut a directory of millions of names, so that its parts can be listed at once.

Nobody tells how many names there are, only names in byte order. So names are read as numbers: column by column behind what
two of them have in common, each column with the characters that it seems to be written in (digits, hexadecimal, letters ...).
A page then has a density, and what lies ahead a length. Wrong guesses cost time, never a name: cuts are only places.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

_COLUMNS = 12
_FINENESS = 16  # a cut is rounded to this part of a step: it stays the same when a few names come or go
_CLASSES = (
    b"0123456789",
    b"0123456789abcdef",
    b"0123456789ABCDEF",
    b"abcdefghijklmnopqrstuvwxyz",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"0123456789abcdefghijklmnopqrstuvwxyz",
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
)
_SETS = tuple(frozenset(each) for each in _CLASSES)
_SAMPLES = 50
DEEPEST: Final = 6
"""How often a range, and then its pieces, may be cut."""
_PAGES_A_RANGE = 3
_MOST_RANGES = 64
_MOST_RANGES_AGAIN = 8  # when a range that is longer than estimated is cut again
_WORTH_PAGES = 6.0
_LONGER = 3  # times as long as estimated
_LONG_PAGES = 20  # an estimate of more pages than that may be of a gap between names


class Scale:
    """The numbers of the names from `low` to `high`, both 0 to 1; `samples` show how names look."""

    def __init__(self, low: bytes, high: bytes, samples: Sequence[bytes] = ()) -> None:
        self._shared = shared_length(low, high)
        self._prefix = low[: self._shared]
        step = max(1, len(samples) // _SAMPLES)
        shown = [low, high, *islice(samples, 0, None, step)]
        self._alphabets = [
            _alphabet({name[column] for name in shown if len(name) > column})
            for column in range(self._shared, self._shared + _COLUMNS)
        ]

    def place(self, name: bytes) -> float:
        """Return where a name lies."""
        if name[: self._shared] != self._prefix:
            return 0.0 if name < self._prefix else 1.0
        place, width = 0.0, 1.0
        for alphabet, byte in zip(self._alphabets, name[self._shared :], strict=False):
            width /= len(alphabet)
            place += width * bisect_left(alphabet, byte)
        return min(place, 1.0)

    def name_at(self, place: float, step: float) -> bytes:
        """Return a short name near a place, rounded down to a part of `step`."""
        name, width = bytearray(self._prefix), 1.0
        for alphabet in self._alphabets:
            if not alphabet or width <= step / _FINENESS:
                break
            width /= len(alphabet)
            digit = min(int(place / width), len(alphabet) - 1)
            place -= digit * width
            name.append(alphabet[digit])
        return bytes(name)


def parts_ahead(first: bytes, last: bytes, until: bytes, samples: Sequence[bytes] = ()) -> float:
    """Estimate how many pages like the one from `first` to `last` lie between `last` and `until`."""
    scale = Scale(min(first, last), until, samples)
    behind, ahead = scale.place(last) - scale.place(first), scale.place(until) - scale.place(last)
    return 0.0 if ahead <= 0.0 else ahead / max(behind, 1e-12)


def cuts(low: bytes, high: bytes, parts: int, samples: Sequence[bytes] = ()) -> list[bytes]:
    """Return at most `parts - 1` names between two, in order, that divide what lies there about evenly."""
    if parts < 2 or not low < high:
        return []
    scale = Scale(low, high, samples)
    begin, end = scale.place(low), scale.place(high)
    step = (end - begin) / parts
    if step <= 0.0:
        return []
    names = {scale.name_at(begin + step * number, step) for number in range(1, parts)}
    return sorted(name for name in names if low < name < high)


class Ranges(msgspec.Struct, frozen=True):
    """Where to cut, in order, and the estimated pages of each piece."""

    borders: list[bytes]
    pages: int


def first_ranges(first: bytes, last: bytes, until: bytes, samples: Sequence[bytes] = ()) -> Ranges:
    """Cut what lies between `last` and `until`, given one page, the one from `first` to `last`."""
    ahead = parts_ahead(first, last, until, samples)
    ranges = min(_MOST_RANGES, int(ahead / _PAGES_A_RANGE))
    return Ranges(cuts(last, until, ranges, samples), int(ahead) // max(ranges, 1))


def cut_again(
    first: bytes, last: bytes, until: bytes, samples: Sequence[bytes], thought_pages: int
) -> Ranges | None:
    """Cut the rest of a range that is much longer than estimated, given its latest page; None if that is not worth it."""
    ahead = parts_ahead(first, last, until, samples)
    if ahead < max(_WORTH_PAGES, _LONGER * min(thought_pages, _LONG_PAGES)):
        return None
    ranges = min(_MOST_RANGES_AGAIN, int(ahead / 2))
    return Ranges(cuts(last, until, ranges, samples), int(ahead / ranges))


def _alphabet(letters: set[int]) -> bytes:
    """Return the smallest known set of characters that holds all those seen, else themselves; b"" for none. In order."""
    if len(letters) < 2 and not letters <= _SETS[-1]:
        return bytes(letters)
    for known, members in zip(_CLASSES, _SETS, strict=True):
        if letters <= members:
            return known
    return bytes(sorted(letters | _SETS[-1])) if letters else b""


def shared_length(low: bytes, high: bytes) -> int:
    """Return how many bytes two names begin with alike."""
    length = 0
    for one, other in zip(low, high, strict=False):
        if one != other:
            break
        length += 1
    return length
