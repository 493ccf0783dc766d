"""How much of a file system a volume may still use."""

import os
from typing import Final, NamedTuple

import msgspec

_MARGIN_BYTES: Final = 1 << 18
_MARGIN_INODES: Final = 16


class Reserve(msgspec.Struct, frozen=True):
    """What is kept free: so many bytes, or this share (0..1) of the file system, whichever is more."""

    bytes: int = 0
    share: float = 0.0

    def of(self, total_bytes: int) -> int:
        """Return the bytes to keep free on a file system of this size."""
        return max(self.bytes, int(self.share * total_bytes))


class Space(NamedTuple):
    """Bytes in all, and those above the reserve; `lack` says what is used up, "" where there is room."""

    total_bytes: int
    spare_bytes: int
    lack: str


def measured(free: os.statvfs_result, reserve: Reserve) -> Space:
    """Return what a file system has left."""
    total = free.f_blocks * free.f_frsize
    spare = max(0, free.f_bavail * free.f_frsize - reserve.of(total))
    if free.f_files > 0 and free.f_favail <= _MARGIN_INODES:
        return Space(total, spare, "no inodes left")
    return Space(total, spare, "no bytes left above the reserve" if spare <= _MARGIN_BYTES else "")
