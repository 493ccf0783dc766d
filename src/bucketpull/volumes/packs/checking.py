"""Packs compared with what the ledger says of them, each read once from its beginning to its end, at the speed of the disk."""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from bucketpull.domain import keys
from bucketpull.domain.record import Sealed
from bucketpull.volumes.packs import tar
from bucketpull.volumes.reader import Bodies, Location

_ENTRY: Final = struct.Struct("<QQQII16s?")
_BUFFER_BYTES: Final = 1 << 16
_PIECE_BYTES: Final = 4 << 20
_LONGEST_HEAD: Final = 1 << 20  # a description of the longest keys is shorter

_NO_HEADER: Final = "its header is damaged: no program finds it in the pack, nor what follows"
_OTHER_DESCRIPTION: Final = "the description beside it is damaged: it tells of another object"


class ToCheck(NamedTuple):
    """One object of a pack: where it begins, its length, its number among all objects of the volume, its MD5 if there is one.

    `head` are the bytes of the headers before it, unless it is a sample, and `name` is the sum of the names that they tell.
    """

    offset: int
    length: int
    number: int
    head: int
    name: int
    md5: bytes
    has_md5: bool


class PackDamage(NamedTuple):
    """What is wrong with an object, by number, or with a pack (-1). `is_unreadable` tells a refusal of the disk from other bytes."""

    number: int
    pack: str
    is_unreadable: bool
    detail: str


class PackChecks:
    """Collects the objects of all packs in `folder`, 49 bytes each, then reads pack after pack. `compared` counts MD5s."""

    def __init__(self, bodies: Bodies, folder: str, sealed: Mapping[str, Sealed]) -> None:
        self._bodies = bodies
        self._folder = folder
        self._sealed = sealed
        self._buffers: dict[str, bytearray] = {}
        self.compared = 0

    def add(self, number: int, location: Location, key: bytes, md5: bytes) -> None:
        """Add an object, to be looked at by `run`."""
        buffer = self._buffers.setdefault(location.pack, bytearray())
        head = len(tar.header(key, location.length, 0))
        place = (location.offset, location.length, number, head, _name_sum(keys.path_of(key), key))
        buffer += _ENTRY.pack(*place, md5.ljust(16, b"\0"), bool(md5))
        if len(buffer) >= _BUFFER_BYTES:
            self._flush(location.pack, buffer)

    def run(self) -> Iterator[PackDamage]:
        """Read the packs, and give what is wrong."""
        for pack, buffer in sorted(self._buffers.items()):
            self._flush(pack, buffer)
            with open(os.path.join(self._folder, pack), "rb") as file:
                entries = sorted(map(ToCheck._make, _ENTRY.iter_unpack(file.read())))
            os.unlink(os.path.join(self._folder, pack))
            yield from self._check(pack, entries)

    def _flush(self, pack: str, buffer: bytearray) -> None:
        with open(os.path.join(self._folder, pack), "ab") as file:
            file.write(buffer)
        buffer.clear()

    def _check(self, pack: str, entries: list[ToCheck]) -> Iterator[PackDamage]:
        fd = self._bodies.pack(pack)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        reading = _Reading(fd, pack, entries)
        yield from reading.run()
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self.compared += reading.compared
        sealed = self._sealed.get(pack)
        if sealed is None or reading.is_damaged:
            return
        found = reading.whole.digest()
        if found != sealed.sha256:
            yield from _other_sum(
                pack, entries, f"has SHA-256 {found.hex()} instead of {sealed.sha256.hex()}"
            )


class _Reading:
    """One pass over a pack. `is_damaged` is set where a fault was found, `whole` is the digest of all."""

    def __init__(self, fd: int, pack: str, entries: list[ToCheck]) -> None:
        self._fd = fd
        self._pack = pack
        self._entries = entries
        self._next = 0
        self._digest = hashlib.md5()
        self._fault = ""
        self.whole = hashlib.sha256()
        self.is_damaged = False
        self.compared = 0

    def run(self) -> Iterator[PackDamage]:
        at, end = 0, os.fstat(self._fd).st_size
        while at < end:
            wanted = min(_PIECE_BYTES, end - at)
            try:
                piece = os.pread(self._fd, wanted, at)
            except OSError as error:
                yield from self._unread(at + wanted, error)
                at += wanted
                continue
            if not piece:
                return
            self.whole.update(piece)
            yield from self._take(memoryview(piece), at)
            at += len(piece)
        for entry in self._entries[self._next :]:
            if not entry.length:  # an empty object at the very end
                yield from self._compare(entry)

    def _take(self, piece: memoryview, start: int) -> Iterator[PackDamage]:
        end = start + len(piece)
        while self._next < len(self._entries):
            entry = self._entries[self._next]
            last = entry.offset + entry.length
            header = entry.offset - tar.BLOCK - start
            if 0 <= header < len(piece):
                self._fault = self._fault_before(bytes(piece[header : header + tar.BLOCK]), entry)
            if entry.offset >= end:
                return
            if entry.has_md5:
                self._digest.update(piece[max(entry.offset - start, 0) : last - start])
            if last > end:
                return
            yield from self._compare(entry)
            self._step()

    def _fault_before(self, block: bytes, entry: ToCheck) -> str:
        """Return why whoever reads the pack from its beginning does not find an object of this name here; "" where it is found.

        `block` is the last one before it.
        """
        last = tar.read_header(block)
        if last is None or last.size != entry.length:
            return _NO_HEADER
        try:
            found = last if entry.head == tar.BLOCK else tar.read_header(self._before(entry, entry.head))
            if found is not None and (found.body, _name_sum(found.path, found.key)) == (
                entry.head,
                entry.name,
            ):
                return ""
            return self._fault_of_sample(last.path, entry)
        except OSError:
            return _NO_HEADER

    def _fault_of_sample(self, path: bytes, entry: ToCheck) -> str:
        """Return why this is no name of a sample whose description stands before it; "" where it is.

        A key that is no UTF-8 has escapes in its description, and is not compared.
        """
        head = entry.offset - tar.sample_block(path) * tar.BLOCK
        if not tar.BLOCK < head <= _LONGEST_HEAD:
            return _NO_HEADER
        data = self._before(entry, head)
        found = tar.read_header(data)
        if found is None or found.path != tar.description_of(path):
            return _NO_HEADER
        if found.body + found.size + tar.padding(found.size) + tar.BLOCK != head:
            return _NO_HEADER
        told = tar.read_description(data[found.body : found.body + found.size])
        if told is None or told.size != entry.length:
            return _OTHER_DESCRIPTION
        key = told.key.encode()
        is_same = "\\x" in told.key or _name_sum(keys.path_of(key), key) == entry.name
        return "" if is_same else _OTHER_DESCRIPTION

    def _before(self, entry: ToCheck, length: int) -> bytes:
        return os.pread(self._fd, length, entry.offset - length)

    def _compare(self, entry: ToCheck) -> Iterator[PackDamage]:
        self.compared += entry.has_md5
        found = self._digest.digest()
        if entry.has_md5 and found != entry.md5:
            detail = f"has MD5 {found.hex()} instead of {entry.md5.hex()}"
        elif self._fault:
            detail = self._fault
        else:
            return
        self.is_damaged = True
        yield PackDamage(entry.number, self._pack, is_unreadable=False, detail=detail)

    def _unread(self, end: int, error: OSError) -> Iterator[PackDamage]:
        """Blame a stretch that cannot be read on all objects that have a part in it."""
        self.is_damaged = True
        while self._next < len(self._entries) and self._entries[self._next].offset < end:
            yield PackDamage(
                self._entries[self._next].number, self._pack, is_unreadable=True, detail=str(error.strerror)
            )
            self._step()

    def _step(self) -> None:
        self._next += 1
        self._fault = ""
        self._digest = hashlib.md5()


def _name_sum(path: bytes, key: bytes) -> int:
    return zlib.crc32(key, zlib.crc32(path + b"\0"))


def _other_sum(pack: str, entries: list[ToCheck], detail: str) -> Iterator[PackDamage]:
    """Blame the wrong sum of a pack on those objects that no MD5 clears; on the pack where every one is cleared."""
    suspects = [entry for entry in entries if not entry.has_md5]
    for entry in suspects:
        yield PackDamage(
            entry.number,
            pack,
            is_unreadable=False,
            detail=f"its pack {detail}, and it has no MD5 that clears it",
        )
    if not suspects:
        yield PackDamage(
            -1, pack, is_unreadable=False, detail=f"{detail}, though all its objects are as recorded"
        )
