"""What each stage of the path costs an object, measured by itself: for the budget, and for whoever looks for a microsecond."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bucketpull.domain import keys
from bucketpull.domain.batching import cut, draft
from bucketpull.domain.exchange import Response
from bucketpull.domain.framing import Frames, frame
from bucketpull.domain.model import BatchReceipt, Extent, Lane, Part, Position, ScanReceipt, WorkKind
from bucketpull.domain.record import Assignment, Block, FromProcess, Outcome, Record, ToProcess
from bucketpull.engine.scan import record_of
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.sources.config import UpyunConfig
from bucketpull.sources.upyun import UpyunSource
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.volume import open_volume

BATCH, PAGE = 1_000, 10_000
NOW = 1_700_000_000.0
HEADERS = [
    b"HTTP/1.1 200 OK\r\n",
    b"Server: marco/2.20\r\n",
    b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n",
    b"Content-Type: image/jpeg\r\n",
    b"Content-Length: 20480\r\n",
    b"Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT\r\n",
    b'ETag: "0123456789abcdef0123456789abcdef"\r\n',
    b"Accept-Ranges: bytes\r\n",
    b"\r\n",
]

_encode = msgspec.msgpack.Encoder().encode
_source = UpyunSource(
    UpyunConfig(bucket="bench", operator="bench", password="bench", cdn_url="http://img.example.com")
)


def part(objects: int, number: int = 0) -> Part:
    """Make one directory's objects."""
    names = [b"img-%07d.jpg" % index for index in range(objects)]
    return Part(b"photos/2024/%04d" % number, "", names, [20_480] * objects, [1_600_000_000] * objects)


@contextmanager
def listing(_folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """A listing answer becomes a page, its digest and its batches."""
    files = [
        {
            "type": "image/jpeg",
            "length": 20_480,
            "name": f"img-{index:07d}.jpg",
            "last_modified": 1_600_000_000,
        }
        for index in range(PAGE)
    ]
    body = json.dumps({"files": files, "iter": "g2gCZAAEbmV4dGQAA2VvZg"}).encode()
    answer = Response(200, HEADERS[:4], [body], len(body), len(body), 0.1)

    def run() -> None:
        position = Position(b"photos/2024")
        page = _source.read_page(position, answer, NOW)
        record_of(position, page.part)
        cut([page.part])

    yield run, PAGE


@contextmanager
def journal(folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """A page's batches are booked, given out, and booked as stored; each commit as durable as in a job."""
    books = SqliteJournal.open(folder, "bench", {"source": "upyun://bench"}, now=NOW)
    books.begin(Position(b""), NOW)
    drafts = cut([part(PAGE)])
    record = record_of(Position(b"photos"), part(PAGE))
    numbers = iter(range(1_000_000))

    def run() -> None:
        position = Position(b"photos/%d" % next(numbers))
        (scan,) = books.claim(WorkKind.SCAN, 1, "here", NOW)
        record.directory = position.directory
        books.commit([ScanReceipt(scan.id, "here", [record], [position], drafts)], NOW)
        works = books.claim(WorkKind.BATCH, 100, "here", NOW)
        books.commit([_stored(work.id) for work in works], NOW)

    yield run, PAGE
    books.close()


def _stored(work: int) -> BatchReceipt:
    spans = draft([part(2)]).spans
    return BatchReceipt(work, "here", BATCH, 0, BATCH * 20_480, [Extent("0123456789ab", work)], spans)


@contextmanager
def ledger(folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """Ten batches' records are appended to a volume's ledger (without waiting for the disk)."""
    initialise(str(folder))
    volume = open_volume(str(folder), durable=False)
    objects = part(BATCH)
    record = _encode([Record(objects.directory, "", objects.names, objects.sizes, objects.mtimes)])
    numbers = iter(range(1_000_000))
    yield lambda: volume.settle([Block("journal", next(numbers), record) for _ in range(10)]), 10 * BATCH
    volume.close()


@contextmanager
def wire(_folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """A batch goes to a process and comes back: encoded, framed, unframed and decoded, both ways."""
    objects = part(BATCH)
    inward, outward = msgspec.msgpack.Decoder(ToProcess), msgspec.msgpack.Decoder(FromProcess)
    columns = msgspec.msgpack.Decoder(list[Part])

    def run() -> None:
        sent = frame(_encode(Assignment(1, "0123456789ab", 0, _encode([objects]))))
        for message in Frames().feed(sent):
            assignment = inward.decode(message)
            (there,) = columns.decode(assignment.parts)
            record = _encode([Record(there.directory, "", there.names, there.sizes, there.mtimes)])
        for message in Frames().feed(frame(_encode(Outcome(1, BATCH, BATCH * 20_480, record, [], [], [])))):
            outward.decode(message)

    yield run, BATCH


@contextmanager
def path(_folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """A key becomes a path."""
    objects = part(BATCH)
    every = [objects.directory + b"/" + name for name in objects.names]
    yield lambda: [keys.path_of(key) for key in every], BATCH


@contextmanager
def exchange(_folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """An object's request is built and its answer judged."""
    objects = part(BATCH)
    answer = Response(200, HEADERS, [b"\xff\xd8\xff\xe0" + bytes(20_476)], 20_480, 20_480, 0.01)

    def run() -> None:
        for name in objects.names:
            _source.object_request(objects.directory, name, 20_480, Lane.CDN, NOW)
            if _source.judge(name, 20_480, Lane.CDN, answer, NOW).reason is not None:
                raise AssertionError("a good answer is refused")

    yield run, BATCH


STAGES = {stage.__name__: stage for stage in (listing, journal, ledger, wire, path, exchange)}


@contextmanager
def prepared(name: str) -> Iterator[tuple[Callable[[], object], int]]:
    """Set a stage up: what to run, and how many objects a run is."""
    with tempfile.TemporaryDirectory(prefix="stage-") as folder, STAGES[name](Path(folder)) as stage:
        yield stage
