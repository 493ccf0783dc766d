"""Who is to blame for an error of the operating system: one object, its volume, or this machine. One closed table.

An error that blames the volume is not believed at once where it came from one object's path: a probe decides
(`files.file.FileWriter`). So a damaged directory costs its own objects, not the disk.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from bucketpull.domain.errors import MachineShort, VolumeError, VolumeFull, VolumeSick


class Culprit(Enum):
    """Whose fault an error is."""

    OBJECT = "object"
    FULL = "full"
    VOLUME = "volume"
    MACHINE = "machine"


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_MACHINE: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR}
)
_OBJECT: Final = frozenset({
    errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP, errno.EOVERFLOW, errno.EMLINK,
    errno.EXDEV, errno.EPERM, errno.EACCES, errno.EBUSY, errno.ETXTBSY,
    errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY,
})  # fmt: skip

BLAMES: Final = (
    dict.fromkeys(errno.errorcode, Culprit.VOLUME)
    | dict.fromkeys(_OBJECT | {errno.EFBIG}, Culprit.OBJECT)
    | dict.fromkeys(_MACHINE, Culprit.MACHINE)
    | dict.fromkeys(_FULL, Culprit.FULL)
)
"""The blame of each error number, where an object's own path or its size is concerned."""

DATELESS: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EOVERFLOW}
)
"""What a file system says that keeps no dates of ours (CIFS, some FUSE): the file is stored all the same."""

_NO_RIGHT: Final = "give this user the right to write there (chown, chmod, chattr -i)"
_ABSENT: Final = "mount the disk, or name a directory that exists"
_IN_ITS_PLACE: Final = "something else lies in its place, such as a link: look at it, and remove it"
_ADVICE: Final = {
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "see `dmesg`, check the file system, mount it read-write",
    errno.ENOSPC: "free some space, or add a volume",
    errno.EDQUOT: "free some space, raise the quota, or add a volume",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files (sysctl fs.file-max)",
    errno.ENOMEM: "free some memory",
    errno.EFBIG: "its limit of file size is reached (ulimit -f, or the file system's own)",
}
_LOOK_AT_IT: Final = "see `dmesg` and the disk's health"


def culprit(error: OSError, *, own: bool = False) -> Culprit:
    """Return who is to blame for an error; `own` if it concerns our own files on the volume rather than an object's path."""
    found = BLAMES.get(error.errno or 0, Culprit.VOLUME)
    if own and error.errno in _OBJECT:
        return Culprit.VOLUME
    return found


def words(error: OSError, otherwise: str = "") -> str:
    """Return what the system says of an error, and what to do about it, if that is known, or `otherwise`."""
    advice = _ADVICE.get(error.errno or 0, otherwise)
    return f"{error.strerror or error}; {advice}" if advice else str(error.strerror or error)


def volume_error(path: str, doing: str, error: OSError) -> VolumeError:
    """Say of an error met with our own files whether the volume is full or sick, or this machine short of something."""
    name, is_absent = error.filename, isinstance(error, FileNotFoundError | NotADirectoryError)
    advice = _ABSENT if is_absent else _LOOK_AT_IT
    if error.errno in {errno.ELOOP, errno.ENOTDIR} and isinstance(name, str) and "/" not in name:
        doing, advice = f"{doing}: {name}", _IN_ITS_PLACE  # within an open folder of ours
    detail = f"{doing}: {words(error, advice)}"
    kind = {Culprit.MACHINE: MachineShort, Culprit.FULL: VolumeFull}.get(culprit(error, own=True), VolumeSick)
    return kind(path, detail)


@contextmanager
def volume_errors(path: str, doing: str) -> Iterator[None]:
    """Raise what `volume_error` makes of an error of the system that is met meanwhile."""
    try:
        yield
    except OSError as error:
        raise volume_error(path, doing, error) from error
