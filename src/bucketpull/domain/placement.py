"""Which volume a batch goes to. Pure.

A batch stays whole where one volume has room for it, so that its record is one block of one ledger. While all disks keep up,
work in flight is shared in proportion to the room that is left, so that disks of different sizes become full together and
none has to finish alone. A disk that is behind is passed over until it has caught up: it slows only what it was given.
"""

from collections.abc import Sequence

import msgspec

BLOCK_BYTES = 4096
"""What an object may take beyond its size: its last block, a directory entry."""

PACKED_BYTES = 1536
"""What an object in a pack may take beyond its size: its header and padding, often a second header, a line of the index."""

BEHIND_SECONDS = 2.0
"""Work for less than this is what keeps a disk busy; more means that it is behind."""


SLOWEST = 1e6
"""Bytes a second that any disk is believed to write: one with little to do shows less than it can, one without any nothing."""


class VolumeRoom(msgspec.Struct):
    """What one volume can still take.

    `free_bytes` and `free_inodes` are those above the reserve; `free_inodes` is None where the file system has no fixed
    number. `promised_*` is what was placed here and is not on disk yet; `queued_bytes` is the part of it that waited for the
    disk when that was measured, and all that was placed since. `bytes_per_second` is the measured speed of writing, 0 while unknown.
    `packs` says that objects are packed: then they need no inode each, and less beyond their size.
    """

    volume: str
    free_bytes: int
    free_inodes: int | None = None
    promised_bytes: int = 0
    promised_objects: int = 0
    queued_bytes: int = 0
    bytes_per_second: float = 0.0
    packs: bool = False

    @property
    def overhead(self) -> int:
        """Bytes that an object may take beyond its size."""
        return PACKED_BYTES if self.packs else BLOCK_BYTES

    @property
    def spare_bytes(self) -> int:
        """Bytes that are neither used nor promised."""
        return self.free_bytes - self.promised_bytes - self.promised_objects * self.overhead

    @property
    def spare_objects(self) -> int | None:
        """Inodes that are neither used nor promised; None where there is no limit."""
        return None if self.packs or self.free_inodes is None else self.free_inodes - self.promised_objects

    def fits(self, objects: int, size: int) -> bool:
        """Say whether so many objects of so many bytes in all have room."""
        inodes = self.spare_objects
        return size + objects * self.overhead <= self.spare_bytes and (inodes is None or objects <= inodes)

    def promise(self, objects: int, size: int) -> None:
        """Reserve room for a batch."""
        self.promised_objects += objects
        self.promised_bytes += size
        self.queued_bytes += size

    def release(self, objects: int, size: int) -> None:
        """Give reserved room back, when a batch is on disk (and measured as used) or not coming."""
        self.promised_objects -= objects
        self.promised_bytes -= size


def choose(rooms: Sequence[VolumeRoom], objects: int, size: int) -> VolumeRoom | None:
    """Choose the volume for a whole batch; None when no volume has room for all of it. Equal volumes: the first by id."""
    fitting = [room for room in rooms if room.fits(objects, size)]
    if not fitting:
        return None
    return min(fitting, key=lambda room: _cost(room, size))


def split(rooms: Sequence[VolumeRoom], sizes: Sequence[int]) -> list[tuple[str | None, int]]:
    """Share out the objects of a batch in their order: how many go to which volume; None for those that fit nowhere now.

    The rooms are updated with what was promised. One pair with all objects is the rule.
    """
    shares: list[tuple[str | None, int]] = []
    start = 0
    while start < len(sizes):
        room = choose(rooms, len(sizes) - start, sum(sizes[start:])) or _widest(rooms, sizes[start])
        count = _fitting(room, sizes, start) if room else _misfits(rooms, sizes, start)
        if room:
            room.promise(count, sum(sizes[start : start + count]))
        shares.append((room.volume if room else None, count))
        start += count
    return shares


def _cost(room: VolumeRoom, size: int) -> tuple[int, float, str]:
    """Order volumes: how far behind, then how large a share of its room is promised, then the id."""
    waiting = room.queued_bytes if room.bytes_per_second > 0 else room.promised_bytes
    behind = int(waiting / max(room.bytes_per_second, SLOWEST) / BEHIND_SECONDS)
    return behind, (room.promised_bytes + size) / max(room.free_bytes, 1), room.volume


def _widest(rooms: Sequence[VolumeRoom], size: int) -> VolumeRoom | None:
    fitting = [room for room in rooms if room.fits(1, size)]
    return min(fitting, key=lambda room: (-room.spare_bytes, room.volume)) if fitting else None


def _fitting(room: VolumeRoom, sizes: Sequence[int], start: int) -> int:
    """Count the leading objects that fit together; at least one does."""
    if room.fits(len(sizes) - start, sum(sizes[start:])):  # nearly always, and looking at each took 1.3 µs
        return len(sizes) - start
    total = 0
    for count, size in enumerate(sizes[start:]):
        total += size
        if not room.fits(count + 1, total):
            return count
    return len(sizes) - start


def _misfits(rooms: Sequence[VolumeRoom], sizes: Sequence[int], start: int) -> int:
    """Count the leading objects that fit on no volume."""
    for count, size in enumerate(sizes[start:]):
        if any(room.fits(1, size) for room in rooms):
            return count
    return len(sizes) - start
