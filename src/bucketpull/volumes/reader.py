"""A volume opened only for reading: for verification, export, rebuilding, `where`. Nothing is locked or changed."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from bucketpull.domain.record import Record
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import LEDGER, LOCK, Entered, enter
from bucketpull.volumes.ledger import Damage, Frame, Ledger
from bucketpull.volumes.location import Bodies, Location, location_of
from bucketpull.volumes.partial_blocks import PartialBlocks
from bucketpull.volumes.scratch import scratch_folder


class VolumeReader:
    """A volume opened by `open_reader`. What is appended later is not seen."""

    def __init__(self, path: str, entered: Entered) -> None:
        root, self._home, identity = entered
        self.path = path
        self.id = identity.id
        self.identity = identity
        self.root = root
        self.tree = Tree(root)
        self.bodies = Bodies(root, self.tree)
        self._scratch = ExitStack()
        self._partial_blocks = PartialBlocks(
            self._home, identity, self.tree, lambda: self._scratch.enter_context(scratch_folder("removed"))
        )
        self.ledger = Ledger.open(self._home, LEDGER, path, writable=False)

    def entries(self) -> Iterator[Frame | Damage]:
        """Go through the ledger, oldest first; damaged parts are reported and skipped."""
        return self.ledger.salvage()

    def left(self, frame: Frame) -> list[Record]:
        """Return the objects of a block, without those that were removed since."""
        return self._partial_blocks.left(frame.offset, frame.records(), self.ledger)

    def location_of(self, record: Record, index: int) -> Location:
        """Return where an object of a record lies."""
        return location_of(record, index, self.identity)

    def user(self) -> int | None:
        """Return the process that has the volume open for writing; None if there is none, or it is another user's."""
        with suppress(FileNotFoundError, PermissionError):
            fd = self._home.open_file(LOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(os.pread(fd, 32, 0).strip() or 0)
            finally:
                os.close(fd)
        return None

    def close(self) -> None:
        """Let go of the volume."""
        self._scratch.close()
        self.bodies.close()
        self.tree.close()
        self.ledger.close()
        self._home.close()
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
