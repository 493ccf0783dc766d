"""The ledger of a volume: an append-only file of frames with checksums that records what the volume holds.

A frame is a 40-byte header, the journal's name, and a payload: zlib level 1 of the encoded `list[Record]`. All numbers are little-endian:

    magic "bpL1" | crc32 of all that follows | kind u8 | length of the journal's name u8 | 0 u16 | length of the payload u32
    | work u64 | objects so far u64 | bytes so far u64 | journal | payload

`objects` and `bytes` are running totals, so that the end of a ledger tells what is on the volume without reading it.
What a power cut leaves of the last append is cut off when the ledger is opened. A frame is found from the end by its magic
and proved by its checksum, so opening costs the same for 4 GB as for 4 KB.
"""

import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Final, TypeVar

import msgspec

from bucketpull import kill_points
from bucketpull.domain.batching import ids_of
from bucketpull.domain.decoding import inflate, msgpack_decoder
from bucketpull.domain.errors import LedgerError
from bucketpull.domain.model import Id, key_of
from bucketpull.domain.record import Record, Sealed
from bucketpull.volumes import os_errors, syscalls
from bucketpull.volumes.beneath import OwnDirectory, close_ignoring_errors, write_all

LEDGER: Final = "ledger"
MAGIC: Final = b"bpL1"
_CHECK: Final = struct.Struct("<4sI")
_FIELDS: Final = struct.Struct("<BBHIQQQ")
_HEADER: Final = _CHECK.size + _FIELDS.size
_LARGEST_PAYLOAD: Final = 1 << 26
_LARGEST_BODY: Final = 1 << 30  # of what is compressed in a payload
_LARGEST_NUMBER: Final = 1 << 63  # a journal's columns hold less
_WINDOW: Final = 1 << 20
_LARGEST_TEAR: Final = 1 << 26  # an append is far smaller than 64 MiB; a longer damage is no torn tail
# A look: a ledger of 4 GB is read in some ten minutes, at a small part of a disk's speed.
_PIECE_BYTES: Final = 4 << 20
_AHEAD: Final = 1 << 20  # kept for the ledger, so that what filled the disk can still be recorded

T = TypeVar("T")
decode_records: Callable[[bytes], list[Record]] = msgpack_decoder(list[Record])
_decode_sealed: Callable[[bytes], Sealed] = msgpack_decoder(Sealed)


class Kind(IntEnum):
    """What a frame says: objects that were stored, objects that were removed, or a pack that was sealed.

    Of removed objects it has the names; of those that `prune` removed also by what their files are known: the length, date and MD5.
    """

    BLOCK = 1
    REMOVAL = 2
    PACK = 3


class Entry(msgspec.Struct, frozen=True):
    """A frame to be appended: `records` is the encoded `list[Record]` (of a pack: `Sealed`); the totals change by `objects` and `size`."""

    kind: Kind
    journal: str
    work: int
    records: bytes
    objects: int
    size: int


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame as read. `objects` and `size` are the totals up to and with it; `end` is the next frame's offset."""

    offset: int
    end: int
    kind: Kind
    journal: str
    work: int
    objects: int
    size: int
    payload: bytes
    volume: str

    def records(self) -> list[Record]:
        """Decode the objects; a frame about a pack has none. Raises LedgerError where the frame was not written by us."""
        records = [] if self.kind is Kind.PACK else self._decoded(decode_records)
        for record in records:
            if fault := record.fault():
                raise LedgerError(
                    self.volume,
                    f"ledger's entry at byte {self.offset} {fault}; it was not written by bucketpull",
                )
        return records

    def ids(self) -> set[Id]:
        """Return directory and name of all objects that it names; raises as `records`."""
        return ids_of(self.records())

    def sealed(self) -> Sealed:
        """Decode what a frame of kind `PACK` says; raises as `records`."""
        return self._decoded(_decode_sealed)

    def _decoded(self, decode: Callable[[bytes], T]) -> T:
        try:
            return decode(inflate(self.payload, _LARGEST_BODY))
        except msgspec.DecodeError as error:
            detail = f"ledger's entry at byte {self.offset} is not understood: {error}; `bucketpull verify` says what is lost"
            raise LedgerError(self.volume, detail) from error


class Gone(msgspec.Struct, frozen=True, gc=False):
    """An object that goes from a volume: the offset of the block that tells of it, its record, and its index there."""

    block: int
    record: Record
    place: int

    @property
    def id(self) -> Id:
        """Its directory and name."""
        return self.record.id_at(self.place)

    @property
    def key(self) -> bytes:
        """The object's key."""
        return key_of(*self.id)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.record.lengths[self.place]

    @property
    def version(self) -> tuple[int, int]:
        """Its size and date as they were listed, which tell its version."""
        return self.record.sizes[self.place], self.record.mtimes[self.place]


class Damage(msgspec.Struct, frozen=True):
    """A part of the file without a whole frame."""

    offset: int
    end: int


class Ledger:
    """The ledger file of one volume. `volume` is its path, for messages."""

    def __init__(self, fd: int, volume: str) -> None:
        self._fd = fd
        self._volume = volume
        self._reserved = 0
        self.end, self.objects, self.size = 0, 0, 0
        self._find_end()

    @classmethod
    def open(cls, home: OwnDirectory, volume: str, writable: bool) -> "Ledger":
        """Open (or, writable, begin) a ledger.

        Raises LedgerError where it is damaged near its end by more than a torn append, and VolumeError where it cannot be opened.
        """
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        with os_errors.volume_errors(volume, "ledger not opened"):
            fd = home.open_file(LEDGER, flags)
        try:
            return cls(fd, volume)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            close_ignoring_errors(self._fd)
            self._fd = -1

    def append(self, entries: Sequence[Entry], durable: bool = True) -> list[int]:
        """Append frames in one write, make them durable, and return their offsets.

        Raises:
            VolumeFull: There is no room; nothing was appended.
            VolumeSick: The disk refused; nothing may be relied on.

        """
        offsets, pieces, end, objects, size = [], [], self.end, self.objects, self.size
        for entry in entries:
            objects, size = max(0, objects + entry.objects), max(0, size + entry.size)
            frame = _with_header(entry, zlib.compress(entry.records, 1), objects, size)
            offsets.append(end)
            pieces.append(frame)
            end += len(frame)
        self._write(b"".join(pieces), durable)
        self.end, self.objects, self.size = end, objects, size
        return offsets

    def read(self, offset: int) -> Frame:
        """Return the frame at an offset. Raises LedgerError where there is no whole frame."""
        frame = self._frame_at(offset)
        if frame is None:
            detail = f"ledger has no whole entry at byte {offset} of {self.end}; `bucketpull verify` says what is lost"
            raise LedgerError(self._volume, detail)
        return frame

    def checksum_at(self, offset: int) -> int:
        """Return the checksum that the frame at an offset states, by which it is known; -1 where none begins."""
        head = os.pread(self._fd, _CHECK.size, offset)
        return int.from_bytes(head[len(MAGIC) :], "little") if head.startswith(MAGIC) else -1

    def follow(self) -> None:
        """Find what another process has appended since the ledger was opened."""
        while self.end < os.fstat(self._fd).st_size:
            frame = self._frame_at(self.end)
            if frame is None:  # it is being written
                return
            self.end, self.objects, self.size = frame.end, frame.objects, frame.size

    def salvage(self, start: int = 0) -> Iterator[Frame | Damage]:
        """Yield all whole frames, oldest first, and a `Damage` for each part without."""
        while start < self.end:
            frame = self._frame_at(start)
            if frame is None:
                resumed = self._next_whole(start + 1)
                yield Damage(start, resumed)
                start = resumed
            else:
                yield frame
                start = frame.end

    def blank(self, damage: Damage) -> bool:
        """Put entries without objects in place of what is damaged, so that the ledger is whole again; return False if that cannot be.

        It cannot where something whole begins there, or where the damage is too short for an entry. What a kill leaves of it is the damage still.

        Raises VolumeError where the disk refused.
        """
        if damage.end - damage.offset < _HEADER + len(_nothing()):
            return False
        if next(self.salvage(damage.offset), None) != damage:
            return False
        before = self._last_whole(damage.offset)
        totals = (before.objects, before.size) if before else (0, 0)
        with os_errors.volume_errors(self._volume, "ledger not written"):
            for offset, length in _pieces(damage):
                write_all(self._fd, [_blank(length, *totals)], offset)
            os.fdatasync(self._fd)
        return True

    def may_be_torn(self, offset: int) -> bool:
        """Whether what begins at an offset and goes to the end is no more than an append can have torn."""
        return os.fstat(self._fd).st_size - offset <= _LARGEST_TEAR

    def cut(self, offset: int) -> None:
        """Truncate the file at an offset."""
        os.ftruncate(self._fd, offset)
        self._find_end()

    def reserve(self) -> None:
        """Reserve room for the next frames, so that what fills the disk can still be recorded."""
        if self._reserved < self.end + _AHEAD // 2:
            syscalls.reserve_ahead(self._fd, self.end, _AHEAD)
            self._reserved = self.end + _AHEAD

    def _write(self, data: bytes, durable: bool) -> None:
        try:
            write_all(self._fd, [data], self.end)
            kill_points.at("appended")
            if durable:
                os.fdatasync(self._fd)
        except OSError as error:
            self._undo()
            raise os_errors.volume_error(self._volume, "ledger not written", error) from error
        self.reserve()

    def _undo(self) -> None:
        with os_errors.volume_errors(self._volume, "ledger not cut after a failed append"):
            os.ftruncate(self._fd, self.end)
            self._reserved = 0  # what was set aside beyond the end went with it

    def _frame_at(self, offset: int) -> Frame | None:
        head = os.pread(self._fd, _HEADER, offset)
        if len(head) < _HEADER or not head.startswith(MAGIC):
            return None
        crc = _CHECK.unpack_from(head)[1]
        kind, journal_length, _, length, work, objects, size = _FIELDS.unpack_from(head, _CHECK.size)
        if length > _LARGEST_PAYLOAD or kind not in _KINDS:
            return None
        body = os.pread(self._fd, journal_length + length, offset + _HEADER)
        if len(body) < journal_length + length or zlib.crc32(body, zlib.crc32(head[_CHECK.size :])) != crc:
            return None
        if max(work, objects, size) >= _LARGEST_NUMBER:
            return None
        end, journal = offset + _HEADER + len(body), body[:journal_length].decode(errors="replace")
        payload = body[journal_length:]
        return Frame(offset, end, Kind(kind), journal, work, objects, size, payload, self._volume)

    def _find_end(self) -> None:
        """Find the last whole frame, from the end of the file; what follows it is an interrupted append."""
        size = os.fstat(self._fd).st_size
        self.end = size
        last = self._last_whole(size)
        self.end, self.objects, self.size = (last.end, last.objects, last.size) if last else (0, 0, 0)
        if size - self.end > _LARGEST_TEAR:
            raise LedgerError(
                self._volume,
                f"ledger is damaged from byte {self.end} to its end at {size}; see `bucketpull verify`",
            )

    def _last_whole(self, size: int) -> Frame | None:
        stop = size
        while stop > 0 and size - stop <= _LARGEST_TEAR + _WINDOW:
            start = max(0, stop - _WINDOW)
            data = os.pread(self._fd, stop - start + len(MAGIC) - 1, start)
            found = data.rfind(MAGIC)
            while found >= 0:
                frame = self._frame_at(start + found)
                if frame:
                    return frame
                found = data.rfind(MAGIC, 0, found + len(MAGIC) - 1)
            stop = start
        return None

    def _next_whole(self, start: int) -> int:
        while start < self.end:
            data = os.pread(self._fd, _WINDOW, start)
            found = data.find(MAGIC)
            while found >= 0:
                if self._frame_at(start + found):
                    return start + found
                found = data.find(MAGIC, found + 1)
            start += max(1, len(data) - len(MAGIC) + 1)
        return self.end


_KINDS = frozenset(Kind)


class LedgerCheck:
    """Reads what a ledger had when it was opened, once, against its checksums: what is appended since was just written."""

    def __init__(self, ledger: Ledger, path: str) -> None:
        self._ledger = ledger
        self._path = path
        self._at, self._end = 0, ledger.end
        self._trouble = ""

    def look(self) -> None:
        """Read the next piece, if there is one. Raises OSError where the ledger is closed, or the machine is short of something."""
        if self._at >= self._end:
            return
        stop = min(self._at + _PIECE_BYTES, self._end)
        try:
            for entry in self._ledger.salvage(self._at):
                if isinstance(entry, Damage):
                    self._found(f"has a ledger that is damaged from byte {entry.offset} to {entry.end}")
                self._at = entry.end
                if self._at >= stop:
                    return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._found(f"has a ledger that cannot be read from byte {self._at} on ({error.strerror})")
            self._at = self._end

    def met(self, offset: int) -> None:
        """Note an entry that was asked for and is not whole."""
        self._found(f"has a ledger that is damaged at byte {offset}")

    def warning(self) -> str:
        """Say where the ledger is damaged; "" where nothing was found."""
        return self._trouble and f"{self._trouble}; `bucketpull verify {self._path} --repair` heals it"

    def _found(self, trouble: str) -> None:
        self._trouble = self._trouble or trouble


def _nothing() -> bytes:
    """Return the payload of a frame without objects."""
    return zlib.compress(msgspec.msgpack.encode([]), 1)


def _blank(length: int, objects: int, size: int) -> bytes:
    """Return a frame of so many bytes without objects; readers ignore what follows the compressed records."""
    payload = _nothing().ljust(length - _HEADER, b"\0")
    return _with_header(Entry(Kind.BLOCK, "", 0, b"", 0, 0), payload, objects, size)


def _pieces(damage: Damage) -> Iterator[tuple[int, int]]:
    """Give offset and length of the frames that fill a damaged part, of about equal lengths."""
    length = damage.end - damage.offset
    count = -(-length // _LARGEST_PAYLOAD)
    for number in range(count):
        start, end = length * number // count, length * (number + 1) // count
        yield damage.offset + start, end - start


def _with_header(entry: Entry, payload: bytes, objects: int, size: int) -> bytes:
    journal = entry.journal.encode()
    fields = _FIELDS.pack(entry.kind, len(journal), 0, len(payload), entry.work, objects, size)
    crc = zlib.crc32(payload, zlib.crc32(journal, zlib.crc32(fields)))
    return b"".join((_CHECK.pack(MAGIC, crc), fields, journal, payload))
