"""What the dashboard needs of a job: one object that can be read and steered."""

from collections.abc import Sequence
from typing import Protocol

from bucketpull.domain.model import Failure, Limits
from bucketpull.domain.progress import DirectoryState, Snapshot


class Panel(Protocol):
    """A job to look at and to steer. Called from the event loop; what must wait for a disk is a coroutine."""

    def snapshot(self) -> Snapshot:
        """Return where the job stands. Called every two seconds, and for each viewer."""
        ...

    async def failures(self, limit: int, reason: str | None) -> Sequence[Failure]:
        """Return at most so many failures, of one reason or (None) of all, in key order."""
        ...

    async def directories(self, prefix: bytes, limit: int) -> Sequence[DirectoryState]:
        """Return at most so many directories directly below a directory (b"" is the root), by name."""
        ...

    async def pause(self) -> None:
        """Start no more transfers."""
        ...

    async def resume(self) -> None:
        """Go on after a pause."""
        ...

    async def set_limits(self, limits: Limits) -> None:
        """Change the limits of every worker; `paused` is that of the present limits."""
        ...

    async def retry(self, reason: str | None) -> int:
        """Make failures of one reason, or (None) of all, work again; return how many objects."""
        ...
