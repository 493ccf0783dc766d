"""The journal in SQLite: the verbs of `ports.Journal`, each one transaction."""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Self, final

from bucketpull.domain.budget import ANY_ROOM, BudgetLeft, Spending
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import BatchReceipt, FromWorker, Handback, ScanReceipt, Work
from bucketpull.domain.model import (
    MESSAGE_CURSOR,
    Counters,
    Extent,
    Failure,
    Former,
    Position,
    SentWork,
    Span,
    WorkKind,
)
from bucketpull.domain.order import ANY, Order
from bucketpull.domain.retry import RETRY_SECONDS
from bucketpull.domain.selection import EVERYTHING
from bucketpull.domain.status import IN_PLACE, VolumeStatus
from bucketpull.domain.user_limits import Steering
from bucketpull.journal import batch_receipts, database, scan_receipts
from bucketpull.journal.database import Lock
from bucketpull.journal.journal_connection import JournalConnection
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.maintenance import Maintenance
from bucketpull.journal.sums import check_outstanding
from bucketpull.journal.volume_numbers import KnownVolume

LONGEST_WAIT_SECONDS = 3_600.0  # for work: more was reckoned by a clock that was wrong
CLOCK_SECONDS = 60.0  # a clock that goes back so far was wrong before
ABSENT_SECONDS = 300.0  # a machine that would take no work so long is taken for gone, or for full
_IDS_A_SECOND = 1_000  # more than any job uses, on average of its time


@final
class SqliteJournal(Maintenance):
    """The books of one job, opened by its one writer, in one thread at a time. A process must not be forked while a journal is open in it."""

    def __init__(self, opened: JournalConnection, lock: Lock, order: Order, retry_seconds: float) -> None:
        super().__init__(Tables.load(opened, order, retry_seconds))
        check_outstanding(opened, self._tables.books)
        self._lock = lock
        self._asked: dict[str, float] = {}
        self._closed = False

    @classmethod
    def open(
        cls,
        folder: str,
        job: str,
        configuration: Mapping[str, str] | None,
        now: float = 0,
        order: Order = ANY,
        retry_seconds: float = RETRY_SECONDS,
    ) -> Self:
        """Open a journal to write, and make it if there is none.

        Args:
            folder: Where the journal lies; made if missing. Everything else in it is left alone.
            job: The name of the job, kept for messages.
            configuration: Settings by name, as text. `source`, `prefix`, `style` and `layout` are the job's identity: another
                value is refused. Others (the URLs of the service, say) may change. None opens an existing journal as it is.
            now: Unix seconds, kept as the time when the journal was made.
            order: In which order work that is listed from now on is given out.
            retry_seconds: The wait after an object's first pass; later ones keep their proportion (`domain.retry`).

        Raises:
            JournalLocked: Another coordinator has it.
            JournalDamaged: It is corrupt or lost; it is never replaced.
            JobMismatch: It is of another job; says what differs.
            JournalError: It cannot be written, or there is none and `configuration` is None.

        """
        with ExitStack() as undo:
            lock = database.locked(folder)
            undo.callback(lock.release)
            opened = database.opened(folder, job, configuration, now)
            undo.callback(opened.close)
            journal = cls(opened, lock, order, retry_seconds)
            undo.pop_all()
        return journal

    def begin(self, root: Position, now: float, selection: str | None = None) -> bool:
        """See `ports.Journal`."""
        abandons = self.abandons(selection)
        goes_on = self._tables.books.outstanding.is_some and not abandons
        if not (goes_on or abandons):
            self.tidy()
        with self._transaction() as tables:
            if abandons:
                _abandon(tables, now)
            if goes_on:
                tables.connection.rows("resume-run", tables.run.number)
                tables.connection.rows("hasten-work", now, now + LONGEST_WAIT_SECONDS)
            else:
                tables.books.steering = tables.books.steering if abandons else None
                _start(tables, root, now, selection or "")
            # Ids grow with the clock: a journal that was put back from a backup gives none again that it gave since.
            tables.connection.rows("raise-ids", round(now * _IDS_A_SECOND))
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
        with tables.connection.reading():
            works = tables.frontier.claim(kind, limit, homes, now, limit if late is None else late)
        if works or tables.frontier.damaged:
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
                    if isinstance(receipt, BatchReceipt) and receipt.remainder is None:
                        tables.frontier.hand_back([receipt.work], receipt.machine)
        return dropped

    def sent(self) -> list[SentWork]:
        """See `ports.Journal`."""
        with self._tables.connection.reading():
            return self._tables.frontier.sent()

    def release(self, works: Sequence[int]) -> None:
        """See `ports.Journal`."""
        if works:
            with self._transaction() as tables:
                tables.frontier.release(works)

    def holders(self, works: Sequence[int]) -> dict[int, str]:
        """See `ports.Journal`."""
        with self._tables.connection.reading():
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
            self._tables.connection.rows("set-closed", 1)
        finally:
            self._tables.connection.close()
            self._lock.release()

    def former(self, volumes: Sequence[str], limit: int) -> list[Former]:
        """See `ports.Journal`."""
        with self._tables.connection.reading():
            return self._tables.copies.of(volumes, limit)

    def noted_former(self) -> int:
        """See `ports.Journal`."""
        return self._tables.copies.noted

    def forget_former(self, ids: Sequence[int]) -> None:
        """See `ports.Journal`."""
        with self._transaction() as tables:
            tables.copies.removed(ids)

    def keep(self, block: Extent, spans: Sequence[Span]) -> None:
        """See `ports.Journal`."""
        number = self._tables.volumes.known_number(block.volume)
        if number is not None:
            with self._transaction() as tables:
                tables.look_back()
                tables.books.note_block(block.volume, block.offset)
                for span in spans:
                    tables.pages.keep(span, (number, block.offset), tables.run.number)

    def check_room(self) -> None:
        """See `ports.Journal`."""
        self._tables.connection.check_room()

    def see_volumes(self, volumes: Sequence[VolumeStatus]) -> None:
        """See `ports.Journal`."""
        self.record_volumes(
            [KnownVolume(status.id, status.machine, status.path, status.state) for status in volumes]
        )
        here = {self._tables.volumes.known_number(each.id) for each in volumes if each.state in IN_PLACE}
        if met := self._tables.books.unmet & here:
            self.doubt_shared(met)
            with self._transaction() as tables:
                tables.books.unmet -= met

    def doubt_restored(self, volumes: Sequence[VolumeStatus]) -> list[str]:
        """See `ports.Journal`."""
        last = self._tables.books.last_blocks
        cut = [volume for volume in volumes if volume.ledger_end <= last.get(volume.id, -1)]
        for volume in cut:
            self.doubt_blocks(volume.id, [(volume.ledger_end, math.inf)])
        return [volume.id for volume in cut]

    def _follow_clock(self, now: float) -> None:
        """Go by a clock that was set back: what it had put off before is due."""
        self._asked.clear()
        with self._transaction() as tables:
            tables.connection.rows("hasten-work", now, now + LONGEST_WAIT_SECONDS)

    def _present(self, machine: str, now: float) -> set[str]:
        """Return the machine and those that are away."""
        self._asked[machine] = now
        for volume in self._tables.volumes.all():
            self._asked.setdefault(volume.machine, now)
        return {machine, *(other for other, at in self._asked.items() if now - at > ABSENT_SECONDS)}


def _book(tables: Tables, receipt: ScanReceipt | BatchReceipt, now: float) -> bool:
    if isinstance(receipt, ScanReceipt):
        return scan_receipts.book(tables, receipt, now)
    return batch_receipts.book(tables, receipt, now)


def _start(tables: Tables, root: Position, now: float, selection: str) -> None:
    run = tables.run
    run.looks_back = run.looks_back or run.number > 0
    run.number += 1
    tables.books.counters = Counters(listed=tables.books.outstanding.objects)  # of repairs
    is_other = run.looks_back and selection != tables.books.selection
    tables.books.is_mixed = (tables.books.is_mixed or is_other) and selection not in {"", EVERYTHING}
    tables.books.selection = selection
    tables.books.is_void = False
    tables.write_run()
    tables.connection.rows("begin-run", run.number, now)
    scan_receipts.add_root(tables, root)


def _abandon(tables: Tables, now: float) -> None:
    """End a run before its end: what it left of a page is to be found missing by the next, which lists the source again.

    What earlier runs know stays, for this one has not seen all of it. Repairs stay work.
    """
    for batch in tables.frontier.abandoned():
        for span in batch.spans:
            tables.pages.doubt(span.directory, span.cursor)
    tables.replace_damaged()
    tables.connection.rows("abandon-run", now, tables.run.number)
