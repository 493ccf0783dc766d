"""What the API needs of a job: one object that can be read and steered."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bucketpull.domain.model import Extent, Failure
from bucketpull.domain.progress import DirectoryState, Snapshot
from bucketpull.domain.values import Concurrency, Rate, Speed
from bucketpull.journal.volume_numbers import KnownVolume


class NewLimits(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is to change of a job's limits. What is left out stays; null is no cap, and for `concurrency` automatic.

    `bandwidth` is as on the command line: a size, "off", or a schedule by time of day; `bytes_per_second` is a number.
    """

    concurrency: Concurrency | msgspec.UnsetType | None = msgspec.UNSET
    requests_per_second: Rate | msgspec.UnsetType | None = msgspec.UNSET
    bytes_per_second: Speed | msgspec.UnsetType | None = msgspec.UNSET
    bandwidth: str | msgspec.UnsetType = msgspec.UNSET


class JobRecord(msgspec.Struct):
    """What the journal says of the job itself: with what it was begun, without secrets, and all volumes that it has ever had."""

    version: str
    configuration: dict[str, str]
    volumes: list[KnownVolume]


class JobView(Protocol):
    """A job to look at. Called from the event loop; what must wait for a disk is a coroutine.

    All but `snapshot` raise `BucketpullError` where something cannot be done.
    """

    def snapshot(self) -> Snapshot:
        """Return where the job stands. Called every two seconds, and for each viewer."""

    async def failures(self, limit: int, reason: str | None, pattern: str | None) -> Sequence[Failure]:
        """Return at most so many failures, of one reason or (None) of all, and with keys like a pattern, in key order."""

    async def directories(self, prefix: bytes, limit: int) -> Sequence[DirectoryState]:
        """Return at most so many directories directly below a directory (b"" is the root), by name."""

    async def books(self) -> JobRecord:
        """Return what the journal says of the job itself."""

    async def where(self, directory: bytes, name: bytes) -> Sequence[Extent]:
        """Return the ledger blocks that may hold an object, the newest first."""


class Panel(JobView, Protocol):
    """A running job, to look at and to steer.

    `client` names who asks, for the events that tell of it. Changes return a sentence for whoever asked.
    """

    async def pause(self, client: str) -> str:
        """Start no more transfers."""

    async def resume(self, client: str) -> str:
        """Go on after a pause."""

    async def stop(self, client: str) -> str:
        """End the job's programs on this machine in order; the same command goes on later."""

    async def set_limits(self, limits: NewLimits, client: str) -> str:
        """Change the limits of the whole job."""

    async def retry(self, reason: str | None, pattern: str | None, client: str) -> int:
        """Make failures of one reason, or (None) of all, and with keys like a pattern, work again; return how many objects."""

    async def add_volume(self, path: str, client: str) -> str:
        """Use a volume more, by its absolute path on the coordinator's machine."""

    async def drain_volume(self, volume: str, client: str) -> str:
        """Put nothing more on a volume, named by id or path."""

    async def lose_volume(self, volume: str, client: str) -> str:
        """Give up a volume, named by id: nothing on it counts."""
