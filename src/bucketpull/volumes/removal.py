"""Files that go from a volume: removed, discarded, abandoned, pruned, or replaced by a pack.

The ledger says so before a file goes, because what it names is always on disk. So a kill in between leaves only files too many,
which are removed when the volume is opened next.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from bucketpull import kill_points
from bucketpull.domain.batching import ids_of
from bucketpull.domain.errors import LedgerError
from bucketpull.domain.model import Id, show
from bucketpull.domain.record import Conclusion, Record
from bucketpull.volumes import os_errors, syscalls
from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.free_space import try_writing
from bucketpull.volumes.identity import TEMPORARY, Identity
from bucketpull.volumes.ledger import Damage, Entry, Frame, Gone, Kind, Ledger
from bucketpull.volumes.leftovers import BatchNote, BatchNotes
from bucketpull.volumes.os_errors import Culprit
from bucketpull.volumes.packs.volume_packs import VolumePacks
from bucketpull.volumes.sizes_and_dates import has_our_date, is_as_stored, keeps_dates
from bucketpull.volumes.trash import TrashFolder, trash_of

PRUNING: Final = "prune"
"""What stands in the ledger as the journal of what was removed because the source no longer has it."""
_IN_PACK: Final = b""
_TRIAL_BYTES: Final = 1 << 12

_encoder = msgspec.msgpack.Encoder()


class Latest(msgspec.Struct, frozen=True, gc=False):
    """The last frame of the ledger that tells of an object: its offset, and where it is a removal its journal."""

    offset: int
    remover: str | None


_UNKNOWN: Final = Latest(-1, None)
"""Behind the last whole frame that names the object is a damaged part of the ledger, which may name it too: it is not removed."""


class LeftAlone:
    """What was left alone at the paths of removed objects, because it is not what was stored there, or cannot be removed."""

    def __init__(self) -> None:
        self._count = 0
        self._example = b""

    def add(self, path: bytes) -> None:
        """Count what lies at a path."""
        self._count += 1
        self._example = self._example or path

    def warning(self) -> str:
        """Say how much it is, with an example; "" where there is nothing."""
        if not self._count:
            return ""
        what = f"{self._count}, such as {show(self._example)}"
        return f"has something else in the place of removed objects, which is left alone ({what})"


class Removal:
    """What is removed from one volume. The caller holds the volume's lock for writing.

    `append` appends to the ledger, durably where the volume is, and returns the offsets.
    """

    def __init__(
        self,
        home: OwnDirectory,
        identity: Identity,
        tree: Tree,
        ledger: Ledger,
        notes: BatchNotes,
        packs: VolumePacks,
        append: Callable[[Sequence[Entry]], list[int]],
    ) -> None:
        self._home = home
        self._identity = identity
        self._tree = tree
        self._ledger = ledger
        self._notes = notes
        self._packs = packs
        self._append = append
        self.left_alone = LeftAlone()

    def conclude(self, journal: str, conclusions: Sequence[Conclusion]) -> None:
        """Remove what does not count of batches that have ended, in one pass over the ledger.

        These are the objects of blocks that are gone, but for those that a later block, or one that is kept, describes; then the
        files newer than their batch's note that no block describes.
        """
        kept = {at: self._ids_at(at) for each in conclusions for at in each.kept}
        spared = {each for ids in kept.values() for each in ids or ()}
        gone = [
            frame
            for each in conclusions
            if all(kept[at] is not None for at in each.kept)
            for frame in self._blocks_of(journal, each)
        ]
        works = [(journal, each.work) for each in conclusions]
        begun = [self._notes.known(work) for work in works if work in self._notes.ends]
        ids = {each for frame in gone for each in frame.ids()}.union(
            *(ids_of(note.parts()) for note in begun)
        )
        since = min([*(frame.offset for frame in gone), *(note.end for note in begun)], default=0)
        latest = self._latest(ids, since)
        self._remove_blocks(gone, spared, latest)
        self._remove_unsettled(begun, latest)

    def _ids_at(self, offset: int) -> set[Id] | None:
        """Return the objects of a block; None where it is damaged."""
        with contextlib.suppress(LedgerError):
            return self._ledger.read(offset).ids()
        return None

    def _blocks_of(self, journal: str, conclusion: Conclusion) -> list[Frame]:
        """Return the blocks of a batch that are gone; a frame of anything else is none of its blocks."""
        frames = map(self._ledger.read, conclusion.gone)
        mine = journal, conclusion.work, Kind.BLOCK
        return [frame for frame in frames if (frame.journal, frame.work, frame.kind) == mine]

    def _remove_blocks(
        self, gone: Iterable[Frame], spared: AbstractSet[Id], latest: Mapping[Id, Latest]
    ) -> None:
        """Remove the objects of blocks that no later one describes.

        What a removal before this one has noted and, because the disk failed, not removed goes as well.
        """
        entries: list[Entry] = []
        removed: list[Record] = []
        for frame in gone:
            objects = [
                Gone(frame.offset, record, index)
                for record in frame.records()
                for index, each in enumerate(record.ids())
                if each not in spared
            ]
            new = [each for each in objects if latest[each.id].offset == frame.offset]
            if new:
                entries.append(_removal(frame.journal, frame.work, new, _removed))
            noted = [each for each in objects if latest[each.id].remover == frame.journal]
            removed += map(_removed, [*new, *noted])
        if entries:
            self._append(entries)
            kill_points.at("removal_noted")
        self._remove_files(removed)

    def remove_objects(self, journal: str, work: int, gone: Sequence[Gone], trash: str = "") -> None:
        """Remove objects; with `trash` their files go into that folder of the trash.

        Only files that are as they were stored go: others may have put something in their place since.
        """
        self._append([_removal(journal, work, gone, _stored)])
        kill_points.at("removal_noted")
        self._remove_files(map(_stored, gone), trash)
        if journal == PRUNING:
            for folder in {each.record.directory for each in gone}:
                self._tree.remove_empty(folder)

    def remove_noted(self, gone: Sequence[Gone]) -> None:
        """Remove the files of objects whose removal the ledger tells already, unless it tells of them anew since."""
        latest = self._latest({each.id for each in gone}, 0)
        self._remove_files(_stored(each) for each in gone if latest[each.id].remover is not None)

    def keep_packed(self, gone: Sequence[Gone], trash: str) -> None:
        """Copy what lies in packs into a folder of the trash, durably: once it is dead, `compact` may take the packs any time.

        Raises OSError where the disk does not take it.
        """
        from bucketpull.volumes.reader import location_of  # 1 ms that only prunings of packs need

        packed = [each for each in gone if each.record.pack]
        if not packed:
            return
        with contextlib.closing(TrashFolder(self._tree, self._home, trash)) as bin_:
            for each in packed:
                with contextlib.suppress(FileNotFoundError):  # a pack that is lost has nothing to keep
                    pack = self._packs.open(each.record.pack)
                    location = location_of(each.record, each.place, self._identity)
                    bin_.keep(
                        self._identity.path_of(*each.id), pack, location, each.record.mtimes[each.place]
                    )
        syscalls.sync_file_system(self._home.fd)

    def _remove_files(self, removed: Iterable[Record], trash: str = "") -> None:
        """Remove the files of what the ledger says is removed, or put them into the trash."""
        with contextlib.closing(TrashFolder(self._tree, self._home, trash)) as bin_:
            for record in removed:
                if record.paths.get(0) != _IN_PACK:
                    self._remove_file(bin_, self._identity.file_of(record, 0), record)

    def _remove_file(self, bin_: TrashFolder, path: bytes, removed: Record) -> None:
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

    def _remove_unsettled(self, begun: Sequence[BatchNote], latest: Mapping[Id, Latest]) -> None:
        """Remove the files that batches left: those newer than the batch's note and with the listed date.

        A file that a block describes stays, for an earlier batch's block may count. So does what lies in the place of an object that a
        block describes where no date is listed: it may be the same file, edited since.
        """
        written: dict[Id, list[bytes]] = {}
        undated: set[Id] = set()
        folders: dict[bytes, list[bytes]] = {}
        listed = (
            (note, *each)
            for note in begun
            for part in note.parts()
            for each in zip(part.ids(), part.sizes, part.mtimes, strict=True)
        )
        for note, each, size, mtime in listed:
            last = latest.get(each)
            if last is None or last.remover is not None or last.offset < note.end:
                homes = self._tree.homes(self._identity.path_of(*each), folders)
                lie = self._written_since(homes, note.made_at, size, mtime)
                written.setdefault(each, []).extend(lie)
                if mtime < 0:
                    undated.add(each)
        latest = self._latest({each for each, paths in written.items() if paths}, 0)
        for each, paths in written.items():
            last = latest.get(each)
            counts = last is not None and last.remover is None
            if last is _UNKNOWN or (counts and each in undated):
                continue
            recorded = self._recorded(each, last.offset) if last is not None and counts else None
            for path in paths:
                if path != recorded:
                    self._tree.remove(path)

    def _recorded(self, wanted: Id, offset: int) -> bytes | None:
        """Return the path of the file that a block tells of an object, if what lies there is that file."""
        found = (
            (record, at) for record in self._ledger.read(offset).records() for at in record.matching({wanted})
        )
        for record, index in found:
            path = self._identity.file_of(record, index)
            file = None if record.pack else self._tree.stat(path)
            if file is not None and is_as_stored(self._tree, self._home, path, file, record, index):
                return path
        return None

    def _written_since(self, homes: Iterable[bytes], made_at: int, size: int, mtime: int) -> list[bytes]:
        """Return the homes of an object at which a file lies that was written after a time (ns since 1970) and has the listed date, if one is listed.

        Where the disk keeps no dates, the listed length is enough. What cannot be looked at is left out.
        """
        try:
            there = [(lies, self._tree.stat(lies)) for lies in homes]
        except OSError as error:
            if os_errors.culprit(error) is not Culprit.OBJECT:
                raise
            return []
        return [
            lies for lies, found in there if found is not None and self._is_newer(found, made_at, size, mtime)
        ]

    def _is_newer(self, found: os.stat_result, made_at: int, size: int, mtime: int) -> bool:
        if not stat.S_ISREG(found.st_mode) or found.st_ctime_ns < made_at:
            return False
        if mtime < 0 or has_our_date(found, mtime):
            return True
        return size in {-1, found.st_size} and not keeps_dates(self._home)

    def replace_files(self, records: Iterable[Record], later: Collection[Id] = frozenset()) -> None:
        """Remove the files of objects that are in packs by now, except where a later entry of the ledger names them as files again.

        A volume may have been filled without packs before, and large objects always are files.
        """
        if not self._packs.has_files:
            return
        folders: dict[bytes, list[bytes]] = {}
        for record in records:
            for each in record.ids() if record.pack else ():
                if each not in later:
                    self._remove_homes(self._identity.path_of(*each), folders)

    def _remove_homes(self, path: bytes, folders: dict[bytes, list[bytes]]) -> None:
        """Remove what lies at each home of a path: at one may be the directory in the way of the file at another."""
        with contextlib.suppress(OSError):  # what stays is found by `verify`
            for home in self._tree.homes(path, folders):
                with contextlib.suppress(OSError):
                    self._tree.remove(home)

    def remove_former(self, records: Iterable[Record], former: Iterable[Record]) -> None:
        """Remove earlier versions' files that do not lie at their usual path, because something was in the way, where the new versions lie elsewhere."""
        odd = {record.id_at(index): Gone(-1, record, index) for record in former for index in record.paths}
        gone = [
            _stored(old)
            for record in records
            for index in (() if record.pack else record.matching(odd))
            for old in (odd[record.id_at(index)],)
            if old.record.paths[old.place] != self._identity.file_of(record, index)
        ]
        with contextlib.suppress(OSError):  # what stays is found by `verify`
            self._remove_files(gone)

    def finish(self, frames: Iterable[Frame]) -> None:
        """Remove what a kill kept from being removed after some frames of the ledger were appended."""
        frames = [frame for frame in frames if frame.kind is Kind.REMOVAL or self._packs.has_files]
        ids = {each for frame in frames for each in frame.ids()}
        latest = self._latest(ids, min((frame.offset for frame in frames), default=0))
        for frame in frames:
            later = {each for each in frame.ids() if latest[each].offset != frame.offset}
            if frame.kind is Kind.BLOCK:
                self.replace_files(frame.records(), later)
            else:
                self._finish_removal(frame, [each for each in frame.records() if each.id_at(0) not in later])

    def _finish_removal(self, frame: Frame, removed: Sequence[Record]) -> None:
        trash: str | None = ""
        if frame.journal == PRUNING:
            trash = trash_of(self._notes.known((PRUNING, frame.work)).body)
        if trash is not None:
            self._remove_files(removed, trash)
        else:  # whether they were to be kept in the trash is not known
            for record in removed:
                self.left_alone.add(self._identity.file_of(record, 0))

    def _latest(self, ids: AbstractSet[Id], start: int) -> dict[Id, Latest]:
        """Find the last frame that tells of each of some objects, from an offset on; memory is that of these objects."""
        found: dict[Id, Latest] = {}
        for frame in self._ledger.salvage(start) if ids else ():
            if isinstance(frame, Damage):
                found = dict.fromkeys(ids, _UNKNOWN)
                continue
            latest = Latest(frame.offset, frame.journal if frame.kind is Kind.REMOVAL else None)
            found.update(dict.fromkeys(ids & frame.ids(), latest))
        return found


def _removal(journal: str, work: int, gone: Sequence[Gone], describe: Callable[[Gone], Record]) -> Entry:
    """Return the entry that says of objects that they are removed."""
    removed = _encoder.encode([describe(each) for each in gone])
    return Entry(Kind.REMOVAL, journal, work, removed, -len(gone), -sum(each.size for each in gone))


def _removed(gone: Gone) -> Record:
    """Say of an object that it is removed, and where its file lay, if not at the usual path; `_IN_PACK` where it had none."""
    directory, name = gone.id
    path = _IN_PACK if gone.record.pack else gone.record.paths.get(gone.place)
    return Record(directory, "", [name], [], [], paths={} if path is None else {0: path})


def _stored(gone: Gone) -> Record:
    """Say the same, and by which length, date and MD5 its file is known."""
    removed = _removed(gone)
    removed.sizes = [gone.size]
    removed.mtimes = [gone.record.mtimes[gone.place]]
    removed.md5s = gone.record.md5s[gone.place : gone.place + 1]
    return removed
