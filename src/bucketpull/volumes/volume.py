"""A disk, its identity, lock, ledger and reserve, and which batches were meant to be written here."""

import errno
import os
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import chain
from typing import Final

import msgspec

from bucketpull import kill_points
from bucketpull.domain.batching import Batch, among, ids_of
from bucketpull.domain.errors import LedgerError, VolumeError, VolumeSick
from bucketpull.domain.model import Extent, Former, Part
from bucketpull.domain.record import Block, Conclusion, Inspection, Record, Sealed
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.volumes import os_errors, syscalls
from bucketpull.volumes.beneath import close_ignoring_errors
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.foreign import ForeignFiles
from bucketpull.volumes.free_space import measured, try_writing
from bucketpull.volumes.growth import growths_of, growths_of_files
from bucketpull.volumes.identity import (
    TEMPORARY,
    Entered,
    Owner,
    check_names,
    enter,
    mark_owner,
    mark_packs,
    take_lock,
)
from bucketpull.volumes.ledger import Damage, Entry, Gone, Kind, Ledger, LedgerCheck, decode_records
from bucketpull.volumes.leftovers import BatchId, BatchNotes, tidy, told_of, whole_files
from bucketpull.volumes.packs.folder import Folders
from bucketpull.volumes.packs.volume_packs import VolumePacks
from bucketpull.volumes.partial_blocks import PartialBlocks
from bucketpull.volumes.removal import PRUNING, Removal
from bucketpull.volumes.trash import Trash, trash_note

_PROBE_BYTES: Final = 1 << 20

_encoder = msgspec.msgpack.Encoder()


def open_volume(
    path: str, expected: str | None = None, reserve: int = 0, *, durable: bool = True
) -> "DiskVolume":
    """Open a volume for a worker, of which `reserve` bytes stay free: take its lock, remove what a killed one left, repair the ledger's end.

    Raises:
        VolumeSick: It is not there, another one is, or its file system takes names for one that were two.
        ConfigError: Another process has it open.
        LedgerError: Its ledger is damaged at its end by more than a torn append.

    """
    with os_errors.volume_errors(path, "not opened"), ExitStack() as stack:
        entered = stack.enter_context(closing(enter(path, expected, writing=True)))
        lock = take_lock(entered, path)
        stack.callback(os.close, lock)
        check_names(entered, path)
        tidy(entered.home)
        volume = DiskVolume(path, entered, lock, reserve, durable)
        stack.pop_all()
        return volume


class DiskVolume:
    """One directory of a disk (`ports.Volume`), opened by `open_volume`.

    `durable` False appends without syncing. An error that may have lost data makes the volume sick until it is opened again,
    because the kernel tells such an error only once.
    """

    def __init__(self, path: str, entered: Entered, lock: int, reserve: int, durable: bool) -> None:
        root, self._home, identity = entered.root, entered.home, entered.identity
        self.path, self.id, self.identity = path, identity.id, identity
        self._root, self._lock = root, lock
        self._reserve, self._durable = reserve, durable
        self._sick = ""
        self._writing = threading.Lock()  # settling, discarding and closing may be called by several threads
        self._attachment = syscalls.attachment(root)
        with ExitStack() as undo:  # what cannot be opened keeps nothing of its disk open
            self._tree = undo.enter_context(closing(Tree(root)))
            self._ledger = undo.enter_context(closing(Ledger.open(self._home, path, writable=True)))
            self._notes = BatchNotes(self._home)
            self._foreign = undo.enter_context(
                closing(ForeignFiles(root, self._home, identity, self._ledger, self._notes))
            )
            self._partial_blocks = PartialBlocks(self._home, identity, self._tree, self._ledger)
            self._blocks = self._catch_up()
            self._check = LedgerCheck(self._ledger, path)
            self._packs = undo.enter_context(
                closing(VolumePacks(root, self._home, identity.id, path, self._ledger, self._note_sealed))
            )
            self._packs.recover()
            self._removal = Removal(
                self._home, identity, self._tree, self._ledger, self._notes, self._packs, self._append
            )
            self.left_alone = self._removal.left_alone
            self.trash = Trash(self._home, path)
            self._finish_removals()
            self._ledger.reserve()
            undo.pop_all()

    @property
    def objects(self) -> int:
        """How many objects it has."""
        return self._ledger.objects

    def belong_to(self, owner: Owner) -> None:
        """Note durably whose it is."""
        with os_errors.volume_errors(self.path, "owner not noted"):
            self.identity = mark_owner(self._home, self.identity, owner)

    def status(self) -> VolumeStatus:
        """Measure what is free above the reserve. What only the worker knows is left 0.

        Raises VolumeSick where the volume no longer answers, is read-only, or something else is mounted in its place.
        """
        self._check_health()
        try:
            here, opened = os.stat(self.path), os.fstat(self._root)
            free = os.fstatvfs(self._root)
            # Fails where the kernel has stopped writing, even if the flags do not say so.
            keeps_dates = syscalls.keeps_dates(self._lock)
        except OSError as error:
            raise self._fall_sick("not measured", error) from error
        if not os.path.samestat(here, opened):
            raise VolumeSick(self.path, f"is no longer the disk of volume {self.id}; mount it again")
        if free.f_flag & os.ST_RDONLY:
            raise VolumeSick(
                self.path, "is mounted read-only; see `dmesg`, check the file system, mount it read-write"
            )
        try:
            status, kept = self._status(free), self._foreign.warning()
            self._check.look()
        except OSError as error:
            raise self._fall_sick("not measured", error) from error
        dateless = "" if keeps_dates else "keeps no dates: its files have the time at which they were stored"
        warnings = dateless, kept, self._packs.warning, self.left_alone.warning(), self._check.warning()
        status.warning = "; ".join(filter(None, warnings))
        return status

    def probe(self) -> None:
        """Write a little and remove it: neither a quota nor every limit shows in `status`."""
        with os_errors.volume_errors(self.path, "write test failed"):
            try_writing(self._home.below(TEMPORARY).fd, _PROBE_BYTES)

    def intend(self, journal: str, work: int, body: bytes = b"") -> None:
        """See `ports.Volume`, and `leftovers.BatchNotes`."""
        if (journal, work) in self._notes.ends:
            return
        with os_errors.volume_errors(self.path, "batch not noted"):
            self._notes.add((journal, work), self._ledger.end, self._attachment, body)
        kill_points.at("intended")

    def recover(self, journal: str, work: int, parts: Sequence[Part]) -> list[Record]:
        """See `ports.Volume`."""
        if (journal, work) not in self._notes.ends:
            return []
        with os_errors.volume_errors(self.path, "batch not recovered"):
            note = self._notes.read((journal, work))
            if not note.attachment or note.attachment != self._attachment:
                return []
            with self._writing:
                found = [whole_files(self._tree, self.identity, part, note.made_at) for part in parts]
            return [record for record in found if record is not None]

    def settle_begun(self) -> None:
        """Settle what batches of any journal left here whole, and forget them: a new journal will not ask about them.

        What a kill left of the former versions goes, also of those that were settled before it, and what may not be whole.
        """
        with os_errors.volume_errors(self.path, "batch not read"):
            notes = {work: self._notes.known(work) for work in self._notes.ends}
        for (journal, work), told in told_of(self._ledger, notes).items():
            newest = [record.take([index]) for record, index in filter(None, told.since.values())]
            with self._writing:
                self._removal.remove_former(newest, self._former(Block(journal, work, b"", told.former)))
            parts = notes[journal, work].parts()
            records = self.recover(journal, work, among(parts, ids_of(parts) - told.since.keys()))
            if records:
                self.settle([Block(journal, work, _encoder.encode(records), told.former)])
        for journal in {journal for journal, _ in notes}:
            self.conclude(journal, [Conclusion(work) for work in self._notes.of(journal)])

    def inspect(self, parts: Sequence[Part], adopts: str) -> Inspection:
        """See `ports.Volume`. Reads them, at the speed of the disk."""
        return self._foreign.inspect(parts, adopts)

    def clear(self, batch: Batch, older: Sequence[int] = ()) -> None:
        """See `ports.Volume`."""
        with os_errors.volume_errors(self.path, "file of others not put aside"):
            self._foreign.clear(batch, older)

    def pending(self, journal: str) -> list[tuple[int, list[int]]]:
        """See `ports.Volume`."""
        return [(work, self._blocks.get((journal, work), [])) for work in self._notes.of(journal)]

    def forget(self, journal: str, works: Iterable[int]) -> None:
        """See `ports.Volume`."""
        for work in works:
            self._blocks.pop((journal, work), None)
            self._notes.remove((journal, work))

    def settle(self, blocks: Sequence[Block], is_new: bool = False, *, moved: bool = False) -> list[Extent]:
        """See `ports.Volume`. Packs are synced each for itself, files with the whole file system; `moved` objects count already."""
        self._check_health()
        former = [] if moved else [self._former(block) for block in blocks]
        growths = growths_of_files(blocks) if is_new else []
        stored: list[list[Record]] = []
        if not growths:
            stored = [decode_records(block.records) for block in blocks]
            growths = [(0, 0)] * len(blocks) if moved else list(growths_of(stored, former))
        entries = [
            Entry(Kind.BLOCK, block.journal, block.work, block.records, *growth)
            for block, growth in zip(blocks, growths, strict=True)
        ]
        records = [record for each in stored for record in each]
        with self._writing:
            self._sync(records)
            offsets = self._append(entries)
            kill_points.at("settled")
            if stored:
                self._packs.note(records)
                self._removal.replace_files(records)
                self._removal.remove_former(records, chain.from_iterable(former))
            else:
                self._packs.note_files()
        for block, at in zip(blocks, offsets, strict=True):
            self._blocks.setdefault((block.journal, block.work), []).append(at)
        return [Extent(self.id, offset) for offset in offsets]

    def read(self, offset: int) -> list[Record]:
        """See `ports.Volume`. Without objects that were removed since."""
        try:
            records = self._ledger.read(offset).records()
        except LedgerError:
            self._check.met(offset)
            raise
        return self._partial_blocks.left(offset, records)

    def conclude(self, journal: str, conclusions: Sequence[Conclusion]) -> None:
        """See `ports.Volume`. The ledger says so before the files go: what it names is always on disk."""
        with os_errors.volume_errors(self.path, "files that do not count not removed"), self._writing:
            self._removal.conclude(journal, conclusions)
        self.forget(journal, [each.work for each in conclusions])

    def remove(self, journal: str, copies: Sequence[Former]) -> None:
        """See `ports.Volume`. The ledger says so before the files go."""
        self._check_health()
        with self._writing:
            gone, noted, blocks = self._partial_blocks.replaced(copies)
            self._removal.remove_noted(noted)
            # Also those that tell of a copy that another one's removal took along.
            self._partial_blocks.note(blocks)
            if gone:
                self._removal.remove_objects(journal, 0, gone)

    def prune(self, gone: Sequence[Gone], trash: str = "") -> None:
        """Remove objects that the source no longer has; with `trash` their files go into that folder of the trash.

        The ledger says so before the files go. A kill leaves a note by which the rest is done when the volume is opened next.

        Raises VolumeError where the disk fails, or what lies in packs cannot be copied into the trash: then nothing is removed.
        """
        self._check_health()
        if trash:
            with os_errors.volume_errors(self.path, "not kept in the trash"):
                self._removal.keep_packed(gone, trash)
        work = gone[0].block
        self.intend(PRUNING, work, trash_note(trash))
        try:
            with self._writing:
                self._partial_blocks.note({each.block for each in gone})
                self._removal.remove_objects(PRUNING, work, gone, trash)
        except OSError as error:
            raise self._fall_sick("objects not removed", error) from error
        self.forget(PRUNING, [work])

    def pack_folders(self) -> Folders:
        """Open the folders of the packs, to rewrite packs; the caller closes them."""
        return Folders(self._root, self._home, self.id, self.path)

    def close(self) -> None:
        """Close the volume, when what was begun is done; may be called again."""
        self._packs.stop_sealing()
        with self._writing:
            if self._root < 0:
                return
            self._tree.close()
            self._foreign.close()
            self._partial_blocks.close()
            self._packs.close()
            self._ledger.close()
            self._home.close()
            for fd in (self._lock, self._root):
                close_ignoring_errors(fd)
            self._lock = self._root = -1

    def _status(self, free: os.statvfs_result) -> VolumeStatus:
        space = measured(free, self._reserve)
        packs = self._packs.usage(time.monotonic())
        return VolumeStatus(
            id=self.id,
            machine="",
            path=self.path,
            state=VolumeState.FULL if space.lack else VolumeState.OPEN,
            free_bytes=space.spare_bytes,
            total_bytes=space.total_bytes,
            free_inodes=free.f_favail,
            total_inodes=free.f_files,
            stored_objects=self._ledger.objects,
            stored_bytes=self._ledger.size,
            detail=space.lack,
            packs=packs.packs,
            open_packs=packs.open,
            pack_bytes=packs.size,
            ledger_end=self._ledger.end,
            kept_bytes=self._reserve,
        )

    def _sync(self, records: Sequence[Record]) -> None:
        packs = {record.pack for record in records if record.pack}
        try:
            if packs:
                self.identity = mark_packs(self._home, self.identity)
            if self._durable and packs and all(record.pack for record in records):
                self._packs.sync(packs)
            elif self._durable:
                syscalls.sync_file_system(self._root)
        except OSError as error:
            raise self._fall_sick("files not synced", error) from error
        kill_points.at("synced")

    def _note_sealed(self, sealed: Sealed) -> None:
        """Have the ledger say that a pack is sealed; called by the thread that sealed it."""
        with self._writing:
            if self._root >= 0:
                self._append([Entry(Kind.PACK, "", 0, _encoder.encode(sealed), 0, 0)])
                self._packs.save()

    def _former(self, block: Block) -> list[Record]:
        """Return what blocks say that may have other versions of a block's objects, the oldest first."""
        found: list[Record] = []
        for offset in sorted([*block.former, *self._blocks.get((block.journal, block.work), ())]):
            with suppress(LedgerError):  # a damaged block; see `correct`
                found += self.read(offset)
        return found

    def correct(self, objects: int, size: int) -> None:
        """Put the ledger's totals right: so many objects and bytes are on the volume.

        Raises VolumeError where the disk fails, or is full.
        """
        with self._writing:
            growth = objects - self._ledger.objects, size - self._ledger.size
            if growth != (0, 0):
                self._append([Entry(Kind.BLOCK, "", 0, _encoder.encode([]), *growth)])

    def blank(self, damage: Damage) -> bool:
        """Have the ledger say nothing where it is damaged; see `Ledger.blank`. Only when nothing counts on what stood there."""
        with self._writing:
            return self._ledger.blank(damage)

    def _check_health(self) -> None:
        if self._sick:
            raise VolumeSick(self.path, self._sick)

    def _fall_sick(self, what: str, error: OSError) -> VolumeError:
        """Remember that something may be lost; not where a descriptor lacked, for then nothing was asked of the disk."""
        trouble = os_errors.volume_error(self.path, what, error)
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            return trouble
        self._sick = trouble.detail
        return VolumeSick(self.path, trouble.detail)

    def _append(self, entries: Sequence[Entry]) -> list[int]:
        try:
            return self._ledger.append(entries, self._durable)
        except VolumeSick as error:
            self._sick = error.detail
            raise

    def _catch_up(self) -> dict[BatchId, list[int]]:
        """Cut off a torn append, and find the frames of batches whose receipt may not be booked.

        A power cut may have torn it in its middle: all whole frames behind that are of such batches. Other damage is stepped over.
        """
        self._ledger.cut(self._ledger.end)
        found: dict[BatchId, list[int]] = {}
        torn: int | None = None
        for entry in self._ledger.salvage(min([*self._notes.ends.values(), self._ledger.end])):
            if isinstance(entry, Damage):
                torn = entry.offset if torn is None else torn
            elif (entry.journal, entry.work) not in self._notes.ends:
                torn = None
            else:
                found.setdefault((entry.journal, entry.work), []).append(entry.offset)
        if torn is None or not self._ledger.may_be_torn(torn):
            return found
        self._ledger.cut(torn)
        return {work: [at for at in offsets if at < torn] for work, offsets in found.items()}

    def _finish_removals(self) -> None:
        """Remove what a kill kept from being removed; of the blocks of which something was removed nothing is left to say."""
        noted = {work: [self._ledger.read(at) for at in offsets] for work, offsets in self._blocks.items()}
        self._removal.finish(frame for frames in noted.values() for frame in frames)
        for work, frames in noted.items():
            removals = [frame for frame in frames if frame.kind is Kind.REMOVAL]
            gone = {each: frame.offset for frame in removals for each in frame.ids()}
            self._blocks[work] = [
                frame.offset
                for frame in frames
                if frame.kind is Kind.BLOCK
                and not any(gone[each] > frame.offset for each in frame.ids() & gone.keys())
            ]
        self.forget(PRUNING, self._notes.of(PRUNING))
