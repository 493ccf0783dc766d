"""Changes of many rows, by commands and at the end of a run: in steps of a thousand, each a transaction.

A step leaves the journal right whatever happens before the next, and each of these may be called again.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from bucketpull.domain.batching import cut, decode_batch, known_bytes, span_of, spans_of
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.model import MESSAGE_CURSOR, Extent, PageRecord, Part, Position, VolumeState, WorkKind
from bucketpull.domain.record import Record
from bucketpull.journal import batch_receipts, scan_receipts
from bucketpull.journal.extents import Entry, merged, pack_entries, unpack_entries
from bucketpull.journal.failures import Recorded
from bucketpull.journal.frontier import AGAIN, REPAIR
from bucketpull.journal.journal_reader import chosen
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.listed_pages import PageRow, Share
from bucketpull.journal.volume_numbers import KnownVolume

LedgerBlock = tuple[str, int, Sequence[Record]]  # volume, offset (bytes), records
HasSome = Callable[[bytes, list[Extent]], bool]
"""Whether some blocks have an object of a directory."""


def forget_pages(tables: Tables, rows: Iterable[PageRow]) -> None:
    """Remove pages that the finished run did not see, unless it could not list their directory.

    Where no page of it stands in their place, be it between two pages, it stays known where theirs lie: if they are made again, they go
    back there. What lies among the names of a page is told by the batch that was compared with it.
    """
    for row in rows:
        if row.run < tables.run.number and _may_forget(tables, row.directory):
            left = _left_alone(row, *tables.pages.ends_over(row, tables.run.number)) if row.extents else None
            if left is None:
                tables.pages.remove(row.directory, row.cursor, row.run)
            elif left != row:
                tables.pages.change(left)


def _left_alone(row: PageRow, head: bytes | None, tail: bytes | None) -> PageRow | None:
    """Return a page without the names that the pages over its first and its last one cover, up to `head` and from `tail` on; None if that is all."""
    first, last = row.first if head is None else head, row.last if tail is None else tail
    if (head is not None and head >= last) or (tail is not None and tail <= first):
        return None
    return msgspec.structs.replace(row, first=first, last=last, digest=b"", objects=0, size=0)


def count_vanished(tables: Tables, objects: int) -> None:
    """Count objects that were stored or skipped as vanished."""
    counters = tables.books.counters
    of_stored = min(objects, counters.stored)
    counters.stored -= of_stored
    counters.skipped -= objects - of_stored
    counters.vanished += objects


def emptied(tables: Tables, rows: Iterable[PageRow], has_some: HasSome) -> list[PageRow]:
    """Return the pages that `forget_pages` keeps for what lies on volumes, where nothing lies there any more."""
    kept = (row for row in rows if row.extents and not row.objects and not row.digest)
    return [
        row
        for row in kept
        if row.run < tables.run.number and not has_some(row.directory, _blocks(tables, row))
    ]


def _blocks(tables: Tables, row: PageRow) -> list[Extent]:
    entries = unpack_entries(row.extents)
    return [tables.volumes.extent(entry) for entry in entries if tables.volumes.is_there(entry[0])]


def forget_failures(tables: Tables, recorded: Iterable[Recorded]) -> None:
    """Likewise, remove failures of earlier runs; a page that is kept proves nothing about its objects without them."""
    for failure, run, _ in recorded:
        if run < tables.run.number and _may_forget(tables, failure.directory):
            tables.pages.doubt(failure.directory, failure.cursor)
            tables.failures.remove(failure)


def doubt(tables: Tables, rows: Sequence[PageRow], twice: "Overlaps") -> int:
    """Have pages compared when they are listed again, though they be unchanged; return how many."""
    doubted = [row for row in rows if row.digest]
    for row in doubted:
        tables.pages.doubt(row.directory, row.cursor)
    twice.see(rows)
    return len(doubted)


def doubt_shared(tables: Tables, rows: Iterable[PageRow], volumes: set[int]) -> int:
    """Have pages compared of which one of these volumes and others have blocks, where that was done without it: each may have a copy of an object.

    Those of this run are listed again; return how many.
    """
    again: list[Position] = []
    for row in rows:
        holders = {entry[0] for entry in unpack_entries(row.extents)}
        if row.digest and volumes & holders and len(holders) > 1:
            tables.pages.doubt(row.directory, row.cursor)
            if row.run == tables.run.number > 0:
                again.append(Position(row.directory, row.cursor, row.until))
    tables.frontier.add_scans(again, tier=AGAIN)
    return len(again)


class Overlaps:
    """Counts the objects of a run's pages whose names overlap with another page's of their directory. Pages come directory by directory."""

    def __init__(self, run: int) -> None:
        self._run = run
        self._directory: bytes | None = None
        self._pages: list[tuple[bytes, bytes, int]] = []
        self._objects = 0

    def see(self, rows: Iterable[PageRow]) -> None:
        """Take in pages."""
        for row in rows:
            if row.directory != self._directory:
                self.count()
                self._directory = row.directory
            if row.run == self._run and row.objects:
                self._pages.append((row.first, row.last, row.objects))

    def count(self) -> int:
        """Return how many objects it is so far."""
        pages, self._pages = sorted(self._pages), []
        end: bytes | None = None
        for first, last, objects in pages:
            if end is not None and first <= end:
                self._objects += objects
            end = last if end is None else max(end, last)
        return self._objects


def _may_forget(tables: Tables, directory: bytes) -> bool:
    return not tables.failures.listing_failed() or tables.pages.was_seen(directory, tables.run.number)


def retry(tables: Tables, recorded: Iterable[Recorded], reason: Reason | None, pattern: str | None) -> int:
    """Make work of failures; return how many.

    Those of earlier runs stay: their directory could not be listed since, and they come back with it.
    """
    found = [
        entry
        for entry in recorded
        if entry.run == tables.run.number and chosen(entry.failure, reason, pattern)
    ]
    for entry in found:
        tables.failures.remove(entry.failure)
    found = [entry for entry in found if entry.failure.cursor != MESSAGE_CURSOR]
    for entry in found:
        if not entry.failure.name:
            scan_receipts.try_again(tables, entry.position())
    objects = [entry.failure for entry in found if entry.failure.name]
    tables.books.counters.failed -= batch_receipts.try_again(tables, objects)
    return len(found)


def drop_extents(tables: Tables, rows: Iterable[PageRow], volume: int, is_gone: Callable[[int], bool]) -> int:
    """Remove a volume's blocks, those at offsets that are gone, from pages, and list those pages again; return how many there were."""
    hit = 0
    again: list[Position] = []
    for row in rows:
        entries = unpack_entries(row.extents)
        rest = [entry for entry in entries if entry[0] != volume or not is_gone(entry[1])]
        if len(rest) < len(entries):
            tables.pages.change(msgspec.structs.replace(row, digest=b"", extents=pack_entries(rest)))
            hit += 1
            if row.run == tables.run.number > 0:
                again.append(Position(row.directory, row.cursor, row.until))
    if again:
        tables.frontier.add_scans(again, tier=AGAIN)
    return hit


def write_off(tables: Tables, volume: KnownVolume, number: int) -> None:
    """Give up a volume: nothing on it counts."""
    tables.volumes.record(msgspec.structs.replace(volume, state=VolumeState.LOST))
    tables.frontier.rehome(number)
    _give_up(tables, number)


def _give_up(tables: Tables, number: int) -> None:
    """Count on the copies elsewhere that the files of a volume had replaced: they are old, but may be the only ones left."""
    for other, offsets, parts in tables.copies.replaced_by(number):
        blocks = [(other, offset) for offset in sorted(offsets)]
        for span in spans_of(part for part in parts if part.names):
            tables.pages.recall(span, blocks, tables.run.number)
    tables.copies.lose(number)


def forget_blocks(tables: Tables, volume: str, number: int, end: int) -> None:
    """Note where a volume's ledger ends. Copies elsewhere that its lost blocks had replaced are kept: they may be the only ones."""
    _give_up(tables, number)
    tables.books.last_blocks[volume] = end - 1


def doubt_blocks(tables: Tables, volume: str, number: int, damages: Iterable[tuple[int, int]]) -> None:
    """Likewise, where parts of a volume's ledger are damaged, maybe up to its end."""
    _give_up(tables, number)
    last = tables.books.last_blocks.get(volume, -1)
    beyond = (start - 1 for start, end in damages if end > last)
    tables.books.last_blocks[volume] = min([last, *beyond])


def abandon(tables: Tables, now: float) -> None:
    """End a run before its end: what it left of a page is to be found missing by the next, which lists the source again.

    What earlier runs know stays, for this one has not seen all of it. Repairs stay work.
    """
    for taken in tables.frontier.abandoned():
        if taken.kind is WorkKind.BATCH:
            for span in decode_batch(taken.body).spans:
                tables.pages.doubt(span.directory, span.cursor)
    tables.store.rows("abandon-run", now, tables.run.number)


def volume_named(tables: Tables, name: str) -> tuple[int, KnownVolume]:
    """Return a volume's number and what is known of it. Raises JournalError where there is no such volume."""
    number = tables.volumes.known_number(name)
    if number is None:
        known = ", ".join(volume.id for volume in tables.volumes.all()) or "none"
        raise JournalError(f"volume {name} is not in journal {tables.store.folder}; known are: {known}")
    return number, tables.volumes.volume(number)


def refetch(tables: Tables, parts: Sequence[Part]) -> int:
    """Make work of objects that count as stored and are not, and take them out of the books; return how many."""
    for part in parts:
        if part.names:
            _take_back(tables, part)
    batches = cut(parts)
    for batch in batches:
        tables.frontier.add_batch(batch, candidates=REPAIR)
    return sum(batch.objects for batch in batches)


def _take_back(tables: Tables, part: Part) -> None:
    counters = tables.books.counters
    known = tables.pages.known(part.directory, part.cursor)
    count = len(part.names)
    stored = skipped = 0
    if known is not None and known.run == tables.run.number:
        stored = min(count, known.stored)
        skipped = min(count - stored, known.skipped)
        tables.pages.book(span_of(part), Share(-stored, -skipped, 0), (), known.run)
    counters.stored -= stored
    counters.bytes -= min(counters.bytes, known_bytes(part.sizes[:stored]))
    counters.skipped -= skipped
    counters.skipped_bytes -= min(counters.skipped_bytes, known_bytes(part.sizes[stored : stored + skipped]))
    counters.listed += count - stored - skipped


def learn(tables: Tables, blocks: Iterable[LedgerBlock]) -> int:
    """Note what ledger blocks hold, so that the next run finds it there; return how many objects.

    A page known from a ledger has no digest: it is listed and compared, once.
    """
    objects = 0
    for volume, offset, records in blocks:
        number = tables.volumes.number(volume, "")
        tables.books.note_block(volume, offset)
        tables.books.unmet.add(number)
        for record in records:
            if record.names:
                _learn_page(tables, record, (number, offset))
                objects += len(record.names)
    tables.run.past = True
    tables.write_run()
    return objects


def _learn_page(tables: Tables, record: Record, block: tuple[int, int]) -> None:
    first, last = min(record.names), max(record.names)
    entry: Entry = (*block, first, last)
    known = tables.pages.known(record.directory, record.cursor)
    count, size = len(record.names), sum(record.sizes)
    if known is None:
        page = PageRecord(record.directory, record.cursor, first, last, b"", count, size, unchanged=False)
        tables.pages.add(page, 0, extents=pack_entries([entry]))
        return
    extents = pack_entries(merged(unpack_entries(known.extents), [entry]))
    row = PageRow(**msgspec.structs.asdict(known), directory=record.directory, cursor=record.cursor)
    row.first, row.last, row.extents = min(first, known.first), max(last, known.last), extents
    if not known.run:
        row.objects += count
        row.size += size
    tables.pages.change(row)
