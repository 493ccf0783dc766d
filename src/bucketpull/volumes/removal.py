"""Files that go from a volume: removed, discarded, abandoned, pruned, or replaced by a pack.

The ledger says so before a file goes, because what it names is always on disk. So a kill in between leaves only files too many,
which are removed when the volume is opened next.
"""

import contextlib
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from bucketpull import kill_points
from bucketpull.domain.batching import decode_parts, ids_of
from bucketpull.domain.record import Record
from bucketpull.volumes import os_errors, system
from bucketpull.volumes.as_stored import is_as_stored
from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.files.file import TEMPORARY
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import Identity
from bucketpull.volumes.ledger import Entry, Frame, Kind, Ledger
from bucketpull.volumes.leftovers import intent, read_intent
from bucketpull.volumes.location import location_of
from bucketpull.volumes.os_errors import Culprit
from bucketpull.volumes.packs.books import PackBooks
from bucketpull.volumes.pruning import PRUNING, LeftAlone
from bucketpull.volumes.trash import TrashFolder, trash_of
from bucketpull.volumes.trial import try_writing

_IN_PACK: Final = b""
_TRIAL_BYTES: Final = 1 << 12

_encoder = msgspec.msgpack.Encoder()
_reach = kill_points.reach


class Removal:
    """What is removed from one volume. The caller holds the volume's lock for writing.

    Args:
        append: Appends to the ledger, durably where the volume is; returns the offsets.

    """

    def __init__(
        self,
        home: OwnDirectory,
        identity: Identity,
        tree: Tree,
        ledger: Ledger,
        packs: PackBooks,
        append: Callable[[Sequence[Entry]], list[int]],
    ) -> None:
        self._home = home
        self._identity = identity
        self._tree = tree
        self._ledger = ledger
        self._packs = packs
        self._append = append
        self.left_alone = LeftAlone()

    def discard(self, frame: Frame, spared: AbstractSet[tuple[bytes, bytes]]) -> None:
        """Remove the objects of a block, but for those spared (directory and name) and those that a later block describes."""
        later = self._described_from(frame.end) | spared
        gone = [
            (record, index)
            for record in frame.records()
            for index, name in enumerate(record.names)
            if (record.directory, name) not in later
        ]
        if gone:
            self.take_away(frame.journal, frame.work, gone)

    def take_away(self, journal: str, work: int, gone: Sequence[tuple[Record, int]], trash: str = "") -> None:
        """Remove objects, each a record and its index; with `trash` their files go into that folder of the trash.

        Of what is pruned, only files that are as they were stored go: others may have put something in their place since.
        """
        size = sum((record.stored or record.sizes)[i] for record, i in gone)
        describe = _pruned if journal == PRUNING else _removed
        removed = [describe(record, i) for record, i in gone]
        self._append([Entry(Kind.REMOVAL, journal, work, _encoder.encode(removed), -len(gone), -size)])
        if _reach is not None:
            _reach("removal_noted")
        self._take_files(removed, trash)
        if journal == PRUNING:
            for folder in {record.directory for record in removed}:
                self._tree.remove_empty(folder)

    def keep_packed(self, gone: Sequence[tuple[Record, int]], trash: str) -> None:
        """Copy what lies in packs into a folder of the trash, durably: once it is dead, `compact` may take the packs any time.

        Raises:
            OSError: The disk does not take it.

        """
        packed = [(record, index) for record, index in gone if record.pack]
        if not packed:
            return
        with contextlib.closing(TrashFolder(self._tree, self._home, trash)) as bin_:
            for record, index in packed:
                with contextlib.suppress(FileNotFoundError):  # a pack that is lost has nothing to keep
                    pack = self._packs.open(record.pack)
                    location = location_of(record, index, self._identity)
                    bin_.keep(self._path(record, index), pack, location, record.mtimes[index])
        system.sync_file_system(self._home.fd)

    def _take_files(self, removed: Iterable[Record], trash: str) -> None:
        """Remove the files of what the ledger says is removed, or put them into the trash."""
        with contextlib.closing(TrashFolder(self._tree, self._home, trash)) as bin_:
            for record in removed:
                path = record.paths.get(0)
                if path != _IN_PACK:
                    self._take_file(bin_, path or self._path(record, 0), record)

    def _take_file(self, bin_: TrashFolder, path: bytes, removed: Record) -> None:
        """Remove a file, or leave alone what cannot be removed or, as the ledger tells, is another file.

        An error that blames the disk is believed only if a trial fails too: one bad file does not keep the others.
        """
        try:
            found = self._tree.stat(path) if removed.sizes else None
            if found is None or is_as_stored(self._tree, self._home, path, found, removed, 0):
                bin_.take(path)
                return
        except OSError as error:
            fault = os_errors.culprit(error)
            if fault is Culprit.MACHINE:
                raise
            if fault is not Culprit.OBJECT:
                try_writing(self._home.below(TEMPORARY).fd, _TRIAL_BYTES)
        self.left_alone.add(path)

    def _path(self, record: Record, index: int) -> bytes:
        return self._identity.path_of(record.directory, record.names[index])

    def abandon(self, name: str, since: int) -> None:
        """Remove a batch's files, `name` being that of its note: those newer than the note that no block from offset `since` on describes."""
        note = read_intent(self._home, name)
        parts = decode_parts(note.body) if note.body else []
        later = self._described_from(since)
        for part in parts:
            for key in part.names:
                path = self._identity.path_of(part.directory, key)
                found = self._tree.stat(path) if (part.directory, key) not in later else None
                if found is not None and stat.S_ISREG(found.st_mode) and found.st_ctime_ns >= note.made_at:
                    self._tree.remove(path)

    def replace_files(
        self, records: Iterable[Record], later: Collection[tuple[bytes, bytes]] = frozenset()
    ) -> None:
        """Remove the files of objects that are in packs now, but for those of which the ledger tells later.

        A volume may have been filled without packs before, and large objects always are files.
        """
        if not self._packs.has_files:
            return
        for record in records:
            for name in record.names if record.pack else ():
                if (record.directory, name) not in later:
                    with contextlib.suppress(OSError):  # what stays is found by `verify`
                        self._tree.remove(self._identity.path_of(record.directory, name))

    def finish(self, frame: Frame, intended: int) -> None:
        """Remove what a kill kept from being removed; `intended` is the ledger's end when the removal was begun."""
        later = self._described_from(frame.end)
        records = [record for record in frame.records() if (record.directory, record.names[0]) not in later]
        trash: str | None = ""
        if frame.journal == PRUNING:
            trash = self._noted_trash(intent(PRUNING, frame.work, intended))
        if trash is not None:
            self._take_files(records, trash)
            return
        for record in records:  # whether they were to be kept in the trash is not known
            self.left_alone.add(record.paths.get(0) or self._path(record, 0))

    def _noted_trash(self, note: str) -> str | None:
        """Return the folder of the trash that a pruning noted, "" for none; None where the note is lost or damaged."""
        try:
            return trash_of(read_intent(self._home, note).body)
        except OSError as error:
            if os_errors.culprit(error) is Culprit.MACHINE:
                raise
            return None

    def finish_replacements(self, blocks: Iterable[int]) -> None:
        """Remove the files that a kill kept `replace_files` from removing, for blocks at these offsets."""
        for offset in blocks:
            frame = self._ledger.read(offset)
            if frame.kind is Kind.BLOCK and self._packs.has_files:
                self.replace_files(frame.records(), self._described_from(frame.end))

    def _described_from(self, offset: int) -> set[tuple[bytes, bytes]]:
        """Return the directory and name of all objects of which the ledger tells from an offset on."""
        return {
            (record.directory, name)
            for frame in self._ledger.frames(offset)
            for record in frame.records()
            for name in record.names
        }


def _removed(record: Record, index: int) -> Record:
    """Say of an object that it is removed."""
    return Record(record.directory, "", [record.names[index]], [], [], paths=_odd_path(record, index))


def _pruned(record: Record, index: int) -> Record:
    """Say of an object that it is removed, and by which length, date and MD5 its file is known."""
    removed = _removed(record, index)
    removed.sizes = [(record.stored or record.sizes)[index]]
    removed.mtimes = [record.mtimes[index]]
    removed.md5s = record.md5s[index : index + 1]
    return removed


def _odd_path(record: Record, index: int) -> dict[int, bytes]:
    """Say of a removed object where its file lay, if not at the usual path; `_IN_PACK` where it had none."""
    path = _IN_PACK if record.pack else record.paths.get(index)
    return {} if path is None else {0: path}


def keys_of(frame: Frame) -> set[tuple[bytes, bytes]]:
    """Return the directory and name of all objects that a frame names."""
    return ids_of(frame.records())
