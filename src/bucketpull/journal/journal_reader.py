"""Reading a journal, also while its coordinator writes: `status`, `where`, `failures`, `export`."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Self

import msgspec

from bucketpull.domain.budget import Spending
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.model import Counters, Extent, Failure, Outstanding, Span, key_of, text_of
from bucketpull.domain.progress import DirectoryState, JobState
from bucketpull.domain.status import VolumeState
from bucketpull.domain.user_limits import Steering
from bucketpull.journal.database import connect_to_read, exists, read_configuration
from bucketpull.journal.directories import Balance, balances, directories_below
from bucketpull.journal.extents import covers
from bucketpull.journal.journal_connection import ImpossibleRow
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.sums import what_is_left
from bucketpull.journal.volume_numbers import KnownVolume

_RUN_STATES = frozenset({"running", *JobState})


class RunNote(msgspec.Struct):
    """What became of a run. Times are Unix seconds; `ended` is None while it runs or after its coordinator was killed.

    `state` is running, complete, incomplete, interrupted, refused, no-room or budget-spent; `summary` is JSON, "" before the end.
    """

    id: int
    started: float
    ended: float | None
    state: str
    summary: str


class JobRecord(msgspec.Struct):
    """What the journal says of the job itself: with what it was begun, without secrets, and all volumes that it has ever had."""

    version: str
    configuration: dict[str, str]
    volumes: list[KnownVolume]


class JournalReader:
    """A journal opened to read. Made by `JournalReader.open_to_read(folder)`; each call sees the last transaction."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @classmethod
    def open_to_read(cls, folder: str) -> Self:
        """Open a journal that exists. Raises JournalError where there is none, and JournalDamaged where it is corrupt or lost."""
        if not exists(folder):
            raise JournalError(f"journal {folder}: not found; see --state and --job")
        return cls(Tables.load(connect_to_read(folder)))

    @property
    def id(self) -> str:
        """The journal's own id: 12 hexadecimal digits, made when it was made."""
        return self._tables.journal

    @property
    def job(self) -> str:
        """The name of the job."""
        return self._tables.job

    def configuration(self) -> dict[str, str]:
        """Return the settings of the last session, by name."""
        return read_configuration(self._tables.connection)

    def counters(self) -> Counters:
        """Return the books of the present run."""
        return self._refreshed().books.snapshot()

    def outstanding(self) -> Outstanding:
        """Return what is left to do."""
        tables = self._refreshed()
        return what_is_left(tables.connection, tables.books, tables.volumes)

    def counted_on(self) -> dict[str, str]:
        """See `ports.Journal`."""
        return {volume.id: volume.path for volume in self.volumes() if volume.state is not VolumeState.LOST}

    def machines(self) -> set[str]:
        """See `ports.Journal`."""
        return {
            volume.machine
            for volume in self.volumes()
            if volume.machine and volume.state is not VolumeState.LOST
        }

    def abandons(self, selection: str | None) -> bool:
        """Tell whether an unfinished run is to be abandoned: it wants another selection than this one (None: any), or its counts cannot be right."""
        books = self._refreshed().books
        is_other = selection is not None and books.selection not in {"", selection}
        return (is_other or books.is_void) and books.outstanding.is_some

    def steering(self) -> Steering | None:
        """Return what commands changed of the limits of a job that has not ended; None where nothing is outstanding."""
        books = self._refreshed().books
        return books.steering if books.outstanding.is_some else None

    def spending(self) -> Spending:
        """Return what all runs have used."""
        return self._refreshed().books.spent.copy()

    def volumes(self) -> list[KnownVolume]:
        """Return the volumes that the journal knows, in the order in which they became known."""
        return self._refreshed().volumes.all()

    def last_blocks(self) -> dict[str, int]:
        """Return where the last block begins that each volume was heard to have in its ledger, in bytes."""
        return dict(self._refreshed().books.last_blocks)

    def runs(self, limit: int = 10) -> list[RunNote]:
        """Return the last runs, newest first. Raises JournalDamaged where one is in no state that there is."""
        with self._tables.connection.reading():
            found = [RunNote(*row) for row in self._tables.connection.rows("runs", limit)]
            for run in found:
                if run.state not in _RUN_STATES:
                    raise ImpossibleRow(f"run {run.id} is {run.state!r}")
        return found

    def where(self, directory: bytes, name: bytes) -> list[Extent]:
        """Return the ledger blocks in which an object may lie, newest first."""
        tables = self._refreshed()
        with tables.connection.reading():
            found = tables.pages.over(directory, name)
        entries = [entry for entry in found if covers(entry, name, name)]
        extents = [
            tables.volumes.extent(entry) for entry in reversed(entries) if tables.volumes.is_there(entry[0])
        ]
        return list(dict.fromkeys(extents))

    def holding(self, spans: Sequence[Span]) -> set[Extent] | None:
        """Return all ledger blocks that may hold objects of some pieces of pages; None where no run listed one of the pages."""
        tables = self._refreshed()
        with tables.connection.reading():
            if not all(tables.pages.is_listed(span.directory, span.cursor) for span in spans):
                return None
            found = tables.pages.candidates(spans)
        return {
            tables.volumes.extent(entry)
            for span in spans
            for entry in found[span.directory]
            if covers(entry, span.first, span.last) and tables.volumes.is_there(entry[0])
        }

    def failures(self, reason: Reason | None = None, pattern: str | None = None) -> Iterator[Failure]:
        """Go through what failed for good, in bounded memory and in the order of directories and names; of one reason, or with matching keys."""
        with self._tables.connection.reading():
            for recorded in self._tables.failures.walk():
                yield from (entry.failure for entry in recorded if chosen(entry.failure, reason, pattern))

    def balances(self) -> Iterator[Balance]:
        """Go through the directories of the present run, in order, with their books."""
        return balances(self._refreshed())

    def listing_failed(self) -> bool:
        """Whether any page could not be listed: then objects may be missing that nobody has counted."""
        with self._tables.connection.reading():
            return self._tables.failures.listing_failed()

    def directories(self, parent: bytes, limit: int) -> list[DirectoryState]:
        """Return at most so many directories directly below one (b"" is the root), by name, with their books."""
        tables = self._refreshed()
        with tables.connection.reading():
            return directories_below(tables, parent, limit)

    def close(self) -> None:
        """Close the journal."""
        self._tables.connection.close()

    def _refreshed(self) -> Tables:
        """Read the sums again: another process writes them."""
        self._tables = self._tables.reloaded()
        return self._tables


def chosen(failure: Failure, reason: Reason | None, pattern: str | None) -> bool:
    """Say whether a failure is of a reason and its key matches a shell pattern (`*` matches slashes too)."""
    if reason is not None and failure.reason is not reason:
        return False
    key = key_of(failure.directory, failure.name)
    if pattern is None:
        return True
    return _matcher(pattern)(text_of(key)) is not None


@lru_cache(maxsize=4)
def _matcher(pattern: str) -> Callable[[str], object]:
    """Compile a pattern. `fnmatch` itself keeps 32,768 of them, which whoever asks may make as long as a request."""
    from fnmatch import translate  # a job looks for no keys

    return re.compile(translate(pattern)).match
