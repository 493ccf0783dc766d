"""The books of a job in memory: what `ports.Journal` promises, without a file. For tests of the coordinator in virtual time.

It knows listings, batches, their parts and where they lie, and what several machines do with them. What commands change in the
books of a job that does not run (retries by hand, lost volumes, rebuilding) is the journal's on disk alone.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from bucketpull.domain.batching import (
    Batch,
    batch_of,
    bundle,
    cut,
    decode_batch,
    encode_batch,
    encode_positions,
    known_bytes,
    split,
)
from bucketpull.domain.budget import ANY_ROOM, BudgetLeft, Spending
from bucketpull.domain.counting import add_counts
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import BatchReceipt, FromWorker, Handback, ScanReceipt, Work
from bucketpull.domain.model import (
    MESSAGE_CURSOR,
    Counters,
    Extent,
    Failure,
    Outstanding,
    PageRecord,
    Position,
    SentWork,
    WorkKind,
)
from bucketpull.domain.retry import next_page_try, next_try
from bucketpull.journal.batch_receipts import check_objects, given_up, parts_of, usual_reason, when
from bucketpull.journal.sqlite_journal import ABSENT_SECONDS, LONGEST_WAIT_SECONDS
from bucketpull.testing.memory_journal_pages import Catalogue


class _Row(msgspec.Struct):
    """Outstanding work. `home` is the volume that it waits for, "" for none; `machine` has it, None where nobody does.

    `asked` are the candidates that machines have compared it with. `due` is in Unix seconds, 0 at once; the last pass is for when
    nothing else is outstanding.
    """

    id: int
    kind: WorkKind
    body: bytes
    objects: int = 0
    size: int = 0
    passes: int = 0
    due: float = 0.0
    is_last: bool = False
    home: str = ""
    candidates: list[Extent] = []
    asked: set[Extent] = set()
    part: int = 0
    machine: str | None = None


class MemoryJournal(Catalogue):
    """See `ports.Journal`."""

    def __init__(self) -> None:
        super().__init__()
        self._run = 0
        self._works = 0
        self._rows: dict[int, _Row] = {}
        self._failures: dict[tuple[bytes, bytes, str], Failure] = {}
        self._asked_at: dict[str, float] = {}
        self._counters = Counters()
        self._spent = Spending()
        self._selection = ""

    def begin(self, root: Position, now: float, selection: str | None = None) -> bool:
        """Go on with outstanding work, or start a new run."""
        abandons = bool(self._rows) and selection is not None and self._selection not in {"", selection}
        if abandons:
            self._abandon()
        if self._rows:
            for row in self._rows.values():
                row.due = now if row.due > now + LONGEST_WAIT_SECONDS else row.due
            return True
        self._run += 1
        self._counters = Counters()
        self._selection = selection or ""
        if not abandons:
            self.forget_earlier()
        self._add_scans([root])
        return False

    def _abandon(self) -> None:
        """End a run before its end; what it left is found missing when its pages are listed again."""
        batches = [row for row in self._rows.values() if row.kind is WorkKind.BATCH]
        self.doubt((part.directory, part.cursor) for row in batches for part in decode_batch(row.body).spans)
        self._rows.clear()

    def doubt_all(self) -> int:
        """Have the next run compare every page; no directory has several here."""
        self.doubt(list(self._pages))
        return 0

    # --- giving out

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
        in_order: bool = False,  # noqa: ARG002 - it knows no order
    ) -> list[Work]:
        """Take work that is due, and mark it sent."""
        self._asked_at.update(dict.fromkeys(takers, now))
        present = self._present(machine, now)
        homes = self.volumes_of(present)
        order = {home: place for place, home in enumerate([*homes, ""])}
        free = [
            row
            for row in self._rows.values()
            if row.kind is kind and row.machine is None and row.home in order
        ]
        free.sort(key=lambda row: (order[row.home], row.due, row.id))
        deferred = [row for row in free if 0 < row.due <= now][:limit]
        is_last_pass = all(row.is_last for row in self._rows.values())
        fresh = [row for row in free if not row.due and not row.is_last]
        fresh += [row for row in free if row.is_last and is_last_pass]
        late = limit if late is None else late
        chosen = deferred[:late]
        chosen += fresh[: limit - len(chosen)]
        chosen += deferred[late:][: limit - len(chosen)]
        if room != ANY_ROOM:
            chosen = list(self._within(chosen, room))
        for row in chosen:
            row.machine = machine
        return [self._work(row, homes) for row in chosen]

    def reclaim(self, works: Sequence[int], machine: str) -> list[Work]:
        """Take those that are with nobody."""
        homes = self.volumes_of({machine})
        rows = [self._rows[work] for work in dict.fromkeys(works) if self.holders([work]).get(work) == ""]
        found = [row for row in rows if row.kind is WorkKind.BATCH]
        for row in found:
            row.machine = machine
        return [self._work(row, homes) for row in found]

    def _present(self, machine: str, now: float) -> set[str]:
        self._asked_at[machine] = now
        for owner in self.owners():
            self._asked_at.setdefault(owner, now)
        return {machine, *(each for each, at in self._asked_at.items() if now - at > ABSENT_SECONDS)}

    def _within(self, rows: Iterable[_Row], room: BudgetLeft) -> Iterator[_Row]:
        for row in rows:
            parts = decode_batch(row.body).parts
            sizes = [size for part in parts for size in part.sizes]
            count = room.fitting(sizes)
            if count < len(sizes):
                if count:
                    first, rest = split(parts, count)
                    del self._rows[row.id]
                    yield self._add_batch(batch_of(first), like=row)
                    self._add_batch(batch_of(rest), like=row)
                return
            room = room.less(count, known_bytes(sizes))
            yield row

    def _work(self, row: _Row, homes: Sequence[str]) -> Work:
        there = [each for each in row.candidates if self.is_there(each.volume)]
        here = [
            each
            for each in there
            if each.volume in homes or each in row.asked or not self.machine_of(each.volume)
        ]
        return Work(row.id, row.kind, row.body, row.passes, here, len(here) < len(there), row.part)

    # --- who has what

    def sent(self) -> list[SentWork]:
        """Return the work that was claimed and not booked."""
        found = [
            SentWork(row.id, row.kind, row.machine, row.objects, row.size)
            for row in self._rows.values()
            if row.machine is not None
        ]
        return sorted(found, key=lambda each: (each.machine, each.id))

    def release(self, works: Sequence[int]) -> None:
        """Make sent work ready again."""
        for work in works:
            if work in self._rows:
                self._rows[work].machine = None

    def holders(self, works: Sequence[int]) -> dict[int, str]:
        """Return which of these are outstanding, and with whom."""
        return {work: self._rows[work].machine or "" for work in works if work in self._rows}

    # --- booking

    def commit(self, receipts: Sequence[FromWorker], now: float) -> list[int]:
        """Book receipts and handbacks; return the ids of receipts that were dropped."""
        for receipt in receipts:
            row = self._expected(receipt)
            if isinstance(receipt, BatchReceipt) and row is not None:
                check_objects(receipt, row.kind, row.objects)
        dropped: list[int] = []
        for receipt in receipts:
            row = self._expected(receipt)
            if isinstance(receipt, Handback):
                self._hand_back(receipt.works, receipt.machine)
            elif isinstance(receipt, ScanReceipt | BatchReceipt) and row is None:
                dropped.append(receipt.work)
                if isinstance(receipt, BatchReceipt) and receipt.remainder is None:
                    self._hand_back([receipt.work], receipt.machine)
            elif isinstance(receipt, ScanReceipt) and row is not None:
                self._book_scan(receipt, row, now)
            elif isinstance(receipt, BatchReceipt) and row is not None:
                self._book_batch(receipt, row, now)
        return dropped

    def _hand_back(self, works: Sequence[int], machine: str) -> None:
        self.release([work for work, holder in self.holders(works).items() if holder == machine])

    def _expected(self, receipt: FromWorker) -> _Row | None:
        """Return the row that a receipt is about, if it has not come before."""
        if not isinstance(receipt, ScanReceipt | BatchReceipt):
            return None
        row = self._rows.get(receipt.work)
        part = receipt.part if isinstance(receipt, BatchReceipt) else 0
        return row if row is not None and row.part == part else None

    def _book_scan(self, receipt: ScanReceipt, row: _Row, now: float) -> None:
        del self._rows[row.id]
        for page in receipt.pages:
            self._book_page(page)
        counters = self._counters
        retries = Counter(position.passes for position in receipt.positions)
        for passes in sorted(retries):
            group = [position for position in receipt.positions if position.passes == passes]
            delay = next_page_try(usual_reason(receipt.retries), passes - 1) if passes else 0.0
            self._add_scans(group, *(when(delay, now) if passes else (0.0, 0)))
        for each in receipt.batches:
            self._add_batch(each)
        self._fail(receipt.failures)
        counters.failed += sum(1 for failure in receipt.failures if failure.name)
        counters.duplicates += receipt.duplicates
        add_counts(counters.retries, receipt.retries)

    def _book_page(self, page: PageRecord) -> None:
        key, counters = (page.directory, page.cursor), self._counters
        self.note_page(page, self._run)
        counters.add_page(page)
        failed = [
            failure for failure in self._failures.values() if (failure.directory, failure.cursor) == key
        ]
        for failure in failed:
            del self._failures[failure.directory, failure.name, failure.cursor]
        if page.unchanged:
            again = [failure for failure in failed if failure.name]
            counters.skipped += page.objects - len(again)
            counters.skipped_bytes += page.bytes - known_bytes([failure.size for failure in again])
            for each in cut(parts_of(again)):
                self._add_batch(each)

    def _book_batch(self, receipt: BatchReceipt, row: _Row, now: float) -> None:
        if receipt.remainder is None:
            del self._rows[row.id]
        else:
            rest = receipt.remainder
            self._rows[row.id] = msgspec.structs.replace(
                row, body=encode_batch(rest), objects=rest.objects, size=rest.bytes, due=0.0,
                part=receipt.next_part, machine=receipt.machine,
            )  # fmt: skip
        receipt.add_to(self._counters)
        self._fail(receipt.failed())
        self.note_blocks(receipt, row.body)
        self.settle_second_copies(receipt, row.body, row.candidates, self._run)
        self.note_former(receipt)
        if receipt.deferred is not None:
            self._defer(receipt.deferred, receipt, row, now)
        if receipt.returned is not None:
            self._give_on(receipt.returned, receipt, row, is_sent_on=False)
        if receipt.sent_on is not None:
            self._give_on(receipt.sent_on, receipt, row, is_sent_on=True)

    def _defer(self, deferred: Batch, receipt: BatchReceipt, row: _Row, now: float) -> None:
        delay = next_try(row.passes)
        if delay is None:
            failed = given_up(deferred, receipt, row.passes + 1)
            self._counters.failed += len(failed)
            self._fail(failed)
            return
        due, tier = when(delay, now)
        again = self._add_batch(deferred, like=row)
        again.passes, again.due, again.is_last = row.passes + 1, due, tier > 0 or row.is_last

    def _give_on(self, rest: Batch, receipt: BatchReceipt, row: _Row, *, is_sent_on: bool) -> None:
        """Add a batch of objects that were not tried; to be compared no more with what its machine has."""
        new = self._add_batch(rest, like=row)
        if is_sent_on:
            new.candidates = [each for each in row.candidates if each.volume not in receipt.compared]
        new.asked = row.asked | {
            each
            for each in new.candidates
            if each.volume in receipt.compared or self.machine_of(each.volume) == receipt.machine
        }
        new.home = self._home_of(new) if is_sent_on else ""

    def _fail(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._failures[failure.directory, failure.name, failure.cursor] = failure

    def note_poison(self, details: Sequence[str]) -> None:
        """Record messages that nobody understands as failures."""
        self._fail(
            Failure(
                b"", b"message " + detail[:12].encode(), 0, 0, MESSAGE_CURSOR, Reason.POISON, 1, 0, detail
            )
            for detail in details
        )

    # --- new work

    def _add_scans(self, positions: Sequence[Position], due: float = 0.0, tier: int = 0) -> None:
        known = [self.with_digest(position, self._run) for position in positions]
        for group in bundle(known, self.outstanding().scans):
            self._works += 1
            body, passes = encode_positions(group), group[0].passes
            row = _Row(self._works, WorkKind.SCAN, body, passes=passes, due=due, is_last=tier > 0)
            self._rows[row.id] = row

    def _add_batch(self, new: Batch, like: _Row | None = None) -> _Row:
        self._works += 1
        row = _Row(self._works, WorkKind.BATCH, encode_batch(new), new.objects, new.bytes)
        if like is not None:
            row.passes, row.home, row.is_last = like.passes, like.home, like.is_last
            row.candidates, row.asked = like.candidates, like.asked
        elif self._run > 1:
            row.candidates = list(dict.fromkeys(self.near(new.spans)))
            row.home = self._home_of(row)
        self._rows[row.id] = row
        return row

    def _home_of(self, row: _Row) -> str:
        """Return the volume of a known machine with most candidates that were not compared."""
        left = Counter(
            each.volume for each in row.candidates if each not in row.asked and self.machine_of(each.volume)
        )
        return left.most_common(1)[0][0] if left else ""

    # --- reading

    def failures(self) -> list[Failure]:
        """Return what failed for good."""
        return list(self._failures.values())

    def counters(self) -> Counters:
        """Return the books of the present run."""
        found = self._counters
        failures = Counter(failure.reason.value for failure in self._failures.values())
        return msgspec.structs.replace(
            found,
            retries=dict(found.retries),
            doubts=dict(found.doubts),
            failures=dict(failures),
            unlisted=sum(not failure.name for failure in self._failures.values()),
        )

    def outstanding(self) -> Outstanding:
        """Return what is left to do."""
        scans = [row for row in self._rows.values() if row.kind is WorkKind.SCAN]
        batches = [row for row in self._rows.values() if row.kind is WorkKind.BATCH]
        usual = [row for row in self._rows.values() if not row.is_last]
        waits = usual and all(row.due and row.machine is None for row in usual)
        again_at = min(row.due for row in usual) if waits else 0.0
        return Outstanding(
            len(scans),
            sum(row.machine is not None for row in scans),
            len(batches),
            sum(row.machine is not None for row in batches),
            sum(row.objects for row in batches),
            sum(row.size for row in batches),
            again_at,
            self._waits_for(usual or list(self._rows.values()), again_at),
        )

    def _waits_for(self, rows: Sequence[_Row], again_at: float) -> list[str]:
        if any(row.machine is not None for row in self._rows.values()):
            return []
        machines = {row.home and self.machine_of(row.home) for row in rows if row.due <= again_at}
        return sorted(machines) if all(machines) else []

    def spending(self) -> Spending:
        """Return what the job has used."""
        return self._spent.copy()

    def note_spending(self, spent: Spending) -> None:
        """Note what the job has used."""
        self._spent = spent.copy()

    def check_room(self) -> None:
        """See `ports.Journal`: memory is never nearly full."""

    def close(self) -> None:
        """See `ports.Journal`: nothing to close."""
