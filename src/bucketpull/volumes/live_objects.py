"""Which entries of a ledger are the last about their object, for ledgers of any length.

A disk of 4 TB holds 120 million objects: a table of their keys needs some 10 GB of memory, or of SQLite accessed at random.
Instead the entries are dealt out by a digest of their key over files of some 200,000 (20 bytes each, written in sequence),
each of which is then sorted in memory; what remains is one bit an entry, 15 MB. Then the ledger is read again in its own order,
which is the order in which the disk was written.
"""

import hashlib
from array import array
from collections.abc import Collection, Iterator

import msgspec

from bucketpull.domain.errors import VolumeSick
from bucketpull.domain.model import key_of, show
from bucketpull.domain.record import Record, Sealed
from bucketpull.volumes.ledger import Damage, Frame, Kind
from bucketpull.volumes.packs.folder import settled_end
from bucketpull.volumes.reader import Location, VolumeReader
from bucketpull.volumes.scratch import DIGEST_BYTES, Partitions, digest_of


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One object that a volume holds: `size` and `mtime` as listed, `location` says where its bytes are."""

    directory: bytes
    name: bytes
    cursor: str
    size: int
    mtime: int
    md5: bytes
    location: Location

    def record(self, path: bytes = b"", pack: str = "", offset: int = 0) -> Record:
        """Return the record of this object in another place: at an unusual path, or in a pack (`offset` in blocks of 512 bytes)."""
        lengths = [] if self.location.length == self.size else [self.location.length]
        md5s, paths = [self.md5] if self.md5 else [], {0: path} if path else {}
        listed = (self.directory, self.cursor, [self.name], [self.size], [self.mtime])
        return Record(*listed, lengths, md5s, paths, pack, [offset] if pack else [])


def whole_body(reader: VolumeReader, stored: Stored) -> bytes:
    """Return an object that is to be written anew: what is damaged would look whole there.

    Raises VolumeSick where its length or MD5 is not what is recorded, and OSError where it cannot be read.
    """
    body = reader.bodies.read(stored.location)
    is_whole = len(body) == stored.location.length
    if is_whole and stored.md5:
        is_whole = hashlib.md5(body, usedforsecurity=False).digest() == stored.md5
    if not is_whole:
        place, pack = show(key_of(stored.directory, stored.name)), stored.location.pack
        if pack:
            place += f" in pack {pack}"
        raise VolumeSick(
            reader.path,
            f"{place} is damaged; `bucketpull verify {reader.path} --hash --repair` fetches it again",
        )
    return body


class LiveObjects:
    """The objects on a volume, and its sealed packs by name. `damages` are the parts of the ledger that cannot be read.

    `ends` has by pack where the last object that was ever settled there ends, in bytes.
    """

    def __init__(self, reader: VolumeReader, folder: str) -> None:
        """Read the ledger once; meanwhile `folder` takes 20 bytes an entry."""
        self._reader = reader
        self.path = reader.path
        self.damages: list[Damage] = []
        self.sealed: dict[str, Sealed] = {}
        self.ends: dict[str, int] = {}
        self._live = self._find(folder)
        self.count = sum(byte.bit_count() for byte in self._live)

    def objects(self) -> Iterator[Stored]:
        """Yield every object once, in the order of writing."""
        for _, record, index in self.entries():
            yield _stored(self._reader, record, index)

    def entries(self) -> Iterator[tuple[int, Record, int]]:
        """Yield every object once: the offset of its block in the ledger, its record, and its index there."""
        number = 0
        for frame, record in self._records():
            yield from ((frame.offset, record, index) for index in self._left(record, number))
            number += len(record.names)

    def blocks_of(self, packs: Collection[str]) -> dict[str, "array[int]"]:
        """Return by pack where the ledger tells of it, for `in_pack`: the offset of each block and the number of its first entry, in turn; 16 bytes a block."""
        found = {pack: array("Q") for pack in packs}
        number, block, first = 0, -1, 0
        for frame, record in self._records():
            if frame.offset != block:
                block, first = frame.offset, number
            blocks = found.get(record.pack)
            if blocks is not None and block not in blocks[-2:-1]:
                blocks.extend((block, first))
            number += len(record.names)
        return found

    def in_pack(self, pack: str, blocks: "array[int]") -> Iterator[Stored]:
        """Yield the objects of a pack, of which these blocks tell."""
        for offset, first in zip(blocks[::2], blocks[1::2], strict=True):
            number = first
            for record in self._reader.ledger.read(offset).records():
                if record.pack == pack:
                    yield from (_stored(self._reader, record, each) for each in self._left(record, number))
                number += len(record.names)

    def directories(self) -> Iterator[bytes]:
        """Yield the directory of each record, also of removed objects, with repetitions."""
        for _, record in self._records():
            yield record.directory

    def _left(self, record: Record, number: int) -> Iterator[int]:
        """Yield the indexes of a record's objects of which no later entry tells; `number` is that of its first entry."""
        for index in range(len(record.names)):
            at = number + index
            if self._live[at >> 3] >> (at & 7) & 1:
                yield index

    def _find(self, folder: str) -> bytearray:
        ledger = self._reader.ledger
        # Without MD5s an entry may take far less than 24 bytes; of what was removed since, only the length tells.
        partitions = Partitions(folder, "keys", max(ledger.objects, ledger.end // 24), tail_bytes=8)
        number = 0
        for frame, record in self._records(self.damages):
            removal = frame.kind is Kind.REMOVAL
            if record.pack:
                self.ends[record.pack] = max(self.ends.get(record.pack, 0), settled_end(record))
            for name in record.names:
                partitions.add(
                    digest_of(key_of(record.directory, name)), (number * 2 + removal).to_bytes(8, "big")
                )
                number += 1
        partitions.finish()
        live = bytearray(number // 8 + 1)
        for file in range(partitions.count):
            for last in _last_of_each(partitions.take(file)):
                number, removed = divmod(int.from_bytes(last[DIGEST_BYTES:], "big"), 2)
                live[number >> 3] |= (1 - removed) << (number & 7)
        return live

    def _records(self, damages: list[Damage] | None = None) -> Iterator[tuple[Frame, Record]]:
        for entry in self._reader.ledger.salvage():
            if isinstance(entry, Damage):
                if damages is not None:
                    damages.append(entry)
                continue
            if entry.kind is Kind.PACK:
                sealed = entry.sealed()
                self.sealed[sealed.pack] = sealed
            for record in entry.records():
                yield entry, record


def _last_of_each(entries: list[bytes]) -> Iterator[bytes]:
    """Yield the last of each run of sorted entries with the same digest."""
    for place, entry in enumerate(entries, 1):
        if place == len(entries) or entries[place][:DIGEST_BYTES] != entry[:DIGEST_BYTES]:
            yield entry


def _stored(reader: VolumeReader, record: Record, index: int) -> Stored:
    return Stored(
        record.directory,
        record.names[index],
        record.cursor,
        record.sizes[index],
        record.mtimes[index],
        record.md5s[index] if record.md5s else b"",
        reader.location_of(record, index),
    )
