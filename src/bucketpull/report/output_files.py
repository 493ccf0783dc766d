"""Files at names of our own making, beside what the user named: the folder may be one in which others can write.

What they put there, a link above all, is not followed, and not continued.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from bucketpull.trusted_path import ForeignLinkError, LastStep, last_step, open_folder, trusted_users

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe in the place of a file must not make us wait.
_OLD: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """A folder in which files are written, opened once: another that is put in its place meanwhile is not used.

    Raises OSError where it is not there, or a link of somebody else leads there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = open_folder(path, os.O_PATH)

    def create(self, name: str) -> BinaryIO:
        """Make a new file for writing; what had its name is removed.

        Raises OSError where it cannot be made, or what is there cannot be removed.
        """
        try:
            fd = os.open(name, _NEW, 0o666, dir_fd=self._fd)
        except FileExistsError:
            os.unlink(name, dir_fd=self._fd)
            fd = os.open(name, _NEW, 0o666, dir_fd=self._fd)
        return os.fdopen(fd, "wb")

    def reopen_at(self, name: str, size: int) -> BinaryIO:
        """Open a file that this user has made, cut back to its first `size` bytes, to write on; see `reopen`."""
        file = self.reopen(name, "r+b")
        file.truncate(size)
        file.seek(size)
        return file

    def reopen(self, name: str, mode: str = "rb") -> BinaryIO:
        """Open a file that this user has made, "rb" or "r+b". Raises OSError where there is none, or it is somebody else's."""
        fd = os.open(name, _OLD | (os.O_RDWR if "+" in mode else os.O_RDONLY), dir_fd=self._fd)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in trusted_users():
            os.close(fd)
            raise OSError(errno.EPERM, "it is somebody else's", str(self._path / name))
        return os.fdopen(fd, mode)  # type: ignore[return-value]

    def synced(self, name: str) -> tuple[str, int]:
        """Make durable what was written to a file, and return its name and size."""
        with self.reopen(name) as file:
            os.fsync(file.fileno())
            return name, os.fstat(file.fileno()).st_size

    def rename(self, name: str, other: str) -> None:
        """Put a file in the place of another."""
        os.rename(name, other, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def append(path: Path, mode: int = 0o666) -> int:
    """Open a file to write at its end, or make it; a file, a pipe or a link on the way that is somebody else's is refused. Return its descriptor.

    Raises OSError where it cannot be opened, nobody reads the pipe, or it is somebody else's.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with last_step(path) as step:
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
    if stat.S_ISCHR(found.st_mode) or found.st_uid in trusted_users():  # a terminal is whoever's logged in
        return
    os.close(fd)
    raise OSError(errno.EPERM, f"it belongs to user {found.st_uid}", str(path))


def is_stream(path: Path) -> bool:
    """Tell whether a pipe or a device is there, or what is open, as /dev/stdout: it is written to itself, and cannot be continued later."""
    with suppress(OSError), last_step(path) as step:
        mode = os.stat(step.name, dir_fd=step.folder).st_mode
        return step.magic or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file that takes the place of `path` when it is whole, or not at all.

    A pipe, a device, or what links of this user or of root lead to (`/dev/stdout`) is written to itself.

    Raises OSError where it cannot be written.
    """
    path = Path(path)
    stream = _written_to(path)
    if stream is not None:
        with stream:
            yield stream
        return
    fresh = f".{path.name}.{secrets.token_hex(8)}.part"
    with closing(Folder(path.parent)) as folder:
        try:
            with folder.create(fresh) as stream:
                yield stream
            folder.rename(fresh, path.name)
        finally:
            with suppress(OSError):
                folder.remove(fresh)


def _written_to(path: Path) -> BinaryIO | None:
    """Open a pipe, a device, or what links of this user or of root lead to; None for what is to be replaced."""
    try:
        with last_step(path) as step:
            return _kept(step)
    except ForeignLinkError:
        return None


def _kept(step: LastStep) -> BinaryIO | None:
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
            ours = step.magic or stat.S_ISCHR(found.st_mode) or found.st_uid in trusted_users()
            replaced = not ours
        # By its descriptor: at its name there may be another by now.
        return None if replaced else open(f"/proc/self/fd/{fd}", "wb")
    finally:
        os.close(fd)
