"""Blocks of a ledger some of whose objects were removed because they lie elsewhere now.

The journal still counts on such a block for its other objects. So the blocks concerned are noted in a file of their own, and
whoever reads one of them is told by the ledger's later removals which of its objects are left.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final

from bucketpull.domain.batching import decode_parts, ids_of
from bucketpull.domain.errors import LedgerError
from bucketpull.domain.model import Former, key_of
from bucketpull.domain.record import Record
from bucketpull.volumes import os_errors
from bucketpull.volumes.as_stored import has_date, has_length
from bucketpull.volumes.beneath import OwnDirectory, closing_fd, write_all
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import Identity
from bucketpull.volumes.ledger import Damage, Kind, Ledger

if TYPE_CHECKING:
    from bucketpull.volumes.key_index import KeyIndex

_REMOVED: Final = "removed"
_FILE: Final = "thinned"
_offset: Final = Struct(">Q")
_Copy = tuple[int, Record, int]
"""An object on the volume: the offset of its block, its record and its index there."""


class PartialBlocks:
    """The thinned blocks of one volume. Its file holds their offsets, eight bytes each; one too many does no harm.

    The index of what was removed is kept beside it; who only reads the volume gives the place for one, by a function that is called
    when the first thinned block is read.
    """

    def __init__(
        self, home: OwnDirectory, identity: Identity, tree: Tree, folder: Callable[[], str] | None = None
    ) -> None:
        self._home = home
        self._identity = identity
        self._tree = tree
        self._offsets = self._read()
        self._removals = _Removals(folder or (lambda: home.below(_REMOVED).as_path()))

    def left(self, offset: int, records: list[Record], ledger: Ledger) -> list[Record]:
        """Return what is left of a block, as the ledger tells: of files too, which may be lost, or replaced already.

        Raises VolumeError where the index of what was removed cannot be made or read.
        """
        if offset not in self._offsets:
            return records
        with os_errors.volume_errors(self._identity.id, "removed objects not looked up"):
            removed = self._removals.since(offset, ledger)
            kept = [(record, _not_removed(record, removed)) for record in records]
        return [record.take(indexes) for record, indexes in kept if indexes]

    def replaced(self, copies: Sequence[Former], ledger: Ledger) -> tuple[list[_Copy], list[_Copy]]:
        """Find former copies that are there, as their files or the ledger tell; apart from them those whose removal the ledger tells already.

        Of these a kill kept the files from going.
        """
        found: dict[bytes, _Copy] = {}
        for copy in copies:
            wanted = ids_of(decode_parts(copy.parts))
            for offset in sorted(copy.offsets):
                for record, index in _matching(ledger, offset, wanted):
                    each = offset, record, index
                    found[_key(each)] = each
        described = {key: each for key, each in found.items() if self._is_as_described(each[1], each[2])}
        # In packs, or files that somebody changed, dated anew or removed.
        others = {key: each for key, each in found.items() if key not in described}
        left = _not_described_later(list(others.values()), ledger)
        # Of what is in packs a later block of the same version comes from compacting; a file was stored anew.
        left = [each for each in left if each[1].pack or others[_key(each)][0] == each[0]]
        noted = {key for key, each in described.items() if self._is_noted(each, ledger)}
        new = [each for key, each in described.items() if key not in noted]
        return [*new, *left], [described[key] for key in noted]

    def _is_noted(self, each: _Copy, ledger: Ledger) -> bool:
        offset, record, index = each
        if offset not in self._offsets:
            return False
        return self._removals.since(offset, ledger)(*record.id_at(index))

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

    def _read(self) -> set[int]:
        try:
            data = self._home.read(_FILE)
        except FileNotFoundError:
            return set()
        return {value for (value,) in _offset.iter_unpack(data[: len(data) // _offset.size * _offset.size])}

    def _is_as_described(self, record: Record, index: int) -> bool:
        if record.pack:
            return False
        found = self._tree.stat(self._identity.file_of(record, index))
        is_long = has_length(found, record.lengths[index])
        return found is not None and is_long and has_date(found, record.mtimes[index])


_IsRemoved = Callable[[bytes, bytes], bool]
"""Tells of an object, by directory and name, whether it was removed since."""


def _not_removed(record: Record, removed: _IsRemoved) -> list[int]:
    return [index for index, name in enumerate(record.names) if not removed(record.directory, name)]


class _Removals:
    """Where the ledger last tells that an object was removed: an index, made when it is first asked for, of 24 bytes an object on disk."""

    def __init__(self, folder: Callable[[], str]) -> None:
        self._lock = threading.Lock()
        self._folder = folder
        self._index: KeyIndex | None = None

    def since(self, offset: int, ledger: Ledger) -> _IsRemoved:
        """Tell which objects were removed after the block at an offset was written."""
        with self._lock:
            index = self._refreshed(ledger)

        def is_removed(directory: bytes, name: bytes) -> bool:
            last = index.find(key_of(directory, name))
            return last is not None and last.offset > offset

        return is_removed

    def _refreshed(self, ledger: Ledger) -> "KeyIndex":
        if self._index is None:
            from bucketpull.volumes.key_index import KeyIndex, removals

            self._index = KeyIndex(ledger, self._folder(), removals)
        else:
            self._index.refresh()
        return self._index


def _not_described_later(entries: Sequence[_Copy], ledger: Ledger) -> list[_Copy]:
    """Return those objects of which no later block or removal tells; where they were compacted since, as the later block has them."""
    last = {record.id_at(index): (at, record, index) for at, record, index in entries}
    wanted = {key: _version(record, index) for key, (_, record, index) in last.items()}
    if not entries:
        return []
    removed: set[tuple[bytes, bytes]] = set()
    for frame in ledger.salvage(min((at for at, _, _ in entries), default=ledger.end)):
        if not isinstance(frame, Damage):
            for record in frame.records():
                found = {record.id_at(index): index for index in record.matching(last)}
                if frame.kind is Kind.REMOVAL:
                    removed.update(found)
                    continue
                removed.difference_update(found)
                last.update({key: (frame.offset, record, index) for key, index in found.items()})
    return [
        entry
        for key, entry in last.items()
        if key not in removed and _version(entry[1], entry[2]) == wanted[key]
    ]


def _key(each: _Copy) -> bytes:
    _, record, index = each
    return key_of(*record.id_at(index))


def _version(record: Record, index: int) -> tuple[int, int]:
    """Return size and mtime of an object, which tell its version."""
    return record.sizes[index], record.mtimes[index]


def _matching(
    ledger: Ledger, offset: int, wanted: Collection[tuple[bytes, bytes]]
) -> Iterator[tuple[Record, int]]:
    records: list[Record] = []
    with suppress(LedgerError):  # what a damaged block held is not known any more
        records = ledger.read(offset).records()
    for record in records:
        for index in record.matching(wanted):
            yield record, index
