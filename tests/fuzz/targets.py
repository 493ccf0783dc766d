"""What reads bytes that others may have damaged or made up: each target takes any bytes, and ends in nothing or in its documented error.

A target is called by Hypothesis in the suite (`test_targets.py`) and by atheris in `make fuzz` (`__main__.py`). What once made one
fail lies in `corpus/TARGET/`, and is tried first by both.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from tests.journal.conftest import Play
from tests.volumes.filling import SMALL_PACKS, Filler, bodies

from bucketpull.domain.batching import decode_batch, decode_positions
from bucketpull.domain.errors import AnswerError, BucketpullError, Reason
from bucketpull.domain.http_exchange import Response
from bucketpull.domain.messages import BatchReceipt, ScanReceipt, Work
from bucketpull.domain.model import Extent, Outstanding, Position, WorkKind
from bucketpull.domain.record import Conclusion, Record, Sealed
from bucketpull.fetch.connection import END, HeadReader
from bucketpull.journal.journal_connection import FILE
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.reading.http_object import parse_ranges
from bucketpull.reading.readable_volumes import ReadableVolume
from bucketpull.sources.registry import settings_of
from bucketpull.transport.envelope import Direction, Rejected, Session
from bucketpull.transport.job_key import JobKey
from bucketpull.transport.wire import answer, down, up
from bucketpull.volumes.identity import Identity
from bucketpull.volumes.key_index import KeyIndex, Segment
from bucketpull.volumes.ledger import Damage, Entry, Frame, Kind, Ledger, _with_header
from bucketpull.volumes.packs.sealing import TarWalk
from bucketpull.volumes.reader import location_of, open_reader
from bucketpull.volumes.verification import Verification
from bucketpull.volumes.volume import open_volume

CORPUS = Path(__file__).parent / "corpus"
LARGEST = (
    1 << 20
)  # what a target returns in one answer may be no longer than a small multiple of what it was given
_PACK = "012345-0-000000"


class Target(NamedTuple):
    """`seeds` gives sound inputs, made once; `run` takes any."""

    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], None]


# --- volumes


@cache
def _folder() -> Path:
    """Return a folder in memory for what a target writes: it goes with the process."""
    shm = "/dev/shm"
    made = tempfile.TemporaryDirectory(
        prefix="bucketpull-fuzz-", dir=shm if os.access(shm, os.W_OK) else None
    )
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


@cache
def _volume() -> Path:
    """Return a volume with files, packs, an odd name, a removed object and a batch that was begun."""
    path = _folder() / "sound"
    path.mkdir()
    with Filler(path) as filler:
        filler.store(bodies(6, size=300) | {(b"..", b".."): b"odd"})
    with Filler(path, SMALL_PACKS) as filler:
        filler.store(bodies(80, start=10))
        filler.store(bodies(3, start=20))
        filler.volume.intend("0123456789ab", 9, b"")
        filler.volume.conclude("0123456789ab", [Conclusion(2, filler.blocks[2])])
    with contextlib.closing(ReadableVolume(str(path))) as volume:
        volume.find(b"d1/10.jpg")
    return path


@cache
def _small_files() -> list[Path]:
    """Return the files of a volume that are ours, below it."""
    root = _volume()
    return sorted(
        path.relative_to(root)
        for path in root.rglob("*")
        if path.is_file() and (".bucketpull" in path.parts or "packs" in path.parts)
    )


def _volume_seeds() -> list[bytes]:
    files = _small_files()
    return [bytes([number]) + (_volume() / path).read_bytes() for number, path in enumerate(files)]


def _read_volume(data: bytes) -> None:
    """Put the bytes, but the first, into the place of the file that the first one chooses, and use the volume for everything."""
    files = _small_files()
    inside = _folder() / "inside"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(_volume(), inside)
    (inside / files[(data[0] if data else 0) % len(files)]).write_bytes(data[1:])
    for use in (_look, _write, _look):
        with contextlib.suppress(BucketpullError, OSError):
            use(str(inside))


def _look(path: str) -> None:
    with contextlib.closing(open_reader(path)) as reader:
        reader.user()
        for finding in Verification(reader, hashed=True, folder=str(_folder())).run():
            assert len(finding.detail) < LARGEST
    with contextlib.closing(ReadableVolume(path)) as volume:
        for key, _ in volume.objects():
            with contextlib.suppress(OSError, BucketpullError):
                volume.read(key)
                volume.find(key)


def _write(path: str) -> None:
    with contextlib.closing(open_volume(path, durable=False)) as volume:
        volume.status()
        for work, offsets in volume.pending("0123456789ab"):
            for offset in offsets:
                volume.read(offset)
            volume.conclude("0123456789ab", [Conclusion(work)])


def _in_memory(data: bytes) -> int:
    fd = os.memfd_create("fuzz", os.MFD_CLOEXEC)
    os.write(fd, data)
    return fd


def _ledger_seeds() -> list[bytes]:
    return [(_volume() / ".bucketpull/ledger").read_bytes()]


def _read_ledger(data: bytes) -> None:
    with contextlib.suppress(BucketpullError):
        ledger = Ledger(_in_memory(data), "volume")
        with contextlib.closing(ledger):
            for entry in ledger.salvage():
                if not isinstance(entry, Damage):
                    with contextlib.suppress(BucketpullError):
                        _take_records(entry.records())
            KeyIndex(ledger, None).find(b"d1/1.jpg")


def _record_seeds() -> list[bytes]:
    record = Record(b"d", "", [b"a", b"b"], [1, 2], [3, 4], [], [b"m" * 16, b""], {1: b"d/%~b"})
    packed = Record(b"d", "c", [b"a"], [1], [3], [9], pack=_PACK, offsets=[1])
    return [msgspec.msgpack.encode([record, packed]), msgspec.msgpack.encode(Sealed(_PACK, 1, b"s" * 32, 1))]


def _read_records(data: bytes) -> None:
    """A ledger whose sums are right and whose records are not: somebody made it."""
    for kind in Kind:
        frame = _with_header(Entry(kind, "journal", 1, data, 1, 1), zlib.compress(data, 1), 1, 1)
        _read_ledger(frame)
        with (
            contextlib.suppress(BucketpullError),
            contextlib.closing(Ledger(_in_memory(frame), "volume")) as ledger,
        ):
            for entry in ledger.salvage():
                if isinstance(entry, Frame) and entry.kind is Kind.PACK:
                    entry.sealed()


def _take_records(records: list[Record]) -> None:
    identity = Identity("0123456789ab")
    for record in records:
        for index in range(len(record.names)) if record.sizes else ():
            record.take([index])
            location = location_of(record, index, identity)
            assert b".." not in location.path.split(b"/"), location
            assert not location.path.startswith(b"/"), location


def _pack_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted((_volume() / "packs").glob("*.tar"))] + [_odd_pack()]


def _odd_pack() -> bytes:
    from bucketpull.volumes.packs import tar

    keys = (b"1.jpg", b"n" * 300, b"../../up", "图片/中文.jpg".encode())
    return (
        b"".join(tar.header(key, 5, 1_600_000_000) + b"12345" + bytes(tar.padding(5)) for key in keys)
        + tar.END
    )


def _read_pack(data: bytes) -> None:
    fd = _in_memory(data)
    try:
        for settled in (0, len(data)):
            walk, count = TarWalk(fd, settled), 0
            for at, member in walk.members():
                assert 0 <= at < member.body <= len(data)
                count += 1
            assert count * 512 <= len(data)
    finally:
        os.close(fd)


def _index_seeds() -> list[bytes]:
    from bucketpull.volumes.key_index import _Builder, _Last

    folder = str(_folder())
    with _Builder(folder) as builder:
        builder.add(
            (bytes([n]) * 12, -1 if n % 2 else 0xFFFFFFFF, _PACK if n % 2 else "", n, 9) for n in range(200)
        )
        segment = builder.write(0, 7, _Last(0, 0))
    return [Path(segment.path).read_bytes()]


def _read_index(data: bytes) -> None:
    path = _folder() / "0-7.keys"
    path.write_bytes(data)
    try:
        segment = Segment(str(path), 0, 7)
    except (OSError, ValueError):
        return
    for number in range(0, 256, 5):
        with contextlib.suppress(OSError):
            segment.find(bytes([number]) * 12)


# --- journals

_TABLES = ("job", "configuration", "run", "book", "volume", "work", "body", "page", "failure", "former")
_MOST_ROUNDS = 200  # of work that a forged journal may give out
_NOW = 2e9
_FORGED: list[object] = [0, -1, 3, 2**62, 1e300, "x", "", '{"tiers": []}', '{"tiers": [5, 0, 0]}', "[" * 5000]
_FORGED += [
    msgspec.msgpack.encode(each)
    for each in ([[1]], [[1, 2, 3]], [[99, 0]], [["x", 0]], [[b"x", 0]], [-1], [])
]


@cache
def _journal() -> bytes:
    """Return a journal with two runs, failures, a folder that could not be listed, and outstanding work of both kinds."""
    play = Play(_folder() / "journal")
    for number in range(40):
        play.put(b"d%d" % (number % 5), b"img-%03d.jpg" % number)
    play.outcomes[b"img-007.jpg"] = Reason.FORBIDDEN
    play.unlisted.add(b"d4")
    play.run()
    play.put(b"d0", b"new.jpg")
    play.begin()
    play.scan(), play.scan()
    play.journal.close()
    return (play.folder / FILE).read_bytes()


def _journal_seeds() -> list[bytes]:
    return [_journal()]


def _read_journal(data: bytes, log: bytes = b"") -> None:
    """Look at a journal, and go on with it; `log` is what a kill left beside it."""
    for use in (_look_at_journal, _go_on_with_journal):
        folder = _folder() / use.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        (folder / FILE).write_bytes(data)
        if log:
            (folder / f"{FILE}-wal").write_bytes(log)
        with contextlib.suppress(BucketpullError):
            use(folder)


@cache
def _unclosed_journal() -> tuple[bytes, bytes]:
    """Return a journal as a kill leaves it, and the write-ahead log beside it."""
    play = Play(_folder() / "unclosed")
    for number in range(40):
        play.put(b"d%d" % (number % 5), b"img-%03d.jpg" % number)
    play.begin()
    play.scan(), play.scan()
    left = (play.folder / FILE).read_bytes(), (play.folder / f"{FILE}-wal").read_bytes()
    play.journal.close()
    return left


def _log_seeds() -> list[bytes]:
    return [_unclosed_journal()[1]]


def _read_log(data: bytes) -> None:
    _read_journal(_unclosed_journal()[0], data)


def _look_at_journal(folder: Path) -> None:
    with contextlib.closing(JournalReader.open_to_read(folder)) as reader:
        for look in (
            reader.counters,
            reader.outstanding,
            reader.spending,
            reader.volumes,
            reader.configuration,
            reader.runs,
            reader.listing_failed,
            lambda: list(reader.failures(None, "*")),
            lambda: reader.directories(b"", 100),
            lambda: reader.where(b"d1", b"img-001.jpg"),
            lambda: list(reader.balances()),
        ):
            with contextlib.suppress(BucketpullError):
                look()


def _go_on_with_journal(folder: Path) -> None:
    """Work through all of it, as a job does whose every page has changed and whose every object is stored."""
    with contextlib.closing(SqliteJournal.open(folder, "job", None)) as journal:
        journal.begin(Position(b""), _NOW)
        journal.release([work.id for work in journal.sent()])
        for turn in range(_MOST_ROUNDS):
            now = _NOW + 400.0 * turn  # so that what waits for another machine comes to be anybody's
            works = [work for kind in WorkKind for work in journal.claim(kind, 20, "here", now)]
            if turn and not works:
                break
            journal.commit([_receipt_for(work) for work in works], _NOW)
        assert not works, "work without end"
        assert journal.outstanding() == Outstanding(), "a job that never ends"
        journal.end("complete", _NOW)
        journal.former(["v1"], 10)
        journal.retry(None, None)
        journal.lose("v1")


def _receipt_for(work: Work) -> ScanReceipt | BatchReceipt:
    try:
        if work.kind is WorkKind.SCAN:
            return ScanReceipt(work.id, "here", vanished=len(decode_positions(work.body)))
        objects = sum(len(part.names) for part in decode_batch(work.body).parts)
    except msgspec.DecodeError as error:
        raise AnswerError(Reason.POISON, "work that nobody can read ends a job in words") from error
    return BatchReceipt(work.id, "here", stored=objects, part=work.part, extents=[Extent("v1", work.id)])


def _forgery_seeds() -> list[bytes]:
    return [bytes([table, 3 * table, 0, 5 * table]) for table in range(len(_TABLES))]


def _read_forged_journal(data: bytes) -> None:
    """A journal that is whole, and in which somebody changed values: four bytes say which and how, up to eight times."""
    path = _folder() / "values.sqlite"
    path.write_bytes(_journal())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for start in range(0, min(len(data), 32), 4):
            _forge(connection, *data[start : start + 4].ljust(4, b"\0"), data[start + 4 :])
        connection.execute("pragma wal_checkpoint(truncate)")
    _read_journal(path.read_bytes())


def _forge(connection: sqlite3.Connection, table: int, column: int, row: int, kind: int, more: bytes) -> None:
    name = _TABLES[table % len(_TABLES)]
    columns = connection.execute(f"pragma table_info({name})").fetchall()
    count = connection.execute(f"select count(*) from {name}").fetchone()[0]
    if not count:
        return
    target = columns[column % len(columns)][1]
    keys = [each[1] for each in columns if each[5]]
    where = connection.execute(
        f"select {', '.join(keys)} from {name} limit 1 offset ?", (row % count,)
    ).fetchone()
    value = (*_FORGED, more[:64], None)[kind % (len(_FORGED) + 2)]
    with contextlib.suppress(sqlite3.IntegrityError):
        if value is None:
            connection.execute(
                f"delete from {name} where {' and '.join(f'{each} = ?' for each in keys)}", where
            )
        else:
            connection.execute(
                f"update {name} set {target} = ? where {' and '.join(f'{each} = ?' for each in keys)}",
                (value, *where),
            )


# --- what comes over a network

_CREDENTIALS = {"operator": "o", "password": "p", "access_key": "a", "secret_key": "s"}


@cache
def _sources() -> list[object]:
    return [
        settings_of("upyun://b", {"cdn_url": "https://img.example.com", **_CREDENTIALS}).checked().open(),
        settings_of("s3://b", {"api_url": "https://s3.example.com", "region": "eu-west-1", **_CREDENTIALS})
        .checked()
        .open(),
    ]


def _page_seeds() -> list[bytes]:
    return [
        b'{"files": [{"name": "a.jpg", "type": "image/jpeg", "length": 5, "last_modified": 1600000000}], "iter": "g2gCZAAEbmV4dA"}',
        b"a.jpg\tN\t5\t1600000000\nd\tF\t0\t1600000000",
        _XML,
        b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>",
    ]


_XML = (
    b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
    b"<KeyCount>1</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a&amp;b</Key>"
    b"<LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>5</Size>"
    b"</Contents><CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListBucketResult>"
)


def _read_page(data: bytes) -> None:
    for lines in ((), (b"x-upyun-list-iter: x\r\n",), (b"Content-Type: application/json\r\n",)):
        head = [b"HTTP/1.1 200 OK\r\n", *lines]
        for source in _sources():
            response = Response(200, head, [data] if data else [], len(data), 0.1)
            with contextlib.suppress(AnswerError):
                source.read_page(source.root(), response, 1.7e9)  # type: ignore[attr-defined]


def _head_seeds() -> list[bytes]:
    return [
        b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\nConnection: close\r\n\r\n',
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 206 P\r\ncontent-length:\t7\r\nContent-Range: bytes 0-6/7\r\n\r\n",
    ]


def _read_head(data: bytes) -> None:
    heads, head = HeadReader(), data.partition(END)[0] + END
    for _ in range(2):
        found = heads.read(head)
        assert found is None or (100 <= found[0] <= 999 and found[1] >= 0)


_KEY = JobKey(b"the secret of a job, of which the broker knows nothing")


def _message_seeds() -> list[bytes]:
    return [
        Session(_KEY, "1.0", "photos", "s", "journal").seal(
            Direction.DOWN, "m1", "q", b"\x81\xa4type\xa8greeting", meant="w"
        )
    ]


def _read_message(data: bytes) -> None:
    opener = Session(_KEY, "1.0", "photos", "s")
    with contextlib.suppress(Rejected):
        opener.open(data, "q", Direction.DOWN)
    for reader in (up, down, answer):
        with contextlib.suppress(Rejected):
            reader.read(data)


def _range_seeds() -> list[bytes]:
    return [b"bytes=0-5", b"bytes=-5,1-2", b"bytes=5-"]


def _read_range(data: bytes) -> None:
    for start, end in parse_ranges(data.decode("utf-8", "surrogateescape"), 1000) or ():
        assert 0 <= start < end <= 1000


TARGETS = {
    "volume": Target(_volume_seeds, _read_volume),
    "ledger": Target(_ledger_seeds, _read_ledger),
    "records": Target(_record_seeds, _read_records),
    "pack": Target(_pack_seeds, _read_pack),
    "journal": Target(_journal_seeds, _read_journal),
    "journal-log": Target(_log_seeds, _read_log),
    "journal-values": Target(_forgery_seeds, _read_forged_journal),
    "index": Target(_index_seeds, _read_index),
    "page": Target(_page_seeds, _read_page),
    "head": Target(_head_seeds, _read_head),
    "message": Target(_message_seeds, _read_message),
    "range": Target(_range_seeds, _read_range),
}


def corpus(name: str) -> Iterator[bytes]:
    """Give what once made a target fail."""
    folder = CORPUS / name
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield path.read_bytes()
