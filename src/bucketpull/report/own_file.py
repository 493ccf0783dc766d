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
_MOST_HOPS: Final = 40  # as the kernel
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
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in _trusted():
        os.close(fd)
        raise OSError(errno.EPERM, "it is somebody else's", str(path))
    return os.fdopen(fd, mode)  # type: ignore[return-value]


def append(path: Path, mode: int = 0o666) -> int:
    """Open a file to write at its end, or make it; a file, pipe or link of somebody else is refused. Return its descriptor.

    Raises:
        OSError: It cannot be opened, nobody reads the pipe, or it is somebody else's.

    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW, mode)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a pipe that nobody reads", str(path)) from None
        if error.errno != errno.ELOOP:
            raise
        fd = _behind_link(path, flags, mode)
    else:
        _refuse_others(fd, path)
    os.set_blocking(fd, True)
    return fd


def _behind_link(path: Path, flags: int, mode: int) -> int:
    """Open what a link of this user or of root leads to: what is there is theirs to say."""
    if path.lstat().st_uid not in _trusted():
        raise OSError(errno.EPERM, "it is a link of somebody else", str(path))
    return os.open(path, flags, mode)


def _refuse_others(fd: int, path: Path) -> None:
    """Close a file of somebody else, who would read what is written there, or has linked it to one of ours."""
    found = os.fstat(fd)
    if stat.S_ISCHR(found.st_mode) or found.st_uid in _trusted():  # a terminal is whoever's logged in
        return
    os.close(fd)
    raise OSError(errno.EPERM, f"it belongs to user {found.st_uid}", str(path))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the place of `path` when it is whole, or not at all.

    A pipe, a device, or a link that this user or root has made (`/dev/stdout`) is written to itself.

    Raises:
        OSError: It cannot be written.

    """
    stream = _written_to(path)
    if stream is not None:
        with stream:
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


def _written_to(path: Path) -> BinaryIO | None:
    """Open a pipe, a device or a link of this user or of root; None for what is to be replaced."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) or (
            not stat.S_ISCHR(found.st_mode) and found.st_uid not in _trusted()
        ):
            return None
        # By its descriptor: at its name there may be another by now.
        return path.open("wb") if stat.S_ISLNK(found.st_mode) else open(f"/proc/self/fd/{fd}", "wb")
    finally:
        os.close(fd)


def foreign_link(path: str | os.PathLike[str]) -> str | None:
    """Return the first symbolic link on the way to a path, at any component and hop by hop, that belongs to neither this user nor root; None where there is none."""
    at, ahead, hops = "/", _steps(os.path.join(os.getcwd(), path)), 0
    while ahead and hops < _MOST_HOPS:
        step = ahead.pop()
        if step == "..":
            at = os.path.dirname(at)
            continue
        here = os.path.join(at, step)
        try:
            found = os.lstat(here)
            target = os.readlink(here) if stat.S_ISLNK(found.st_mode) else None
        except OSError:
            return None  # there is nothing behind it
        if target is None:
            at = here
        elif found.st_uid not in _trusted():
            return here
        else:
            hops += 1
            ahead += _steps(target)
            at = "/" if target.startswith("/") else at
    return None


def _steps(path: str) -> list[str]:
    """Return the components of a path, the first at the end."""
    return [step for step in reversed(path.split("/")) if step not in {"", "."}]


def _trusted() -> set[int]:
    """Return the users whose files are written to: this one and root."""
    return {os.geteuid(), 0}


class _Gzip(gzip.GzipFile):
    """Closes what is below it as well."""

    def __init__(self, raw: BinaryIO, level: int) -> None:
        super().__init__("", "wb", level, raw)
        self._raw = raw

    def close(self) -> None:
        """Write the end, and let go of the file."""
        super().close()
        self._raw.close()
