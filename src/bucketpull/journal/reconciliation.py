"""The books by directory: listed = stored + skipped + failed + vanished, or objects are outstanding."""

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import itemgetter

import msgspec

from bucketpull.domain.model import Failure
from bucketpull.journal.pages import PageRow
from bucketpull.journal.tables import Tables


class Balance(msgspec.Struct):
    """The books of one directory in the present run, in objects.

    `unlisted` counts its pages that could not be listed. Where a batch of several directories was partly skipped, it is not
    told whose objects were: between `stored` and `skipped` a directory may then differ, their sum may not.
    """

    directory: bytes
    listed: int = 0
    stored: int = 0
    skipped: int = 0
    failed: int = 0
    vanished: int = 0
    unlisted: int = 0
    excluded: int = 0

    @property
    def outstanding(self) -> int:
        """Objects that nobody has accounted for yet."""
        return self.listed - self.stored - self.skipped - self.excluded - self.failed - self.vanished

    def add(self, entry: PageRow | Failure) -> None:
        """Count a page or a failure."""
        if isinstance(entry, PageRow):
            self.listed += entry.objects + entry.excluded
            self.excluded += entry.excluded
            self.stored += entry.stored
            self.skipped += entry.skipped
            self.vanished += entry.vanished
        elif entry.name:
            self.failed += 1
        else:
            self.unlisted += 1


def balances(tables: Tables) -> Iterator[Balance]:
    """Go through the directories of the present run, in order, in bounded memory."""
    with tables.store.reading():
        entries = merge(_pages(tables), _failures(tables), key=itemgetter(0))
        for directory, group in groupby(entries, key=itemgetter(0)):
            balance = Balance(directory)
            for _, entry in group:
                balance.add(entry)
            yield balance


def _pages(tables: Tables) -> Iterator[tuple[bytes, PageRow | Failure]]:
    for rows in tables.pages.walk():
        yield from ((row.directory, row) for row in rows if row.run == tables.run.number)


def _failures(tables: Tables) -> Iterator[tuple[bytes, PageRow | Failure]]:
    for recorded in tables.failures.walk():
        yield from (
            (entry.failure.directory, entry.failure) for entry in recorded if entry.run == tables.run.number
        )
