"""The books by directory: the children of one with the sums of all below them, and the balance of each.

A directory balances: listed = stored + skipped + failed + vanished, or objects are outstanding.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import attrgetter

import msgspec

from bucketpull.domain.model import Failure
from bucketpull.domain.progress import DirectoryState
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.listed_pages import PageRow

ROWS = 300_000  # pages and failures read for one level at most: 0.12 s, as many as 300 million objects have
_NO_RUN = -1  # 0 are pages that are known from ledgers alone: nobody has listed them
_AFTER_SLASH = b"0"  # the byte after the slash: past everything below a directory


def directories_below(tables: Tables, parent: bytes, limit: int, rows: int = ROWS) -> list[DirectoryState]:
    """Return at most so many children, in order; a directory of which nothing was listed yet is not known.

    Once `rows` rows were read, the sums of the children that follow are too small, and `partial` says so.
    """
    found = []
    for child in _children(tables, parent, limit):
        state, read = _state(tables, child, rows)
        found.append(state)
        rows -= read
    return found


def _children(tables: Tables, parent: bytes, limit: int) -> list[bytes]:
    """Walk over the indexes; what lies below a child already found is skipped."""
    prefix = parent + b"/" if parent else b""
    found: set[bytes] = set()
    at = prefix or b"\x00"
    while len(found) < limit:
        directory = _next(tables, at)
        if directory is None or not directory.startswith(prefix):
            break
        child = prefix + directory[len(prefix) :].partition(b"/")[0]
        found.add(child)
        # `a-b` sorts between `a` and `a/b`: only from a directory below the child on can the child be left behind.
        at = directory + b"\x00" if directory == child else child + _AFTER_SLASH
    return sorted(found - {b""})


def _next(tables: Tables, at: bytes) -> bytes | None:
    """Return the first directory from one on that was listed, or could not be."""
    rows = tables.connection.rows("next-directory", at) + tables.connection.rows("next-failed-directory", at)
    return min((row[0] for row in rows), default=None)


def _state(tables: Tables, directory: bytes, most: int) -> tuple[DirectoryState, int]:
    """Return a directory with its sums, and how many rows were read for what is below it."""
    most = max(1, most)
    below = directory + b"/", directory + _AFTER_SLASH, most
    objects, size, settled, pages, deeper = tables.connection.rows(
        "directory-sums", tables.run.number or _NO_RUN, directory, *below
    )[0]
    failed, unlisted, deeper_failures = tables.connection.rows("directory-failures", directory, *below)[0]
    outstanding = max(0, objects - settled - failed)
    listing, leaf = tables.books.outstanding.scans > 0, not deeper + deeper_failures
    if unlisted:
        word = "failed"
    elif not pages:
        word = "waiting"
    elif outstanding:
        word = "transferring"
    else:
        word = "listing" if listing and not leaf else "done"
    known = 0 if leaf and not listing else None
    partial = most in {deeper, deeper_failures}
    return DirectoryState(
        directory, word, objects, size, outstanding, failed, known, partial
    ), deeper + deeper_failures


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
    run = tables.run.number
    pages = (row for rows in tables.pages.walk() for row in rows if row.run == run > 0)
    failures = (each.failure for found in tables.failures.walk() for each in found if each.run == run)
    with tables.connection.reading():
        entries: Iterator[PageRow | Failure] = merge(pages, failures, key=attrgetter("directory"))
        for directory, group in groupby(entries, key=attrgetter("directory")):
            balance = Balance(directory)
            for entry in group:
                balance.add(entry)
            yield balance
