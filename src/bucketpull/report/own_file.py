"""Files at names of our own making, beside what the user named: the folder may be one in which others can write.

What they put there, a link above all, is not followed and not gone on with.
"""

import errno
import gzip
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe in the place of a file must not make us wait.
_OLD: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def create(path: Path) -> BinaryIO:
    """Make a new file for writing; what had its name is removed.

    Raises:
        OSError: It cannot be made, or what is there cannot be removed.

    """
    try:
        fd = os.open(path, _NEW, 0o666)
    except FileExistsError:
        path.unlink()
        fd = os.open(path, _NEW, 0o666)
    return os.fdopen(fd, "wb")


def create_gzip(path: Path, level: int) -> gzip.GzipFile:
    """Make a new compressed file for writing, as `create`."""
    return _Gzip(create(path), level)


def reopen(path: Path, mode: str) -> BinaryIO:
    """Open a file that this user has made, "rb" or "r+b".

    Raises:
        OSError: There is none, or it is somebody else's.

    """
    fd = os.open(path, _OLD | (os.O_RDWR if "+" in mode else os.O_RDONLY))
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in {os.geteuid(), 0}:
        os.close(fd)
        raise OSError(errno.EPERM, "it is somebody else's", str(path))
    return os.fdopen(fd, mode)  # type: ignore[return-value]


def append(path: Path, mode: int = 0o666) -> int:
    """Open a file to write at its end, or make it; a link of somebody else is not followed. Return its descriptor.

    Raises:
        OSError: It cannot be opened, or leads where somebody else says.

    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOFOLLOW, mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    if path.lstat().st_uid not in {os.geteuid(), 0}:
        raise OSError(errno.EPERM, "it is a link of somebody else", str(path))
    return os.open(path, flags, mode)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the place of `path` when it is whole, or not at all.

    A pipe, a device, or a link that this user or root has made (`/dev/stdout`) is written to itself.

    Raises:
        OSError: It cannot be written.

    """
    if _is_written_to(path):
        with path.open("wb") as stream:
            yield stream
        return
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with create(fresh) as stream:
            yield stream
        fresh.replace(path)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _is_written_to(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(found.st_mode):
        return found.st_uid in {os.geteuid(), 0}
    return not stat.S_ISREG(found.st_mode)


class _Gzip(gzip.GzipFile):
    """Closes what is below it as well."""

    def __init__(self, raw: BinaryIO, level: int) -> None:
        super().__init__("", "wb", level, raw)
        self._raw = raw

    def close(self) -> None:
        """Write the end, and let go of the file."""
        super().close()
        self._raw.close()
