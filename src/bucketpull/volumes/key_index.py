"""Finds the newest version of an object on a volume by its key, in some microseconds, among any number.

An index consists of segments, each made from a stretch of the ledger and sorted by a digest of the key. The
newest stretch is a dictionary until it is long enough for a segment; a segment that is not much larger than the next one
is merged with it, so that there are few. All of it can be made again from the ledger. A segment (numbers are little-endian):

    magic "bpK2" | bits u32 | entries u64 | length of the names u64
    | offset of the last frame of the ledger's stretch u64 | that frame's checksum u32 | names of packs, one a line
    | 2**bits + 1 fences u32 | entries of 24 bytes: digest 12 | pack u32 | offset u32 | length u32

Fence N says where the entries begin whose digest begins with the bits N. Of an object in a pack the entry has the pack's
number in the list of names, its body's offset in blocks of 512 bytes, and its length in bytes. Of a file
(`_FILE`, `_ODD_FILE`) offset and length are the halves of its ledger block's offset; of a removed object (`_GONE`) they are 0.
A segment whose last frame is not in the ledger tells of another one: a copy was put back over the volume, or a power cut took the
ledger's end.
"""

import errno
import fcntl
import os
import re
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate
from typing import BinaryIO, Final, NamedTuple, Self

from bucketpull.domain.model import key_of
from bucketpull.volumes.ledger import Damage, Frame, Kind, Ledger
from bucketpull.volumes.packs import tar
from bucketpull.volumes.scratch import DIGEST_BYTES, digest_of

_MAGIC: Final = b"bpK2"
_HEADER: Final = struct.Struct("<4sIQQQI")
_ENTRY: Final = struct.Struct("<12sIII")
_PLACE: Final = struct.Struct("<III")
_FENCES: Final = struct.Struct("<II")
_NAME: Final = r"(\d+)-(\d+)\.keys"
_FILE: Final = 0xFFFFFFFF
_ODD_FILE: Final = 0xFFFFFFFE
_GONE: Final = 0xFFFFFFFD
_GONE_BYTES: Final = _GONE.to_bytes(4, "little")
_PACK: Final = -1
_ENTRIES_A_FENCE: Final = 64
_MOST_BITS: Final = 22
_PARTITIONS: Final = 256
_BUFFER_BYTES: Final = 1 << 16
_SEGMENT_BYTES: Final = 4 << 20  # of the ledger: some 100,000 objects, half a second
_TAIL_ENTRIES: Final = 200_000
_MERGE_RATIO: Final = 3
_ENTRIES_AT_ONCE: Final = 10_000

Read = Callable[[int, int, int], bytes]
"""What reads a file as `os.pread` does: descriptor, length, offset."""

_Told = tuple[bytes, int, str, int, int]
"""Digest, kind of place (`_PACK` or a code), pack, and two numbers."""

Tell = Callable[[Frame], Iterator[_Told]]
"""What an index holds of a frame of the ledger."""


class IndexEntry(NamedTuple):
    """Where an object is: `length` bytes of a pack from byte `offset` on.

    Of a file `pack` is "", `offset` that of its block in the ledger, and `length` is `USUAL` if it lies at the path that its key
    stands for, else `ODD`: then the block says where.
    """

    pack: str
    offset: int
    length: int


USUAL: Final = -1
ODD: Final = -2
NOWHERE: Final = IndexEntry("", -1, 0)


class _Last(NamedTuple):
    """The last frame of a stretch of the ledger: the offset where it begins, and its checksum."""

    offset: int
    checksum: int


class Segment:
    """One segment. It tells of the ledger from byte `start` to byte `end`. Read, not mapped: a disk that goes must not end the process."""

    def __init__(self, path: str, start: int, end: int) -> None:
        """Open a segment. Raises ValueError where it is not whole, and OSError where it cannot be read."""
        self.path, self.start, self.end = path, start, end
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._read_head()
        # What the kernel would read ahead is not what is asked for next.
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)

    def find(self, digest: bytes, read: Read = os.pread) -> IndexEntry | None:
        """Return the last entry about an object in this part of the ledger: `NOWHERE` if it was removed, None if there is none."""
        fence = self._fences + 4 * (int.from_bytes(digest[:4], "big") >> self._shift)
        fences = read(self._fd, _FENCES.size, fence)
        first, last = _FENCES.unpack(fences) if len(fences) == _FENCES.size else (1, 0)
        if first == last:
            return None
        if not first < last <= self.count:
            raise self._damaged()
        entries = read(self._fd, _ENTRY.size * (last - first), self._entries + _ENTRY.size * first)
        at = entries.find(digest)
        while at >= 0 and at % _ENTRY.size:
            at = entries.find(digest, at + 1)
        if at < 0:
            return None
        pack, offset, length = _PLACE.unpack_from(entries, at + DIGEST_BYTES)
        return _place(*self._decoded(pack), offset, length)

    def told(self) -> Iterator[_Told]:
        """Yield all entries, in order."""
        for start in range(0, self.count, _ENTRIES_AT_ONCE):
            number = min(self.count - start, _ENTRIES_AT_ONCE)
            data = os.pread(self._fd, _ENTRY.size * number, self._entries + _ENTRY.size * start)
            for digest, pack, offset, length in _ENTRY.iter_unpack(data):
                yield digest, *self._decoded(pack), offset, length

    def __del__(self) -> None:
        """Close the file, when nobody reads it any more."""
        with suppress(AttributeError, OSError):
            os.close(self._fd)

    def _read_head(self) -> None:
        head = os.pread(self._fd, _HEADER.size, 0)
        msg = f"{self.path}: is no whole index"
        if len(head) < _HEADER.size:
            raise ValueError(msg)
        magic, bits, self.count, names, *last = _HEADER.unpack(head)
        if magic != _MAGIC or bits > _MOST_BITS:
            raise ValueError(msg)
        self.last = _Last(*last)
        self._fences = _HEADER.size + names
        self._entries = self._fences + 4 * ((1 << bits) + 1)
        if os.fstat(self._fd).st_size != self._entries + _ENTRY.size * self.count:
            raise ValueError(msg)
        self.packs = os.pread(self._fd, names, _HEADER.size).decode().split("\n")
        self._shift = 32 - bits

    def _decoded(self, pack: int) -> tuple[int, str]:
        if pack >= _GONE:
            return pack, ""
        if pack >= len(self.packs):
            raise self._damaged()
        return _PACK, self.packs[pack]

    def _damaged(self) -> OSError:
        return OSError(errno.EIO, "the index is damaged; remove this file, and it is made again", self.path)


class KeyIndex:
    """The index of one volume's ledger, kept in `folder`, or in memory alone if that is None.

    Any number of threads may look for objects while one refreshes it. `tell` chooses what the folder's index holds: the places
    of objects, or their removals.
    """

    def __init__(self, ledger: Ledger, folder: str | None, tell: Tell | None = None) -> None:
        self._ledger = ledger
        self._folder = folder
        self._tell = tell or _told
        self._segments = _open_segments(folder, ledger) if folder else []
        self._tail: dict[bytes, IndexEntry] = {}
        self._end = self._segments[-1].end if self._segments else 0
        self.refresh()

    def find(self, key: bytes, read: Read = os.pread) -> IndexEntry | None:
        """Return where the newest version of an object is; None if there is none. `read` is how files are read."""
        digest = digest_of(key)
        place = self._tail.get(digest)
        if place is None:
            for segment in reversed(self._segments):
                place = segment.find(digest, read)
                if place is not None:
                    break
        return None if place is NOWHERE else place

    def refresh(self) -> None:
        """Add what the ledger has more than before."""
        if self._folder and self._ledger.end - self._end > _SEGMENT_BYTES:
            self._extend(self._folder)
        for entry in self._ledger.salvage(self._end):
            if not isinstance(entry, Damage):
                for digest, code, pack, offset, length in self._tell(entry):
                    self._tail[digest] = _place(code, pack, offset, length)
            self._end = entry.end
            if self._folder and len(self._tail) > _TAIL_ENTRIES:
                self._extend(self._folder)
                return

    def _extend(self, folder: str) -> None:
        """Write everything that is in no segment yet as one, unless another process has done so."""
        with _locked(folder):
            segments = _open_segments(folder, self._ledger)
            start = segments[-1].end if segments else 0
            if start < self._ledger.end:
                with _Builder(folder) as builder:
                    last = end = start
                    for entry in self._ledger.salvage(start):
                        if not isinstance(entry, Damage):
                            builder.add(self._tell(entry))
                            last = entry.offset
                        end = entry.end  # meanwhile another thread may append more
                    proof = _Last(last, self._ledger.checksum_at(last))
                    segments.append(builder.write(start, end, proof))
                _merge(segments, folder)
                _remove_others(segments, folder)
        # In this order: who looks into the tail first and then here finds everything at any time.
        self._segments = segments
        self._tail = {}
        self._end = segments[-1].end


def _merge(segments: list[Segment], folder: str) -> None:
    """Merge the newest segments into one as long as they are of about the same length."""
    while len(segments) > 1 and segments[-2].count <= _MERGE_RATIO * segments[-1].count:
        newer, older = segments.pop(), segments.pop()
        with _Builder(folder) as builder:
            for segment in (older, newer):
                builder.add(segment.told())
            segments.append(builder.write(older.start, newer.end, newer.last))


def _remove_others(segments: list[Segment], folder: str) -> None:
    """Remove what a kill left half written, and segments that tell of no more than these: merged ones, and those of another ledger."""
    kept = {os.path.basename(segment.path) for segment in segments}
    for name in os.listdir(folder):
        stretch = re.fullmatch(_NAME, name)
        is_told = stretch is not None and int(stretch[2]) <= segments[-1].end and name not in kept
        if is_told or name.endswith(".keys.new"):
            os.unlink(os.path.join(folder, name))


class _Builder:
    """Collects entries, and writes a segment: the last entry of each object, in the order of the digests."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: list[BinaryIO] = []
        self._buffers = [bytearray() for _ in range(_PARTITIONS)]
        self._packs: dict[str, int] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def add(self, told: Iterable[_Told]) -> None:
        """Add entries; later ones override earlier ones."""
        buffers, packs, pack_entry, count = self._buffers, self._packs, _ENTRY.pack, 0
        for digest, code, pack, offset, length in told:
            number = packs.setdefault(pack, len(packs)) if code == _PACK else code
            buffers[digest[0]] += pack_entry(digest, number, offset, length)
            count += 1
        self._count += count
        if max(map(len, buffers)) > _BUFFER_BYTES:
            self._spill()

    def write(self, start: int, end: int, last: _Last) -> Segment:
        """Write the segment of a part of the ledger that ends with the frame `last`, and open it."""
        bits = min(_MOST_BITS, max(0, (self._count // _ENTRIES_A_FENCE).bit_length()))
        names = "\n".join(self._packs).encode()
        counts = array("I", bytes(4 << bits))
        path = os.path.join(self._folder, f"{start}-{end}.keys")
        made = os.open(
            f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with open(made, "wb") as file:
            file.seek(_HEADER.size + len(names) + 4 * ((1 << bits) + 1))
            written = 0
            for partition in range(_PARTITIONS):
                entries = self._newest(partition, forget=start == 0)
                file.write(b"".join(entries))
                written += len(entries)
                for entry in entries:
                    counts[int.from_bytes(entry[:4], "big") >> 32 - bits] += 1
            file.seek(0)
            file.write(_HEADER.pack(_MAGIC, bits, written, len(names), *last) + names)
            file.write(array("I", accumulate(counts, initial=0)).tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{path}.new", path)
        return Segment(path, start, end)

    def _newest(self, partition: int, *, forget: bool) -> list[bytes]:
        data = bytes(self._buffers[partition])
        if self._files:
            self._files[partition].seek(0)
            data = self._files[partition].read() + data
        pieces = (data[at : at + _ENTRY.size] for at in range(0, len(data), _ENTRY.size))
        newest = {entry[:DIGEST_BYTES]: entry for entry in pieces}
        return sorted(entry for entry in newest.values() if not forget or entry[12:16] != _GONE_BYTES)

    def _spill(self) -> None:
        if not self._files:
            import tempfile

            self._files = [tempfile.TemporaryFile(dir=self._folder) for _ in range(_PARTITIONS)]  # noqa: SIM115 - `__exit__` closes
        for file, buffer in zip(self._files, self._buffers, strict=True):
            file.write(buffer)
            buffer.clear()


def _told(entry: Frame) -> Iterator[_Told]:
    """Yield the entries of a frame of the ledger."""
    removed = entry.kind is Kind.REMOVAL
    halves = (entry.offset >> 32, entry.offset & 0xFFFFFFFF)
    for record in entry.records():
        directory, pack = record.directory, record.pack
        digests = (digest_of(key_of(directory, name)) for name in record.names)
        if removed:
            yield from ((digest, _GONE, "", 0, 0) for digest in digests)
        elif pack:
            for digest, offset, length in zip(digests, record.offsets, record.lengths, strict=True):
                yield digest, _PACK, pack, offset, length
        else:
            for index, digest in enumerate(digests):
                yield digest, _ODD_FILE if index in record.paths else _FILE, "", *halves


def removals(entry: Frame) -> Iterator[_Told]:
    """Yield the removed objects of a frame, each at the frame's own offset."""
    if entry.kind is Kind.REMOVAL:
        halves = (entry.offset >> 32, entry.offset & 0xFFFFFFFF)
        for record in entry.records():
            for name in record.names:
                yield digest_of(key_of(record.directory, name)), _FILE, "", *halves


def _place(code: int, pack: str, offset: int, length: int) -> IndexEntry:
    if code == _GONE:
        return NOWHERE
    if code == _PACK:
        return IndexEntry(pack, offset * tar.BLOCK, length)
    return IndexEntry("", (offset << 32) + length, USUAL if code == _FILE else ODD)


def _open_segments(folder: str, ledger: Ledger) -> list[Segment]:
    """Open the segments that follow one another from the ledger's beginning, the longest ones."""
    os.makedirs(folder, exist_ok=True)
    found: dict[int, list[tuple[int, str]]] = {}
    for name in os.listdir(folder):
        stretch = re.fullmatch(_NAME, name)
        if stretch and int(stretch[2]) <= ledger.end:
            found.setdefault(int(stretch[1]), []).append((int(stretch[2]), os.path.join(folder, name)))
    segments: list[Segment] = []
    at = 0
    while segment := _longest(at, found.get(at, []), ledger):
        segments.append(segment)
        at = segment.end
    return segments


def _longest(start: int, candidates: Iterable[tuple[int, str]], ledger: Ledger) -> Segment | None:
    """Open the longest of some segments that is whole and tells of this ledger; None: it is made again."""
    for end, path in sorted(candidates, reverse=True):
        with suppress(OSError, ValueError):
            segment = Segment(path, start, end)
            if ledger.checksum_at(segment.last.offset) == segment.last.checksum:
                return segment
    return None


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    # Whoever can open a lock can hold it.
    fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with suppress(OSError):
        os.fchmod(fd, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
