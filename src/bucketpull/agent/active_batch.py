"""A batch on a worker, from its arrival to its receipt. It is done as one or more tasks, each on one volume."""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from bucketpull.domain.batching import (
    REPORT_SECONDS,
    Batch,
    among,
    batch_of,
    decode_batch,
    encode_parts,
    ids_of,
    objects_in,
    split,
)
from bucketpull.domain.counting import add_counts
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import BatchReceipt, Outcome, Work
from bucketpull.domain.model import Extent, Failure, Former, Part
from bucketpull.domain.record import Claim, Record


class ActiveBatch:
    """A batch in hand, or what is left of it.

    `tasks` are those not settled yet; when there is none, the last receipt is ready. `unsettled` counts the intents and outcomes on
    their way to disk: while there are any, nobody can say what is left. `whole` are all its objects. `begun` are, by
    volume, the ledger blocks that it had before it came here. `since` is when it came or was last reported (monotonic seconds).
    `unread` are volumes of candidates that cannot be read here: objects of the batch may lie there too.
    """

    def __init__(self, work: Work, machine: str, now: float) -> None:
        self.work = work
        self.begun: dict[str, list[int]] = {}
        self.whole = decode_batch(work.body)
        self.tasks: dict[int, Task] = {}
        self.unsettled = 0
        self.since = now
        self._deferred: list[Part] = []
        self._returned: list[Part] = []
        self._receipt = BatchReceipt(work.id, machine, part=work.part)
        self._blocks: dict[str, list[int]] = {}
        for extent in work.candidates:
            self._blocks.setdefault(extent.volume, []).append(extent.offset)
        self.unread: Collection[str] = ()

    @property
    def parts(self) -> list[Part]:
        """All its objects."""
        return self.whole.parts

    def skip(self, objects: int, size: int, extents: Iterable[Extent]) -> None:
        """Count objects that are on a volume already, with their `size` in bytes."""
        self._receipt.skipped += objects
        self._receipt.skipped_bytes += size
        self._receipt.extents += extents

    def add(self, outcome: Outcome, extent: Extent | None) -> None:
        """Count an outcome of a task. `extent` is where its stored objects are recorded durably. Files that were there before count as skipped."""
        self._receipt.stored += outcome.stored - outcome.claimed
        self._receipt.skipped += outcome.claimed
        self._receipt.skipped_bytes += outcome.claimed_bytes
        self._receipt.bytes += outcome.stored_bytes
        if outcome.is_recovered:
            self._receipt.recovered += outcome.stored
            self._receipt.recovered_bytes += outcome.stored_bytes
        self._receipt.failures += outcome.failures
        self._deferred += outcome.deferred
        add_counts(self._receipt.retries, outcome.retries)
        if extent is not None:
            add_counts(self._receipt.doubts, outcome.doubts)
            self._receipt.extents.append(extent)

    def note_stale_copies(self, volume: str, parts: list[Part], former: Collection[str]) -> None:
        """Note objects that are on one volume now, of which other volumes may have stale copies."""
        for other in former:
            if other != volume and self._blocks.get(other) and parts:
                self._receipt.former.append(Former(other, self._blocks[other], volume, encode_parts(parts)))

    def note_second_copies(self, volume: str, parts: list[Part], other: str) -> None:
        """Note objects in place on one volume of which another one has the same version too."""
        former = Former(other, self._blocks[other], volume, encode_parts(parts), is_double=True)
        self._receipt.former.append(former)

    def older_blocks(self, volume: str, former: Collection[str]) -> list[int]:
        """Return the offsets of a volume's blocks that may hold other versions of objects that lay on `former` volumes."""
        candidates = self._blocks.get(volume, []) if volume in former else []
        return candidates + self.begun.get(volume, [])

    def send_on(self, parts: list[Part]) -> None:
        """Note objects that are not here, and may be on another machine."""
        self._receipt.sent_on = _batch(parts)

    def note_compared(self, volumes: Collection[str]) -> None:
        """Note which of its candidates' volumes were read."""
        self._receipt.compared = sorted(volumes)
        self.unread = self._blocks.keys() - volumes

    def give_back(self, parts: Iterable[Part]) -> None:
        """Note objects that were not tried, for lack of room or time."""
        self._returned += parts

    def fail(self, failures: Iterable[Failure]) -> None:
        """Note objects that cannot be stored."""
        self._receipt.failures += failures

    def is_due(self, now: float) -> bool:
        """Whether it is time to report what has ended, although the rest has not."""
        receipt = self._receipt
        has_news = (
            receipt.stored
            or receipt.skipped
            or receipt.failures
            or receipt.sent_on
            or self._deferred
            or self._returned
        )
        return bool(has_news) and now - self.since >= REPORT_SECONDS

    def receipt(self, now: float, next_part: int) -> BatchReceipt:
        """Return the receipt of what has ended since the last one. What is still with tasks becomes the remainder, as part `next_part`."""
        receipt = self._receipt
        receipt.deferred = _batch(self._deferred)
        receipt.returned = _batch(self._returned)
        receipt.remainder = _batch([part for task in self.tasks.values() for part in task.parts])
        receipt.next_part = next_part if receipt.remainder else 0
        self.since = now
        self._deferred, self._returned = [], []
        self._receipt = BatchReceipt(self.work.id, receipt.machine, part=next_part)
        return receipt


class Task:
    """The share of a batch that one process stores on one volume: `process`, -1 where none has it. `deaths` counts those that died when one object was left.

    `left` are its objects that have not ended. `unsettled` counts the outcomes that
    are not durable yet; the last outcome sets `ended`. `former` are volumes that may have other versions of its objects, as far as is
    known. `claims` are files on its volume that may be some of the objects.
    """

    def __init__(self, id: int, batch: ActiveBatch, objects: Batch, former: Collection[str] = ()) -> None:  # noqa: A002 - the field's name everywhere
        self.id = id
        self.batch = batch
        self.left = objects
        self.volume = ""
        self.former = former
        self.claims: list[Claim] = []
        self.process = -1
        self.deaths = 0
        self.unsettled = 0
        self.ended = False

    @property
    def parts(self) -> list[Part]:
        """Its objects that have not ended."""
        return self.left.parts

    def apply(self, outcome: Outcome) -> "Settling":
        """Note what became of some of its objects."""
        before, self.left = self.left, batch_of(outcome.rest)
        self.ended = not outcome.rest
        self.unsettled += 1
        self.batch.unsettled += 1
        objects, size = before.objects - self.left.objects, before.expected_bytes - self.left.expected_bytes
        return Settling(self, outcome, objects, size)


class Settling(msgspec.Struct, frozen=True):
    """An outcome of a task on its way to disk, with the number and bytes of the objects that it ends."""

    task: Task
    outcome: Outcome
    objects: int
    size: int


def outcome_of(task: Task, records: Sequence[Record], rest: list[Part], *, is_ours: bool) -> Outcome:
    """Make the outcome of a task whose objects are on its volume already, but for the `rest`: unsettled files of ours, or files of others."""
    objects = task.left.objects - objects_in(rest)
    outcome = Outcome(task.id, stored=objects, records=msgspec.msgpack.encode(records), rest=rest)
    if is_ours:
        outcome.stored_bytes, outcome.is_recovered = sum(sum(record.lengths) for record in records), True
    else:
        outcome.claimed, outcome.claimed_bytes = objects, task.left.bytes
    return outcome


def stored_in(outcome: Outcome) -> list[Record]:
    """Return the records of what an outcome says is stored."""
    return msgspec.msgpack.decode(outcome.records, type=list[Record]) if outcome.records else []


def parts_of(records: Iterable[Record]) -> list[Part]:
    """Return the objects of records as they were listed."""
    return [Part(r.directory, r.cursor, r.names, r.sizes, r.mtimes) for r in records]


def as_listed(parts: Iterable[Part], records: Iterable[Record]) -> list[Part]:
    """Return the objects of records as they stand in the listed parts: records know neither versions nor URLs."""
    return among(parts, ids_of(records))


def by_size(parts: Iterable[Part], most: int) -> tuple[list[Part], list[Part]]:
    """Return the objects of at most so many bytes, as listed, and those that are larger."""
    small: list[Part] = []
    large: list[Part] = []
    for part in parts:
        for found, is_large in ((small, False), (large, True)):
            indexes = [index for index, size in enumerate(part.sizes) if (size > most) is is_large]
            if indexes:
                found.append(part.take(indexes))
    return small, large


def pieces(parts: list[Part]) -> list[list[Part]]:
    """Split objects into four pieces, or fewer, to find the one that makes its process die."""
    return [piece for half in _halves(parts) for piece in _halves(half) if piece]


def _halves(parts: list[Part]) -> tuple[list[Part], list[Part]]:
    return split(parts, objects_in(parts) // 2)


def poisoned(parts: Iterable[Part], attempts: int) -> list[Failure]:
    """Return the failures of objects that make their processes die."""
    detail = "its process died each time"
    return [each for part in parts for each in part.failures(Reason.POISON, attempts, detail)]


def _batch(parts: list[Part]) -> Batch | None:
    return batch_of(parts) if parts else None
