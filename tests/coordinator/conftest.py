"""The books of a job in memory."""

import pytest

from bucketpull.domain.batching import cut
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import PageRecord, Part, Position, WorkKind
from bucketpull.testing.memory_journal import MemoryJournal


@pytest.fixture
def in_memory():
    """Make journals: `make(names, objects)` has a page of these names, in batches of so many objects."""

    def make(names=(), objects=1000):
        journal = MemoryJournal()
        if names:
            list_page(journal, list(names), objects)
        return journal

    return make


def list_page(journal, names, objects, size=10, mtime=1_600_000_000):
    """Book a listing of the root, as a machine that has ended since would have."""
    journal.begin(Position(b""), 1.0)
    [scan] = journal.claim(WorkKind.SCAN, 1, "lister", 1.0)
    part = Part(b"", "", names, [size] * len(names), [mtime] * len(names))
    page = PageRecord(
        b"", "", min(names), max(names), b"digest", len(names), size * len(names), unchanged=False
    )
    journal.commit([ScanReceipt(scan.id, "lister", pages=[page], batches=cut([part], objects))], 1.0)
