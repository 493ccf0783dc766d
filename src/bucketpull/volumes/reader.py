"""A volume opened only for reading: for verification, export, rebuilding, `where`. Nothing is locked or changed.

Where the bytes of an object are, a whole file or a stretch of a pack, and how they are read, is the same for both.
"""

import fcntl
import os
import resource
import stat
from collections import OrderedDict
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

from bucketpull.domain.record import Record
from bucketpull.volumes.beneath import closing_fd, open_path
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import LOCK, Entered, Identity, enter
from bucketpull.volumes.ledger import Frame, Ledger
from bucketpull.volumes.leftovers import BatchNotes
from bucketpull.volumes.packs import folder, tar
from bucketpull.volumes.partial_blocks import PartialBlocks
from bucketpull.volumes.scratch import scratch_folder

_OPEN_PACKS: Final = 128


class Location(NamedTuple):
    """A file, or the stretch of a pack, below a volume: from byte `offset` on, `length` bytes. `pack` is "" for a file."""

    path: bytes
    offset: int
    length: int
    pack: str


def location_of(record: Record, index: int, identity: Identity) -> Location:
    """Return where an object of a record lies."""
    length = record.lengths[index]
    if record.pack:
        path = folder.path_of(record.pack).encode()
        return Location(path, record.offsets[index] * tar.BLOCK, length, record.pack)
    path = identity.file_of(record, index)
    return Location(path, 0, length, "")


class Bodies:
    """Reads objects of one volume; a few packs are kept open. `root` and `tree` stay the caller's. Not for several threads at once."""

    def __init__(self, root: int, tree: Tree) -> None:
        self._root = root
        self._tree = tree
        self._packs: OrderedDict[str, int] = OrderedDict()
        # fewer where a process may open few files
        self._most_packs = min(_OPEN_PACKS, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16))

    def size(self, location: Location) -> int | None:
        """Return how many bytes of an object are there; None where nothing is, or no regular file.

        Raises OSError where the disk does not say.
        """
        if not location.pack:
            found = self._tree.stat(location.path)
            return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None
        try:
            end = os.fstat(self.pack(location.pack)).st_size
        except FileNotFoundError:
            return None
        return max(0, min(location.length, end - location.offset))

    def read(self, location: Location, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of an object from `start` on, at most `length` of them. Raises OSError where they cannot be read."""
        wanted = max(0, location.length - start)
        wanted = wanted if length is None else min(wanted, length)
        if location.pack:
            return read_stretch(self.pack(location.pack), location.offset + start, wanted)
        with closing_fd(self._tree.open_file(location.path)) as fd:
            return read_stretch(fd, start, wanted)

    def pack(self, name: str) -> int:
        """Return the descriptor of a pack, which stays ours. Raises OSError where it cannot be opened."""
        fd = self._packs.get(name)
        if fd is None:
            fd = self._packs[name] = open_path(self._root, folder.path_of(name))
            if len(self._packs) > self._most_packs:
                os.close(self._packs.popitem(last=False)[1])
        return fd

    def close(self) -> None:
        """Close what is open."""
        while self._packs:
            os.close(self._packs.popitem()[1])


def read_stretch(fd: int, at: int, length: int) -> bytes:
    """Return `length` bytes of a file, fewer where it ends before. One call to the system gives 2 GiB at most."""
    data = os.pread(fd, length, at)
    if len(data) == length:
        return data
    pieces = [data]
    while data and (length := length - len(data)):
        at += len(data)
        data = os.pread(fd, length, at)
        pieces.append(data)
    return b"".join(pieces)


class VolumeReader:
    """A volume opened by `open_reader`. What is appended later is not seen."""

    def __init__(self, path: str, entered: Entered) -> None:
        self.root = root = entered.root
        self.home = entered.home
        self.identity = identity = entered.identity
        self.path = path
        self.id = identity.id
        self.tree = Tree(root)
        self.bodies = Bodies(root, self.tree)
        self._scratch = ExitStack()
        self.ledger = Ledger.open(self.home, path, writable=False)
        self._partial_blocks = PartialBlocks(
            self.home,
            identity,
            self.tree,
            self.ledger,
            lambda: self._scratch.enter_context(scratch_folder("removed")),
        )

    def left(self, frame: Frame) -> list[Record]:
        """Return the objects of a block, without those that were removed since."""
        return self._partial_blocks.left(frame.offset, frame.records())

    def location_of(self, record: Record, index: int) -> Location:
        """Return where an object of a record lies."""
        return location_of(record, index, self.identity)

    def user(self) -> int | None:
        """Return the process that has the volume open for writing; None if there is none, or it is another user's."""
        with suppress(FileNotFoundError, PermissionError):
            fd = self.home.open_file(LOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(os.pread(fd, 32, 0).strip() or 0)
            finally:
                os.close(fd)
        return None

    def has_begun_batches(self) -> bool:
        """Tell whether batches were begun here that have not ended: a job that goes on takes their files over."""
        with suppress(FileNotFoundError):
            return bool(BatchNotes(self.home).ends)
        return False

    def close(self) -> None:
        """Close the volume."""
        self._scratch.close()
        self.bodies.close()
        self.tree.close()
        self.ledger.close()
        self.home.close()
        os.close(self.root)


def open_reader(path: str, expected: str | None = None) -> VolumeReader:
    """Open a volume for reading.

    Raises:
        VolumeSick: It is not there, or another one is.
        LedgerError: Its ledger is damaged to its end.

    """
    entered = enter(path, expected)
    try:
        return VolumeReader(path, entered)
    except BaseException:
        entered.close()
        raise
