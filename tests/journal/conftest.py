"""A job played by hand: a bucket in a dictionary, volumes in lists, and one worker that does what the journal gives it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bucketpull.domain.batching import batch_of, cut, decode_batch, decode_positions
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import BatchReceipt, ScanReceipt, Work
from bucketpull.domain.model import Extent, Failure, PageRecord, Part, Position, WorkKind
from bucketpull.domain.order import ANY, Order
from bucketpull.journal.extents import unpack_entries
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite_journal import SqliteJournal

SIZE, MTIME = 10, 1_600_000_000


def extents_of(journal: JournalReader) -> Iterator[tuple[bytes, str, list[Extent]]]:
    """Go through the pages with their directory, cursor and ledger blocks (oldest first), in key order."""
    tables = journal._tables
    for rows in tables.pages.walk():
        for row in rows:
            there = (each for each in unpack_entries(row.extents) if tables.volumes.is_there(each[0]))
            yield row.directory, row.cursor, [tables.volumes.extent(each) for each in there]


Directory = dict[bytes, tuple[int, int]]


class Play:
    """Drives a journal. `bucket` maps directories to objects; `blocks` is what each volume's ledger holds.

    `outcomes` says, by name, what becomes of an object that is not simply stored: a reason, "deferred" or "returned".
    `asked` is how many positions of a scan are listed at most; the others are given back.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.bucket: dict[bytes, Directory] = {b"": {}}
        self.blocks: dict[str, list[dict[tuple[bytes, bytes], tuple[int, int]]]] = {}
        self.outcomes: dict[bytes, str | Reason] = {}
        self.unlisted: set[bytes] = set()
        self.excluded: dict[bytes, int] = {}
        self.fetched: list[bytes] = []
        self.listed: list[bytes] = []
        self.machine = "here"
        self.asked = 999
        self.volume = "v1"
        self.open()

    def open(self, configuration: dict[str, str] | None = None, order: Order = ANY) -> None:
        configuration = configuration or {"source": "upyun://bucket"}
        self.journal = SqliteJournal.open(self.folder, "job", configuration, self.now, order=order)

    def crash(self) -> None:
        """Leave the journal as a killed process does."""
        self.journal._tables.connection.sqlite.close()
        self.journal._lock.release()
        self.journal._closed = True

    def put(self, directory: bytes, *names: bytes, size: int = SIZE, mtime: int = MTIME) -> None:
        self.bucket.setdefault(directory, {}).update(dict.fromkeys(names, (size, mtime)))

    def begin(self) -> bool:
        return self.journal.begin(Position(b""), self.now)

    def run(self) -> None:
        """Begin or go on, to the end."""
        self.fetched, self.listed = [], []
        self.begin()
        self.finish()

    def finish(self) -> None:
        while self.scan() + self.drain():
            pass

    def claim(self, kind: WorkKind, limit: int = 100) -> list[Work]:
        return self.journal.claim(kind, limit, self.machine, self.now)

    def scan(self) -> int:
        works = self.claim(WorkKind.SCAN)
        assert self.journal.commit([self.scanned(work) for work in works], self.now) == []
        return len(works)

    def drain(self) -> int:
        works = self.claim(WorkKind.BATCH)
        assert self.journal.commit([self.drained(work) for work in works], self.now) == []
        return len(works)

    def scanned(self, work: Work) -> ScanReceipt:
        receipt = ScanReceipt(work.id, self.machine)
        parts = []
        positions = decode_positions(work.body)
        receipt.positions += positions[self.asked :]
        for position in positions[: self.asked]:
            directory = position.directory
            self.listed.append(directory)
            if directory in self.unlisted:
                receipt.failures.append(unlisted(directory))
            elif directory not in self.bucket:
                receipt.vanished += 1
            else:
                part = self.part(directory)
                record = record_of(part, position)
                record.excluded = self.excluded.get(directory, 0)
                receipt.pages.append(record)
                receipt.positions += [Position(below) for below in self.below(directory)]
                if not record.unchanged:
                    parts.append(part)
        receipt.batches = cut(parts)
        return receipt

    def part(self, directory: bytes) -> Part:
        objects = sorted(self.bucket[directory].items())
        sizes, mtimes = [size for _, (size, _) in objects], [mtime for _, (_, mtime) in objects]
        return Part(directory, "", [name for name, _ in objects], sizes, mtimes)

    def below(self, directory: bytes) -> list[bytes]:
        return [other for other in self.bucket if other and other.rpartition(b"/")[0] == directory]

    def drained(self, work: Work) -> BatchReceipt:
        receipt = BatchReceipt(work.id, self.machine)
        put_off: dict[str, list[Part]] = {"deferred": [], "returned": []}
        block: dict[tuple[bytes, bytes], tuple[int, int]] = {}
        for directory, cursor, name, version in rows(decode_batch(work.body).parts):
            outcome = self.outcomes.get(name, "stored")
            place = self.found(work, directory, name, version)
            if place is not None:
                receipt.skipped += 1
                receipt.extents += [place] * (place not in receipt.extents)
            elif outcome == "stored":
                block[directory, name] = version
                self.fetched.append(name)
            elif outcome in put_off:
                put_off[outcome].append(Part(directory, cursor, [name], [version[0]], [version[1]]))
            else:
                failure = Failure(directory, name, *version, cursor, Reason(outcome), 1, 403, "no")
                receipt.failures.append(failure)
        receipt.deferred = batch_of(put_off["deferred"]) if put_off["deferred"] else None
        receipt.returned = batch_of(put_off["returned"]) if put_off["returned"] else None
        if block:
            self.blocks.setdefault(self.volume, []).append(block)
            receipt.stored, receipt.bytes = len(block), sum(size for size, _ in block.values())
            receipt.extents.append(Extent(self.volume, len(self.blocks[self.volume]) - 1))
        return receipt

    def found(self, work: Work, directory: bytes, name: bytes, version: tuple[int, int]) -> Extent | None:
        place = None
        for extent in work.candidates:
            have = self.blocks[extent.volume][extent.offset].get((directory, name))
            if have is not None:
                place = extent if have == version else None
        return place

    def balanced(self) -> bool:
        counters, outstanding = self.journal.counters(), self.journal.outstanding()
        done = counters.stored + counters.skipped + counters.excluded + counters.failed + counters.vanished
        return counters.listed == done + outstanding.objects


def rows(parts: list[Part]) -> Iterator[tuple[bytes, str, bytes, tuple[int, int]]]:
    for part in parts:
        for name, size, mtime in zip(part.names, part.sizes, part.mtimes, strict=True):
            yield part.directory, part.cursor, name, (size, mtime)


def record_of(part: Part, position: Position) -> PageRecord:
    digest = repr((part.names, part.sizes, part.mtimes)).encode()
    first, last = min(part.names, default=b""), max(part.names, default=b"")
    sums = (len(part.names), sum(part.sizes))
    return PageRecord(part.directory, part.cursor, first, last, digest, *sums, digest == position.digest)


def unlisted(directory: bytes) -> Failure:
    return Failure(directory, b"", 0, 0, "", Reason.SERVER_ERROR, 3, 500, "no")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72m", "bucketpull-test", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture
def start(folder: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Play]]:
    plays: list[Play] = []
    if "small_disk" in request.fixturenames:
        request.getfixturevalue("small_disk")  # mounted before, and unmounted after, the journals are closed

    def make(place: Path = folder) -> Play:
        plays.append(Play(place))
        return plays[-1]

    yield make
    for play in plays:
        play.journal.close()


@pytest.fixture
def play(start: Callable[..., Play]) -> Play:
    return start()
