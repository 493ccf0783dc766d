"""What is remembered of earlier pages, to find a listing that leads back to itself. Bounded, since it is sent with the position.

It is the last few cursors and pages, and one of each that moves on at every power of two: Brent's way to find a cycle of any
length within three times round it. And a sample of the rows, which are counted: the same come again and again though no cursor and
no page does where a service shuffles them.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from heapq import nsmallest
from zlib import crc32

import msgspec

_CURSORS = 16
_PAGES = 4
_BYTES = 6  # of a digest
_TAIL = 512  # rows: what slips onto the next page stood at the end of this one
_MARK_BYTES = 4  # of a row; one that is another's by chance costs a request
_SAMPLE = 16  # rows: those with the smallest marks
_OFTEN = 4  # pages on which no row is but in a circle; one or two may be that change all the time
MOST_EMPTY = 10_000
"""How many pages in a row may be without entries. Services have some where much was deleted; each costs a request."""


class Trail(msgspec.Struct, array_like=True, frozen=True):
    """The pages before. `cursors` and `pages` are digests of the last ones, end to end, `mark` and `page_mark` of an earlier one.

    `steps` counts the pages. `asked` is the cursor with which the last page was asked for, `last` the last row of that page, b""
    if its rows were not in order: then `tail` has a mark of each of its last rows. `empty` counts the last pages that had no rows.
    `sample` has the marks of some rows, each with the number of pages that it was on.
    """

    cursors: bytes = b""
    pages: bytes = b""
    mark: bytes = b""
    page_mark: bytes = b""
    steps: int = 0
    asked: str = ""
    last: bytes = b""
    empty: int = 0
    tail: bytes = b""
    sample: tuple[tuple[int, int], ...] = ()

    def may_know(self, rows: Iterable[bytes]) -> set[bytes]:
        """Return which rows may have been among the last ones of the page before, where these were not in order."""
        known = set(_each(self.tail, _MARK_BYTES))
        return {row for row in rows if _mark(row) in known} if known else set()

    def knows_cursor(self, cursor: str) -> bool:
        """Tell whether a cursor was given before."""
        return _digest([cursor.encode()]) in {self.mark, *_each(self.cursors)}

    def knows_page(self, rows: Sequence[bytes]) -> bool:
        """Tell whether a page was given before; an empty one brings nothing new, but it may lead on."""
        return bool(rows) and _digest(rows) in {self.page_mark, *_each(self.pages)}

    def is_endless(self, rows: Sequence[bytes]) -> bool:
        """Tell whether this is an empty page after so many empty ones that no entry is expected any more."""
        return not rows and self.empty >= MOST_EMPTY

    @property
    def goes_round(self) -> bool:
        """Whether most rows of the sample were on page after page."""
        return 2 * sum(count >= _OFTEN for _, count in self.sample) > len(self.sample)

    def _sampled(self, rows: Sequence[bytes]) -> tuple[tuple[int, int], ...]:
        counts = dict(self.sample)
        for mark in set(nsmallest(_SAMPLE, map(crc32, rows))):
            counts[mark] = counts.get(mark, 0) + 1
        return tuple(nsmallest(_SAMPLE, counts.items()))

    def after(
        self, cursor: str, rows: Sequence[bytes], asked: str, last: bytes, tail: Sequence[bytes] = ()
    ) -> "Trail":
        """Add a page: the cursor that it gives, its rows, and those of `asked`, `last` and `tail`."""
        given, page, steps = _digest([cursor.encode()]), _digest(rows) if rows else b"", self.steps + 1
        moves_on = steps & self.steps == 0
        return Trail(
            (self.cursors + given)[-_CURSORS * _BYTES :],
            (self.pages + page)[-_PAGES * _BYTES :],
            given if moves_on else self.mark,
            page if moves_on and page else self.page_mark,
            steps,
            asked,
            last,
            0 if rows else self.empty + 1,
            b"".join(map(_mark, tail[-_TAIL:])),
            self._sampled(rows),
        )


def _each(digests: bytes, size: int = _BYTES) -> list[bytes]:
    return [digests[start : start + size] for start in range(0, len(digests), size)]


def _mark(row: bytes) -> bytes:
    return crc32(row).to_bytes(_MARK_BYTES)


def _digest(pieces: Sequence[bytes]) -> bytes:
    digest = blake2b(digest_size=_BYTES)
    for piece in pieces:
        digest.update(b"%d:" % len(piece))
        digest.update(piece)
    return digest.digest()
