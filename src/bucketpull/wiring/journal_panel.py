"""What a panel shows of the journal: read by another connection than the coordinator's, which it does not hold up."""

import asyncio
from collections.abc import Sequence
from itertools import islice

from bucketpull import __version__
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Extent, Failure
from bucketpull.domain.progress import DirectoryState
from bucketpull.web.panel import JobRecord
from bucketpull.wiring.journals import journal_to_read
from bucketpull.wiring.settings import Settings


class JournalPanel:
    """A part of `web.panel.Panel`, of a job that runs or not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def failures(self, limit: int, reason: str | None, pattern: str | None) -> Sequence[Failure]:
        """See `Panel`. To go through millions takes seconds."""
        return await asyncio.to_thread(self._read_failures, limit, reason, pattern)

    async def directories(self, prefix: bytes, limit: int) -> Sequence[DirectoryState]:
        """See `Panel`. To sum up what is below a directory takes a while."""
        return await asyncio.to_thread(self._read_directories, prefix, limit)

    async def books(self) -> JobRecord:
        """See `Panel`."""
        return await asyncio.to_thread(self._read_books)

    async def where(self, directory: bytes, name: bytes) -> Sequence[Extent]:
        """See `Panel`."""
        return await asyncio.to_thread(self._read_where, directory, name)

    def _read_books(self) -> JobRecord:
        with journal_to_read(self._settings) as reader:
            return JobRecord(__version__, reader.configuration(), reader.volumes())

    def _read_where(self, directory: bytes, name: bytes) -> list[Extent]:
        with journal_to_read(self._settings) as reader:
            return reader.where(directory, name)

    def _read_failures(self, limit: int, reason: str | None, pattern: str | None) -> list[Failure]:
        chosen = None if reason is None else Reason(reason)
        with journal_to_read(self._settings) as reader:
            return list(islice(reader.each_failure(chosen, pattern), limit))

    def _read_directories(self, prefix: bytes, limit: int) -> list[DirectoryState]:
        with journal_to_read(self._settings) as reader:
            return reader.directories(prefix, limit)
