"""What the journal costs: per batch, per directory, and at the start of a job of 100 million objects.

Bounds are some three times what an idle machine of 2 cores needs (2026-11, CPU of this process only).
"""

import statistics
import time
from pathlib import Path

from bucketpull.domain.batching import batch_of, cut, decode_batch
from bucketpull.domain.messages import BatchReceipt, ScanReceipt
from bucketpull.domain.model import Extent, PageRecord, Part, Position, Span, WorkKind
from bucketpull.domain.status import VolumeState
from bucketpull.journal.extents import pack_entries
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.journal.volume_numbers import KnownVolume

COLUMNS = "directory, cursor, run, until, first, last, digest, objects, bytes, stored, extents"


def opened(folder: Path) -> SqliteJournal:
    return SqliteJournal.open(folder, "job", {"source": "upyun://b"})


def page(directory: bytes, cursor: str, first: int, objects: int) -> tuple[Part, PageRecord]:
    names = [b"%016x.jpg" % (first + index) for index in range(objects)]
    sizes = [33_000 + index for index in range(objects)]
    part = Part(directory, cursor, names, sizes, [1_600_000_000 + index for index in range(objects)])
    sums = (objects, sum(sizes))
    return part, PageRecord(
        directory, cursor, names[0], names[-1], b"0123456789abcdef", *sums, unchanged=False
    )


def seconds_of(function, *arguments):
    began = time.process_time()
    result = function(*arguments)
    return time.process_time() - began, result


def settled(work, offset):
    parts = decode_batch(work.body).parts
    objects = sum(len(part.names) for part in parts)
    return BatchReceipt(
        work.id,
        "here",
        stored=objects,
        bytes=objects * 33_000,
        extents=[Extent("v1", offset)],
    )


def test_a_batch_of_a_thousand_objects_costs_well_below_a_millisecond(folder):
    journal = opened(folder)
    journal.begin(Position(b"d"), 0)
    (work,) = journal.claim(WorkKind.SCAN, 1, "here", 0)
    pages = [page(b"d", str(number), number * 10_000, 10_000) for number in range(10)]
    batches = cut([part for part, _ in pages])
    receipt = ScanReceipt(work.id, "here", [record for _, record in pages], [], batches)
    listing, _ = seconds_of(journal.commit, [receipt], 0)
    costs = []

    for turn in range(25):
        claiming, works = seconds_of(journal.claim, WorkKind.BATCH, 4, "here", 0)
        receipts = [settled(work, turn * 10 + index) for index, work in enumerate(works)]
        booking, dropped = seconds_of(journal.commit, receipts, 0)
        assert dropped == []
        costs.append((claiming + booking) / len(works))

    assert journal.counters().stored == 100_000
    print("µs a batch:", round(statistics.median(costs) * 1e6), "listing:", round(listing * 1e6 / 100))
    assert statistics.median(costs) < 0.001
    assert listing / 100 < 0.001
    journal.close()


def test_a_small_directory_costs_less_than_two_hundred_bytes(folder):
    journal = opened(folder)
    directories = 20_000
    journal.begin(Position(b""), 0)
    (work,) = journal.claim(WorkKind.SCAN, 1, "here", 0)
    names = [
        b"2019/07/%02d/%016x" % (number % 31, number * 0x9E3779B97F4A7C15 % 2**64)
        for number in range(directories)
    ]
    pages = [page(name, "", index * 3, 3) for index, name in enumerate(names)]
    records, parts = [record for _, record in pages], [part for part, _ in pages]
    journal.commit([ScanReceipt(work.id, "here", records, [], cut(parts))], 0)
    offset = 0
    while works := journal.claim(WorkKind.BATCH, 4, "here", 0):
        offset += 1_000_000
        journal.commit([settled(work, offset) for work in works], 0)
    connection = journal._tables.connection.sqlite
    (free,) = connection.execute("pragma freelist_count").fetchone()
    (used,) = connection.execute("pragma page_count").fetchone()

    each = (used - free) * 4096 / directories
    print("bytes a directory:", round(each))
    assert each < 200
    journal.close()


def test_a_job_of_a_hundred_million_objects_starts_within_a_second(folder):
    journal = opened(folder)
    make_large(journal, pages=100_000, batches=1000)
    journal._tables.connection.sqlite.close()
    journal._lock.release()

    began = time.process_time()
    journal = opened(folder)
    assert journal.begin(Position(b""), 0) is True
    batches = journal.claim(WorkKind.BATCH, 50, "here", 0)
    scans = journal.claim(WorkKind.SCAN, 50, "here", 0)
    seconds = time.process_time() - began

    print("seconds to the first work:", round(seconds, 3))
    assert (len(batches), len(scans)) == (50, 50)
    assert seconds < 1.0
    assert len(journal.where(b"images/0007", b"%016x.jpg" % (7 * 1000 + 5))) == 1
    journal.close()


def make_large(journal: SqliteJournal, pages: int, batches: int) -> None:
    """Fill a journal as a run of a large bucket does: pages of 1,000 objects in 1,000 directories, and work left."""
    journal.record_volumes([KnownVolume("v1", "here", "/v1", VolumeState.OPEN)])
    journal.begin(Position(b""), 0)
    (work,) = journal.claim(WorkKind.SCAN, 1, "here", 0)
    connection = journal._tables.connection.sqlite
    connection.execute("pragma synchronous = off")
    with journal._tables.connection.transaction():
        connection.executemany(
            f"insert into page ({COLUMNS}) values (?, ?, 1, '', ?, ?, ?, 1000, 33000000, 1000, ?)",
            (
                (
                    b"images/%04d" % (number % 1000),
                    f"{number:032x}" if number >= 1000 else "",
                    b"%016x.jpg" % (number * 1000),
                    b"%016x.jpg" % (number * 1000 + 999),
                    b"0123456789abcdef",
                    pack_entries([(1, number * 30_000)]),
                )
                for number in range(pages)
            ),
        )
    part, _ = page(b"images/0000", "x", 10**9, 1000)
    left = ScanReceipt(
        work.id, "here", [], [Position(b"%06d" % n) for n in range(30_000)], [batch_of([part])] * batches
    )
    journal.commit([left], 0)


def test_candidates_in_a_directory_of_a_hundred_thousand_pages_are_found_in_milliseconds(folder):
    journal = opened(folder)
    journal.record_volumes([KnownVolume("v1", "here", "/v1", VolumeState.OPEN)])
    with journal._tables.connection.transaction():
        journal._tables.connection.sqlite.executemany(
            f"insert into page ({COLUMNS}) values (x'64', ?, 1, '', ?, ?, x'', 1000, 1, 1000, ?)",
            (
                (f"{n:08d}", b"%012d" % (n * 10), b"%012d" % (n * 10 + 9), pack_entries([(1, n)]))
                for n in range(100_000)
            ),
        )
    spans = [Span(b"d", "x", b"%012d" % (n * 10 + 5), b"%012d" % (n * 10 + 14)) for n in (7, 50_000, 99_998)]

    costs = [seconds_of(journal._tables.pages.candidates, [span]) for span in spans]

    assert [sorted(found[b"d"]) for _, found in costs] == [[(1, n), (1, n + 1)] for n in (7, 50_000, 99_998)]
    assert max(seconds for seconds, _ in costs) < 0.01
    journal.close()
