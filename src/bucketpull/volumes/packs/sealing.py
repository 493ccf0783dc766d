"""Seals a pack that its writer has finished: its end is put in order, its SHA-256 taken, its index made.

It takes one pass over the pack, soon after it was written, in a process of its own with the lowest priority:

    python -m bucketpull.volumes.packs.sealing FOLDER PACK:SETTLED...

with FOLDER an open descriptor of the packs' folder and SETTLED where the ledger's last object of a pack ends prints a `Sealed` as JSON for each, and after
`NOT` why it could not be, or what is wrong with it. It may be done again at any time, and always comes to the same.
"""

import hashlib
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec

from bucketpull.domain.counting import counted
from bucketpull.domain.record import Sealed
from bucketpull.volumes import beneath
from bucketpull.volumes.beneath import OwnDirectory, closing_fd
from bucketpull.volumes.packs import folder, tar
from bucketpull.volumes.packs.index import Index

SUMS: Final = "SHA256SUMS"
NOT: Final = b"!"
_WINDOW_BYTES: Final = 4 << 20
_LARGEST_HEADER: Final = 64 << 10
_SEARCHED_BYTES: Final = 256 << 10
_NICE: Final = 19
_MAGIC: Final = b"ustar\0"
_MAGIC_AT: Final = 257

_changing_sums = threading.Lock()  # `compact` removes packs while a thread seals others


class TarWalk:
    """Goes through a tar once, in sequence; then `end` is where its last whole member ends, `digest` that of all before.

    A kill leaves a header of zeros, which ends the archive from `settled` on. What else is no header is damaged: the walk goes on at the next one,
    and `damaged` counts it. `fd` stays the caller's.
    """

    def __init__(self, fd: int, settled: int = 0) -> None:
        self._fd = fd
        self._settled = settled
        self._size = os.fstat(fd).st_size
        self._start = 0
        self._data = b""
        self._hashed = 0
        self.end = self.damaged = 0
        self.digest = hashlib.sha256()

    def members(self) -> Iterator[tuple[int, tar.MemberHeader]]:
        """Give the offset of each member's header, and what it says; `body` counts from the archive's beginning."""
        while True:
            if self.end + _LARGEST_HEADER > self._start + len(self._data):
                self._load()
            found = tar.read_header(self._data, self.end - self._start)
            if found is None:
                if self._is_over():
                    break
                self.damaged += 1
                following = self._next_header()
                self.end = self._tail() if following is None else following
                if following is None:
                    break
                continue
            body = self._start + found.body
            if body + found.size > self._size:
                break
            yield self.end, found._replace(body=body)
            self.end = body + found.size + tar.padding(found.size)
        self._hash_to(self.end)

    def _is_over(self) -> bool:
        """Tell whether the archive ends where no header is."""
        at = self.end - self._start
        header = self._data[at : at + tar.BLOCK]
        return self.end >= self._size or (self.end >= self._settled and not any(header))

    def _next_header(self) -> int | None:
        """Return where the next header behind a damaged one is; None where there is none."""
        at = self.end + tar.BLOCK
        while data := os.pread(self._fd, _SEARCHED_BYTES, at):
            place = data.find(_MAGIC, _MAGIC_AT)
            while place >= 0:
                begin = place - _MAGIC_AT
                if begin % tar.BLOCK == 0 and tar.read_header(data, begin) is not None:
                    return at + begin
                place = data.find(_MAGIC, place + 1)
            at += _SEARCHED_BYTES - _LARGEST_HEADER  # one at the end of what was read may be cut off
        return None

    def _tail(self) -> int:
        """Return where the file ends behind a damaged header that is the last, without what ends an archive."""
        end = self._size + tar.padding(self._size)
        begin = max(0, end - len(tar.END))
        return max(self.end, begin) if os.pread(self._fd, len(tar.END), begin) == tar.END else end

    def _load(self) -> None:
        """Read on from the next header, hashing what lies before it."""
        self._hash_to(self.end)
        self._start, self._data = self.end, os.pread(self._fd, _WINDOW_BYTES, self.end)

    def _hash_to(self, end: int) -> None:
        while self._hashed < end:
            at = self._hashed - self._start
            piece: bytes | memoryview = memoryview(self._data)[at : end - self._start] if at >= 0 else b""
            if not piece:
                piece = os.pread(self._fd, min(_WINDOW_BYTES, end - self._hashed), self._hashed)
            if not piece:  # the file ends within the padding of its last body, which will be zeros
                piece = bytes(end - self._hashed)
            self.digest.update(piece)
            self._hashed += len(piece)


def seal(directory: int, pack: str, settled: int = 0) -> tuple[Sealed, int]:
    """Seal a pack that lies in an open directory; return it, and how many damaged stretches it has.

    Raises OSError where it cannot be read or written.
    """
    with closing_fd(beneath.open_file(directory, folder.file_of(pack), os.O_RDWR)) as fd:
        walk, members = TarWalk(fd, settled), 0
        with Index(directory, folder.file_of(pack)) as index:
            for at, found in walk.members():
                index.add(at, found)
                members += 1
            length = walk.end + len(tar.END)
            if os.fstat(fd).st_size != length or os.pread(fd, len(tar.END), walk.end) != tar.END:
                os.ftruncate(fd, walk.end)
                beneath.write_all(fd, [tar.END], walk.end)
            walk.digest.update(tar.END)
            os.fsync(fd)
            index.finish(os.fstat(fd))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return Sealed(pack, length, walk.digest.digest(), members), walk.damaged


def write_sums(packs: OwnDirectory, sealed: Sealed) -> None:
    """Add a sealed pack to the file that `sha256sum --check` reads, unless it was removed meanwhile."""
    line = b"%s  %s.tar\n" % (sealed.sha256.hex().encode(), sealed.pack.encode())
    with _changing_sums:
        if beneath.look(packs.fd, folder.file_of(sealed.pack)) is not None:
            _write_sums(packs, [*_other_sums(packs, sealed.pack), line])


def forget_sum(packs: OwnDirectory, pack: str) -> None:
    """Take a pack that was removed out of that file."""
    with _changing_sums:
        _write_sums(packs, _other_sums(packs, pack))


def _other_sums(packs: OwnDirectory, pack: str) -> list[bytes]:
    return [line for line in _read_sums(packs) if not line.endswith(b"  %s.tar\n" % pack.encode())]


def _write_sums(packs: OwnDirectory, lines: list[bytes]) -> None:
    if lines:
        folder.replace(packs, SUMS, b"".join(sorted(lines)), durable=True)
    else:
        with suppress(FileNotFoundError):
            beneath.remove(packs.fd, SUMS)


def in_sums(packs: OwnDirectory) -> set[str]:
    """Return the packs that are sealed."""
    lines = (each.partition(b"  ")[2].strip().decode(errors="replace") for each in _read_sums(packs))
    return {name.removesuffix(".tar") for name in lines}


def _read_sums(packs: OwnDirectory) -> list[bytes]:
    with suppress(FileNotFoundError):
        return [line for line in packs.read(SUMS).splitlines(keepends=True) if line.endswith(b"\n")]
    return []


def _main(directory: str, *packs: str) -> None:
    os.nice(_NICE)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked was killed: nobody is to be told why
    for each in packs:
        pack, _, settled = each.partition(":")
        try:
            sealed, damaged = seal(int(directory), pack, int(settled or 0))
        except (OSError, sqlite3.Error) as error:
            _tell(NOT + f"pack {pack} is not sealed: {getattr(error, 'strerror', None) or error}".encode())
            continue
        if damaged:
            _tell(
                NOT
                + f"pack {pack} is damaged in {counted(damaged, 'places')}; run `bucketpull verify --hash --repair`".encode()
            )
        _tell(msgspec.json.encode(sealed))


def _tell(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
