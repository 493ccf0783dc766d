"""What Linux offers and Python does not, syncfs, fallocate and fstatfs; and giving dates, which some file systems do not keep."""

import ctypes
import os
import time
from typing import Final

from bucketpull.volumes.os_errors import DATELESS

_KEEP_SIZE: Final = 1

libc = ctypes.CDLL(None, use_errno=True)
_syncfs = libc.syncfs
_syncfs.argtypes = [ctypes.c_int]
_fallocate = libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_fstatfs = libc.fstatfs
_fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]
# linux/magic.h
_IN_MEMORY: Final = frozenset({0x01021994, 0x858458F6})  # TMPFS_MAGIC, RAMFS_MAGIC
_ON_OTHERS: Final = frozenset({0x65735546, 0xF15F})  # FUSE_SUPER_MAGIC, ECRYPTFS_SUPER_MAGIC
_STATFS_LONGS: Final = 64  # more than any struct statfs has


def sync_file_system(fd: int) -> None:
    """Write out everything of the file system that `fd` lies on; fails if any write to it failed since `fd` was opened.

    What FUSE and eCryptfs pass on to other file systems of this machine is written out with all of these: they are not asked by `syncfs`.
    """
    if _syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if _kind(fd) in _ON_OTHERS:
        os.sync()


def attachment(fd: int) -> str:
    """Name this boot of the machine and this attachment of the disk that `fd` lies on; "" where the boot is not known.

    While it is the same, whatever was written is in the page cache or on the disk, so a file that looks whole is whole. The
    `diskseq` of a block device is another each time it is plugged in (Linux 5.15).
    """
    device = os.fstat(fd).st_dev
    folder = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    boot = _text_in("/proc/sys/kernel/random/boot_id")
    sequence = _text_in(f"{folder}/diskseq") or _text_in(
        f"{folder}/../diskseq"
    )  # a partition's is its disk's
    return f"{boot} {device} {sequence}" if boot else ""


def _text_in(path: str) -> str:
    """Return what the kernel tells in a file; "" where there is none."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def is_in_memory(fd: int) -> bool:
    """Tell whether the file system of an open file is memory, from which reading waits for no disk."""
    return _kind(fd) in _IN_MEMORY


def _kind(fd: int) -> int:
    """Return the magic number of the file system of an open file; 0 where it does not tell."""
    found = (ctypes.c_long * _STATFS_LONGS)()
    return 0 if _fstatfs(fd, found) else found[0]


def reserve_ahead(fd: int, offset: int, length: int) -> None:
    """Set bytes aside for a file beyond its end, if the file system can; its size does not change."""
    _fallocate(fd, _KEEP_SIZE, offset, length)


def set_date(fd: int, mtime: int) -> bool:
    """Set a file's date (Unix seconds); False where the file system keeps none of ours. Raises OSError where the disk fails."""
    try:
        os.utime(fd, (mtime, mtime))
    except OverflowError:
        return False
    except OSError as error:
        if error.errno not in DATELESS:
            raise
        return False
    return True


def keeps_dates(fd: int) -> bool:
    """Tell whether the file system of a file of ours, to which a date is given for it, keeps dates.

    Raises OSError where the disk fails, or the kernel has stopped writing to it.
    """
    return set_date(fd, int(time.time()) - 1)
