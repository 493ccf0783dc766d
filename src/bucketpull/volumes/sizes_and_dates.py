"""Whether a file is what was stored there: told by its length and date, and only in doubt by what is in it."""

import os
import stat
from hashlib import md5
from typing import Final

from bucketpull.domain.record import Record
from bucketpull.volumes import beneath, syscalls
from bucketpull.volumes.beneath import OwnDirectory, closing_fd
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import LOCK

UNDATED: Final = "undated"
"""This file in our own folder says that some file could not be given its date: files here may have the date of their writing."""
_MTIME_SECONDS: Final = 2.0  # FAT keeps even seconds
_PIECE_BYTES: Final = 1 << 20


def is_as_stored(
    tree: Tree, home: OwnDirectory, path: bytes, found: os.stat_result, record: Record, index: int
) -> bool:
    """Tell whether what was `found` at a path is the file of this record; one that was taken over may have another date, but the MD5."""
    if not has_length(found, record.lengths[index]):
        return False
    if record.mtimes[index] < 0 or has_date(found, record.mtimes[index]) or not keeps_dates(home):
        return True
    if not record.md5s or not record.md5s[index]:
        return False
    try:
        return md5_of(tree.open_file(path)) == record.md5s[index]
    except OSError:  # what cannot be read is not known to be ours
        return False


def set_date(home: OwnDirectory, fd: int, mtime: int) -> None:
    """Give a file its date (Unix seconds); where the disk keeps none, note that before the file gets its name.

    A disk may keep dates at one time and not at another: a server of files decides it, and whoever mounts it.

    Raises OSError where the disk fails.
    """
    # A date that no disk keeps says nothing of this one: 0 is tried too.
    is_dated = syscalls.set_date(fd, mtime) or syscalls.set_date(fd, 0)
    if not is_dated and beneath.look(home.fd, UNDATED) is None:
        os.close(home.open_file(UNDATED, os.O_WRONLY | os.O_CREAT))


def keeps_dates(home: OwnDirectory) -> bool:
    """Tell whether the file system of our own folder keeps dates, and has kept that of each file."""
    if beneath.look(home.fd, UNDATED) is not None:
        return False
    with closing_fd(home.open_file(LOCK)) as fd:
        return syscalls.keeps_dates(fd)


def has_length(found: os.stat_result | None, length: int) -> bool:
    """Tell whether it is a regular file of this length in bytes; a link is none."""
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == length


def has_date(found: os.stat_result, mtime: int) -> bool:
    """Tell whether it has this date (Unix seconds), as exactly as file systems keep it."""
    return abs(found.st_mtime - mtime) < _MTIME_SECONDS


def has_our_date(found: os.stat_result, mtime: int) -> bool:
    """Tell whether it has this date (Unix seconds) as we give dates: without a fraction."""
    return has_whole_seconds(found) and has_date(found, mtime)


def has_whole_seconds(found: os.stat_result) -> bool:
    """Tell whether its date has no fraction, as those that we give."""
    return found.st_mtime_ns % 1_000_000_000 == 0


def md5_of(fd: int) -> bytes:
    """Read an open file once, from where it stands to its end, and close it; return its MD5, 16 raw bytes.

    The page cache is left to others. Raises OSError where it cannot be read.
    """
    digest = md5(usedforsecurity=False)
    with closing_fd(fd):
        while data := os.read(fd, _PIECE_BYTES):  # 6 µs less than `file_digest` for a small file
            digest.update(data)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.digest()
