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
_LONGEST_DEAD_HEAD: Final = 64 << 10

_NO_HEADER: Final = "its header is damaged: no program finds it in the pack, nor what follows"
_DEAD_HEADER: Final = "the header at byte {}, of what was replaced or removed, is damaged: who reads the pack from its beginning stops there"
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
    """Collects the objects of all packs in `folder`, 49 bytes each, then reads pack after pack. `compared` counts MD5s.

    `ends` says where what the ledger knows of each pack ends, in bytes.
    """

    def __init__(
        self, bodies: Bodies, folder: str, ends: Mapping[str, int], sealed: Mapping[str, Sealed]
    ) -> None:
        self._bodies = bodies
        self._folder = folder
        self._ends = ends
        self._sealed = sealed
        self._buffers: dict[str, bytearray] = {}
        self.compared = 0

    def add(self, number: int, location: Location, key: bytes, md5: bytes) -> None:
        """Add an object, to be looked at by `run`."""
        buffer = self._buffers.setdefault(location.pack, bytearray())
        path = keys.path_of(key)
        head = tar.header_bytes(key, path)
        place = (location.offset, location.length, number, head, _name_sum(path, key))
        buffer += _ENTRY.pack(*place, md5.ljust(16, b"\0"), bool(md5))
        if len(buffer) >= _BUFFER_BYTES:
            self._flush(location.pack, buffer)

    def run(self) -> Iterator[PackDamage]:
        """Read the packs, those without objects too, and give what is wrong."""
        for pack in sorted(self._ends):
            entries = self._entries(pack)
            try:
                fd = self._bodies.pack(pack)
            except FileNotFoundError:  # it was compacted, or its objects are missing
                continue
            except OSError as error:
                yield PackDamage(-1, pack, True, str(error.strerror))
                continue
            yield from self._check(pack, fd, entries)

    def _entries(self, pack: str) -> list[ToCheck]:
        if pack not in self._buffers:
            return []
        self._flush(pack, self._buffers.pop(pack))
        path = os.path.join(self._folder, pack)
        with open(path, "rb") as file:
            entries = sorted(map(ToCheck._make, _ENTRY.iter_unpack(file.read())))
        os.unlink(path)
        return entries

    def _flush(self, pack: str, buffer: bytearray) -> None:
        with open(os.path.join(self._folder, pack), "ab") as file:
            file.write(buffer)
        buffer.clear()

    def _check(self, pack: str, fd: int, entries: list[ToCheck]) -> Iterator[PackDamage]:
        sealed = self._sealed.get(pack)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        reading = _Reading(fd, pack, entries, sealed.length - len(tar.END) if sealed else self._ends[pack])
        yield from reading.run()
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self.compared += reading.compared
        found = reading.whole.digest()
        if sealed is not None and reading.is_read and found != sealed.sha256:
            detail = f"has SHA-256 {found.hex()} instead of {sealed.sha256.hex()}"
            yield from reading.blame_rest(detail)


class _Reading:
    """One pass over a pack, whose last member ends at byte `end`. `whole` is the digest of all, if it `is_read`."""

    def __init__(self, fd: int, pack: str, entries: list[ToCheck], end: int) -> None:
        self._fd = fd
        self._pack = pack
        self._entries = entries
        self._end = end
        self._next = 0
        self._followed = 0
        self._digest = hashlib.md5()
        self._fault = ""
        self._blamed: set[int] = set()
        self.whole = hashlib.sha256()
        self.is_read = True
        self.compared = 0

    def run(self) -> Iterator[PackDamage]:
        at, end = 0, os.fstat(self._fd).st_size
        if end < self._end:
            yield self._blame(-1, f"ends at byte {end} instead of {self._end}")
        while at < end:
            wanted = min(_PIECE_BYTES, end - at)
            try:
                piece = os.pread(self._fd, wanted, at)
            except OSError as error:
                yield from self._unread(at, at + wanted, error)
                at += wanted
                continue
            if not piece:
                break
            self.whole.update(piece)
            yield from self._take(memoryview(piece), at)
            at += len(piece)
        for entry in self._entries[self._next :]:
            if not entry.length:  # an empty object at the very end
                yield from self._compare(entry)
                self._step()
        yield from self._follow(self._end)

    def _take(self, piece: memoryview, start: int) -> Iterator[PackDamage]:
        end = start + len(piece)
        while self._next < len(self._entries):
            entry = self._entries[self._next]
            last = entry.offset + entry.length
            header = entry.offset - tar.BLOCK - start
            if 0 <= header < len(piece):
                self._fault, head = self._look_before(bytes(piece[header : header + tar.BLOCK]), entry)
                if not self._fault:
                    yield from self._follow(entry.offset - head)
            if entry.offset >= end:
                return
            if entry.has_md5:
                self._digest.update(piece[max(entry.offset - start, 0) : last - start])
            if last > end:
                return
            yield from self._compare(entry)
            self._step()

    def _follow(self, to: int) -> Iterator[PackDamage]:
        """Go from header to header over what is dead, up to byte `to`. Where one fault of the pack is known, nothing is gained."""
        at = self._followed
        while at < to and not self._blamed:
            try:
                found = tar.read_header(os.pread(self._fd, _LONGEST_DEAD_HEAD, at))
            except OSError as error:
                yield self._blame(-1, str(error.strerror), is_unreadable=True)
                return
            following = to + 1 if found is None else at + found.body + found.size + tar.padding(found.size)
            if following > to:
                yield self._blame(-1, _DEAD_HEADER.format(at))
                return
            at = following

    def _look_before(self, block: bytes, entry: ToCheck) -> tuple[str, int]:
        """Return why whoever reads the pack from its beginning does not find an object of this name here; "" where it is found.

        `block` is the last one before it. The number is that of the bytes of all its headers.
        """
        last = tar.read_header(block)
        if last is None or last.size != entry.length:
            return _NO_HEADER, 0
        try:
            found = last if entry.head == tar.BLOCK else tar.read_header(self._before(entry, entry.head))
            if found is not None and (found.body, _name_sum(found.path, found.key)) == (
                entry.head,
                entry.name,
            ):
                return "", entry.head
            return self._look_at_sample(last.path, entry)
        except OSError:
            return _NO_HEADER, 0

    def _look_at_sample(self, path: bytes, entry: ToCheck) -> tuple[str, int]:
        """Do the same for what has the name of a sample, whose description stands before it.

        A key that is no UTF-8 has escapes in its description, and is not compared.
        """
        head = entry.offset - tar.sample_block(path) * tar.BLOCK
        if not tar.BLOCK < head <= _LONGEST_HEAD:
            return _NO_HEADER, 0
        data = self._before(entry, head)
        found = tar.read_header(data)
        if found is None or found.path != tar.description_of(path):
            return _NO_HEADER, 0
        if found.body + found.size + tar.padding(found.size) + tar.BLOCK != head:
            return _NO_HEADER, 0
        told = tar.read_description(data[found.body : found.body + found.size])
        if told is None or told.size != entry.length:
            return _OTHER_DESCRIPTION, head
        key = told.key.encode()
        is_same = "\\x" in told.key or _name_sum(keys.path_of(key), key) == entry.name
        return "" if is_same else _OTHER_DESCRIPTION, head

    def _before(self, entry: ToCheck, length: int) -> bytes:
        return os.pread(self._fd, length, entry.offset - length)

    def _compare(self, entry: ToCheck) -> Iterator[PackDamage]:
        self.compared += entry.has_md5
        found = self._digest.digest()
        if entry.has_md5 and found != entry.md5:
            yield self._blame(entry.number, f"has MD5 {found.hex()} instead of {entry.md5.hex()}")
        elif self._fault:
            yield self._blame(entry.number, self._fault)

    def _unread(self, start: int, end: int, error: OSError) -> Iterator[PackDamage]:
        """Blame a stretch that cannot be read on all objects that have a part in it, on the pack where none has."""
        self.is_read = False
        before = self._next
        while self._next < len(self._entries) and self._entries[self._next].offset < end:
            yield self._blame(self._entries[self._next].number, str(error.strerror), is_unreadable=True)
            self._step()
        if self._next == before:
            yield self._blame(
                -1, f"bytes {start} to {end} cannot be read: {error.strerror}", is_unreadable=True
            )

    def blame_rest(self, detail: str) -> Iterator[PackDamage]:
        """Blame the wrong sum of the pack on those objects that no MD5 clears; on the pack where nothing else explains it."""
        for entry in self._entries:
            if not entry.has_md5 and entry.number not in self._blamed:
                yield self._blame(entry.number, f"its pack {detail}, and it has no MD5 that clears it")
        if not self._blamed:
            yield self._blame(-1, f"{detail}, though all its objects are as recorded")

    def _blame(self, number: int, detail: str, *, is_unreadable: bool = False) -> PackDamage:
        self._blamed.add(number)
        return PackDamage(number, self._pack, is_unreadable, detail)

    def _step(self) -> None:
        entry = self._entries[self._next]
        self._followed = entry.offset + entry.length + tar.padding(entry.length)
        self._next += 1
        self._fault = ""
        self._digest = hashlib.md5()


def _name_sum(path: bytes, key: bytes) -> int:
    return zlib.crc32(key, zlib.crc32(path + b"\0"))
