"""Entries of equal width, more than memory holds, dealt out over files by their digest, and the digest of a key."""

import hashlib
import os
from collections.abc import Iterator
from typing import Final

from bucketpull.volumes.beneath import write_all

DIGEST_BYTES: Final = 12
_ENTRIES_A_FILE: Final = 200_000  # about 15 MB while they are sorted
_MOST_FILES: Final = 8192
_BUFFERS_BYTES: Final = 8 << 20  # all partitions' together
_LARGEST_BUFFER: Final = 1 << 15
_READ_ENTRIES: Final = 1 << 14


class Partitions:
    """Entries of equal width, dealt out over files by their digest, to be looked at file by file.

    Its memory does not grow with their number, and it keeps no file open: there may be more files than descriptors.
    """

    def __init__(self, folder: str, name: str, expected: int, tail_bytes: int) -> None:
        self.count = min(_MOST_FILES, expected // _ENTRIES_A_FILE + 1)
        self._width = DIGEST_BYTES + tail_bytes
        self._paths = [os.path.join(folder, f"{name}-{number}") for number in range(self.count)]
        self._buffers = [bytearray() for _ in range(self.count)]
        self._full = min(_LARGEST_BUFFER, _BUFFERS_BYTES // self.count)

    def add(self, digest: bytes, tail: bytes = b"") -> None:
        """Add an entry."""
        number = (digest[0] << 8 | digest[1]) % self.count
        buffer = self._buffers[number]
        buffer += digest + tail
        if len(buffer) >= self._full:
            self._write(number)

    def finish(self) -> None:
        """End adding."""
        for number in range(self.count):
            self._write(number)

    def take(self, number: int) -> list[bytes]:
        """Return the entries of one file in ascending order, and remove the file."""
        with open(self._paths[number], "rb") as file:
            data = file.read()
        os.unlink(self._paths[number])
        return sorted(data[start : start + self._width] for start in range(0, len(data), self._width))

    def stream(self, number: int) -> Iterator[bytes]:
        """Give the entries of one file as they were added, and remove it: for one that may have far more than `expected`."""
        with open(self._paths[number], "rb") as file:
            while data := file.read(self._width * _READ_ENTRIES):
                yield from (data[start : start + self._width] for start in range(0, len(data), self._width))
        os.unlink(self._paths[number])

    def _write(self, number: int) -> None:
        with open(self._paths[number], "ab", buffering=0) as file:
            write_all(file.fileno(), [bytes(self._buffers[number])])
        self._buffers[number].clear()


def digest_of(data: bytes) -> bytes:
    """Return 96 bits: among 120 million, two are equal by chance once in 10 trillion volumes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
