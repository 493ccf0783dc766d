"""Whether a disk takes more: what its file system has left above the reserve (`--reserve`), and a small write with all that a file goes through."""

import os
import secrets
from contextlib import suppress
from typing import Final

import msgspec

from bucketpull.volumes import beneath, syscalls
from bucketpull.volumes.beneath import closing_fd

_MARGIN_BYTES: Final = 1 << 18
_MARGIN_INODES: Final = 16
_UNTOLD_BYTES: Final = 1 << 50
NO_INODES: Final = "no inodes left"


class Space(msgspec.Struct, frozen=True):
    """Bytes in all, and those above the reserve; `lack` says what is used up, "" where there is room."""

    total_bytes: int
    spare_bytes: int
    lack: str


def measured(free: os.statvfs_result, reserve: int) -> Space:
    """Return what a file system has left above a reserve in bytes; one that tells no size, as some FUSE, is tried by writing."""
    if not free.f_blocks:
        return Space(_UNTOLD_BYTES, _UNTOLD_BYTES, "")
    total = free.f_blocks * free.f_frsize
    spare = max(0, free.f_bavail * free.f_frsize - reserve)
    if free.f_files > 0 and free.f_favail <= _MARGIN_INODES:
        return Space(total, spare, NO_INODES)
    return Space(total, spare, "no bytes left above the reserve" if spare <= _MARGIN_BYTES else "")


def lack_of(fd: int) -> str:
    """Say what the file system of an open file or folder lacks, "" where it has room."""
    return measured(os.fstatvfs(fd), 0).lack


def try_writing(directory: int, length: int) -> None:
    """Make a directory and a file of so many bytes in an open directory, give it a date and another name, and remove both.

    Raises OSError where any of that does not work.
    """
    trial = f"trial-{secrets.token_hex(4)}"
    beneath.make(directory, trial, 0o700)
    try:
        with closing_fd(beneath.enter(directory, trial)) as inside:
            _try_inside(inside, length)
    finally:
        with suppress(OSError):
            beneath.remove_directory(directory, trial)


def _try_inside(directory: int, length: int) -> None:
    try:
        with closing_fd(beneath.create(directory, "a")) as fd:
            beneath.write_all(fd, [bytes(length)])
            syscalls.set_date(fd, 0)
        beneath.rename("a", "b", src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        for name in ("a", "b"):
            with suppress(OSError):
                beneath.remove(directory, name)
