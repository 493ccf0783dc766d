"""Where packs lie on a volume, what they are called, and who may append to which.

    packs/VOLUME-WRITER-NUMBER.tar      a pack: the volume's id (its first six digits), the writer, the pack's number
    .bucketpull/packs/WRITER.lock       locked by the process that is this writer
    .bucketpull/packs/WRITER.open       the pack that the writer is to go on with, and where its settled part ends
    packs/VOLUME-WRITER-NUMBER.tar.index.sqlite, packs/SHA256SUMS     what is made for sealed packs

Who writes goes by the descriptors of the two folders (`Folders`), which are ours alone: whatever others put in their way leads
nowhere. Names differ between volumes, so that packs of several disks can lie in one folder. A writer numbers its packs without gaps.
"""

import fcntl
import os
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import Final

import msgspec

from bucketpull.domain.record import Record, Sealed
from bucketpull.volumes import beneath
from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.identity import PACKS, PREFIX_DIGITS

FOLDER: Final = PACKS
STATE: Final = "packs"
NEXT: Final = -1
"""In place of an end: the writer is to begin its next pack."""
EMPTY_BYTES: Final = 512
"""Zeros of which readers say that they are an archive without members; of a file of no bytes they say that it is none."""
INDEX_SUFFIX: Final = ".index.sqlite"
_SUMS: Final = "SHA256SUMS"
_NAME: Final = r"([0-9a-f]{6})-(\d+)-(\d{6,})\Z"


_changing_sums = threading.Lock()  # `compact` removes packs while a thread seals others


def pack_name(volume: str, writer: int, number: int) -> str:
    """Return the name of a pack, as the ledger has it."""
    return f"{volume[:PREFIX_DIGITS]}-{writer}-{number:06d}"


def parse_name(name: str) -> tuple[int, int] | None:
    """Return writer and number of a pack; None for what is no pack's name."""
    found = re.match(_NAME, name)
    return (int(found[2]), int(found[3])) if found else None


def file_of(pack: str) -> str:
    """Return the name of a pack's file."""
    return f"{pack}.tar"


def path_of(pack: str) -> str:
    """Return where a pack lies below its volume."""
    return f"{FOLDER}/{file_of(pack)}"


def settled_end(record: Record) -> int:
    """Return where the last object of a record ends in its pack, in bytes, with its padding."""
    from bucketpull.volumes.packs.tar import BLOCK  # 0.5 ms that only packs need

    ends = zip(record.offsets, record.lengths, strict=True)
    return max(offset + -(-length // BLOCK) for offset, length in ends) * BLOCK


class Usage(msgspec.Struct, frozen=True):
    """How many packs a volume has, how many of them their writers may go on with, and the bytes of all of them and of the largest."""

    packs: int = 0
    open: int = 0
    size: int = 0
    largest: int = 0


def usage(root: int, volume: str) -> Usage:
    """Measure the packs of a volume; for who only reads."""
    sizes: dict[str, int] = {}
    with suppress(FileNotFoundError, NotADirectoryError), beneath.scanned(root, FOLDER.encode()) as entries:
        for entry in entries:
            sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    numbers = _numbered(sizes, volume)
    names = [file_of(pack_name(volume, writer, each)) for writer in numbers for each in numbers[writer]]
    taken = [sizes[name] for name in names]
    return Usage(len(names), len(numbers), sum(taken), max(taken, default=0))


def packs_of(root: int, volume: str) -> dict[int, list[int]]:
    """Return the numbers of all packs that a volume made, in order, by writer; for who only reads."""
    try:
        with beneath.scanned(root, FOLDER.encode()) as entries:
            return _numbered((entry.name for entry in entries), volume)
    except (FileNotFoundError, NotADirectoryError):  # an object may be called as their folder is
        return {}


def _numbered(names: Iterable[str], volume: str) -> dict[int, list[int]]:
    prefix = volume[:PREFIX_DIGITS] + "-"
    found: dict[int, list[int]] = {}
    for name in names:
        place = parse_name(name.removesuffix(".tar")) if name.startswith(prefix) else None
        if place is not None and name.endswith(".tar"):
            found.setdefault(place[0], []).append(place[1])
    return {writer: sorted(numbers) for writer, numbers in sorted(found.items())}


def is_made(home: OwnDirectory) -> bool:
    """Tell whether the volume has, or had, packs."""
    return beneath.look(home.fd, STATE) is not None


class Folders:
    """The folders of one volume's packs, for who writes there: made if they lack, and opened once.

    `root` and `home` stay the caller's, `volume` is an id, `path` is for messages. Raises OSError where they cannot be made or opened,
    and VolumeForeign where one is a link, or belongs to somebody else.
    """

    def __init__(self, root: int, home: OwnDirectory, volume: str, path: str) -> None:
        beneath.make(root, FOLDER, 0o755)
        self.state = home.below(STATE)
        self.packs = OwnDirectory.open(root, FOLDER, path, writing=True)
        self.volume = volume
        self._root = root

    def name(self, writer: int, number: int) -> str:
        """Return the name of one of the volume's packs."""
        return pack_name(self.volume, writer, number)

    def numbers(self) -> dict[int, list[int]]:
        """Return the numbers of all packs that this volume made, in order, by writer."""
        return _numbered(self.packs.names(), self.volume)

    def open(self, pack: str, flags: int = os.O_RDWR) -> int:
        """Open a pack. Raises OSError where it is not there, or not a file of ours."""
        return self.packs.open_file(file_of(pack), flags)

    def begin(self, pack: str) -> int:
        """Make a pack and open it for writing; from the moment at which it has its name, it is an archive without members.

        Raises OSError where the disk refuses.
        """
        name = file_of(pack)
        temporary = f"{name}.new"
        fd = beneath.create(self.packs.fd, temporary)
        try:
            os.ftruncate(fd, EMPTY_BYTES)
            beneath.rename(temporary, name, src_dir_fd=self.packs.fd, dst_dir_fd=self.packs.fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def size(self, pack: str) -> int:
        """Return the bytes of a pack, -1 where there is none."""
        found = beneath.look(self.packs.fd, file_of(pack))
        return -1 if found is None else found.st_size

    def remove(self, pack: str) -> None:
        """Remove a pack, if it is there, with its index and its line in `SHA256SUMS`."""
        name = file_of(pack)
        self._remove_file(name + INDEX_SUFFIX)
        self._remove_file(name)
        with _changing_sums:
            if pack in self.sealed():
                self._write_sums(self._sums(but=pack))

    def sealed(self) -> set[str]:
        """Return the packs that are sealed, which are those in `SHA256SUMS`."""
        lines = (each.partition(b"  ")[2].strip().decode(errors="replace") for each in self._sums())
        return {name.removesuffix(".tar") for name in lines}

    def note_sealed(self, sealed: Sealed) -> None:
        """Add a pack to what `sha256sum --check` reads, unless it was removed meanwhile."""
        with _changing_sums:
            if self.size(sealed.pack) >= 0:
                line = b"%s  %s\n" % (sealed.sha256.hex().encode(), file_of(sealed.pack).encode())
                self._write_sums([*self._sums(but=sealed.pack), line])

    def sync_names(self) -> None:
        """Make the names of new packs, and of their folder, durable."""
        os.fsync(self.packs.fd)
        os.fsync(self._root)

    def lock(self, writer: int) -> int | None:
        """Lock a writer's packs and return the lock's descriptor; None where another process has it."""
        fd = self.state.open_file(f"{writer}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def lease(self) -> tuple[int, int]:
        """Become the first writer that nobody is; return its number and the lock's descriptor."""
        return next((writer, fd) for writer in count() if (fd := self.lock(writer)) is not None)

    def leave_open(self, writer: int, number: int, end: int) -> None:
        """Say which pack a writer is to go on with, and where."""
        self.state.replace(f"{writer}.open", b"%d %d\n" % (number, end), durable=False)

    def left_open(self, writer: int) -> tuple[int, int] | None:
        """Return number and end of the pack that a writer is to go on with."""
        try:
            number, end = map(int, self.state.read(f"{writer}.open").split())
        except (FileNotFoundError, ValueError):  # a power cut may leave it empty: the next pack is begun then
            return None
        return number, end

    def take_open(self, writer: int) -> tuple[int, int] | None:
        """Return the same, once; `NEXT` as often as it is asked."""
        left = self.left_open(writer)
        if left is not None and left[1] != NEXT:
            beneath.remove(self.state.fd, f"{writer}.open")
        return left

    def close(self) -> None:
        """Close the packs' folder; the other one is the caller's."""
        self.packs.close()

    def _sums(self, but: str = "") -> list[bytes]:
        """Return the whole lines of `SHA256SUMS`, but for that of a pack."""
        with suppress(FileNotFoundError):
            lines = self.packs.read(_SUMS).splitlines(keepends=True)
            other = b"  %s\n" % file_of(but).encode()
            return [line for line in lines if line.endswith(b"\n") and not line.endswith(other)]
        return []

    def _write_sums(self, lines: list[bytes]) -> None:
        if lines:
            self.packs.replace(_SUMS, b"".join(sorted(lines)))
        else:
            self._remove_file(_SUMS)

    def _remove_file(self, name: str) -> None:
        with suppress(FileNotFoundError):
            beneath.remove(self.packs.fd, name)
