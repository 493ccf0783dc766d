"""The sums of a run, kept beside the rows that they sum up, so that nobody counts a million rows; checked when a journal is opened."""

import msgspec

from bucketpull.domain.budget import Spending
from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.model import Counters, Outstanding, WorkKind
from bucketpull.domain.user_limits import Steering
from bucketpull.journal.journal_connection import JournalConnection, damaged
from bucketpull.journal.volume_numbers import Volumes


class Books(msgspec.Struct):
    """Everything that is counted. `tiers` counts outstanding work by tier; `failures` the rows of failures by reason, and `unlisted` those that are pages.

    `spent` is of all runs. `selection` stands for what the present run wants of the source, "" where that was not said; `is_mixed`
    says that earlier runs wanted something else, so that what the present one does not see may still be there. `last_blocks` are, by
    volume, the highest offsets (bytes) of ledger blocks that were booked. `steering` is what commands changed while the job runs.
    `unmet` are the numbers of volumes that are known from their ledgers alone: no machine has had them since. `is_void` says that
    an unknown part of what the present run counts was removed since, so that it is not continued if it is unfinished.
    """

    counters: Counters = msgspec.field(default_factory=Counters)
    outstanding: Outstanding = msgspec.field(default_factory=Outstanding)
    tiers: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    failures: dict[str, int] = {}
    spent: Spending = msgspec.field(default_factory=Spending)
    selection: str = ""
    is_mixed: bool = False
    last_blocks: dict[str, int] = {}
    steering: Steering | None = None
    unmet: set[int] = set()
    is_void: bool = False
    unlisted: int = 0

    def add_work(self, kind: WorkKind, tier: int, objects: int, size: int, count: int = 1) -> None:
        """Count new work, `size` in bytes; a `count` of -1 is work that is done."""
        self.tiers[tier] += count
        if kind is WorkKind.SCAN:
            self.outstanding.scans += count
        else:
            self.outstanding.batches += count
            self.outstanding.objects += count * objects
            self.outstanding.bytes += count * size

    def send(self, kind: WorkKind, count: int) -> None:
        """Count work sent; a negative count is work that came back."""
        if kind is WorkKind.SCAN:
            self.outstanding.scans_sent += count
        else:
            self.outstanding.batches_sent += count

    def fail(self, reason: str, name: bytes, count: int = 1) -> None:
        """Count rows of failures, those of pages by their empty name; a negative count is rows removed."""
        if not name:
            self.unlisted = max(0, self.unlisted + count)  # the sums of an older journal do not count them
        self.failures[reason] = self.failures.get(reason, 0) + count
        if self.failures[reason] <= 0:
            del self.failures[reason]

    def note_block(self, volume: str, offset: int) -> None:
        """Note a block of a volume's ledger."""
        self.last_blocks[volume] = max(offset, self.last_blocks.get(volume, 0))

    def snapshot(self) -> Counters:
        """Return counters that no longer change."""
        failures = dict(self.failures)
        retries, doubts = dict(self.counters.retries), dict(self.counters.doubts)
        return msgspec.structs.replace(
            self.counters, failures=failures, retries=retries, doubts=doubts, unlisted=self.unlisted
        )

    @property
    def open_tiers(self) -> range:
        """The tiers of which work is due: a later one only while the earlier ones are empty."""
        first = next((tier for tier, count in enumerate(self.tiers) if count), 0)
        return range(first + 1)


decode_books = json_decoder(Books)


def encode_books(books: Books) -> str:
    """Write the sums as JSON."""
    return msgspec.json.encode(books).decode()


def what_is_left(connection: JournalConnection, books: Books, volumes: Volumes) -> Outstanding:
    """Return the outstanding work, and while nobody has any, when it goes on, and which machines it waits for."""
    left = msgspec.structs.replace(books.outstanding, again_at=0.0, waits_for=[])  # these are not kept
    if left.is_some and not (left.scans_sent or left.batches_sent):
        last = books.open_tiers[-1]
        left.again_at = float(connection.rows("next-due", last)[0][0])
        machines = {
            volumes.machine_of(home) if home else ""
            for home in (0, *volumes.numbers())
            if connection.rows("next-at-home", last, left.again_at, home)[0][0]
        }
        left.waits_for = sorted(machines) if all(machines) else []
    return left


def check_outstanding(connection: JournalConnection, books: Books) -> None:
    """Make sure that the outstanding work can be done, and that its sums are right: a job waits for it, else for ever.

    Raises JournalDamaged where one is such that no machine is ever given it, or the sums are of others.
    """
    impossible = connection.rows("impossible-work")
    *sums, usual, last, again = map(int, connection.rows("sums-of-work")[0])
    if impossible:
        raise damaged(connection.folder, f"work {impossible[0][0]} has values that no machine can act on")
    counted = msgspec.structs.astuple(books.outstanding)[: len(sums)]
    if tuple(sums) != counted or [usual, last, again] != books.tiers:
        raise damaged(connection.folder, "its sums are not those of its outstanding work")
