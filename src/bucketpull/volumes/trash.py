"""Where the files of removed objects are kept for a while: one folder for each instant after which it may be emptied."""

import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bucketpull.volumes import beneath, os_errors, syscalls
from bucketpull.volumes.beneath import OwnDirectory, closing_fd, write_all
from bucketpull.volumes.files.tree import Tree

if TYPE_CHECKING:
    from bucketpull.volumes.reader import Location

TRASH: Final = "trash"
_UNTIL: Final = r"until-(\d{8}T\d{6}Z)"
_NO_TRASH: Final = "no-trash"
_PIECE_BYTES: Final = 1 << 20
_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_STEP_SECONDS: Final = 3600


def trash_until(now: float, seconds: float) -> str:
    """Return the name of the folder for what is kept so long; it tells when it may be emptied."""
    return f"until-{time.strftime(_FORMAT, time.gmtime(now + seconds))}"


class TrashFolders:
    """The names of the folders in which one pruning keeps what it removes, each for so many seconds at least; a new one an hour.

    Prunings share none, so that an object which came back meanwhile and goes again takes no earlier version's place.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._name_at = 0.0

    def at(self, now: float) -> str:
        """Return the name of the folder for what is removed now; "" if nothing is kept."""
        if not self._seconds:
            return ""
        if now > self._name_at:
            self._name_at = now + _STEP_SECONDS
        return trash_until(self._name_at, self._seconds)


def trash_note(trash: str) -> bytes:
    """Return what a pruning notes of its folder of the trash, "" for none."""
    return (trash or _NO_TRASH).encode()


def trash_of(note: bytes) -> str | None:
    """Return the folder of the trash that `trash_note` wrote; None where the note is not whole."""
    text = note.decode("ascii", "replace")
    if text == _NO_TRASH:
        return ""
    return text if re.fullmatch(_UNTIL, text) else None


class Trash:
    """The trash of one volume."""

    def __init__(self, home: OwnDirectory, volume: str) -> None:
        self._home = home
        self._volume = volume

    def expired(self) -> list[str]:
        """Return the folders whose time is over. Raises VolumeError where the disk fails."""
        with os_errors.volume_errors(self._volume, "trash not read"):
            if beneath.look(self._home.fd, TRASH) is None:
                return []
            names = self._home.below(TRASH).names()
        return sorted(
            name for name in names if re.fullmatch(_UNTIL, name) and name < trash_until(time.time(), 0)
        )

    def empty(self, name: str) -> None:
        """Remove a folder. Raises VolumeError where something in it cannot be removed."""
        with os_errors.volume_errors(self._volume, f".bucketpull/trash/{name} not removed"):
            beneath.remove_all(self._home.below(TRASH).fd, name)


class TrashFolder:
    """Where the files of removed objects go: one folder of the trash, or nowhere (`name` "")."""

    def __init__(self, tree: Tree, home: OwnDirectory, name: str) -> None:
        self._tree = tree
        self._fd = -1
        self._kept: Tree | None = None
        if name:
            beneath.make(home.below(TRASH).fd, name, 0o755)
            self._fd = beneath.enter(home.below(TRASH).fd, name)
            self._kept = Tree(self._fd)

    def keep(self, path: bytes, pack: int, location: "Location", mtime: int) -> None:
        """Keep a copy of an object that lies in a pack, under the path of a file; `pack` is its descriptor."""
        assert self._kept is not None
        folder, _, name = path.rpartition(b"/")
        with closing_fd(beneath.create(self._kept.place(folder).fd, name)) as fd:
            at, end = location.offset, location.offset + location.length
            while piece := os.pread(pack, min(_PIECE_BYTES, end - at), at):
                at += write_all(fd, [piece])
            syscalls.set_date(fd, mtime)

    def take(self, path: bytes) -> None:
        """Take a file away, if it is there."""
        if self._kept is None:
            self._tree.remove(path)
            return
        folder, _, name = path.rpartition(b"/")
        with suppress(FileNotFoundError, NotADirectoryError):
            source = self._tree.place(folder, create=False)
            beneath.rename(name, name, src_dir_fd=source.fd, dst_dir_fd=self._kept.place(folder).fd)

    def close(self) -> None:
        """Close it."""
        if self._kept is not None:
            self._kept.close()
            os.close(self._fd)
