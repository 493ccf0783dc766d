"""The listed pages: what is known of each, which ledger blocks hold its objects, and which may hold others'."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from bucketpull.domain.model import PageRecord, Span
from bucketpull.journal.extents import Entry, in_ledger_order, merged, pack_entries, unpack_entries
from bucketpull.journal.journal_connection import JournalConnection, check_types

STEP = 1000  # rows a transaction when all pages are walked
_TYPES = (bytes, str, int, str, bytes, bytes, bytes, int, int, int, int, int, int, bytes)


class PageRow(msgspec.Struct):
    """A row of the page table, one a page and run. `size` is in bytes, `extents` the blob as it is kept."""

    directory: bytes
    cursor: str
    run: int
    until: str
    first: bytes
    last: bytes
    digest: bytes = b""
    objects: int = 0
    size: int = 0
    excluded: int = 0
    stored: int = 0
    skipped: int = 0
    vanished: int = 0
    extents: bytes = b""


class Share(msgspec.Struct):
    """What a batch brought to one page, in objects."""

    stored: int = 0
    skipped: int = 0
    vanished: int = 0


class Pages:
    """Rows of pages. Every method runs in the caller's transaction."""

    def __init__(self, connection: JournalConnection) -> None:
        self._connection = connection

    def known(self, directory: bytes, cursor: str) -> PageRow | None:
        """Return the newest row of a page."""
        rows = self._connection.run("known-page", (directory, cursor)).fetchall()
        check_types(rows, _TYPES)
        return PageRow(*rows[0]) if rows else None

    def is_listed(self, directory: bytes, cursor: str) -> bool:
        """Tell whether a run listed a page. What was found in a ledger, or kept, is known all the same."""
        known = self.known(directory, cursor)
        return known is not None and known.run > 0

    def add(self, page: PageRecord, run: int, until: str = "", extents: bytes = b"") -> None:
        """Add a listed page; `until` is that of its position."""
        key = (page.directory, page.cursor, run, until)
        row = (*key, page.first, page.last, page.digest, page.objects, page.bytes, page.excluded, extents)
        self._connection.run("add-page", row)

    def see(self, known: PageRow, run: int, until: str, excluded: int, skipped: int) -> None:
        """Take an unchanged page over into a run."""
        key = known.directory, known.cursor, known.run
        self._connection.run("see-page", (run, until, excluded, skipped, *key))

    def remove(self, row: PageRow) -> None:
        """Forget a page."""
        self._connection.run("remove-page", (row.directory, row.cursor, row.run))

    def keep(self, span: Span, place: tuple[int, int], run: int) -> None:
        """Note a block of a page that is not known, as of no run; pages that may list its objects are compared."""
        if self.known(span.directory, span.cursor) is None:
            where = span.directory, span.cursor, span.first, span.last
            page = PageRecord(*where, b"", span.objects, 0, unchanged=False)
            self.add(page, 0, extents=pack_entries([place]))
        else:
            self.recall(span, [place], run)
            self.doubt(span.directory, span.cursor)
        for name in (span.first, span.last):
            self.doubt_over(span.directory, name)

    def set_aside(self, row: PageRow) -> None:
        """Take a page out of its run, and keep what is known to lie among its names as of an earlier run."""
        self.remove(row)
        older = self.known(row.directory, row.cursor)
        if older is not None:
            older.first, older.last = min(row.first, older.first), max(row.last, older.last)
            older.extents = pack_entries(merged(unpack_entries(older.extents), unpack_entries(row.extents)))
            older.objects, older.digest = older.objects + row.objects, b""
            self.change(older)
        elif row.extents:
            where = row.directory, row.cursor, row.first, row.last
            page = PageRecord(*where, b"", row.objects, row.size, unchanged=False)
            self.add(page, row.run - 1, extents=row.extents)

    def book(self, span: Span, share: Share, volumes: Iterable[tuple[int, int]], run: int) -> None:
        """Book a batch's share in a page, and where its objects lie."""
        known = self._known_or_new(span, run)
        digest = b"" if share.vanished else known.digest
        counts = (share.stored, share.skipped, share.vanished)
        row = (*counts, digest, _with(known, span, volumes), span.directory, span.cursor, known.run)
        self._connection.run("book-page", row)

    def recall(self, span: Span, blocks: Iterable[tuple[int, int]], run: int) -> None:
        """Note that blocks may hold objects of a page in older versions than those that are known of."""
        known = self._known_or_new(span, run)
        older: list[Entry] = [(volume, offset, span.first, span.last) for volume, offset in blocks]
        known.extents = pack_entries(merged(older, unpack_entries(known.extents)))
        self.change(known)

    def doubt(self, directory: bytes, cursor: str) -> None:
        """Forget the digests of a page: an equal one proves nothing."""
        self._connection.run("doubt-page", (directory, cursor))

    def doubt_over(self, directory: bytes, name: bytes) -> None:
        """Forget the digests of the pages of a directory that may list a name."""
        where = {"directory": directory, "name": name}
        self._connection.run("doubt-first-page", where)
        self._connection.run("doubt-later-pages", where)

    def over(self, directory: bytes, name: bytes) -> list[Entry]:
        """Return the blocks of the pages of a directory among whose names one may be, oldest first."""
        return self._overlapping("later-pages-over", directory, name, name)

    def candidates(self, spans: Iterable[Span]) -> dict[bytes, list[Entry]]:
        """Return, by directory, the blocks that may hold objects of some spans, oldest first."""
        ranges: dict[bytes, tuple[bytes, bytes]] = {}
        for span in spans:
            first, last = ranges.get(span.directory, (span.first, span.last))
            ranges[span.directory] = min(first, span.first), max(last, span.last)
        return {
            directory: self._overlapping("later-pages-near", directory, first, last)
            for directory, (first, last) in ranges.items()
        }

    def walk(self) -> Iterator[list[PageRow]]:
        """Return all pages in the order of their keys, a thousand at a time; rows may be changed meanwhile."""
        after: tuple[bytes, str, int] = (b"", "", -1)
        while rows := self._step(after):
            yield [PageRow(*row) for row in rows]
            before, after = after, rows[-1][:3]
            self._connection.check_order(before, after)

    def _step(self, after: tuple[bytes, str, int]) -> list[tuple[Any, ...]]:
        with self._connection.reading():
            rows = self._connection.run("walk-pages", (*after, STEP)).fetchall()
            check_types(rows, _TYPES)
            return rows

    def change(self, row: PageRow) -> None:
        """Write a row back, but for its counts."""
        values = (row.first, row.last, row.digest, row.objects, row.size, row.extents)
        self._connection.run("change-extents", (*values, row.directory, row.cursor, row.run))

    def unsettled(self, run: int) -> Iterator[tuple[bytes, str, int]]:
        """Return the pages of a run of which objects are not booked: directory, cursor, and how many."""
        return iter(self._connection.run("unsettled-pages", (run,)))

    def was_seen(self, directory: bytes, run: int) -> bool:
        """Whether a directory was listed in a run, to its end."""
        return bool(self._connection.run("was-seen", (directory, run)).fetchone()[0])

    def objects_in_overlaps(self, run: int) -> int:
        """Return how many objects of a run are on pages that begin among the names of another page of their directory."""
        return int(self._connection.run("objects-in-overlaps", (run,)).fetchone()[0])

    def others_over(self, span: Span, run: int) -> list[PageRow]:
        """Return the other pages of a run that stand among the names of a span, as `over_page`."""
        if not span.cursor and not self._connection.run("has-later-pages", (span.directory,)).fetchone()[0]:
            return []
        return [row for row in self.over_page(span, run) if row.cursor != span.cursor]

    def over_page(self, row: PageRow | Span, run: int) -> list[PageRow]:
        """Return the pages of a run that stand among the names of a page, the nearest hundred."""
        where = {"directory": row.directory, "run": run, "first": row.first, "last": row.last}
        rows = self._connection.run("pages-over", where).fetchall()
        check_types(rows, _TYPES)
        return [PageRow(*found) for found in rows]

    def _overlapping(self, query: str, directory: bytes, first: bytes, last: bytes) -> list[Entry]:
        where = {"directory": directory, "first": first, "last": last}
        rows = self._connection.run("first-pages-over", where).fetchall()
        rows += self._connection.run(query, where).fetchall()
        rows.sort(key=lambda row: row[0])
        return in_ledger_order(entry for _, extents in rows for entry in unpack_entries(extents))

    def _known_or_new(self, span: Span, run: int) -> PageRow:
        """Return the newest row of a page; one is made where the journal does not know it, as of repaired objects of a found volume."""
        known = self.known(span.directory, span.cursor)
        if known is None:
            page = PageRecord(span.directory, span.cursor, span.first, span.last, b"", 0, 0, unchanged=False)
            self.add(page, run)
            known = PageRow(span.directory, span.cursor, run, "", span.first, span.last)
        return known


def _with(known: PageRow, span: Span, volumes: Iterable[tuple[int, int]]) -> bytes:
    """Return a page's blocks with those of a batch."""
    new: list[Entry]
    if span.first <= known.first and span.last >= known.last:
        new = list(volumes)
    else:
        new = [(volume, offset, span.first, span.last) for volume, offset in volumes]
    return pack_entries(merged(unpack_entries(known.extents), new)) if new else known.extents
