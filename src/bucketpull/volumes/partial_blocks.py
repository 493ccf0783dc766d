"""Blocks of a ledger some of whose objects were removed because they lie elsewhere now.

The journal still counts on such a block for its other objects. So the blocks concerned are noted in a file of their own, and
whoever reads one of them is told by the ledger's later removals which of its objects are left.
"""

import os
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final

from bucketpull.domain.batching import decode_parts, ids_of
from bucketpull.domain.errors import LedgerError
from bucketpull.domain.model import Former, Id, key_of
from bucketpull.domain.record import Record
from bucketpull.volumes import os_errors
from bucketpull.volumes.beneath import OwnDirectory, closing_fd, write_all
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import Identity
from bucketpull.volumes.ledger import Damage, Gone, Kind, Ledger
from bucketpull.volumes.sizes_and_dates import has_date, has_length

if TYPE_CHECKING:
    from bucketpull.volumes.key_index import KeyIndex

_REMOVED: Final = "removed"
_FILE: Final = "thinned"
_offset: Final = Struct(">Q")


class PartialBlocks:
    """The thinned blocks of one volume. Its file holds their offsets, eight bytes each; one too many does no harm.

    Where the ledger last tells that an object was removed says an index of 24 bytes an object on disk, made when it is first needed.
    It is kept beside that file; who only reads the volume gives another `folder` for it.
    """

    def __init__(
        self,
        home: OwnDirectory,
        identity: Identity,
        tree: Tree,
        ledger: Ledger,
        folder: Callable[[], str] | None = None,
    ) -> None:
        self._home = home
        self._identity = identity
        self._tree = tree
        self._ledger = ledger
        self._folder = folder or (lambda: home.below(_REMOVED).as_path())
        self._offsets = self._read()
        self._lock = threading.Lock()
        self._index: KeyIndex | None = None

    def left(self, offset: int, records: list[Record]) -> list[Record]:
        """Return what is left of a block, as the ledger tells: of files too, which may be lost, or replaced already.

        On a volume with thinned blocks every block is looked up: one that nobody named may tell of a file that went with another's.

        Raises VolumeError where the index of what was removed cannot be made or read.
        """
        if not self._offsets:
            return records
        with os_errors.volume_errors(self._identity.id, "removed objects not looked up"):
            removed = self._removed_since(offset, ids_of(records))
        kept = (
            (record, [index for index, each in enumerate(record.ids()) if each not in removed])
            for record in records
        )
        return [record.take(indexes) for record, indexes in kept if indexes]

    def replaced(self, copies: Sequence[Former]) -> tuple[list[Gone], list[Gone], set[int]]:
        """Sort former copies: those to remove, those whose removal the ledger records already, and all blocks that name any of them.

        The files of the second kind are there because of a kill. Whether a copy is there is seen from its file, else from the ledger.
        """
        found: dict[Id, Gone] = {}
        blocks: set[int] = set()
        for copy in copies:
            wanted = ids_of(decode_parts(copy.parts))
            for offset in sorted(copy.offsets):
                told = self._told(offset, wanted)
                found.update((each.id, each) for each in told)
                blocks.update(each.block for each in told)
        new: list[Gone] = []
        noted: list[Gone] = []
        others: list[Gone] = []  # in packs, or files that somebody changed, dated anew or removed
        for each in found.values():
            if not self._is_as_described(each):
                others.append(each)
            else:
                (noted if self._is_noted(each) else new).append(each)
        gone = [*new, *self._not_described_later(others)]
        return gone, noted, blocks | {each.block for each in gone}

    def note(self, offsets: Collection[int]) -> None:
        """Note blocks that are about to be thinned, durably."""
        new = sorted(set(offsets) - self._offsets)
        if not new:
            return
        with (
            os_errors.volume_errors(self._identity.id, "removal not noted"),
            closing_fd(self._home.open_file(_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)) as fd,
        ):
            os.ftruncate(fd, os.fstat(fd).st_size // _offset.size * _offset.size)  # a torn end
            write_all(fd, [b"".join(map(_offset.pack, new))])
            os.fsync(fd)
        self._offsets.update(new)

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            self._index = None

    def _read(self) -> set[int]:
        try:
            data = self._home.read(_FILE)
        except FileNotFoundError:
            return set()
        return {value for (value,) in _offset.iter_unpack(data[: len(data) // _offset.size * _offset.size])}

    def _removed_since(self, offset: int, ids: Collection[Id]) -> set[Id]:
        """Return those of some objects that were removed after the block at an offset was written."""
        with self._lock:
            if self._index is None:
                # 1.3 ms of a start, which few jobs need.
                from bucketpull.volumes.key_index import KeyIndex, removals

                self._index = KeyIndex(self._ledger, self._folder(), removals)
            else:
                self._index.refresh()
            index = self._index
        last = {each: index.find(key_of(*each)) for each in ids}
        return {each for each, removal in last.items() if removal is not None and removal.offset > offset}

    def _is_noted(self, each: Gone) -> bool:
        return each.block in self._offsets and bool(self._removed_since(each.block, [each.id]))

    def _is_as_described(self, each: Gone) -> bool:
        record, index = each.record, each.place
        if record.pack:
            return False
        found = self._tree.stat(self._identity.file_of(record, index))
        is_long = has_length(found, record.lengths[index])
        return found is not None and is_long and has_date(found, record.mtimes[index])

    def _not_described_later(self, copies: Sequence[Gone]) -> list[Gone]:
        """Return those copies of which no later block or removal tells; of what was compacted since, as the later block has it."""
        wanted = {each.id: each for each in copies}
        last = wanted.copy()
        removed: set[Id] = set()
        for frame in self._ledger.salvage(min((each.block for each in copies), default=self._ledger.end)):
            if not isinstance(frame, Damage):
                for record in frame.records():
                    found = [Gone(frame.offset, record, index) for index in record.matching(wanted)]
                    if frame.kind is Kind.REMOVAL:
                        removed.update(each.id for each in found)
                    else:
                        removed.difference_update(each.id for each in found)
                        last.update((each.id, each) for each in found)
        # Of what is in packs a later block of the same version comes from compacting; a file was stored anew.
        return [
            each
            for key, each in last.items()
            if key not in removed
            and each.version == wanted[key].version
            and (each.record.pack or each.block == wanted[key].block)
        ]

    def _told(self, offset: int, wanted: Collection[Id]) -> list[Gone]:
        """Return those of some objects that a block tells of; of a damaged one that is not known any more."""
        with suppress(LedgerError):
            records = self._ledger.read(offset).records()
            return [Gone(offset, record, index) for record in records for index in record.matching(wanted)]
        return []
