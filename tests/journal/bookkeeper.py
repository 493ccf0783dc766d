"""Books batches without end and says on stdout what is booked; made to be killed.

Usage: bookkeeper.py FOLDER [unsynced]: each line is the number of objects booked so far.
"""

import sys
from pathlib import Path

from bucketpull.domain.batching import cut, decode_batch, decode_positions
from bucketpull.domain.messages import BatchReceipt, ScanReceipt
from bucketpull.domain.model import Extent, PageRecord, Part, Position, WorkKind
from bucketpull.journal.sqlite_journal import SqliteJournal

OBJECTS = 300


def listed(work, machine="here"):
    """List a page without end: each has 300 objects, and another follows."""
    receipt = ScanReceipt(work.id, machine)
    for position in decode_positions(work.body):
        number = int(position.cursor or 0)
        names = [b"%08d" % index for index in range(number, number + OBJECTS)]
        part = Part(b"d", position.cursor, names, [10] * OBJECTS, [1] * OBJECTS)
        sums = (OBJECTS, 10 * OBJECTS)
        receipt.pages.append(
            PageRecord(b"d", position.cursor, names[0], names[-1], b"digest", *sums, unchanged=False)
        )
        receipt.positions.append(Position(b"d", str(number + OBJECTS)))
        receipt.batches += cut([part], 100)
    return receipt


def stored(work, machine="here"):
    """Store a whole batch in the ledger block that has the number of its work."""
    objects = sum(len(part.names) for part in decode_batch(work.body).parts)
    return BatchReceipt(work.id, machine, stored=objects, bytes=objects * 10, extents=[Extent("v1", work.id)])


def main(folder, synced=""):
    journal = SqliteJournal.open(Path(folder), "job", {"source": "upyun://b"})
    if synced == "unsynced":
        journal._tables.connection.sqlite.execute("pragma synchronous = off")
    journal.begin(Position(b"d"), 0)
    journal.release([work.id for work in journal.sent()])
    while True:
        for kind, act in ((WorkKind.SCAN, listed), (WorkKind.BATCH, stored)):
            works = journal.claim(kind, 2, "here", 0)
            assert journal.commit([act(work) for work in works], 0) == []
        print(journal.counters().stored, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
