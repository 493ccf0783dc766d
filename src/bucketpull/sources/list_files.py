"""Lists in files that a user brings: read by the page from any byte offset, in memory that does not grow with the file.

A list is its content: one that changed is another list, in which an offset means nothing; one that was written anew with the same
content is not. Of a very large one, which would take long to read, the time of change and a hash of head and tail stand for it.
"""

import os
import stat
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b, file_digest
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

from bucketpull.domain.errors import AnswerError, ConfigError, Reason

PAGE_LINES: Final = 10_000
LONGEST_LINE: Final = 64 << 10
BOM: Final = b"\xef\xbb\xbf"
CORRECT_IT: Final = "correct the line, and name the new list as another --job"
# What files begin with that are no text in UTF-8.
_FOREIGN: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
    b"ORC": "ORC",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_WHOLE_BYTES: Final = 256 << 20  # are read at each start; 0.2 to 0.5 s
_SAMPLE_BYTES: Final = 64 << 10
_CHUNK_BYTES: Final = 1 << 20
LOOKED_AT_BYTES: Final = 4096


class ListPosition(NamedTuple):
    """Where a page of a list begins: the byte, and the number of the line there (from 1)."""

    offset: int = 0
    line: int = 1

    def text(self) -> str:
        """Write it as a cursor."""
        return f"{self.offset}:{self.line}" if self.offset else ""

    @classmethod
    def of(cls, cursor: str) -> "ListPosition":
        """Read a cursor. Raises AnswerError (`cursor`) where it is none."""
        if not cursor:
            return cls()
        offset, _, line = cursor.partition(":")
        if not (offset.isdigit() and line.isdigit() and len(cursor) <= 40):
            raise AnswerError(Reason.CURSOR, f"no place in a list: {cursor[:80]!r}")
        return cls(int(offset), int(line))


class Lines(NamedTuple):
    """Some lines with their numbers, what is wrong with others, and where the list goes on; None at its end."""

    numbers: list[int]
    lines: list[bytes]
    odd: list[str]
    following: ListPosition | None


def check_text(path: str) -> None:
    """Make sure that a list does not begin as a file of another kind does: each of its lines would be a failure.

    Raises ConfigError where it does, or cannot be read.
    """
    try:
        check_regular(path)
        with Path(path).open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ConfigError(f"list {path}: {error.strerror or error}; name a file that can be read") from error
    kind = next((kind for magic, kind in _FOREIGN.items() if head.startswith(magic)), None)
    if kind is not None:
        raise ConfigError(
            f"list {path}: is {kind}, not text; unpack or write it as lines, CSV or TSV in UTF-8 (Parquet: let its name end with .parquet)"
        )


def check_lines(path: str) -> None:
    """Make sure that a list is of lines in UTF-8 that end with a line feed. Raises ConfigError as `check_text`, and at NUL bytes."""
    check_text(path)
    with Path(path).open("rb") as file:
        if b"\0" in file.read(LOOKED_AT_BYTES):
            raise ConfigError(
                f"list {path}: has NUL bytes; write what is UTF-16 as UTF-8, and give keys that each end with NUL by --keys0"
            )


def check_regular(path: str) -> None:
    """Make sure that a list can be read more than once, and has an end.

    Raises:
        ConfigError: It is a pipe or a device.
        OSError: It is not there.

    """
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise ConfigError(
            f"list {path}: is a pipe or a device, and a list is read more than once; write it to a file and name that"
        )


def fingerprint(path: str) -> str:
    """Name the state of a file: its content, and behind an @ its time of change. `content_of` it is what makes it another list.

    Raises ConfigError where it cannot be read.
    """
    try:
        check_regular(path)
        with Path(path).open("rb") as file:
            found = os.fstat(file.fileno())
            return f"{_content(file, found.st_size, found.st_mtime_ns)}@{found.st_mtime_ns}"
    except OSError as error:
        raise ConfigError(f"list {path}: {error.strerror or error}; name a file that can be read") from error


def _content(file: BufferedReader, size: int, mtime_ns: int) -> str:
    if size <= _WHOLE_BYTES:
        return f"{size} bytes, {file_digest(file, 'sha1').hexdigest()}"
    digest = blake2b(file.read(_SAMPLE_BYTES), digest_size=8)
    file.seek(size - _SAMPLE_BYTES)
    digest.update(file.read(_SAMPLE_BYTES))
    return f"{size} bytes of {mtime_ns // 1_000_000_000}, {digest.hexdigest()}"


def content_of(state: str) -> str:
    """Return the part of a `fingerprint` that is the same for two files with the same content."""
    return state.partition("@")[0]


def check_unchanged(path: str, state: str) -> None:
    """Make sure that a file still is what `fingerprint` said: by size and time, and by its content if they differ. "" is not compared.

    Raises:
        AnswerError: `cursor`, if it is not: an offset means nothing in another list.

    """
    try:
        found = Path(path).stat()
        is_same = not state or _is_same(path, state, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise AnswerError(Reason.CURSOR, f"list {path}: {error.strerror or error}") from error
    if not is_same:
        raise AnswerError(
            Reason.CURSOR, f"list {path} has changed since the job began; name the new list as another --job"
        )


@lru_cache(maxsize=4)
def _is_same(path: str, state: str, size: int, mtime_ns: int) -> bool:
    """Compare a file with a `fingerprint`: it is read once after each change, not for each page."""
    if state.startswith(f"{size} bytes") and state.endswith(f"@{mtime_ns}"):
        return True
    with Path(path).open("rb") as file:
        return _content(file, size, mtime_ns) == content_of(state)


def read_lines(path: str, place: ListPosition, separator: bytes = b"\n", limit: int = PAGE_LINES) -> Lines:
    r"""Read lines from a place on: blank ones are skipped, a carriage return at their end and a byte order mark taken off.

    With b"\0" as the separator nothing is taken off.

    Raises:
        AnswerError: `garbage`, if the file can no longer be read.

    """
    try:
        with Path(path).open("rb") as file:
            file.seek(place.offset)
            return _Reading(file.read, place, separator, limit).lines()
    except OSError as error:
        raise AnswerError(Reason.GARBAGE, f"list {path}: {error.strerror or error}") from error


_Read = Callable[[int], bytes]


class _Reading:
    """One page on its way out of a file."""

    def __init__(self, read: _Read, place: ListPosition, separator: bytes, limit: int) -> None:
        self._read = read
        self._offset, self._number = place
        self._separator = separator
        self._limit = limit
        self._found = Lines([], [], [], None)

    def lines(self) -> Lines:
        """Read until there are enough lines, or none are left."""
        rest, is_cut = b"", False
        while chunk := self._read(_CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(self._separator)
            for line in whole:
                self._take(line, is_cut)
                is_cut = False
                if len(self._found.lines) + len(self._found.odd) >= self._limit:
                    return self._found._replace(following=ListPosition(self._offset, self._number))
            if len(rest) > LONGEST_LINE:
                # A line without an end is dropped piece by piece.
                self._offset += len(rest)
                rest, is_cut = b"", True
        if rest or is_cut:
            self._take(rest, is_cut)
        return self._found

    def _take(self, line: bytes, is_cut: bool) -> None:
        at_start = self._offset == 0 and not is_cut
        self._offset += len(line) + 1
        number, self._number = self._number, self._number + 1
        if self._separator == b"\n":
            line = (line.removeprefix(BOM) if at_start else line).removesuffix(b"\r")
        if is_cut or len(line) > LONGEST_LINE:
            self._found.odd.append(f"line {number}: longer than {LONGEST_LINE} bytes")
        elif line:
            self._found.numbers.append(number)
            self._found.lines.append(line)
