"""What each stage of the path costs an object, measured by itself: for the budget, and for whoever looks for a microsecond."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import cast

import msgspec

from bucketpull.domain import keys
from bucketpull.domain.batching import cut
from bucketpull.domain.endpoints import EndpointSpec, Purpose
from bucketpull.domain.http_exchange import NUMBERS, Request, Response
from bucketpull.domain.messages import (
    Assignment,
    BatchReceipt,
    Frames,
    FromProcess,
    Mount,
    Outcome,
    ScanReceipt,
    ToProcess,
    frame,
)
from bucketpull.domain.model import Extent, Part, Position, WorkKind
from bucketpull.domain.pacing import Limiter
from bucketpull.domain.record import Block, Record, Written
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.meter import Meter
from bucketpull.downloader.page_sinks import record_of
from bucketpull.downloader.parameters import Bounds
from bucketpull.downloader.transfer import Transfer
from bucketpull.downloader.transfers import Transfers
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.ports import Fetcher, Writer
from bucketpull.sources.upyun.config import UpyunConfig
from bucketpull.sources.upyun.source import UpyunSource
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.volume import open_volume
from bucketpull.wiring.source_client import wanted_of
from bucketpull.wiring.system import SystemClock

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
HEAD = b"".join(HEADERS)
SHAPE = HEAD.translate(None, NUMBERS)

_encode = msgspec.msgpack.Encoder().encode
_source = UpyunSource(
    UpyunConfig(bucket="bench", operator="bench", password="bench", cdn_url="http://img.example.com")
)


def _fetching() -> list[EndpointSpec]:
    return [spec for spec in _source.endpoints if spec.purpose is Purpose.FETCH]


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
    answer = Response(200, HEADERS[:4], [body], len(body), 0.1)

    def run() -> None:
        position = Position(b"photos/2024")
        page = _source.read_page(position, answer, NOW)
        record_of(position, page.part)
        cut([page.part])

    yield run, PAGE


@contextmanager
def journal(folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """A page's batches are booked, given out, and booked as stored; each commit as durable as in a job."""
    books = SqliteJournal.open(str(folder), "bench", {"source": "upyun://bench"}, now=NOW)
    books.begin(Position(b""), NOW)
    batches = cut([part(PAGE)])
    record = record_of(Position(b"photos"), part(PAGE))
    numbers = iter(range(1_000_000))

    def run() -> None:
        position = Position(b"photos/%d" % next(numbers))
        (scan,) = books.claim(WorkKind.SCAN, 1, "here", NOW)
        record.directory = position.directory
        books.commit([ScanReceipt(scan.id, "here", [record], [position], batches)], NOW)
        works = books.claim(WorkKind.BATCH, 100, "here", NOW)
        books.commit([_stored(work.id) for work in works], NOW)

    yield run, PAGE
    books.close()


def _stored(work: int) -> BatchReceipt:
    extents = [Extent("0123456789ab", work)]
    return BatchReceipt(work, "here", stored=BATCH, bytes=BATCH * 20_480, extents=extents)


@contextmanager
def ledger(folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """Ten batches' records are appended to a volume's ledger (without waiting for the disk)."""
    initialise(str(folder))
    volume = open_volume(str(folder), durable=False)
    objects = part(BATCH)
    record = _encode([Record(objects.directory, "", objects.names, objects.sizes, objects.mtimes)])
    numbers = iter(range(1_000_000))
    yield (
        lambda: volume.settle([Block("journal", next(numbers), record) for _ in range(10)], True),
        10 * BATCH,
    )
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
    objects = list(wanted_of(part(BATCH)))
    cdn = _fetching()[0]
    answer = Response(200, [HEAD], [b"\xff\xd8\xff\xe0" + bytes(20_476)], 20_480, 0.01, shape=SHAPE)

    def run() -> None:
        for wanted in objects:
            _source.object_request(wanted, cdn.name, cdn.sites[0], NOW)
            if _source.judge(wanted, cdn.name, answer, NOW).reason is not None:
                raise AssertionError("a good answer is refused")

    yield run, BATCH


class _Answering:
    """A fetcher without a network: each request is answered alike, when `run` says so."""

    def __init__(self) -> None:
        self.asked: list[Callable[[Response], None]] = []

    def submit(self, _request: Request, done: Callable[[Response], None], _sink: object = None) -> None:
        self.asked.append(done)

    def watch(self, _fd: int, _readable: Callable[[], None]) -> None:
        """Hear nothing: the disk is quick."""

    def run(self) -> None:
        asked, self.asked = self.asked, []
        for done in asked:
            done(Response(200, [HEAD], [b"\xff\xd8\xff\xe0"], 20_480, 0.01, shape=SHAPE))


class _Keeping:
    """A writer without a disk."""

    wake_fd = queued_bytes = 0

    def put(self, _directory: bytes, _name: bytes, _mtime: int, _chunks: object, token: object) -> Written:
        return Written(token)


@contextmanager
def process(_folder: Path) -> Iterator[tuple[Callable[[], object], int]]:
    """A batch goes through a process's bookkeeping: what it does for an object beside the network's and the disk's calls."""
    fetcher = _Answering()
    endpoints: dict[str, Endpoint[Transfer]] = {
        spec.name: Endpoint(spec, Limiter(fixed=64)) for spec in _fetching()
    }
    outcomes: list[Outcome] = []
    transfers = Transfers(
        _source,
        cast("Fetcher", fetcher),
        endpoints,
        lambda _mount: cast("Writer", _Keeping()),
        SystemClock(),
        Random(1),
        Meter(),
        Bounds(),
        outcomes.append,
    )
    transfers.mount(Mount("0123456789ab", "", "batch", "none"))
    assignment = Assignment(1, "0123456789ab", 0, _encode([part(BATCH)]))

    def run() -> None:
        transfers.assign(assignment)
        while not outcomes:
            transfers.fill(time.monotonic())
            fetcher.run()
        if outcomes.pop().stored != BATCH:
            raise AssertionError("not every object was stored")

    yield run, BATCH


STAGES = {stage.__name__: stage for stage in (listing, journal, ledger, wire, path, exchange, process)}


@contextmanager
def prepared(name: str) -> Iterator[tuple[Callable[[], object], int]]:
    """Set a stage up: what to run, and how many objects a run is."""
    with tempfile.TemporaryDirectory(prefix="stage-") as folder, STAGES[name](Path(folder)) as stage:
        yield stage
