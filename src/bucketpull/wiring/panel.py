"""A running job as the dashboard sees and steers it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Failure, Limits
from bucketpull.domain.progress import DirectoryState, Snapshot
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.wiring.monitor import Monitor


class JobPanel:
    """What a dashboard needs of a job; reads and changes go through the coordinator's journal thread."""

    def __init__(self, coordinator: Coordinator, journal: SqliteJournal, monitor: Monitor) -> None:
        self._coordinator = coordinator
        self._journal = journal
        self._monitor = monitor

    def snapshot(self) -> Snapshot:
        """Return where the job stands."""
        return self._monitor.latest

    async def failures(self, limit: int, reason: str | None) -> Sequence[Failure]:
        """Return at most so many failures, of one reason or of all."""
        chosen = None if reason is None else Reason(reason)
        return await self._coordinator.call(lambda: self._journal.failures(limit, chosen))

    async def directories(self, prefix: bytes, limit: int) -> Sequence[DirectoryState]:
        """Return at most so many directories directly below a directory, by name."""
        return await self._coordinator.call(self._journal.directories, prefix, limit)

    async def pause(self) -> None:
        """Start no more transfers."""
        await self._change(paused=True)

    async def resume(self) -> None:
        """Go on after a pause."""
        await self._change(paused=False)

    async def set_limits(self, limits: Limits) -> None:
        """Change the limits of every worker."""
        await self._coordinator.set_limits(limits)

    async def retry(self, reason: str | None) -> int:
        """Make failures work again; return how many objects."""
        chosen = None if reason is None else Reason(reason)
        return await self._coordinator.change(self._journal.retry, chosen)

    async def _change(self, *, paused: bool) -> None:
        limits = msgspec.structs.replace(self._coordinator.limits, paused=paused)
        await self._coordinator.set_limits(limits)


class Watching(Protocol):
    """Something that looks at a job while it runs."""

    async def close(self) -> None:
        """Stop looking."""
        ...


Watcher = Callable[[JobPanel], Awaitable[Watching]]
