"""What failed for good: objects, and pages that could not be listed (their name is empty)."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Failure, Position
from bucketpull.journal.journal_connection import ImpossibleRow, JournalConnection, check_types
from bucketpull.journal.sums import Books

_TYPES = (bytes, bytes, int, int, str, str, int, int, str, int, str, str, str)
_REASONS = frozenset(reason.value for reason in Reason)
STEP = 1000  # rows a transaction when all failures are walked


class Recorded(msgspec.Struct, frozen=True):
    """A failure, the run that it is of, and the `until` of the position, if it is one that could not be listed."""

    failure: Failure
    run: int
    until: str

    def position(self) -> Position:
        """Return the position that could not be listed."""
        return Position(self.failure.directory, self.failure.cursor, self.until)


class Failures:
    """Rows of failures. Every method runs in the caller's transaction and keeps the books in step."""

    def __init__(self, connection: JournalConnection, books: Books) -> None:
        self._connection = connection
        self._books = books

    def add(
        self, failures: Iterable[Failure], run: int, untils: Mapping[tuple[bytes, str], str] = {}
    ) -> None:
        """Record what failed for good; what was recorded of the same objects goes.

        `untils` are those of the positions that could not be listed, by directory and cursor, where they have one.
        """
        for failure in failures:
            self.remove(failure)
            self._connection.run("add-failure", _row(failure, run, untils))
            self._books.fail(failure.reason.value, failure.name)

    def remove(self, failure: Failure) -> None:
        """Remove one, if it is there."""
        key = (failure.directory, failure.name, failure.cursor)
        for (reason,) in self._connection.run("remove-failure", key).fetchall():
            self._books.fail(reason, failure.name, -1)

    def remove_of_page(self, directory: bytes, cursor: str) -> list[Recorded]:
        """Remove and return those of a page."""
        if not self._books.failures:
            return []
        rows = self._connection.run("remove-failures-of-page", (directory, cursor)).fetchall()
        recorded = [_recorded(row) for row in rows]
        for each in recorded:
            self._books.fail(each.failure.reason.value, each.failure.name, -1)
        return recorded

    def count_of_page(self, directory: bytes, cursor: str, run: int) -> int:
        """Return how many objects of a page failed in a run."""
        if not self._books.failures:
            return 0
        row = self._connection.run("count-failures-of-page", (directory, cursor, run)).fetchone()
        return int(row[0])

    def walk(self) -> Iterator[list[Recorded]]:
        """Return all in key order, a thousand at a time; rows may be removed meanwhile."""
        after: tuple[bytes, bytes, str, int] = (b"", b"", "", -1)
        while recorded := self._step(after):
            yield recorded
            last, before = recorded[-1].failure, after
            after = (last.directory, last.name, last.cursor, recorded[-1].run)
            self._connection.check_order(before, after)

    def _step(self, after: tuple[bytes, bytes, str, int]) -> list[Recorded]:
        with self._connection.reading():
            rows = self._connection.run("walk-failures", (*after, STEP)).fetchall()
            check_types(rows, _TYPES)
            return [_recorded(row) for row in rows]

    def listing_failed(self) -> bool:
        """Whether any page could not be listed."""
        return bool(self._connection.run("listing-failed").fetchone()[0])


def _row(failure: Failure, run: int, untils: Mapping[tuple[bytes, str], str]) -> tuple[object, ...]:
    until = "" if failure.name else untils.get((failure.directory, failure.cursor), "")
    key = (failure.directory, failure.name, failure.cursor, run, until)
    what = (failure.size, failure.mtime, failure.reason.value)
    own = (failure.version, failure.url)
    return (*key, *what, failure.attempts, failure.status, failure.detail, *own)


def _recorded(row: tuple[bytes, bytes, int, int, str, str, int, int, str, int, str, str, str]) -> Recorded:
    directory, name, size, mtime, cursor, reason, attempts, status, detail, run, until, *own = row
    if reason not in _REASONS:
        raise ImpossibleRow(f"a failure for the reason {reason!r}")
    failure = Failure(directory, name, size, mtime, cursor, Reason(reason), attempts, status, detail, *own)
    return Recorded(failure, run, until)
