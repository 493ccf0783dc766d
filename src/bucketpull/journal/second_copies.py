"""Objects that two pages of one listing give: each page's batch stores them, and both may be in hand at once, on two volumes.

Booking is one after the other, so the later receipt alone decides: the copy that it brought stays, and that of the earlier one goes.
It decides only what is certain: that it has stored an object, and which one other page of the run may have it.
"""

from collections.abc import Collection, Iterable

from bucketpull.domain.batching import among, decode_batch, decode_parts, encode_parts, ids_of, span_of
from bucketpull.domain.messages import BatchReceipt
from bucketpull.domain.model import Former, Id, Part, Span
from bucketpull.journal.extents import Entry, covers, unpack_entries
from bucketpull.journal.frontier import REPAIR, Taken
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.listed_pages import PageRow, Share

MOST_PAGES = 4
"""So many other pages may stand among the names of a batch; where more do, names come in no order, and any page may have any name."""
MOST_PENDING = 200
"""So many rows of stale copies are looked through for an object."""
MOST_SETTLED = 100_000
"""So many objects are remembered of which a copy was noted."""

_Near = list[tuple[PageRow, list[Entry]]]


def settle(tables: Tables, receipt: BatchReceipt, taken: Taken, spans: Iterable[Span]) -> None:
    """Note the second copies of what a receipt has stored, where another page's batch stored it on another volume."""
    names = {extent.volume for extent in receipt.extents}
    if len(names) != 1 or receipt.skipped or taken.candidates == REPAIR or len(tables.volumes.numbers()) < 2:
        return
    [name] = names
    volume = tables.volumes.number(name, receipt.machine)
    if not tables.volumes.is_there(volume):
        return
    compared = {entry[:2] for entry in unpack_entries(taken.candidates)}
    found: list[tuple[Span, list[PageRow], _Near]] = []
    for span in spans:
        rows = tables.pages.others_over(span, tables.run.number)
        near = [(row, _blocks(tables, row, span, volume, compared)) for row in rows]
        if len(rows) <= MOST_PAGES and any(entries for _, entries in near):
            found.append((span, rows, near))
    if found:
        copies = _Copies(tables, receipt)
        stored = stored_parts(receipt, taken.body)
        for span, rows, near in found:
            for part in stored:
                if (part.directory, part.cursor) == (span.directory, span.cursor):
                    copies.settle(part, rows, near)


def _blocks(
    tables: Tables, row: PageRow, span: Span, volume: int, compared: Collection[Entry]
) -> list[Entry]:
    """Return a page's blocks that may hold objects of a span, on other volumes, and with which its batch was not compared."""
    return [
        entry
        for entry in unpack_entries(row.extents)
        if entry[0] != volume
        and entry[:2] not in compared
        and covers(entry, span.first, span.last)
        and tables.volumes.is_there(entry[0])
    ]


def stored_parts(receipt: BatchReceipt, body: bytes) -> list[Part]:
    """Return the objects of a batch that its receipt says are stored; of one that found none in place."""
    parts = decode_batch(body).parts
    ids = ids_of(parts) - {(failure.directory, failure.name) for failure in receipt.failures}
    for batch in (receipt.deferred, receipt.returned, receipt.sent_on, receipt.remainder):
        if batch is not None:
            ids -= ids_of(batch.parts)
    return among(parts, ids)


class _Copies:
    """The copies of what one receipt has stored, all on one volume."""

    def __init__(self, tables: Tables, receipt: BatchReceipt) -> None:
        self._tables = tables
        self._receipt = receipt
        self._volume = receipt.extents[0].volume

    def settle(self, part: Part, rows: Collection[PageRow], near: _Near) -> None:
        """Note those of objects of one page; `rows` are all pages nearby, `near` those with blocks that may have the objects.

        Of what stale copies are pending here the new copy may go with them: then it is this one that goes, if the other is known.
        """
        going = self._going(self._volume)
        if going is None:
            return
        shared = [each for each in part.ids() if any(_has(row, each) for row, _ in near)]
        for owner in sorted({going[each] for each in shared if each in going}):
            self._give_up(among([part], {each for each in shared if going.get(each) == owner}), owner, near)
        alone = {each for each in shared if each not in going and sum(_has(row, each) for row in rows) == 1}
        for row, entries in near:
            for found in among([part], {each for each in alone if _has(row, each)}):
                self._replace(found, row, entries)

    def _going(self, volume: str) -> dict[Id, str] | None:
        """Return the objects whose copies on a volume are to go, with the volume that has them instead ("" where that is not certain); None if they are too many to look at."""
        pending = self._tables.copies.of([volume], MOST_PENDING)
        if len(pending) == MOST_PENDING:
            return None
        ids = {each for copy in pending for each in ids_of(decode_parts(copy.parts))}
        return {each: self._tables.copies.settled.get((volume, each), "") for each in ids}

    def _replace(self, part: Part, row: PageRow, entries: Iterable[Entry]) -> None:
        """Note copies of another page as stale, and where its objects are instead."""
        first, last = min(part.names), max(part.names)
        offsets: dict[int, list[int]] = {}
        for entry in entries:
            if covers(entry, first, last):
                offsets.setdefault(entry[0], []).append(entry[1])
        for number, found in offsets.items():
            self._note(self._tables.volumes.volume(number).id, found, self._volume, part)
        if offsets:
            # Behind the others: these blocks tell of the newest version.
            page = Span(row.directory, row.cursor, first, last)
            self._tables.pages.book(page, Share(), self._new_blocks(), self._tables.run.number)
            self._tables.pages.doubt(row.directory, row.cursor)

    def _give_up(self, parts: list[Part], owner: str, near: _Near) -> None:
        """Note the new copies as stale themselves."""
        number = self._tables.volumes.known_number(owner)
        blocks = list(
            dict.fromkeys(entry[:2] for _, entries in near for entry in entries if entry[0] == number)
        )
        others = self._going(owner) if blocks else None
        for part in parts:
            if others is not None and others.keys().isdisjoint(part.ids()):
                self._note(self._volume, [each.offset for each in self._receipt.extents], owner, part)
                self._tables.pages.recall(span_of(part), blocks, self._tables.run.number)
                self._tables.pages.doubt(part.directory, part.cursor)

    def _note(self, volume: str, offsets: list[int], owner: str, part: Part) -> None:
        copies = self._tables.copies
        copies.add([Former(volume, sorted(offsets), owner, encode_parts([part]))], self._receipt.machine)
        if len(copies.settled) > MOST_SETTLED:
            copies.settled.clear()
        copies.settled.update(((volume, each), owner) for each in part.ids())

    def _new_blocks(self) -> list[tuple[int, int]]:
        number = self._tables.volumes.number(self._volume, self._receipt.machine)
        return [(number, extent.offset) for extent in self._receipt.extents]


def _has(row: PageRow, each: Id) -> bool:
    """Tell whether a page of the same directory may have an object."""
    return row.first <= each[1] <= row.last
