"""Changes of many rows, by commands and at the end of a run: in steps of a thousand, each a transaction.

A step leaves the journal right whatever happens before the next, and each of these may be called again.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from bucketpull.domain.batching import cut, groups, known_bytes, span_of, spans_of
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.model import MESSAGE_CURSOR, Extent, Id, PageRecord, Part
from bucketpull.domain.record import Record
from bucketpull.domain.status import VolumeState
from bucketpull.journal import batch_receipts, scan_receipts
from bucketpull.journal.extents import Entry, covers, merged, pack_entries, unpack_entries
from bucketpull.journal.failures import Recorded
from bucketpull.journal.frontier import REPAIR
from bucketpull.journal.journal_reader import JournalReader, chosen
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.listed_pages import PageRow, Share
from bucketpull.journal.volume_numbers import KnownVolume

LedgerBlock = tuple[str, int, Sequence[Record]]  # volume, offset (bytes), records
Stretch = tuple[int, float]  # of a ledger, from one byte to before another
HasSome = Callable[[bytes, list[Extent]], bool]
"""Whether some blocks have an object of a directory."""

_BLOCKS_AT_ONCE = 500  # ledger blocks of one transaction


class Maintenance(JournalReader):
    """A journal opened to write."""

    def end(self, state: str, now: float, summary: str = "") -> None:
        """Note how the run ended (complete, incomplete, interrupted, refused, no-room, budget-spent), with a JSON summary.

        When nothing is outstanding, what the run did not see is forgotten.
        """
        with self._transaction() as tables:
            tables.connection.rows("end-run", state, now, summary, tables.run.number)
        if not self._tables.books.outstanding.is_some:
            self.tidy()

    def tidy(self) -> None:
        """Forget pages and failures of earlier runs that the finished run did not see.

        Below a directory that could not be listed nothing is forgotten; that waits until it could be. After a run that wanted
        less than earlier ones all pages are kept: what it left out may be wanted again, and is on the volumes.
        """
        if self._tables.run.tidied >= self._tables.run.number:
            return
        if self._tables.run.looks_back:
            if not self._tables.books.is_mixed:
                self._in_steps(_forget_pages)
            for recorded in self._tables.failures.walk():
                with self._transaction() as tables:
                    _forget_failures(tables, recorded)
        if not self.listing_failed():
            with self._transaction() as tables:
                tables.run.tidied = tables.run.number
                tables.write_run()

    def retry(self, reason: Reason | None = None, pattern: str | None = None) -> int:
        """Make work of failures, all or those of a reason or with keys matching a shell pattern; return of how many.

        Those of earlier runs stay: their directory could not be listed since, and they come back with it.
        """
        count = 0
        for recorded in self._tables.failures.walk():
            with self._transaction() as tables:
                found = [
                    entry
                    for entry in recorded
                    if entry.run == tables.run.number and chosen(entry.failure, reason, pattern)
                ]
                _try_again(tables, found)
                count += len(found)
        return count

    def refetch(self, parts: Sequence[Part]) -> int:
        """Make work of objects that count as stored and are not (`verify --repair`), and take them out of the books; return how many."""
        batches = cut(parts)
        with self._transaction() as tables:
            for part in parts:
                if part.names:
                    _take_back(tables, part)
            for batch in batches:
                tables.frontier.add_batch(batch, candidates=REPAIR)
        return sum(batch.objects for batch in batches)

    def void_run(self) -> None:
        """Have an unfinished run end where the next begins, which lists the source again: part of what it counts is about to be removed."""
        with self._transaction() as tables:
            tables.books.is_void = tables.books.outstanding.is_some

    def doubt_objects(self, ids: Iterable[Id]) -> None:
        """Have the pages that may list some objects compared at their next listing, even if they are unchanged then."""
        with self._transaction() as tables:
            for directory, name in ids:
                tables.pages.doubt_over(directory, name)

    def forget_pruned(self, vanished: int, has_some: HasSome) -> None:
        """Count so many objects, which were stored or skipped, as vanished; forget directories that are gone, where no volume has anything of them in these blocks."""
        with self._transaction() as tables:
            counters = tables.books.counters
            of_stored = min(vanished, counters.stored)
            counters.stored -= of_stored
            counters.skipped -= vanished - of_stored
            counters.vanished += vanished
        for rows in self._tables.pages.walk():
            emptied = [row for row in rows if _is_emptied(self._tables, row, has_some)]
            if emptied:
                with self._transaction() as tables:
                    for row in emptied:
                        tables.pages.remove(row)

    def doubt_all(self) -> int:
        """Have the next run compare every page with what lies on volumes; return how many objects this run may have counted twice."""

        def doubt(tables: Tables, rows: Sequence[PageRow]) -> int:
            for row in rows:
                if row.digest:
                    tables.pages.doubt(row.directory, row.cursor)
            return 0

        self._in_steps(doubt)
        with self._tables.connection.reading():
            return self._tables.pages.objects_in_overlaps(self._tables.run.number)

    # --- volumes and their ledgers

    def record_volumes(self, volumes: Sequence[KnownVolume]) -> None:
        """Note where volumes are and how they are; no transaction where nothing is new."""
        known = {volume.id: volume for volume in self._tables.volumes.all()}
        if any(known.get(volume.id) != volume for volume in volumes):
            with self._transaction() as tables:
                for volume in volumes:
                    tables.volumes.record(volume)

    def lose(self, volume: str) -> int:
        """Count on nothing of a volume any more, and list again the pages of which it held objects; return how many.

        Other volumes' objects are found in place then, and only those of the lost one are fetched. Raises JournalError where there is none.
        """
        volumes = self._tables.volumes
        number = volumes.known_number(volume)
        if number is None:
            known = ", ".join(each.id for each in volumes.all()) or "none"
            raise JournalError(
                f"volume {volume} is not in journal {self._tables.connection.folder}; known are: {known}"
            )
        lost = msgspec.structs.replace(volumes.volume(number), state=VolumeState.LOST)
        count = self._drop_blocks(number, [(0, math.inf)])
        with self._transaction() as tables:
            tables.volumes.record(lost)
            tables.frontier.rehome(number)
            _keep_replaced(tables, number)
        return count

    def doubt_blocks(self, volume: str, gone: Sequence[Stretch]) -> int:
        """Count no more on what lay in parts of a volume's ledger, which are damaged or cut off, and list its pages again.

        What lies in other blocks is found in place then. It may be called again, and finds nothing new. Returns how many pages it is.
        """
        number = self._tables.volumes.known_number(volume)
        if number is None:
            return 0
        pages = self._drop_blocks(number, gone)
        last = self._tables.books.last_blocks.get(volume, -1)
        left = min([last, *(start - 1 for start, end in gone if end > last)])
        if pages or left < last:
            with self._transaction() as tables:
                _keep_replaced(tables, number)
                tables.books.last_blocks[volume] = left
        return pages

    def learn(self, blocks: Iterable[LedgerBlock]) -> int:
        """Take over what ledgers say, block by block in their order (`rebuild`, or a volume that was found again); return how many objects.

        A page known from a ledger has no digest: it is listed and compared, once.
        """
        objects = 0
        for group in groups(blocks, _BLOCKS_AT_ONCE):
            with self._transaction() as tables:
                objects += sum(_learn(tables, *block) for block in group)
                tables.look_back()
        return objects

    def doubt_shared(self, volumes: set[int]) -> None:
        """Have pages compared that have blocks on one of these volumes and on others: both may have a copy of an object.

        They were compared without that volume. Those of this run are listed again.
        """

        def doubt(tables: Tables, rows: Sequence[PageRow]) -> int:
            shared = [row for row in rows if row.digest and _is_shared(row, volumes)]
            tables.list_again(shared)
            return len(shared)

        self._in_steps(doubt)

    # --- steps

    def _drop_blocks(self, volume: int, gone: Sequence[Stretch]) -> int:
        """Remove a volume's blocks in parts of its ledger from pages, and list those pages again; return how many there were."""

        def drop(tables: Tables, rows: Sequence[PageRow]) -> int:
            hit = []
            for row in rows:
                entries = unpack_entries(row.extents)
                rest = [entry for entry in entries if entry[0] != volume or not _lies_in(entry[1], gone)]
                if len(rest) < len(entries):
                    hit.append(msgspec.structs.replace(row, extents=pack_entries(rest)))
                    tables.pages.change(hit[-1])
            tables.list_again(hit)
            return len(hit)

        return self._in_steps(drop)

    def _in_steps(self, change: Callable[[Tables, Sequence[PageRow]], int]) -> int:
        """Change all pages, a thousand in a transaction; return the sum of what that gives."""
        total = 0
        for rows in self._tables.pages.walk():
            with self._transaction() as tables:
                total += change(tables, rows)
        return total

    @contextmanager
    def _transaction(self) -> Iterator[Tables]:
        """Do all or nothing, in the file and in memory."""
        tables = self._tables
        try:
            with tables.connection.transaction():
                yield tables
                tables.replace_damaged()
                tables.write()
        except BaseException:
            self._tables = tables.reloaded()
            raise

    def _refreshed(self) -> Tables:
        """Nobody else writes: what is in memory is what is on disk."""
        return self._tables


# --- forgetting


def _forget_pages(tables: Tables, rows: Sequence[PageRow]) -> int:
    """Remove pages that the finished run did not see, unless it could not list their directory; return how many were looked at.

    Of names that no page of the finished run covers, the blocks stay known: if the objects are made again, they go back to those volumes.
    Names that a page of that run covers were compared with the blocks that it knows. If it lacks some, it is compared in the next
    run, and the old page stays until after that, without its counts.
    """
    for row in rows:
        if row.run < tables.run.number and _may_forget(tables, row.directory):
            _forget_page(tables, row)
    return len(rows)


def _forget_page(tables: Tables, row: PageRow) -> None:
    over = tables.pages.over_page(row, tables.run.number) if row.extents else []
    unaware = [page for page in over if row.objects and _lacks(page, row)]
    for page in unaware:
        tables.pages.doubt(page.directory, page.cursor)
    left = _left_alone(row, [] if unaware else over)
    if left is None:
        tables.pages.remove(row)
    elif left != row:
        tables.pages.change(left)


def _lacks(page: PageRow, row: PageRow) -> bool:
    """Whether another page has blocks that may hold objects of a page, and of which that page does not know. On one volume an object lies but once."""
    known = {entry[:2] for entry in unpack_entries(page.extents)}
    volumes = {volume for volume, _ in known}
    return any(
        covers(entry, page.first, page.last) and entry[:2] not in known and volumes != {entry[0]}
        for entry in unpack_entries(row.extents)
    )


def _left_alone(row: PageRow, over: Sequence[PageRow]) -> PageRow | None:
    """Return what is to stay known of a page: no counts, and only the names between the pages over its first one and those over its last; None if that is nothing."""
    first = max([row.first, *(page.last for page in over if page.first <= row.first)])
    last = min([row.last, *(page.first for page in over if page.last >= row.last)])
    if not row.extents or (over and first >= last):
        return None
    return msgspec.structs.replace(row, first=first, last=last, digest=b"", objects=0, size=0)


def _is_emptied(tables: Tables, row: PageRow, has_some: HasSome) -> bool:
    """Whether a page was kept for what lies on volumes (`_forget_pages`), and nothing lies there any more."""
    if row.run >= tables.run.number or not row.extents or row.objects or row.digest:
        return False
    volumes = tables.volumes
    blocks = [volumes.extent(entry) for entry in unpack_entries(row.extents) if volumes.is_there(entry[0])]
    return not has_some(row.directory, blocks)


def _forget_failures(tables: Tables, recorded: Iterable[Recorded]) -> None:
    """Remove failures of earlier runs likewise; a page that is kept proves nothing about its objects without them."""
    for entry in recorded:
        failure = entry.failure
        if entry.run < tables.run.number and _may_forget(tables, failure.directory):
            tables.pages.doubt(failure.directory, failure.cursor)
            tables.failures.remove(failure)


def _may_forget(tables: Tables, directory: bytes) -> bool:
    return not tables.failures.listing_failed() or tables.pages.was_seen(directory, tables.run.number)


# --- work again


def _try_again(tables: Tables, recorded: Sequence[Recorded]) -> None:
    """Make work of failures; a message that nobody understood is only forgotten."""
    for entry in recorded:
        tables.failures.remove(entry.failure)
    found = [entry for entry in recorded if entry.failure.cursor != MESSAGE_CURSOR]
    for entry in found:
        if not entry.failure.name:
            scan_receipts.try_again(tables, entry.position())
    objects = [entry.failure for entry in found if entry.failure.name]
    tables.books.counters.failed -= batch_receipts.try_again(tables, objects)


def _take_back(tables: Tables, part: Part) -> None:
    """Take objects out of the books that count as stored or skipped."""
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


# --- ledgers


def _lies_in(offset: int, stretches: Iterable[Stretch]) -> bool:
    return any(start <= offset < end for start, end in stretches)


def _is_shared(row: PageRow, volumes: set[int]) -> bool:
    holders = {entry[0] for entry in unpack_entries(row.extents)}
    return len(holders) > 1 and not volumes.isdisjoint(holders)


def _keep_replaced(tables: Tables, volume: int) -> None:
    """Count on the copies elsewhere that the files of a volume had replaced: they are old, but may be the only ones left."""
    for other, offsets, parts in tables.copies.replaced_by(volume):
        blocks = [(other, offset) for offset in sorted(offsets)]
        for span in spans_of(part for part in parts if part.names):
            tables.pages.recall(span, blocks, tables.run.number)
    tables.copies.lose(volume)


def _learn(tables: Tables, volume: str, offset: int, records: Iterable[Record]) -> int:
    """Note what a ledger block holds, so that the next run finds it there; return how many objects."""
    number = tables.volumes.number(volume, "")
    tables.books.note_block(volume, offset)
    tables.books.unmet.add(number)
    found = [record for record in records if record.names]
    for record in found:
        _learn_page(tables, record, (number, offset))
    return sum(len(record.names) for record in found)


def _learn_page(tables: Tables, record: Record, block: tuple[int, int]) -> None:
    first, last = min(record.names), max(record.names)
    entry: Entry = (*block, first, last)
    row = tables.pages.known(record.directory, record.cursor)
    count, size = len(record.names), sum(record.sizes)
    if row is None:
        page = PageRecord(record.directory, record.cursor, first, last, b"", count, size, unchanged=False)
        tables.pages.add(page, 0, extents=pack_entries([entry]))
        return
    row.first, row.last = min(first, row.first), max(last, row.last)
    row.extents = pack_entries(merged(unpack_entries(row.extents), [entry]))
    if not row.run:
        row.objects += count
        row.size += size
    tables.pages.change(row)
