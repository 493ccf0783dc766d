"""The outstanding work: rows that are ready or sent, and are deleted when their receipt is booked.

A row says beside its body what decides when it is given out, and to whom:

* its **tier**: there is nothing left of one before any of the next is given out;
* when it is **due**, where it was deferred: not before, and in this order;
* its **rank** in the order that the job asked for (`domain.order`): the least goes first;
* its **candidates**, the ledger blocks that may hold some of its objects: they are compared before anything is fetched;
* its **home**, the volume that holds most of them, whose machine it is for; 0 where any machine may have it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from bucketpull.domain.batching import (
    Batch,
    batch_of,
    bundle,
    decode_batch,
    encode_batch,
    encode_positions,
    known_bytes,
    objects_in,
    split,
)
from bucketpull.domain.budget import BudgetLeft
from bucketpull.domain.messages import BatchReceipt, Work
from bucketpull.domain.model import Part, Position, SentWork, WorkKind
from bucketpull.domain.order import Order
from bucketpull.journal.extents import Entry, pack_entries, unpack_entries
from bucketpull.journal.journal_connection import ImpossibleRow, JournalConnection, checksum, is_sound
from bucketpull.journal.sums import Books
from bucketpull.journal.volume_numbers import Volumes

# The tiers.
USUAL = 0
LAST = 1  # the last pass: when nothing usual is outstanding
AGAIN = 2  # pages that were booked in this run and must be listed again: when nothing else is outstanding

REPAIR = b""  # in place of candidates: what ledgers say of these objects is wrong
_ASKED = (b"", b"")  # in place of what a candidate covers: its machine has compared the batch with it
_STEP = 200  # rows at a time, when all are walked: a body has 40 KB


class Taken(msgspec.Struct):
    """A row of work whose receipt has come. `size` is in bytes, `candidates` the blob as it is kept."""

    id: int
    kind: WorkKind
    state: int
    tier: int
    home: int
    passes: int
    objects: int
    size: int
    candidates: bytes | None
    body: bytes
    checksum: int


class Frontier:
    """Rows of work. Every method runs in the caller's transaction and keeps the books in step.

    `damaged` are batches, with their parts, whose bytes are not those that were written: they are neither given out nor taken.
    """

    def __init__(self, connection: JournalConnection, books: Books, volumes: Volumes, order: Order) -> None:
        self._connection = connection
        self._books = books
        self._volumes = volumes
        self._order = order
        self.damaged: dict[int, int] = {}

    # --- adding

    def add_batch(
        self,
        batch: Batch,
        *,
        candidates: bytes | None = None,
        home: int = 0,
        passes: int = 0,
        due: float = 0,
        tier: int = USUAL,
    ) -> int:
        """Add a batch; `due` is in Unix seconds (0: at once)."""
        rank = 0 if self._order.is_any else self._order.of_batch(batch.parts)
        row = (WorkKind.BATCH, tier, due, home, passes, batch.objects, batch.bytes, candidates, rank)
        return self._add(row, encode_batch(batch))

    def add_scans(self, positions: Sequence[Position], *, due: float = 0, tier: int = USUAL) -> None:
        """Add positions as scans, small directories bundled."""
        by_rank: dict[int, list[Position]] = {}
        for position in positions:
            by_rank.setdefault(self._order.of_directory(position.directory), []).append(position)
        for rank, equal in by_rank.items():
            for group in bundle(equal, self._books.outstanding.scans):
                row = (WorkKind.SCAN, tier, due, 0, group[0].passes, 0, 0, None, rank)
                self._add(row, encode_positions(group))

    def _add(
        self, row: tuple[WorkKind, int, float, int, int, int, int, bytes | None, int], body: bytes
    ) -> int:
        work = self._connection.run("add-work", row).lastrowid
        assert work is not None
        kind, tier, _, _, _, objects, size, candidates, _ = row
        self._connection.run("add-body", (work, body, checksum(candidates, body)))
        self._books.add_work(kind, tier, objects, size)
        return work

    # --- giving out

    def claim(self, kind: WorkKind, limit: int, homes: Sequence[int], now: float, late: int) -> list[Work]:
        """Find work that is due: first work of these homes, then by tier, then by rank.

        Deferred work comes first, but only `late` of it while there is other work.
        """
        deferred = self._deferred(kind, homes, now, limit)
        works = deferred[:late]
        for tier in self._books.open_tiers:
            for home in (*homes, 0):
                works += self._found("ready-work", homes, (kind, tier, home), limit - len(works))
        return works + deferred[late:][: limit - len(works)]

    def _deferred(self, kind: WorkKind, homes: Sequence[int], now: float, limit: int) -> list[Work]:
        works: list[Work] = []
        for home in (*homes, 0):
            works += self._found("deferred-work", homes, (kind, home, now), limit - len(works))
        return works

    def ready(self, works: Iterable[int], homes: Sequence[int]) -> list[Work]:
        """Return which of some batches are not sent to any machine."""
        return [
            found
            for work in dict.fromkeys(works)
            for found in self._found("ready-by-id", homes, (WorkKind.BATCH, work), 1)
        ]

    def _found(
        self, query: str, homes: Sequence[int], where: tuple[WorkKind, *tuple[float, ...]], limit: int
    ) -> list[Work]:
        if limit <= 0:
            return []
        kind = where[0]
        rows = self._connection.run(query, (*where, limit)).fetchall()
        return [
            self._work(row[:5], kind, homes) for row in rows if self._is_sound(kind, row[0], row[2], *row[3:])
        ]

    def _is_sound(
        self, kind: WorkKind, work: int, part: int, candidates: bytes | None, body: bytes, kept: int
    ) -> bool:
        """Whether a row's bytes are those that were written; note a batch of which they are not. Raises ImpossibleRow for such a scan: nobody knows what it would have found."""
        if is_sound(kept, candidates, body):
            return True
        if kind is WorkKind.SCAN:
            raise ImpossibleRow(f"scan {work} was damaged")
        self.damaged[work] = part
        return False

    def _work(
        self, row: tuple[int, int, int, bytes | None, bytes], kind: WorkKind, homes: Sequence[int]
    ) -> Work:
        work, passes, part, blob, body = row
        if not blob:
            return Work(work, kind, body, passes, part=part)
        entries = [entry for entry in unpack_entries(blob) if self._volumes.is_there(entry[0])]
        here = [
            entry
            for entry in entries
            if entry[0] in homes or len(entry) > 2 or not self._volumes.machine_of(entry[0])
        ]
        extents = [self._volumes.extent(entry) for entry in here]
        return Work(work, kind, body, passes, extents, len(here) < len(entries), part)

    def foremost(self, works: Iterable[Work]) -> list[Work]:
        """Return those of some unsent batches that `--first PREFIX/` lets go out: no earlier prefix is still being listed.

        Of a batch with several prefixes only the first one's objects are kept; the others become a batch of their own.
        """
        if not self._order.prefixes:
            return list(works)
        ranks = self._connection.run("foremost-scan").fetchone()
        places = [self._order.place_of(rank) for rank in ranks if rank is not None]
        listed = min(places, default=len(self._order.prefixes))
        kept: list[Work] = []
        for work in works:
            place, parts, count = self._order.leading(decode_batch(work.body).parts)
            if place <= listed:
                kept.append(work if count == objects_in(parts) else self._cut(work, parts, count))
        return kept

    def within(self, works: Iterable[Work], room: BudgetLeft) -> list[Work]:
        """Return those of some unsent batches for which there is room; one that has more objects is cut in two."""
        kept: list[Work] = []
        for work in works:
            parts = decode_batch(work.body).parts
            sizes = [size for part in parts for size in part.sizes]
            count = room.fitting(sizes)
            if count < len(sizes):
                return [*kept, self._cut(work, parts, count)] if count else kept
            room = room.less(count, known_bytes(sizes))
            kept.append(work)
        return kept

    def _cut(self, work: Work, parts: Sequence[Part], objects: int) -> Work:
        taken = self.take(work.id, work.part)
        assert taken is not None
        batches = [batch_of(piece) for piece in split(parts, objects)]
        ids = [
            self.add_batch(
                batch, candidates=taken.candidates, home=taken.home, passes=taken.passes, tier=taken.tier
            )
            for batch in batches
        ]
        return msgspec.structs.replace(work, id=ids[0], body=encode_batch(batches[0]), part=0)

    def send(self, kind: WorkKind, works: Iterable[Work], machine: str) -> None:
        """Mark work as sent."""
        rows = [(machine, work.id) for work in works]
        for row in rows:
            self._connection.run("mark-sent", row)
        self._books.send(kind, len(rows))

    def release(self, works: Iterable[int]) -> None:
        """Mark sent work as ready; what is not sent stays as it is."""
        for work in works:
            for (kind,) in self._connection.run("mark-ready", (work,)).fetchall():
                self._books.send(WorkKind(kind), -1)

    def hand_back(self, works: Iterable[int], machine: str) -> None:
        """Mark work as ready that is with a machine; what another one has by now stays with that."""
        holders = self.holders(works)
        self.release(work for work, holder in holders.items() if holder == machine)

    def sent(self) -> list[SentWork]:
        """Return the work that is sent."""
        rows = self._connection.run("sent-work").fetchall()
        return [SentWork(work, WorkKind(kind), *rest) for work, kind, *rest in rows]

    def holders(self, works: Iterable[int]) -> dict[int, str]:
        """Return which work is outstanding, and with which machine ("" for none)."""
        found: dict[int, str] = {}
        for work in works:
            for machine, state in self._connection.run("holder", (work,)).fetchall():
                found[work] = machine if state else ""
        return found

    # --- ending

    def take(self, work: int, part: int = 0) -> Taken | None:
        """Return and remove a row, or None if the receipt of this part came before, or the row was damaged."""
        taken = self._row(work, part)
        if taken is None or not self._is_sound(
            taken.kind, work, part, taken.candidates, taken.body, taken.checksum
        ):
            return None
        self._remove(taken)
        return taken

    def _row(self, work: int, part: int) -> Taken | None:
        row = self._connection.run("taken-work", (work, part)).fetchone()
        return Taken(work, WorkKind(row[0]), *row[1:]) if row is not None else None

    def _remove(self, taken: Taken) -> None:
        self._connection.run("remove-work", (taken.id,))
        self._connection.run("remove-body", (taken.id,))
        self._books.add_work(taken.kind, taken.tier, taken.objects, taken.size, -1)
        if taken.state:
            self._books.send(taken.kind, -1)

    def remove_damaged(self) -> int:
        """Remove the batches that were damaged; return of how many objects."""
        rows = [self._row(work, part) for work, part in self.damaged.items()]
        self.damaged.clear()
        found = [row for row in rows if row is not None]
        for row in found:
            self._remove(row)
        return sum(row.objects for row in found)

    def batches(self) -> Iterator[Batch]:
        """Return all batches that were not damaged."""
        after = 0
        while rows := self._connection.run("walk-batches", (after, _STEP)).fetchall():
            for after, *row in rows:
                if self._is_sound(WorkKind.BATCH, after, *row):
                    yield decode_batch(row[2])

    def go_on(self, taken: Taken, rest: Batch, part: int, machine: str) -> None:
        """Put a row back that was taken, with what is left of its batch, which the machine has in hand as this part."""
        row = (taken.id, taken.tier, taken.home, machine, taken.passes, part, rest.objects, rest.bytes)
        self._connection.run("go-on-work", (*row, taken.candidates))
        body = encode_batch(rest)
        self._connection.run("add-body", (taken.id, body, checksum(taken.candidates, body)))
        self._books.add_work(taken.kind, taken.tier, rest.objects, rest.bytes)
        self._books.send(taken.kind, 1)

    def abandoned(self) -> Iterator[Batch]:
        """Delete all rows except repairs, which nothing else records; return the batches. What a scan was to list does not matter."""
        after = 0
        while rows := self._connection.run("abandoned-work", (after, _STEP)).fetchall():
            for after, part in rows:
                row = self._row(after, part)
                if row is not None and row.kind is WorkKind.SCAN:
                    self._remove(row)
                elif (taken := self.take(after, part)) is not None:
                    yield decode_batch(taken.body)

    # --- candidates and homes

    def home_of(self, candidates: Iterable[Entry]) -> int:
        """Return the volume, of one that is with a machine, that holds most candidates not yet asked; 0 if there is none."""
        counts = Counter(
            entry[0] for entry in candidates if entry[2:] != _ASKED and self._volumes.machine_of(entry[0])
        )
        return counts.most_common(1)[0][0] if counts else 0

    def rehome(self, volume: int) -> None:
        """Let any machine do the work that waits for a volume."""
        for tier in (USUAL, LAST, AGAIN):
            self._connection.run("rehome-work", (tier, volume))
        self._connection.run("rehome-deferred", (volume,))

    def candidates_left(self, taken: Taken, receipt: BatchReceipt, *, sent_on: bool) -> list[Entry]:
        """Return the candidates of a batch after a machine compared it: its own are marked as asked.

        Objects that are `sent_on` are in none of the blocks that it read: those are left out.
        """
        read = {self._volumes.known_number(volume) for volume in receipt.compared}
        own = set(self._volumes.at([receipt.machine]))
        return [
            (*entry[:2], *_ASKED) if entry[0] in own | read else entry
            for entry in unpack_entries(taken.candidates)
            if not (sent_on and entry[0] in read)
        ]


def candidates_blob(candidates: Iterable[Entry]) -> bytes | None:
    """Write the candidates of a batch: not what they cover, but whether they were asked."""
    kept = (entry if entry[2:] == _ASKED else entry[:2] for entry in candidates)
    return pack_entries(dict.fromkeys(kept)) or None
