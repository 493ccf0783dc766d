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
from typing import BinaryIO, Final, NamedTuple

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe in the place of a file must not make us wait.
_OLD: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# O_DIRECTORY: a folder that is mounted when it is first entered is.
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS: Final = 40  # as many as Linux follows: path_resolution(7)


class _ForeignLinkError(OSError):
    """A link on the way to a path belongs to neither this user nor root."""

    def __init__(self, link: str) -> None:
        super().__init__(errno.EPERM, f"{link} is a link of somebody else")
        self.link = link


class _LastStep(NamedTuple):
    """Where the links on the way to a path end."""

    folder: int  # its descriptor
    name: str  # in that folder; there need be none
    linked: bool  # a link that is the path itself has led here
    magic: bool  # what /proc shows as a link, a descriptor above all: only the kernel can follow it

    def open(self, flags: int, mode: int = 0o666) -> int:
        """Open it, and no link that was put there since."""
        return os.open(self.name, flags | (0 if self.magic else os.O_NOFOLLOW), mode, dir_fd=self.folder)


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
    """Open a file to write at its end, or make it; a file, a pipe or a link on the way that is somebody else's is refused. Return its descriptor.

    Raises:
        OSError: It cannot be opened, nobody reads the pipe, or it is somebody else's.

    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with _last_step(path) as step:
        try:
            fd = step.open(flags, mode)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise OSError(errno.ENXIO, "it is a pipe that nobody reads", str(path)) from None
            raise
    if not step.magic:  # whoever started us gave us the descriptor
        _refuse_others(fd, path)
    os.set_blocking(fd, True)
    return fd


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

    A pipe, a device, or what links of this user or of root lead to (`/dev/stdout`) is written to itself.

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
    """Open a pipe, a device, or what links of this user or of root lead to; None for what is to be replaced."""
    try:
        with _last_step(path) as step:
            return _kept(step)
    except _ForeignLinkError:
        if foreign_link(path.parent) is not None:
            raise
        return None


def _kept(step: _LastStep) -> BinaryIO | None:
    try:
        fd = step.open(os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        if not step.linked:
            return None
        return os.fdopen(step.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC), "wb")
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode):
            replaced = not (step.linked or step.magic)
        else:
            ours = step.magic or stat.S_ISCHR(found.st_mode) or found.st_uid in _trusted()
            replaced = not ours
        # By its descriptor: at its name there may be another by now.
        return None if replaced else open(f"/proc/self/fd/{fd}", "wb")
    finally:
        os.close(fd)


def foreign_link(path: str | os.PathLike[str]) -> str | None:
    """Return the first symbolic link on the way to a path, at any component and hop by hop, that belongs to neither this user nor root; None where there is none."""
    try:
        with _last_step(path):
            return None
    except _ForeignLinkError as error:
        return error.link
    except OSError:
        return None


@contextmanager
def _last_step(path: str | os.PathLike[str]) -> Iterator[_LastStep]:
    """Follow the links on the way to a path, which must belong to this user or to root, up to what is no link.

    Raises:
        OSError: A link is somebody else's, there are too many, or a folder on the way is not there.

    """
    text = os.fspath(path)
    steps, folder = text.split("/")[::-1], os.open("/" if text.startswith("/") else ".", _FOLDER)
    linked, links = False, 0
    try:
        while True:
            name = steps.pop() or "."
            target, magic = _link(folder, name)
            if target is not None and not magic:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), text)
                linked = linked or not steps
                steps += target.split("/")[::-1]
                if target.startswith("/"):
                    folder = _entered(folder, "/", 0)
            elif steps:
                folder = _entered(folder, name, 0 if magic else os.O_NOFOLLOW)
            else:
                yield _LastStep(folder, name, linked, magic)
                return
    finally:
        os.close(folder)


def _link(folder: int, name: str) -> tuple[str | None, bool]:
    """Return where a link leads, None for what is none, and whether only the kernel can follow it."""
    try:
        fd = os.open(name, _LOOK, dir_fd=folder)
    except FileNotFoundError:
        return None, False
    try:
        found = os.fstat(fd)
        if not stat.S_ISLNK(found.st_mode):
            return None, False
        if found.st_uid not in _trusted():
            raise _ForeignLinkError(os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name))
        return os.readlink("", dir_fd=fd), found.st_dev == os.stat("/proc").st_dev
    finally:
        os.close(fd)


def _entered(folder: int, name: str, flags: int) -> int:
    """Go from one folder, which is closed, to another."""
    inner = os.open(name, _FOLDER | flags, dir_fd=folder)
    os.close(folder)
    return inner


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
