"""No schedule of deliveries, duplicates, hand-backs, crashes and restarts loses or doubles anything.

A bucket, some volumes and any number of workers are played in memory against a real journal; hypothesis chooses who does
what and when. At every step the books balance; when nothing is outstanding, every listed object lies where the journal says,
or the journal says why not.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random, randrange

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.journal.conftest import extents_of

from bucketpull.domain.batching import batch_of, cut, decode_batch, decode_positions
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.messages import BatchReceipt, Handback, ScanReceipt, Work
from bucketpull.domain.model import Extent, Failure, PageRecord, Part, Position, WorkKind, key_of
from bucketpull.domain.selection import EVERYTHING
from bucketpull.journal.sqlite_journal import SqliteJournal

PAGE = 3
MACHINE_OF = {"v1": "m1", "v2": "m1", "v3": "m2"}
LUCK = st.randoms(use_true_random=False)
DIRECTORIES = [b"", b"a", b"b", b"a/c"]
NAMES = [b"%d" % number for number in range(8)]
SCANNED = [*["listed"] * 8, "deferred", "failed"]
OUTCOMES = ["stored", "stored", "stored", "stored", "failed", "gone", "deferred", "returned"]


class Bucket:
    """Directories of objects: name to size and time. A page is three objects, its cursor the last name before it."""

    def __init__(self) -> None:
        self.objects: dict[bytes, dict[bytes, tuple[int, int]]] = {b"": {}}

    def children(self, directory: bytes) -> list[bytes]:
        below = [d for d in self.objects if d and d.rpartition(b"/")[0] == directory]
        return sorted(below) if directory in self.objects else []

    def page(self, directory: bytes, cursor: str) -> tuple[Part, list[Position]]:
        names = sorted(name for name in self.objects[directory] if name > cursor.encode())
        shown = names[:PAGE]
        part = Part(directory, cursor, shown, [], [])
        for name in shown:
            size, mtime = self.objects[directory][name]
            part.sizes.append(size)
            part.mtimes.append(mtime)
        following = (
            [Position(directory, shown[-1].decode(), until_of(shown[-1].decode()))]
            if len(names) > PAGE
            else []
        )
        return part, following


def until_of(cursor: str) -> str:
    """What the source wants to be told when it is asked for a cursor, also for the second time."""
    return f"up to {cursor}" if cursor else ""


def digest_of(part: Part) -> bytes:
    return repr((part.names, part.sizes, part.mtimes)).encode()


class Books(RuleBasedStateMachine):
    """The machine. `hand` is work given out, again and again if it is lost on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 1_000.0
        self.bucket = Bucket()
        self.blocks: dict[str, list[dict[tuple[bytes, bytes], tuple[int, int]]]] = {v: [] for v in MACHINE_OF}
        self.lost: set[str] = set()
        self.hand: list[tuple[Work, str]] = []
        self.receipts: list[ScanReceipt | BatchReceipt] = []
        self.listed: dict[tuple[bytes, str], Part] = {}
        self.sources: dict[int, tuple[ScanReceipt, dict[tuple[bytes, str], Part]]] = {}
        self.gone: dict[int, list[tuple[bytes, str]]] = {}
        self.vanished: set[tuple[bytes, str, bytes]] = set()
        self.running = False
        self.steady = True
        self.selection = EVERYTHING
        self.journal = self.open()

    def open(self) -> SqliteJournal:
        journal = SqliteJournal.open(
            self.folder, "job", {"source": "upyun://b"}, self.now, retry_seconds=10.0
        )
        journal._tables.connection.sqlite.execute("pragma synchronous = off")
        return journal

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)

    # The bucket

    @initialize(
        contents=st.dictionaries(
            st.sampled_from(DIRECTORIES), st.sets(st.sampled_from(NAMES), max_size=8), max_size=4
        ),
        first_run=st.integers(0, 1000) | st.none(),
    )
    def fill(self, contents: dict[bytes, set[bytes]], first_run: int | None) -> None:
        for directory, names in contents.items():
            self.put_directory(directory)
            self.bucket.objects[directory] = dict.fromkeys(names, (10, 1))
        if first_run is not None:
            self.begin()
            self.finish(first_run)

    def put_directory(self, directory: bytes) -> None:
        while directory:
            self.bucket.objects.setdefault(directory, {})
            directory = directory.rpartition(b"/")[0]

    @rule(directory=st.sampled_from(DIRECTORIES), name=st.sampled_from(NAMES), size=st.integers(0, 50))
    def write_object(self, directory: bytes, name: bytes, size: int) -> None:
        self.put_directory(directory)
        self.bucket.objects[directory][name] = (size, int(self.now))
        self.now += 1
        self.steady = False

    @rule(directory=st.sampled_from(DIRECTORIES), name=st.sampled_from(NAMES))
    def delete_object(self, directory: bytes, name: bytes) -> None:
        if self.bucket.objects.get(directory, {}).pop(name, None):
            self.steady = False

    @rule(directory=st.sampled_from(DIRECTORIES[1:]))
    def delete_directory(self, directory: bytes) -> None:
        for known in list(self.bucket.objects):
            if known == directory or known.startswith(directory + b"/"):
                del self.bucket.objects[known]
                self.steady = False

    # The coordinator

    @precondition(lambda self: not self.running)
    @rule(selection=st.sampled_from([EVERYTHING, EVERYTHING, "less"]))
    def begin(self, selection: str = EVERYTHING) -> None:
        outstanding = self.journal.outstanding()
        abandons = self.selection != selection
        goes_on = self.journal.begin(Position(b""), self.now, selection)
        assert goes_on == (bool(outstanding.scans + outstanding.batches) and not abandons)
        if not goes_on:
            self.selection = selection
            self.listed, self.vanished = {}, set()
            self.steady = True
        self.running = True

    @precondition(lambda self: self.running)
    @rule(kind=st.sampled_from(WorkKind), limit=st.integers(1, 4), machine=st.sampled_from(["m1", "m2"]))
    def claim(self, kind: WorkKind, limit: int, machine: str) -> None:
        works = self.journal.claim(kind, limit, machine, self.now)
        assert len(works) <= limit
        held = {work.id for work, _ in self.hand}
        assert not held & {work.id for work in works}, "given out twice"
        self.hand += [(work, machine) for work in works]

    @rule(seconds=st.sampled_from([1.0, 20.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(luck=LUCK)
    def work(self, luck: Random) -> None:
        """Do a piece of work in hand; it stays in hand, and may be done again by another."""
        if self.hand:
            self.receipts.append(self.do(*luck.choice(self.hand), luck))

    @precondition(lambda self: self.running)
    @rule(seed=st.integers(0, 1000))
    def finish(self, seed: int) -> None:
        """Go on to the end of the run."""
        luck = Random(seed)
        while True:
            while self.hand:
                work, machine = self.hand[0]
                receipt = self.do(work, machine, luck)
                assert self.journal.commit([receipt], self.now) == []
                self.hand.pop(0)
                self.accept(receipt)
            for machine in ("m1", "m2"):
                for kind in WorkKind:
                    self.claim(kind, 5, machine)
            if not self.hand:
                if not sum(self.journal._tables.books.tiers):
                    return
                self.now += 3600  # past every delay of a retry

    @precondition(lambda self: self.running and not sum(self.journal._tables.books.tiers))
    @rule()
    def end(self) -> None:
        state = "incomplete" if any(self.journal.failures()) else "complete"
        self.journal.end(state, self.now, "{}")
        assert (self.journal.runs()[0].state, self.journal.runs()[0].ended) == (state, self.now)
        if not self.journal.listing_failed() and self.selection == EVERYTHING:
            pages = [page for step in self.journal._tables.pages.walk() for page in step]
            number = self.journal._tables.run.number
            assert {(page.directory, page.cursor) for page in pages if page.run == number} == set(self.listed)
            assert not any(page.digest for page in pages if page.run < number)
        self.running = False

    def do(self, work: Work, machine: str, luck: Random) -> ScanReceipt | BatchReceipt:
        if work.kind is WorkKind.SCAN:
            return self.scan(work, machine, luck)
        return self.drain(work, machine, luck)

    @precondition(lambda self: self.receipts)
    @rule(luck=LUCK, again=st.booleans())
    def commit(self, luck: Random, again: bool) -> None:
        """Book some receipts in one transaction, in any order, some perhaps twice; the transport keeps a copy if `again`."""
        picked = luck.choices(self.receipts, k=luck.randint(1, 4))
        dropped = self.journal.commit(picked, self.now)
        for receipt in picked:
            if receipt.work in {work.id for work, _ in self.hand}:
                self.hand = [(work, machine) for work, machine in self.hand if work.id != receipt.work]
                self.accept(receipt)
            else:
                assert receipt.work in dropped
        if not again:
            self.receipts = [receipt for receipt in self.receipts if receipt not in picked]

    @precondition(lambda self: any(isinstance(receipt, BatchReceipt) for receipt in self.receipts))
    @rule(luck=LUCK)
    def commit_with_a_false_receipt(self, luck: Random) -> None:
        """One receipt does not add up: then none of its transaction is booked."""
        open_works = {work.id for work, _ in self.hand}
        false = [
            receipt
            for receipt in self.receipts
            if isinstance(receipt, BatchReceipt) and receipt.work in open_works
        ]
        if false:
            receipt = luck.choice(false)
            more = BatchReceipt(receipt.work, receipt.machine, stored=10**6)
            others = [other for other in self.receipts if other.work != receipt.work][:3]
            before = (self.journal.counters(), self.journal.outstanding())
            with pytest.raises(JournalError, match="does not add up"):
                self.journal.commit([*others, more], self.now)
            assert (self.journal.counters(), self.journal.outstanding()) == before

    @rule(luck=LUCK)
    def hand_back(self, luck: Random) -> None:
        if self.hand:
            work, machine = luck.choice(self.hand)
            self.hand.remove((work, machine))
            self.receipts = [receipt for receipt in self.receipts if receipt.work != work.id]
            self.journal.commit([Handback([work.id, 10**9], machine)], self.now)

    @rule()
    def crash(self) -> None:
        """The coordinator is killed; what was sent is given to others."""
        self.journal._tables.connection.sqlite.close()
        self.journal._lock.release()
        self.journal = self.open()
        self.running = False
        self.release()

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = self.open()
        self.running = False
        self.release()

    def release(self) -> None:
        assert {work.id for work in self.journal.sent()} == {work.id for work, _ in self.hand}
        self.journal.release([work.id for work in self.journal.sent()])
        self.hand = []
        self.receipts = []

    @rule()
    def retry(self) -> None:
        before = len(list(self.journal.failures()))
        count = self.journal.retry()
        assert count <= before

    @precondition(lambda self: self.blocks)
    @rule(luck=LUCK)
    def lose(self, luck: Random) -> None:
        """A volume burns down. There are two that do not."""
        volume = luck.choice(["v1", "v3"])
        if volume in {known.id for known in self.journal.volumes()} - self.lost:
            self.journal.lose(volume)
            self.lost.add(volume)
            assert volume not in {
                extent.volume for _, _, extents in extents_of(self.journal) for extent in extents
            }

    # The workers

    def scan(self, work: Work, machine: str, luck: Random) -> ScanReceipt:
        receipt = ScanReceipt(work.id, machine)
        parts: list[Part] = []
        self.gone[id(receipt)] = []
        self.sources[id(receipt)] = (receipt, {})  # held, so that no other receipt gets its id
        for position in decode_positions(work.body):
            assert position.until == until_of(position.cursor)
            if position.directory not in self.bucket.objects:
                receipt.vanished += 1
                self.gone[id(receipt)].append((position.directory, position.cursor))
                continue
            outcome = luck.choice(SCANNED)
            if outcome == "deferred" and position.passes < 3:
                position.passes += 1
                receipt.positions.append(position)
                receipt.retries["timeout"] = receipt.retries.get("timeout", 0) + 1
            elif outcome == "failed":
                failure = Failure(
                    position.directory, b"", 0, 0, position.cursor, Reason.SERVER_ERROR, 1, 500, "no"
                )
                receipt.failures.append(failure)
            else:
                self.list_page(position, receipt, parts)
        receipt.batches = cut(parts, 4)
        return receipt

    def list_page(self, position: Position, receipt: ScanReceipt, parts: list[Part]) -> None:
        part, following = self.bucket.page(position.directory, position.cursor)
        digest = digest_of(part)
        first, last = min(part.names, default=b""), max(part.names, default=b"")
        record = PageRecord(
            position.directory,
            position.cursor,
            first,
            last,
            digest,
            len(part.names),
            sum(part.sizes),
            digest == position.digest,
        )
        receipt.pages.append(record)
        receipt.positions += following
        if not position.cursor:
            receipt.positions += [Position(child) for child in self.bucket.children(position.directory)]
        if part.names and not record.unchanged:
            parts.append(part)
        self.sources[id(receipt)][1][position.directory, position.cursor] = part

    def drain(self, work: Work, machine: str, luck: Random) -> BatchReceipt:
        receipt = BatchReceipt(work.id, machine)
        volumes = [v for v, m in MACHINE_OF.items() if m == machine and v not in self.lost]
        put_off: dict[str, list[Part]] = {"deferred": [], "returned": [], "sent_on": []}
        # An object may be on two pages of a batch: it moved, and changed, while they were listed. Each version has a block.
        blocks: list[dict[tuple[bytes, bytes], tuple[int, int]]] = [{}]
        for part in decode_batch(work.body).parts:
            for name, size, mtime in zip(part.names, part.sizes, part.mtimes, strict=True):
                place = self.found(work.candidates, part.directory, name, (size, mtime), machine)
                if place is not None:
                    receipt.skipped += 1
                    receipt.skipped_bytes += size
                    if place not in receipt.extents:
                        receipt.extents.append(place)
                    continue
                outcome = "sent_on" if work.elsewhere else luck.choice(OUTCOMES) if volumes else "returned"
                if outcome == "stored":
                    if (part.directory, name) in blocks[-1]:
                        blocks.append({})
                    blocks[-1][part.directory, name] = (size, mtime)
                elif outcome in put_off:
                    put_off[outcome].append(Part(part.directory, part.cursor, [name], [size], [mtime]))
                else:
                    reason = Reason.GONE if outcome == "gone" else Reason.FORBIDDEN
                    receipt.failures.append(
                        Failure(part.directory, name, size, mtime, part.cursor, reason, 1, 403, "no")
                    )
        receipt.deferred = batch_of(put_off["deferred"]) if put_off["deferred"] else None
        receipt.returned = batch_of(put_off["returned"]) if put_off["returned"] else None
        receipt.sent_on = batch_of(put_off["sent_on"]) if put_off["sent_on"] else None
        receipt.compared = sorted(
            {extent.volume for extent in work.candidates if MACHINE_OF[extent.volume] == machine}
        )
        if blocks[0]:
            volume = luck.choice(volumes)
            for block in blocks:
                self.blocks[volume].append(block)
                receipt.stored += len(block)
                receipt.bytes += sum(size for size, _ in block.values())
                receipt.extents.append(Extent(volume, len(self.blocks[volume]) - 1))
        return receipt

    def found(
        self, candidates: list[Extent], directory: bytes, name: bytes, version: tuple[int, int], machine: str
    ) -> Extent | None:
        """Look into the candidates of this machine, newest last, as a worker does."""
        place = None
        for extent in candidates:
            if MACHINE_OF[extent.volume] == machine:
                have = self.blocks[extent.volume][extent.offset].get((directory, name))
                if have is not None:
                    place = extent if have == version else None
        return place

    def accept(self, receipt: ScanReceipt | BatchReceipt) -> None:
        """Note what the journal has booked."""
        if isinstance(receipt, ScanReceipt):
            for page, part in self.sources[id(receipt)][1].items():
                if self.is_booked(part):
                    self.listed[page] = part
                    self.vanished = {gone for gone in self.vanished if gone[:2] != page}
            for page in self.gone[id(receipt)]:
                if not self.booked(page):
                    self.listed.pop(page, None)
        else:
            for failure in receipt.failures:
                if failure.reason is Reason.GONE:
                    self.vanished.add((failure.directory, failure.cursor, failure.name))

    def is_booked(self, part: Part) -> bool:
        """Whether the journal took a listing, and not an earlier one of the same page whose batches are outstanding."""
        return digest_of(part) in self.booked((part.directory, part.cursor))

    def booked(self, page: tuple[bytes, str]) -> list[bytes]:
        connection = self.journal._tables.connection.sqlite
        rows = connection.execute(
            "select digest from page, job where directory = ? and cursor = ? and page.run = job.run", page
        )
        return [digest for (digest,) in rows]

    # What must always be true

    @invariant()
    def the_books_balance(self) -> None:
        counters, outstanding = self.journal.counters(), self.journal.outstanding()
        accounted = counters.stored + counters.skipped + counters.failed + counters.vanished
        assert counters.listed == accounted + outstanding.objects
        assert min(counters.stored, counters.skipped, counters.failed, counters.vanished) >= 0

    @invariant()
    def the_books_of_the_directories_add_up_to_those_of_the_run(self) -> None:
        balances = list(self.journal.balances())
        counters = self.journal.counters()
        assert sum(balance.listed for balance in balances) == counters.listed
        assert sum(balance.stored for balance in balances) == counters.stored
        assert sum(balance.skipped for balance in balances) == counters.skipped
        assert sum(balance.failed for balance in balances) == counters.failed
        assert sum(balance.vanished for balance in balances) == counters.vanished
        assert sum(balance.outstanding for balance in balances) == self.journal.outstanding().objects
        assert all(balance.outstanding >= 0 for balance in balances)

    @invariant()
    def the_sums_are_those_of_the_rows(self) -> None:
        connection = self.journal._tables.connection.sqlite
        outstanding = self.journal.outstanding()
        rows = connection.execute(
            "select kind, count(*), sum(state), sum(objects), sum(bytes) from work group by kind"
        ).fetchall()
        found = {kind: tuple(sums) for kind, *sums in rows}
        assert found.get(0, (0, 0, 0, 0))[:2] == (outstanding.scans, outstanding.scans_sent)
        sums = (outstanding.batches, outstanding.batches_sent, outstanding.objects, outstanding.bytes)
        assert found.get(1, (0, 0, 0, 0)) == sums
        assert connection.execute("select count(*) from body").fetchone()[0] == sum(
            f[0] for f in found.values()
        )
        reasons = connection.execute("select reason, count(*) from failure group by reason").fetchall()
        assert self.journal.counters().failures == dict(reasons)

    @invariant()
    def what_is_sent_is_what_was_claimed(self) -> None:
        assert sorted(work.id for work in self.journal.sent()) == sorted(work.id for work, _ in self.hand)

    @invariant()
    def when_nothing_is_outstanding_every_object_is_accounted_for(self) -> None:
        outstanding = self.journal.outstanding()
        if not self.running or outstanding.scans or outstanding.batches:
            return
        failed = {(f.directory, f.cursor, f.name) for f in self.journal.failures()}
        for (directory, cursor), part in self.listed.items():
            if (directory, cursor, b"") in failed:
                continue  # listed, lost, and could not be listed again
            for name, size, mtime in zip(part.names, part.sizes, part.mtimes, strict=True):
                if not {(directory, cursor, name)} & (failed | self.vanished):
                    self.lies_where_the_journal_says(directory, name, (size, mtime))
        assert self.journal.counters().listed == sum(len(part.names) for part in self.listed.values())
        if self.steady:
            self.everything_was_listed(
                {(f.directory, f.cursor) for f in self.journal.failures() if not f.name}
            )

    def lies_where_the_journal_says(self, directory: bytes, name: bytes, version: tuple[int, int]) -> None:
        extents = self.journal.where(directory, name)
        held = [self.blocks[extent.volume][extent.offset].get((directory, name)) for extent in extents]
        assert version in held, (key_of(directory, name), version, extents, held)
        assert not {extent.volume for extent in extents} & self.lost

    def everything_was_listed(self, unlisted: set[tuple[bytes, str]]) -> None:
        if unlisted:
            return
        for directory, objects in self.bucket.objects.items():
            names = [name for (d, _), part in self.listed.items() if d == directory for name in part.names]
            assert sorted(names) == sorted(objects)


def play(seed: int, steps: int) -> None:
    """Play a long history. Hypothesis makes short ones, and can say which part of one matters; this makes long ones."""
    luck = Random(seed)
    books = Books()
    try:
        books.fill(
            {directory: set(luck.sample(NAMES, luck.randint(0, 8))) for directory in DIRECTORIES}, None
        )
        for _ in range(steps):
            turn(books, luck)
            books.the_books_balance()
            books.the_books_of_the_directories_add_up_to_those_of_the_run()
            books.the_sums_are_those_of_the_rows()
            books.what_is_sent_is_what_was_claimed()
            books.when_nothing_is_outstanding_every_object_is_accounted_for()
    finally:
        books.teardown()


def turn(books: Books, luck: Random) -> None:
    """Let one thing happen that can happen, the usual more often than the rare."""
    directory, name = luck.choice(DIRECTORIES), luck.choice(NAMES)
    happenings: list[tuple[float, Callable[[], object]]] = [
        (4, lambda: books.write_object(directory, name, luck.randint(0, 50))),
        (2, lambda: books.delete_object(directory, name)),
        (0.5, lambda: books.delete_directory(luck.choice(DIRECTORIES[1:]))),
        (3, lambda: books.wait(luck.choice([1.0, 20.0, 1000.0]))),
        (10, lambda: books.work(luck)),
        (2, lambda: books.hand_back(luck)),
        (1, books.crash),
        (0.5, books.restart),
        (1.5, books.retry),
        (0.5, lambda: books.lose(luck)),
    ]
    if books.receipts:
        happenings.append((10, lambda: books.commit(luck, luck.random() < 0.5)))
        happenings.append((2, lambda: books.commit_with_a_false_receipt(luck)))
    if books.running:
        kind, machine = luck.choice(list(WorkKind)), luck.choice(["m1", "m2"])
        happenings.append((10, lambda: books.claim(kind, luck.randint(1, 4), machine)))
        happenings.append((3, lambda: books.finish(luck.randrange(10**6))))
        if not sum(books.journal._tables.books.tiers):
            happenings.append((8, books.end))
    else:
        happenings.append((8, lambda: books.begin(luck.choice([EVERYTHING, EVERYTHING, "less"]))))
    weights = [weight for weight, _ in happenings]
    luck.choices([happen for _, happen in happenings], weights)[0]()


def play_for(seconds: float, steps: int) -> None:
    seed = randrange(10**6)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        print("seed", seed, "steps", steps)
        play(seed, steps)
        seed += 1


def test_long_histories() -> None:
    play_for(8, 200)


@pytest.mark.soak
def test_many_long_histories() -> None:
    play_for(600, 500)


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=40,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
