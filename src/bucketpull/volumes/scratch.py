"""Data that is too large for memory: a temporary folder, and entries of equal width dealt out over files in it by their digest."""

import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.volumes.beneath import closing_fd, write_all

_OURS = r"bucketpull-[a-z-]+-\w{8}"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Between a folder's making and its lock nobody may take it for one that was left behind.
_YOUNG_SECONDS = 60.0

DIGEST_BYTES: Final = 12
_ENTRIES_A_FILE: Final = 200_000  # about 15 MB while they are sorted
_MOST_FILES: Final = 8192
_BUFFERS_BYTES: Final = 8 << 20  # all partitions' together
_LARGEST_BUFFER: Final = 1 << 15
_READ_ENTRIES: Final = 1 << 14


@contextmanager
def scratch_folder(name: str, below: str | None = None) -> Iterator[str]:
    """Make a folder that only this user can enter, below `below` or else TMPDIR, and remove it in the end.

    Those that killed processes of this user left there are removed too: one may hold 10 GB.

    Raises ConfigError where there is no place where one can be made, as in a container with a read-only root and without /tmp.
    """
    import tempfile  # with all that it imports some milliseconds, and an ordinary job makes no scratch folder

    try:
        folder = tempfile.TemporaryDirectory(prefix=f"bucketpull-{name}-", dir=below)
    except OSError as error:
        raise ConfigError(
            f"temporary files cannot be written ({error.strerror}); set TMPDIR to a folder where they can be"
        ) from error
    with folder as path, closing_fd(hold(path)):
        _remove_left_behind(os.path.dirname(path))
        yield path


def hold(folder: str) -> int:
    """Lock a folder, as long as the descriptor is open: it is in use."""
    fd = os.open(folder, _FOLDER)
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return fd


def _remove_left_behind(place: str) -> None:
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # its process removes it now
                if re.fullmatch(_OURS, entry.name) and _is_old(entry.stat(follow_symlinks=False)):
                    _remove_if_free(entry.path)


def _is_old(found: os.stat_result) -> bool:
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_ours and time.time() - found.st_mtime > _YOUNG_SECONDS


def _remove_if_free(folder: str) -> None:
    import shutil

    with suppress(OSError), closing_fd(os.open(folder, _FOLDER)) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


# --- entries dealt out over files


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
