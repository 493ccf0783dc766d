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
from bucketpull.domain import keys
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Chunk
from bucketpull.domain.model import key_of, show
from bucketpull.domain.record import Written
from bucketpull.volumes import beneath, os_errors
from bucketpull.volumes.beneath import write_all
from bucketpull.volumes.files.tree import OpenDirectory, Tree
from bucketpull.volumes.foreign import set_aside
from bucketpull.volumes.free_space import NO_INODES, lack_of, try_writing
from bucketpull.volumes.identity import PACKS, TEMPORARY, Entered, enter
from bucketpull.volumes.os_errors import Culprit
from bucketpull.volumes.sizes_and_dates import set_date

_NAME: Final = "file"
_PACKS: Final = PACKS.encode()
_SLASH: Final = ord("/")
_TRIAL_BYTES: Final = 1 << 12
_REASONS: Final = {
    Culprit.OBJECT: Reason.UNSTORABLE,
    Culprit.FULL: Reason.VOLUME_FULL,
    Culprit.VOLUME: Reason.VOLUME_SICK,
    Culprit.MACHINE: Reason.MACHINE,
}
_reach = kill_points.reach


class FileWriter:
    """Writes files below a volume, syncing each if `sync`. Once sick it refuses everything, without touching the disk."""

    def __init__(self, entered: Entered, path: str, sync: bool) -> None:
        self.root, self.home = entered.root, entered.home
        self.identity = identity = entered.identity
        self.path = path
        self.sync = sync
        self.tree = Tree(self.root)
        self._here: bytes | None = None  # the directory of the last object, and where that is
        self._place = OpenDirectory(-1, b"")
        self._is_plain = identity.layout == "key" and not identity.folds_case
        self.sick = ""
        """Why it refuses everything; "" while it does not."""
        self._folder = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._temporary = self.home.below(TEMPORARY).make_new(self._folder)

    @classmethod
    def open(cls, path: str, volume: str, sync: bool) -> "FileWriter":
        """Open the volume that must lie at a path. Raises VolumeSick where it does not lie there, or cannot be written."""
        entered = enter(path, volume, writing=True)
        try:
            return cls(entered, path, sync)
        except OSError as error:
            entered.close()
            raise os_errors.volume_error(path, "not opened for writing", error) from error

    def store(
        self, directory: bytes, name: bytes, mtime: int, chunks: Sequence[Chunk], token: object
    ) -> Written:
        """Write one object and return its outcome; nothing is left of it unless it was published."""
        if self.sick:
            return Written(token, Reason.VOLUME_SICK, self.sick)
        try:
            self._fill(mtime, chunks)
        except OSError as error:
            self._clean()
            return self.failed("file not written", error, token)
        folder, last = directory, name
        if _SLASH in name and name[0] != _SLASH:  # of a source that has no folders, such as S3
            above, _, last = name.rpartition(b"/")
            folder = key_of(directory, above)
        if self._is_plain and self._publish_beside(folder, last):
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
            return self.failed(show(path)[:200], error, token, placing=True)
        if _reach is not None:
            _reach("renamed")
        if lies != path:
            return Written(token, path=lies)
        if self._is_plain and path == key_of(directory, name):
            folder = directory if _SLASH not in name else path.rpartition(b"/")[0]
            if folder != _PACKS:
                self._here, self._place = folder, self.tree.place(folder)
        return Written(token)

    def _publish_beside(self, directory: bytes, name: bytes) -> bool:
        """Move a finished file of an ordinary name beside the one before; False where `publish` is needed.

        Nearly all objects come directory by directory: this way one costs 1.5 µs less, out of 40 in all.
        """
        if (
            directory != self._here
            or len(directory) + len(name) >= keys.LONGEST_NAME
            or not keys.is_ordinary_name(name)
        ):
            return False
        try:
            beneath.rename(_NAME, name, src_dir_fd=self._temporary, dst_dir_fd=self._place.fd)
        except OSError:
            return False
        return True

    def set_aside(self, directory: bytes, name: bytes) -> bool:
        """Give another name to a file of somebody else's at an object's path; False if that cannot be."""
        tree = Tree(self.root)  # its own: another thread may be writing
        try:
            return set_aside(tree, self.home, self.identity.path_of(directory, name))
        except OSError as error:
            return error.errno == errno.ENOENT
        finally:
            tree.close()

    def failed(self, what: str, error: OSError, token: object, *, placing: bool = False) -> Written:
        """Return who is to blame for an error, met while `placing` an object at its path, or with our own files."""
        fault = self._fault(error, placing=placing)
        detail = f"{what}: {os_errors.words(error)}"
        if fault is Culprit.MACHINE:
            self.tree.close()  # some descriptors less
        elif fault is Culprit.VOLUME:
            self.sick = detail
        elif fault is Culprit.FULL:
            with suppress(OSError):
                detail = f"{what}: {NO_INODES}" if lack_of(self.root) == NO_INODES else detail
        reason = Reason.UNWRITTEN if fault is None else _REASONS[fault]
        return Written(token, reason, detail)

    def close(self) -> None:
        """Remove the writer's own folder and close the volume."""
        self._clean()
        with suppress(OSError):
            beneath.remove_directory(self.home.below(TEMPORARY).fd, self._folder)
        self.tree.close()
        os.close(self._temporary)
        self.home.close()
        os.close(self.root)

    def _fill(self, mtime: int, chunks: Sequence[Chunk]) -> None:
        fd = beneath.create(self._temporary, _NAME)
        try:
            if _reach is not None:
                _reach("opened")
            write_all(fd, chunks)
            if _reach is not None:
                _reach("written")
            if self.sync:
                os.fsync(fd)
            if mtime >= 0:  # else it is not known
                try:
                    os.utime(fd, (mtime, mtime))
                except (OSError, OverflowError):
                    set_date(self.home, fd, mtime)
        finally:
            os.close(fd)
        if _reach is not None:
            _reach("closed")

    def _fault(self, error: OSError, *, placing: bool) -> Culprit | None:
        """Return who is to blame for an error; None if the volume refused something but takes other files."""
        fault = os_errors.culprit(error, own=not placing)
        if (
            fault is Culprit.OBJECT
            and isinstance(error, PermissionError)
            and not beneath.is_writable(self.root)
        ):
            return Culprit.VOLUME
        if fault is Culprit.VOLUME or (fault is Culprit.FULL and placing and self.tree.has_room()):
            return self._tried(fault)
        return fault

    def _tried(self, suspected: Culprit) -> Culprit | None:
        """Find out by a test write whether the volume is well."""
        try:
            try_writing(self._temporary, _TRIAL_BYTES)
        except OSError as error:
            return Culprit.MACHINE if os_errors.culprit(error) is Culprit.MACHINE else suspected
        return None

    def _clean(self) -> None:
        with suppress(OSError):
            beneath.remove(self._temporary, _NAME)
