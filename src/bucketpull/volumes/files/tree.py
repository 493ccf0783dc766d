"""The directories below a volume: opened from its root one by one, never through a symbolic link, a few kept open.

Opened this way nothing leads out of the volume, and nothing onto another disk that is mounted over it or left in its place.
"""

import errno
import os
import resource
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

import msgspec

from bucketpull.domain import keys
from bucketpull.volumes import beneath
from bucketpull.volumes.free_space import lack_of

OVERFLOW: Final = b"%~%~full"
"""Where objects go whose directory takes no more entries (ext4: some 10 million); the ledger says which."""

_OPEN_DIRECTORIES: Final = 256
_TAKEN: Final = frozenset({errno.ENOTDIR, errno.ELOOP})
_DIRECTORY_FULL: Final = frozenset({errno.ENOSPC, errno.EMLINK})
# eCryptfs takes 143 bytes, NTFS with `windows_names` no colon, ZFS with `utf8only` no other bytes.
_NAME_REFUSED: Final = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})


class OpenDirectory(msgspec.Struct, eq=False):
    """An open directory: its descriptor (-1 once it is closed) and its path below the volume, which differs from the usual one where a file is in the way."""

    fd: int
    path: bytes

    def join(self, name: bytes) -> bytes:
        """Return the path of an entry."""
        return self.path + b"/" + name if self.path else name

    def close(self) -> None:
        """Close it, whatever its disk says."""
        beneath.close_ignoring_errors(self.fd)
        self.fd = -1


class Tree:
    """The directories of one volume; `root` stays the caller's."""

    def __init__(self, root: int) -> None:
        self._root = OpenDirectory(root, b"")
        self._places: OrderedDict[bytes, OpenDirectory] = OrderedDict()
        self._limit = _most_open()

    def publish(self, source: str, source_fd: int, path: bytes) -> bytes:
        """Move a finished file to its path, or to the alternative where that is taken or refused; return where it lies.

        Raises OSError where it cannot lie there.
        """
        try:
            return self._move(source, source_fd, path)
        except FileNotFoundError:
            self.close()  # somebody removed a directory that was kept open
            return self._move(source, source_fd, path)
        except OSError as error:
            if error.errno in _NAME_REFUSED:
                other = keys.short_path_of(path)
            elif error.errno in _DIRECTORY_FULL and self.has_room():
                other = OVERFLOW + b"/" + keys.hashed_path_of(path)
            else:
                raise
        return self._move(source, source_fd, other)

    def remove(self, path: bytes) -> None:
        """Remove a file, if it is there."""
        directory, _, name = path.rpartition(b"/")
        with suppress(FileNotFoundError, NotADirectoryError):
            beneath.remove(self.place(directory, create=False).fd, name)

    def remove_empty(self, folder: bytes) -> None:
        """Remove a folder and those above it as far as nothing is left in them."""
        while folder:
            above, _, name = folder.rpartition(b"/")
            try:
                beneath.remove_directory(self.place(above, create=False).fd, name)
            except OSError:
                return
            place = self._places.pop(folder, None)
            if place is not None:
                place.close()
            folder = above

    def stat(self, path: bytes) -> os.stat_result | None:
        """Return the status of what is at a path, without following symbolic links; None if nothing is there."""
        directory, _, name = path.rpartition(b"/")
        try:
            return beneath.look(self.place(directory, create=False).fd, name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def holds_no_file(self, folder: bytes) -> bool:
        """Tell whether a folder is missing or holds at most a few folders; False if that cannot be found out."""
        try:
            if folder and self.stat(folder) is None:
                return True
            return beneath.holds_no_file(self.place(folder, create=False).fd)
        except OSError:
            return False

    def homes(self, path: bytes, known: dict[bytes, list[bytes]]) -> Iterator[bytes]:
        """Give each path at which the file of a path may lie: beside a directory, or below one beside a file, that is in its way or was.

        `known` remembers folders from one call to the next.
        """
        directory, _, name = path.rpartition(b"/")
        folders = known.get(directory)
        if folders is None:
            folders = known[directory] = self._homes_of_folder(directory)
        for folder in folders:
            yield from _joined(folder, (name, keys.file_beside_directory(name)))

    def _homes_of_folder(self, directory: bytes) -> list[bytes]:
        folders = [b""]
        for segment in directory.split(b"/") if directory else ():
            names = segment, keys.directory_beside_file(segment)
            folders = [
                each for folder in folders for each in _joined(folder, names) if self._is_directory(each)
            ]
        return folders

    def open_file(self, path: bytes) -> int:
        """Open a file for reading."""
        directory, _, name = path.rpartition(b"/")
        return beneath.open_file(self.place(directory, create=False).fd, name)

    def place(self, path: bytes, create: bool = True) -> OpenDirectory:
        """Open a directory by its usual path, making what is missing."""
        found = self._places.get(path)
        if found is not None:
            self._places.move_to_end(path)
            return found
        return self._descend(path, create) if path else self._root

    def has_room(self) -> bool:
        """Tell a full file system from a full directory."""
        return not lack_of(self._root.fd)

    def close(self) -> None:
        """Close all directories; they are opened again when needed."""
        while self._places:
            self._places.popitem()[1].close()

    def _is_directory(self, path: bytes) -> bool:
        found = self.stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def _move(self, source: str, source_fd: int, path: bytes) -> bytes:
        directory, _, name = path.rpartition(b"/")
        place = self.place(directory)
        try:
            beneath.rename(source, name, src_dir_fd=source_fd, dst_dir_fd=place.fd)
        except IsADirectoryError:
            name = keys.file_beside_directory(name)
            beneath.rename(source, name, src_dir_fd=source_fd, dst_dir_fd=place.fd)
        return place.join(name)

    def _descend(self, path: bytes, create: bool) -> OpenDirectory:
        """Open directory after directory, from the nearest ancestor that is open."""
        end = len(path)
        while (end := path.rfind(b"/", 0, end)) > 0 and path[:end] not in self._places:
            pass
        place = self.place(path[:end]) if end > 0 else self._root
        for segment in path[end + 1 :].split(b"/"):
            end += len(segment) + 1
            place = _enter(place, segment, create)
            self._keep(path[:end], place)
        return place

    def _keep(self, path: bytes, place: OpenDirectory) -> None:
        self._places[path] = place
        if len(self._places) > self._limit:
            self._places.popitem(last=False)[1].close()


def _joined(folder: bytes, names: Iterable[bytes]) -> list[bytes]:
    return [folder + b"/" + name if folder else name for name in names]


def _most_open() -> int:
    """Return how many directories are kept open: fewer where a process may open few files."""
    return min(_OPEN_DIRECTORIES, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16))


def _enter(place: OpenDirectory, segment: bytes, create: bool) -> OpenDirectory:
    """Open a directory, or the one beside it where something else has its name: a file, a link, another volume."""
    try:
        return OpenDirectory(_open(place, segment, create), place.join(segment))
    except OSError as error:
        if error.errno not in _TAKEN or not create:
            raise
    other = keys.directory_beside_file(segment)
    return OpenDirectory(_open(place, other, create), place.join(other))


def _open(place: OpenDirectory, segment: bytes, create: bool) -> int:
    try:
        return _outside_volumes(beneath.enter(place.fd, segment), segment)
    except FileNotFoundError:
        if not create:
            raise
    beneath.make(place.fd, segment)
    return beneath.enter(place.fd, segment)


def _outside_volumes(fd: int, segment: bytes) -> int:
    """Return a directory that was opened, unless it is a volume itself: two jobs would write over each other's objects there."""
    if not beneath.is_volume(fd):
        return fd
    os.close(fd)
    raise NotADirectoryError(errno.ENOTDIR, "is another volume", os.fsdecode(segment))
