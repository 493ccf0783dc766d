"""The journal in SQLite: the verbs of `ports.Journal`, each one transaction."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, final

from bucketpull.domain.batching import groups
from bucketpull.domain.budget import ANY_ROOM, BudgetLeft, Spending
from bucketpull.domain.errors import Reason
from bucketpull.domain.limits import Steering
from bucketpull.domain.messages import BatchReceipt, FromWorker, Handback, ScanReceipt
from bucketpull.domain.model import (
    IN_PLACE,
    MESSAGE_CURSOR,
    Counters,
    Failure,
    Former,
    Id,
    Part,
    Position,
    SentWork,
    VolumeStatus,
    Work,
    WorkKind,
)
from bucketpull.domain.order import ANY, Order
from bucketpull.domain.retry import next_page_try, next_try
from bucketpull.domain.selection import EVERYTHING
from bucketpull.journal import batch_receipts, database, maintenance, scan_receipts
from bucketpull.journal.database import Lock
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.journal_tables import NextPageTry, NextTry, Tables
from bucketpull.journal.listed_pages import PageRow
from bucketpull.journal.store import FLOOR_BYTES, Store
from bucketpull.journal.sums import check_outstanding
from bucketpull.journal.volume_numbers import KnownVolume

LONGEST_WAIT_SECONDS = 3_600.0  # for work: more was reckoned by a clock that was wrong
CLOCK_SECONDS = 60.0  # a clock that goes back so far was wrong before
ABSENT_SECONDS = 300.0  # a machine that would take no work so long is taken for gone, or for full
_IDS_A_SECOND = 1_000  # more than any job uses, on average of its time
_BLOCKS_AT_ONCE = 500  # ledger blocks of one transaction


@final
class SqliteJournal(JournalReader):
    """The books of one job, opened by its one writer.

    Made by `SqliteJournal.open(folder, job, configuration, next_try, now, next_page_try, order)`:

    * `folder`: where the journal lies; made if missing. Everything else in it is left alone.
    * `job`: the name of the job, kept for messages.
    * `configuration`: settings by name, as text. `source`, `prefix`, `style` and `layout` are the job's identity: another
      value is refused. Others (the URLs of the service, say) may change. None opens an existing journal as it is.
    * `next_try`, `next_page_try`: the retry policies of objects and of pages, those of `domain.retry` or others.
    * `order`: in which order work that is listed from now on is given out.
    * `now`: Unix seconds, kept as the time when the journal was made.

    Use it in one thread at a time. A process must not be forked while a journal is open in it.
    """

    def __init__(
        self, opened: Store, lock: Lock, next_try: NextTry, next_page_try: NextPageTry, order: Order
    ) -> None:
        super().__init__(Tables.load(opened, next_try, next_page_try, order))
        check_outstanding(opened, self._tables.books)
        self._lock = lock
        self._policies = next_try, next_page_try, order
        self._asked: dict[str, float] = {}
        self._closed = False

    @classmethod
    def open(
        cls,
        folder: Path,
        job: str,
        configuration: Mapping[str, str] | None,
        next_try: NextTry = next_try,
        now: float = 0,
        next_page_try: NextPageTry = next_page_try,
        order: Order = ANY,
    ) -> Self:
        """Open a journal to write, and make it if there is none; `now` is Unix seconds.

        Raises:
            JournalLocked: Another coordinator has it.
            JournalDamaged: It is corrupt or lost; it is never replaced.
            JobMismatch: It is of another job; says what differs.
            JournalError: It cannot be written, or there is none and `configuration` is None.

        """
        lock = database.locked(folder)
        try:
            opened = database.opened(folder, job, configuration, now)
            try:
                return cls(opened, lock, next_try, next_page_try, order)
            except BaseException:
                opened.close()
                raise
        except BaseException:
            lock.release()
            raise

    def begin(self, root: Position, now: float, selection: str | None = None) -> bool:
        """See `ports.Journal`."""
        abandons = self.abandons(selection)
        goes_on = sum(self._tables.books.tiers) > 0 and not abandons
        if not (goes_on or abandons):
            self.tidy()
        with self._transaction() as tables:
            if abandons:
                maintenance.abandon(tables, now)
            if goes_on:
                tables.store.rows("resume-run", tables.run.number)
                tables.store.rows("hasten-work", now, now + LONGEST_WAIT_SECONDS)
            else:
                tables.books.steering = tables.books.steering if abandons else None
                _start(tables, root, now, selection or "")
            # Ids grow with the clock: a journal that was put back from a backup gives none again that it gave since.
            tables.store.rows("raise-ids", round(now * _IDS_A_SECOND))
        return goes_on

    def claim(
        self,
        kind: WorkKind,
        limit: int,
        machine: str,
        now: float,
        late: int | None = None,
        room: BudgetLeft = ANY_ROOM,
        takers: Collection[str] = (),
        *,
        in_order: bool = False,
    ) -> list[Work]:
        """See `ports.Journal`."""
        if self._asked.get(machine, now) > now + CLOCK_SECONDS:
            self._follow_clock(now)
        tables = self._tables
        self._asked.update(dict.fromkeys(takers, now))
        homes = tables.volumes.at(self._present(machine, now))
        with tables.store.reading():
            works = tables.frontier.claim(kind, limit, homes, now, limit if late is None else late)
        if works:
            with self._transaction():
                if in_order:
                    works = tables.frontier.foremost(works)
                if room != ANY_ROOM:
                    works = tables.frontier.within(works, room)
                tables.frontier.send(kind, works, machine)
        return works

    def note_spending(self, spent: Spending) -> None:
        """See `ports.Journal`."""
        with self._transaction() as tables:
            tables.books.spent = spent.copy()

    def note_steering(self, steering: Steering) -> None:
        """Note what commands changed of the limits."""
        with self._transaction() as tables:
            tables.books.steering = steering

    def reclaim(self, works: Sequence[int], machine: str) -> list[Work]:
        """See `ports.Journal`."""
        tables = self._tables
        with self._transaction():
            found = tables.frontier.ready(works, tables.volumes.at({machine}))
            tables.frontier.send(WorkKind.BATCH, found, machine)
        return found

    def commit(self, receipts: Sequence[FromWorker], now: float) -> list[int]:
        """See `ports.Journal`."""
        dropped: list[int] = []
        with self._transaction() as tables:
            for receipt in receipts:
                if isinstance(receipt, Handback):
                    tables.frontier.hand_back(receipt.works, receipt.machine)
                elif isinstance(receipt, ScanReceipt | BatchReceipt) and not _book(tables, receipt, now):
                    dropped.append(receipt.work)
        return dropped

    def sent(self) -> list[SentWork]:
        """See `ports.Journal`."""
        with self._tables.store.reading():
            return self._tables.frontier.sent()

    def release(self, works: Sequence[int]) -> None:
        """See `ports.Journal`."""
        if works:
            with self._transaction() as tables:
                tables.frontier.release(works)

    def holders(self, works: Sequence[int]) -> dict[int, str]:
        """See `ports.Journal`."""
        with self._tables.store.reading():
            return self._tables.frontier.holders(works)

    def note_poison(self, details: Sequence[str]) -> None:
        """See `ports.Journal`. A retry drops them."""
        failures = [
            Failure(
                b"", b"message " + detail[:12].encode(), 0, 0, MESSAGE_CURSOR, Reason.POISON, 1, 0, detail
            )
            for detail in details
        ]
        with self._transaction() as tables:
            tables.failures.add(failures, tables.run.number)

    def close(self) -> None:
        """See `ports.Journal`. May be called again."""
        if self._closed:
            return
        self._closed = True
        try:
            with self._tables.store.reading():
                self._tables.store.rows("set-closed", 1)
        finally:
            self._tables.store.close()
            self._lock.release()

    # What the composition root and the commands use

    def end(self, state: str, now: float, summary: str = "") -> None:
        """Note how the run ended (complete, incomplete, interrupted, refused, no-room, budget-spent), with a JSON summary.

        When nothing is outstanding, what the run did not see is forgotten.
        """
        with self._transaction() as tables:
            tables.store.rows("end-run", state, now, summary, tables.run.number)
        if not sum(self._tables.books.tiers):
            self.tidy()

    def tidy(self) -> None:
        """Forget pages and failures of earlier runs that the finished run did not see.

        Below a directory that could not be listed nothing is forgotten; that waits until it could be. After a run that wanted
        less than earlier ones all pages are kept: what it left out may be wanted again, and is on the volumes.
        """
        if self._tables.run.tidied >= self._tables.run.number:
            return
        if self._tables.run.past:
            for rows in self._tables.pages.walk() if not self._tables.books.is_mixed else ():
                with self._transaction() as tables:
                    maintenance.forget_pages(tables, rows)
            for recorded in self._tables.failures.walk():
                with self._transaction() as tables:
                    maintenance.forget_failures(tables, recorded)
        if not self.listing_failed():
            with self._transaction() as tables:
                tables.run.tidied = tables.run.number
                tables.write_run()

    def void_run(self) -> None:
        """Have an unfinished run end where the next begins, which lists the source again: part of what it counts is about to be removed."""
        with self._transaction() as tables:
            tables.books.is_void = sum(tables.books.tiers) > 0

    def doubt_objects(self, ids: Iterable[Id]) -> None:
        """Have the pages that may list some objects compared when they are listed next, though they be unchanged then."""
        with self._transaction() as tables:
            for directory, name in ids:
                tables.pages.doubt_over(directory, name)

    def forget_pruned(self, vanished: int, has_some: maintenance.HasSome) -> None:
        """Count so many objects as vanished since; forget directories that are gone, where no volume has anything of them in these blocks."""
        with self._transaction() as tables:
            maintenance.count_vanished(tables, vanished)
        for rows in self._tables.pages.walk():
            if emptied := maintenance.emptied(self._tables, rows, has_some):
                with self._transaction() as tables:
                    for row in emptied:
                        tables.pages.remove(row.directory, row.cursor, row.run)

    def former(self, volumes: Sequence[str], limit: int) -> list[Former]:
        """See `ports.Journal`."""
        with self._tables.store.reading():
            return self._tables.copies.of(volumes, limit)

    def forget_former(self, ids: Sequence[int]) -> None:
        """See `ports.Journal`."""
        with self._transaction() as tables:
            tables.copies.removed(ids)

    def check_room(self, floor_bytes: int = FLOOR_BYTES) -> None:
        """See `ports.Journal`."""
        self._tables.store.check_room(floor_bytes)

    def see_volumes(self, volumes: Sequence[VolumeStatus]) -> None:
        """See `ports.Journal`."""
        self.record_volumes(
            [KnownVolume(status.id, status.machine, status.path, status.state) for status in volumes]
        )
        here = {self._tables.volumes.known_number(each.id) for each in volumes if each.state in IN_PLACE}
        if met := self._tables.books.unmet & here:
            self._in_steps(lambda tables, rows: maintenance.doubt_shared(tables, rows, met))
            with self._transaction() as tables:
                tables.books.unmet -= met

    def find_cut(self, volumes: Sequence[VolumeStatus]) -> list[str]:
        """See `ports.Journal`."""
        last = self._tables.books.last_blocks
        cut = [volume for volume in volumes if volume.ledger_end <= last.get(volume.id, -1)]
        for volume in cut:
            self._forget_blocks(volume.id, volume.ledger_end)
        return [volume.id for volume in cut]

    def _forget_blocks(self, volume: str, end: int) -> None:
        number, _ = maintenance.volume_named(self._tables, volume)
        self._drop_extents(number, lambda offset: offset >= end)
        with self._transaction() as tables:
            maintenance.forget_blocks(tables, volume, number, end)

    def _drop_extents(self, number: int, is_gone: Callable[[int], bool]) -> int:
        return self._in_steps(lambda tables, rows: maintenance.drop_extents(tables, rows, number, is_gone))

    def _in_steps(self, change: Callable[[Tables, Sequence[PageRow]], int]) -> int:
        """Change all pages, a thousand in a transaction; return the sum of what that gives."""
        total = 0
        for rows in self._tables.pages.walk():
            with self._transaction() as tables:
                total += change(tables, rows)
        return total

    def doubt_all(self) -> int:
        """Have the next run compare every page with what lies on volumes; return how many objects this run may have counted twice."""
        twice = maintenance.Overlaps(self._tables.run.number)
        self._in_steps(lambda tables, rows: maintenance.doubt(tables, rows, twice))
        return twice.count()

    def record_volumes(self, volumes: Sequence[KnownVolume]) -> None:
        """Note where volumes are and how they are; no transaction where nothing is new."""
        known = {volume.id: volume for volume in self._tables.volumes.all()}
        if any(known.get(volume.id) != volume for volume in volumes):
            with self._transaction() as tables:
                for volume in volumes:
                    tables.volumes.record(volume)

    def retry(self, reason: Reason | None = None, pattern: str | None = None) -> int:
        """Make work of failures, all or those of a reason or with keys matching a shell pattern; return of how many."""
        count = 0
        for recorded in self._tables.failures.walk():
            with self._transaction() as tables:
                count += maintenance.retry(tables, recorded, reason, pattern)
        return count

    def lose(self, volume: str) -> int:
        """Count on nothing of a volume any more, and list again the pages of which it held objects; return how many.

        Other volumes' objects are found in place then, and only those of the lost one are fetched. Raises JournalError where there is none.
        """
        number, known = maintenance.volume_named(self._tables, volume)
        count = self._drop_extents(number, lambda _: True)
        with self._transaction() as tables:
            maintenance.write_off(tables, known, number)
        return count

    def doubt_blocks(self, volume: str, damages: Sequence[tuple[int, int]]) -> int:
        """Count no more on what lay in damaged parts of a volume's ledger, each from one byte to before another, and list its pages again.

        What lies in other blocks is found in place then. It may be called again, and finds nothing new. Returns how many pages it is.
        """
        number = self._tables.volumes.known_number(volume)
        if number is None:
            return 0
        pages = self._drop_extents(
            number, lambda offset: any(start <= offset < end for start, end in damages)
        )
        if pages:
            with self._transaction() as tables:
                maintenance.doubt_blocks(tables, volume, number, damages)
        return pages

    def refetch(self, parts: Sequence[Part]) -> int:
        """Make work of objects that count as stored and are not (`verify --repair`); return how many."""
        with self._transaction() as tables:
            return maintenance.refetch(tables, parts)

    def learn(self, blocks: Iterable[maintenance.LedgerBlock]) -> int:
        """Take over what ledgers say, block by block in their order (`rebuild`, or a volume that was found again); return how many objects."""
        count = 0
        for group in groups(blocks, _BLOCKS_AT_ONCE):
            with self._transaction() as tables:
                count += maintenance.learn(tables, group)
        return count

    def _follow_clock(self, now: float) -> None:
        """Go by a clock that was set back: what it had put off before is due."""
        self._asked.clear()
        with self._transaction() as tables:
            tables.store.rows("hasten-work", now, now + LONGEST_WAIT_SECONDS)

    def _present(self, machine: str, now: float) -> set[str]:
        """Return the machine and those that are away."""
        self._asked[machine] = now
        for volume in self._tables.volumes.all():
            self._asked.setdefault(volume.machine, now)
        return {machine, *(other for other, at in self._asked.items() if now - at > ABSENT_SECONDS)}

    def _refreshed(self) -> Tables:
        """Nobody else writes: what is in memory is what is on disk."""
        return self._tables

    @contextmanager
    def _transaction(self) -> Iterator[Tables]:
        """Do all or nothing, in the file and in memory."""
        tables = self._tables
        try:
            with tables.store.transaction():
                yield tables
                tables.write()
        except BaseException:
            self._tables = Tables.load(tables.store, *self._policies)
            raise


def _book(tables: Tables, receipt: ScanReceipt | BatchReceipt, now: float) -> bool:
    if isinstance(receipt, ScanReceipt):
        return scan_receipts.book(tables, receipt, now)
    return batch_receipts.book(tables, receipt, now)


def _start(tables: Tables, root: Position, now: float, selection: str) -> None:
    run = tables.run
    run.past = run.past or run.number > 0
    run.number += 1
    tables.books.counters = Counters(listed=tables.books.outstanding.objects)  # of repairs
    is_other = run.past and selection != tables.books.selection
    tables.books.is_mixed = (tables.books.is_mixed or is_other) and selection not in {"", EVERYTHING}
    tables.books.selection = selection
    tables.books.is_void = False
    tables.write_run()
    tables.store.rows("begin-run", run.number, now)
    scan_receipts.add_root(tables, root)
