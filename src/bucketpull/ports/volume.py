"""A disk: its books, as a worker's main process sees it, and what writes files onto it in other processes."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from bucketpull.domain.batching import Batch
from bucketpull.domain.http_exchange import Chunk
from bucketpull.domain.model import Extent, Former, Part
from bucketpull.domain.record import Block, Conclusion, Inspection, PartVersion, Record, Written
from bucketpull.domain.status import VolumeStatus


class Volume(Protocol):
    """One disk (directory) with its identity, ledger and reserve, as the worker's main process sees it.

    Files are written by `Writer`s in other processes; the volume keeps the books. Blocking calls; one thread at a time.
    """

    id: str
    path: str

    def status(self) -> VolumeStatus:
        """Measure free space and return the state. Raises VolumeSick where the volume no longer answers, or is another one."""

    def probe(self) -> None:
        """Write a little and remove it, to see whether a disk that was full takes files again.

        Raises:
            VolumeFull: It does not.
            VolumeSick: It fails.

        """

    def intend(self, journal: str, work: int, body: bytes = b"") -> None:
        """Note that a batch is about to be written here, so that after a crash it comes back here.

        `body`, its encoded `list[Part]`, says which files to remove if it goes elsewhere instead; "" where some of them may
        have been here before.
        """

    def pending(self, journal: str) -> list[tuple[int, list[int]]]:
        """Return the batches that are noted: work id, and the offsets of its ledger blocks, none where it was only intended."""

    def recover(self, journal: str, work: int, parts: Sequence[Part]) -> list[Record]:
        """Return the objects of a batch intended here whose files lie under their final names with the listed size and date, with their MD5s.

        None after a restart of the machine or when the disk was away: then a file that looks whole may not be. They are not
        settled: a power cut may still lose them.

        Raises VolumeSick where the disk refuses.
        """

    def inspect(self, parts: Sequence[Part], adopts: str) -> Inspection:
        """Find files of others that are these objects, or may be: of the listed length, with the listed MD5 or (`adopts` is "date") date."""

    def clear(self, batch: Batch, older: Sequence[int] = ()) -> None:
        """Put aside what lies at the paths of objects that are about to be stored and is not ours, or was changed since we stored it.

        The ledger's blocks at these offsets may tell of some of them in an older version.

        Raises VolumeError where something cannot be put aside.
        """

    def settle(self, blocks: Sequence[Block], is_new: bool = False) -> list[Extent]:
        """Make all files written so far durable, then append the blocks to the ledger, durably, and say where.

        `is_new`: no object is in two of the blocks, in one of their `former` ones, or in one of a batch that is noted; then they need
        not be compared to count it once.

        Raises:
            VolumeFull: The ledger could not grow; nothing was appended.
            VolumeSick: The disk refused; nothing may be called stored.

        """

    def forget(self, journal: str, works: Iterable[int]) -> None:
        """Note that batches are booked: they will not come again."""

    def conclude(self, journal: str, conclusions: Sequence[Conclusion]) -> None:
        """Remove what does not count of batches that have ended, and forget them; only while nothing is being written here.

        These are the files that blocks which are gone describe, and those that were written and never settled. What a later block,
        or one of those kept, describes stays. The cost is that of one pass over the ledger, however many batches. May be called again.

        Raises VolumeError where the disk refuses; then nothing is forgotten.
        """

    def remove(self, journal: str, copies: Sequence[Former]) -> None:
        """Remove files that were replaced by copies on other volumes, if they are still what their blocks say. May be called again.

        Raises:
            VolumeFull: The ledger could not grow; nothing was removed.
            VolumeSick: The disk refused.

        """

    def read(self, offset: int) -> list[Record]:
        """Return the objects of one ledger block. Raises LedgerError where there is no whole block at that offset."""

    def close(self) -> None:
        """Close the volume."""


class Stream(Protocol):
    """A large object on its way to a volume. Calls cost nothing; the work is done by the writer it came from, in order."""

    offset: int
    """Bytes that an earlier attempt left, when the stream was begun; 0 after `restart`."""

    left: PartVersion | None
    """Of which version those bytes are; None where nothing was left."""

    trouble: Written | None
    """Set as soon as the disk refused a piece, so that the transfer can be ended."""

    def note(self, etag: str, changed: str) -> None:
        """Note, before the first byte, of which version those that come are; without a strong ETag ("") they are of no use later."""

    def append(self, chunk: bytes) -> None:
        """Add bytes at the end."""

    def restart(self) -> None:
        """Begin again at byte 0."""

    def publish(self, length: int, accepts: Collection[bytes] | None, token: object, mtime: int = -1) -> None:
        """Give the object its name if it has this length (bytes) and one of these MD5s (None: any). The outcome comes by `outcomes`.

        Its reason is `truncated`, `size` or `checksum` where the content is not as said; unless any was accepted, it tells the MD5.
        `mtime` (Unix seconds, -1 for none) is the object's where the stream was opened without one.
        """

    def close(self, keep: bool) -> None:
        """Close without publishing; what is there is kept for a later attempt, or removed."""


class Writer(Protocol):
    """Stores objects on one volume, in the calling thread or in one of its own, bounded in bytes."""

    def put(
        self, directory: bytes, name: bytes, mtime: int, chunks: Sequence[Chunk], token: object
    ) -> Written | None:
        """Hand over a whole object. What became of it, if it was written at once; else that comes by `outcomes`.

        The chunks stay the writer's until then.
        """

    def stream(self, directory: bytes, name: bytes, size: int, mtime: int, hashed: bool = False) -> Stream:
        """Begin, or go on with, a large object of that listed version; `hashed` keeps up an MD5 on the way.

        Raises:
            VolumeFull: There is no room to begin it.
            VolumeSick: The disk refused.

        """

    def set_aside(self, directory: bytes, name: bytes) -> bool:
        """Give another name to a file of somebody else's at an object's path; False if that cannot be."""

    def flush(self) -> None:
        """Write what was kept back so that several objects are written at once; to be called soon after a `put` without outcome."""

    def outcomes(self) -> list[Written]:
        """Take what was done since the last call, in order."""

    @property
    def queued_bytes(self) -> int:
        """Bytes handed over and not yet written."""

    @property
    def wake_fd(self) -> int:
        """A file descriptor that is readable while there are outcomes."""

    def leave(self) -> None:
        """Leave a sick volume for which nothing is on its way, without waiting for the disk."""

    def close(self) -> None:
        """Finish what was handed over, then stop."""
