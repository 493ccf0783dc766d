"""What a volume's ledger records of its files, and what a volume and its writers say of them."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from bucketpull.domain.decoding import Int, Text
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Objects, Value

_MD5_BYTES: Final = 16
_PACK: Final = r"[0-9a-f]{6}-[0-9]{1,9}-[0-9]{6,9}"
_PACKED_LIMIT: Final = 1 << 32


def _is_inside(path: bytes) -> bool:
    """Tell whether a path leads to what lies below a volume; b"" stands for none."""
    return not path or not {b"", b".", b".."} & set(path.split(b"/"))


class Record(Objects):
    """Stored objects of one directory: `sizes` and `mtimes` are those of the listing.

    `stored` are the sizes of the files in bytes, empty where they all equal `sizes` (they differ for image versions).
    `md5s` are 16 raw bytes each (b"" unknown), or empty. `paths` holds, by index, the path below the volume of those
    objects that do not lie at `keys.path_of(key)`.

    `pack` names the pack that holds all of them, "" where each is a file; then `offsets` say where each body begins in it, in
    blocks of 512 bytes. `doubts` says, by index, what about an answer contradicts what is stored (see `domain.evidence`).
    """

    stored: list[Int] = []
    md5s: list[bytes] = []
    paths: dict[Int, bytes] = {}
    pack: Text = ""
    offsets: list[Int] = []
    doubts: dict[Int, Reason] = {}

    @property
    def lengths(self) -> list[Int]:
        """The lengths of the files in bytes."""
        return self.stored or self.sizes

    def fault(self) -> str:
        """Say what cannot be of a record that somebody else may have written; "" for one that we could have."""
        count = len(self.names)
        columns = (self.sizes, self.mtimes, self.stored, self.md5s, self.offsets)
        faults = {
            "has columns of several lengths": any(len(column) not in {0, count} for column in columns),
            "lacks a column": len(self.sizes) != len(self.mtimes)
            or bool(self.pack) != bool(self.offsets)
            or not (self.sizes or not self.stored),
            "has an MD5 that is none": any(len(md5) not in {0, _MD5_BYTES} for md5 in self.md5s),
            "has a path that leads out of the volume": not all(map(_is_inside, self.paths.values())),
        }
        return next((fault for fault, found in faults.items() if found), "") or self._fault_in_pack()

    def _fault_in_pack(self) -> str:
        if not self.pack:
            return ""
        if not re.fullmatch(_PACK, self.pack):
            return f"names {self.pack[:40]!r} as a pack"
        if any(not 0 <= number < _PACKED_LIMIT for number in (*self.offsets, *self.lengths)):
            return "has an object that no pack can hold"
        return ""

    @classmethod
    def of(cls, objects: Objects) -> "Record":
        """Say of objects that they are stored, each in a file as long as listed."""
        return cls(objects.directory, objects.cursor, objects.names, objects.sizes, objects.mtimes)

    def comparable_md5s(self) -> list[bytes]:
        """Return the MD5s that a listing may be held against; b"" where none is known, or where the source stated another one of these bytes."""
        if not self.md5s or not self.doubts:
            return self.md5s or [b""] * len(self.names)
        return [b"" if index in self.doubts else md5 for index, md5 in enumerate(self.md5s)]

    def take(self, indexes: Sequence[int]) -> "Record":
        """Return some of the objects, by index."""
        return Record(
            self.directory,
            self.cursor,
            [self.names[index] for index in indexes],
            [self.sizes[index] for index in indexes],
            [self.mtimes[index] for index in indexes],
            [self.stored[index] for index in indexes] if self.stored else [],
            [self.md5s[index] for index in indexes] if self.md5s else [],
            {place: self.paths[index] for place, index in enumerate(indexes) if index in self.paths},
            self.pack,
            [self.offsets[index] for index in indexes] if self.offsets else [],
            {place: self.doubts[index] for place, index in enumerate(indexes) if index in self.doubts},
        )


class Sealed(Value):
    """A pack that is appended to no more: its name, its length in bytes, its SHA-256 (32 raw bytes), how many members it has."""

    pack: Text
    length: Int
    sha256: bytes
    members: Int


class Block(Value):
    """One append to a ledger: the batch (journal and work id) and its encoded `list[Record]`.

    `former` are the offsets of that ledger's blocks that may describe some of its objects, in another version or the same.
    """

    journal: str
    work: int
    records: bytes
    former: list[int] = []


class Conclusion(msgspec.Struct, frozen=True, gc=False):
    """What a batch that has ended leaves on a volume: its ledger blocks `gone`, by offset, do not count; those `kept`, of any batch, do."""

    work: int
    gone: Sequence[int] = ()
    kept: Sequence[int] = ()


class Claim(Value):
    """A file of somebody else's at an object's path, as long as listed, and its MD5 (16 raw bytes): if the source says that the object has it too, it is the object."""

    directory: bytes
    name: bytes
    md5: bytes


class Inspection(msgspec.Struct, frozen=True):
    """What was found of objects in files of others: `records` are taken over, `claims` are for the source to decide."""

    records: list[Record]
    claims: list[Claim]


class PartVersion(msgspec.Struct, frozen=True, gc=False):
    """Of which version the part of a large object is that an earlier process left: its strong ETag, and its `Last-Modified` or "".

    `is_sound` says that the part lies as it was written: since then neither the machine was restarted nor the disk away.
    """

    etag: str
    changed: str
    is_sound: bool


class Written(msgspec.Struct, gc=False):
    """What became of one object handed to a writer. `reason` None: published; `path` if it is not the usual one.

    `pack` names the pack that it lies in, if it does, and `offset` where its body begins there, in blocks of 512 bytes. `md5` is
    that of its content, 16 raw bytes, b"" where nobody asked for it.
    """

    token: object
    reason: Reason | None = None
    detail: str = ""
    path: bytes | None = None
    pack: str = ""
    offset: int = -1
    md5: bytes = b""
