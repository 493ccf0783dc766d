"""A journal in memory: its folder is, where the system has one."""

import shutil
import tempfile
from pathlib import Path

import pytest

from bucketpull.domain.batching import cut
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import PageRecord, Part, Position, WorkKind
from bucketpull.journal.sqlite import SqliteJournal

_MEMORY = Path("/dev/shm")


@pytest.fixture
def in_memory():
    """Make journals that outlive no test: `make(names, objects)` has a page of these names, in batches of so many objects."""
    folders, journals = [], []

    def make(names=(), objects=1000):
        folder = tempfile.mkdtemp(prefix="bucketpull-test-", dir=_MEMORY if _MEMORY.is_dir() else None)
        folders.append(folder)
        journals.append(SqliteJournal.open(Path(folder), "job", {"source": "upyun://b"}))
        if names:
            list_page(journals[-1], list(names), objects)
        return journals[-1]

    yield make
    for journal in journals:
        journal.close()
    for folder in folders:
        shutil.rmtree(folder)


def list_page(journal, names, objects, size=10, mtime=1_600_000_000):
    """Book a listing of the root, as a machine that has ended since would have."""
    journal.begin(Position(b""), 1.0)
    [scan] = journal.claim(WorkKind.SCAN, 1, "lister", 1.0)
    part = Part(b"", "", names, [size] * len(names), [mtime] * len(names))
    page = PageRecord(
        b"", "", min(names), max(names), b"digest", len(names), size * len(names), unchanged=False
    )
    journal.commit([ScanReceipt(scan.id, "lister", pages=[page], batches=cut([part], objects))], 1.0)
