"""What Linux offers and Python does not: syncfs and fallocate; and what an error number says of a volume."""

import ctypes
import errno
import os
from typing import Final

from bucketpull.domain.errors import Reason, VolumeError, VolumeFull, VolumeSick

_KEEP_SIZE: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = _libc.syncfs
_syncfs.argtypes = [ctypes.c_int]
_fallocate = _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
UNSTORABLE: Final = frozenset({
    errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EXDEV, errno.EFBIG, errno.EPERM, errno.EACCES, errno.ELOOP,
    errno.ENOTDIR, errno.EISDIR,
})  # fmt: skip
"""What only the path of one object can be blamed for; anything else that is not `FULL` is blamed on the disk."""


def sync_file_system(fd: int) -> None:
    """Write out everything of the file system that `fd` lies on; fails if any write to it failed since `fd` was opened."""
    if _syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def reserve_ahead(fd: int, offset: int, length: int) -> None:
    """Set bytes aside for a file beyond its end, if the file system can; its size does not change."""
    _fallocate(fd, _KEEP_SIZE, offset, length)


def volume_error(path: str, doing: str, error: OSError) -> VolumeError:
    """Say of an error of the operating system whether a volume is full or sick."""
    words = f"{doing}: {error.strerror or error}"
    if error.errno in FULL:
        return VolumeFull(path, f"{words}; free some space, or add a volume")
    return VolumeSick(path, f"{words}; see `dmesg` and the disk's health")


def reason_of(error: OSError) -> Reason:
    """Blame an error on the volume being full or sick."""
    return Reason.VOLUME_FULL if error.errno in FULL else Reason.VOLUME_SICK
