"""What Linux offers and Python does not, syncfs and fallocate; and dates, which some file systems do not keep."""

import ctypes
import os
from typing import Final

from bucketpull.volumes.os_errors import DATELESS

_KEEP_SIZE: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = _libc.syncfs
_syncfs.argtypes = [ctypes.c_int]
_fallocate = _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def sync_file_system(fd: int) -> None:
    """Write out everything of the file system that `fd` lies on; fails if any write to it failed since `fd` was opened."""
    if _syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def reserve_ahead(fd: int, offset: int, length: int) -> None:
    """Set bytes aside for a file beyond its end, if the file system can; its size does not change."""
    _fallocate(fd, _KEEP_SIZE, offset, length)


def set_date(fd: int, mtime: int) -> bool:
    """Set a file's date (Unix seconds); False where the file system keeps none of ours.

    Raises:
        OSError: The disk fails.

    """
    try:
        os.utime(fd, (mtime, mtime))
    except OSError as error:
        if error.errno not in DATELESS:
            raise
        return False
    except OverflowError:
        return False
    return True
