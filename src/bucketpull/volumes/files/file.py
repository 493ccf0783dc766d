"""Files onto a volume, one at a time: temporary name, bytes, time, then the final name. Runs in whatever thread calls.

A temporary file lies in a folder of the writer's own below `.bucketpull/tmp`, always under the same name: what a kill leaves is
one file a writer, found without a search.
"""

import errno
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from bucketpull import kill_points
from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Chunk
from bucketpull.domain.model import show
from bucketpull.domain.record import Written
from bucketpull.volumes import system
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import HOME, Identity, enter

TEMPORARY: Final = f"{HOME}/tmp"  # noqa: S108 - a folder of the volume
_NAME: Final = "file"
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_PIECES: Final = 1024  # IOV_MAX of Linux
_reach = kill_points.reach


class FileWriter:
    """Writes files below a volume, syncing each if `sync`. Once sick it refuses everything, without touching the disk."""

    def __init__(self, root: int, path: str, identity: Identity, sync: bool) -> None:
        self.path = path
        self.identity = identity
        self.root = root
        self.sync = sync
        self.tree = Tree(root)
        self._is_plain = identity.layout == "key" and not identity.folds_case
        self._sick = ""
        self._folder = f"{TEMPORARY}/{os.getpid()}-{secrets.token_hex(4)}"
        os.mkdir(self._folder, 0o755, dir_fd=root)
        self._temporary = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)

    @classmethod
    def open(cls, path: str, volume: str, sync: bool) -> "FileWriter":
        """Open the volume that must lie at a path.

        Raises:
            VolumeSick: It does not lie there, or cannot be written.

        """
        root, identity = enter(path, volume)
        try:
            return cls(root, path, identity, sync)
        except OSError as error:
            os.close(root)
            raise system.volume_error(path, "not opened for writing", error) from error

    def store(
        self, directory: bytes, name: bytes, mtime: int, chunks: Sequence[Chunk], token: object
    ) -> Written:
        """Write one object and say what became of it; nothing is left of it unless it was published."""
        if self._sick:
            return Written(token, Reason.VOLUME_SICK, self._sick)
        try:
            self._fill(mtime, chunks)
        except OSError as error:
            self._clean()
            return self.failed("file not written", error, token)
        if self._is_plain and self.tree.publish_beside(_NAME, self._temporary, directory, name):
            if _reach is not None:
                _reach("renamed")
            return Written(token)
        published = self.publish(_NAME, self._temporary, directory, name, token)
        if published.reason is not None:
            self._clean()
        return published

    def publish(self, source: str, source_fd: int, directory: bytes, name: bytes, token: object) -> Written:
        """Give a finished file its final name."""
        path = self.identity.path_of(directory, name)
        try:
            lies = self.tree.publish(source, source_fd, path)
        except OSError as error:
            return self._refused(path, error, token)
        if _reach is not None:
            _reach("renamed")
        if lies != path:
            return Written(token, path=lies)
        if self._is_plain and path == directory + b"/" + name:
            self.tree.stay_in(directory)
        return Written(token)

    def failed(self, what: str, error: OSError, token: object) -> Written:
        """Blame the volume for an error."""
        reason = system.reason_of(error)
        detail = f"{what}: {error.strerror}"
        if reason is Reason.VOLUME_SICK:
            self._sick = detail
        elif not self._has_inodes():
            detail = f"{what}: no inodes left"
        return Written(token, reason, detail)

    def close(self) -> None:
        """Remove the writer's own folder and let go of the volume."""
        self._clean()
        with suppress(OSError):
            os.rmdir(self._folder, dir_fd=self.root)
        self.tree.close()
        os.close(self._temporary)
        os.close(self.root)

    def _fill(self, mtime: int, chunks: Sequence[Chunk]) -> None:
        fd = os.open(_NAME, _CREATE, 0o644, dir_fd=self._temporary)
        try:
            if _reach is not None:
                _reach("opened")
            write_all(fd, chunks)
            if _reach is not None:
                _reach("written")
            if self.sync:
                os.fsync(fd)
            if mtime >= 0:  # else it is not known
                os.utime(fd, (mtime, mtime))
        finally:
            os.close(fd)
        if _reach is not None:
            _reach("closed")

    def _refused(self, path: bytes, error: OSError, token: object) -> Written:
        """Tell an object that cannot have its path from a volume that takes none."""
        if error.errno not in system.UNSTORABLE or (
            _denied(error) and not os.access(".", os.W_OK, dir_fd=self.root)
        ):
            return self.failed("file not renamed", error, token)
        return Written(token, Reason.UNSTORABLE, f"{show(path)[:200]}: {error.strerror}")

    def _has_inodes(self) -> bool:
        with suppress(OSError):
            free = os.fstatvfs(self.root)
            return free.f_files == 0 or free.f_favail > 0
        return True

    def _clean(self) -> None:
        with suppress(OSError):
            os.unlink(_NAME, dir_fd=self._temporary)


def write_all(fd: int, chunks: Sequence[Chunk]) -> int:
    """Write all chunks, whatever the system takes at once; return the bytes."""
    if len(chunks) == 1:
        wanted, written = len(chunks[0]), os.write(fd, chunks[0])
    else:
        wanted, written = sum(map(len, chunks)), os.writev(fd, chunks[:_MOST_PIECES])
    if written < wanted:
        rest = memoryview(b"".join(chunks))
        while written < wanted:
            written += os.write(fd, rest[written:])
    return wanted


def _denied(error: OSError) -> bool:
    return error.errno in {errno.EPERM, errno.EACCES}
