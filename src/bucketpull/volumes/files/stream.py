"""A large object on its way to disk, piece by piece, resumable after a restart. Runs in whatever thread calls.

The part lies in `.bucketpull/partial` under a name made of key, size and mtime, so that whoever gets the same version of the
object again, in whatever work, goes on with it. A lock keeps two transfers of one object from mixing. A note beside it
says of which answer's version it is, written before the first byte; a part without one is thrown away.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final, Protocol

from bucketpull import kill_points
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Chunk
from bucketpull.domain.model import key_of
from bucketpull.domain.record import PartVersion, Written
from bucketpull.volumes import beneath, syscalls
from bucketpull.volumes.beneath import OwnDirectory, write_all
from bucketpull.volumes.sizes_and_dates import set_date

PARTIAL: Final = "partial"
NOTE: Final = ".version"
_READ_BYTES: Final = 1 << 20
_reach = kill_points.reach


class Publisher(Protocol):
    """What a finished stream is handed to: `files.file.FileWriter`, or what packs it."""

    home: OwnDirectory
    sync: bool

    def publish(self, source: str, source_fd: int, directory: bytes, name: bytes, token: object) -> Written:
        """Make a finished file the object."""

    def failed(self, what: str, error: OSError, token: object) -> Written:
        """Return who is to blame for an error with our own files."""


class StreamFile:
    """One object being written. `offset` is what is there already, in bytes, and `left` its version; with `hashed` an MD5 is kept up."""

    def __init__(
        self, files: Publisher, directory: bytes, name: bytes, size: int, mtime: int, hashed: bool = False
    ) -> None:
        self._files = files
        self._directory, self._name, self._mtime = directory, name, mtime
        key = b"%d %d %s" % (size, mtime, key_of(directory, name))
        self._parts = files.home.below(PARTIAL)
        self._part = hashlib.blake2b(key, digest_size=16).hexdigest()
        self._fd = self._open()
        self._hash = hashlib.md5() if hashed else None
        self._hashed = 0
        self.offset = 0
        self.left: PartVersion | None = None
        try:
            self._resume(size)
        except OSError:
            self.close(keep=True)
            raise

    def note(self, etag: str, changed: str) -> None:
        """Note of which version the bytes are that come after a restart; without a strong ETag ("") the note is removed.

        A kill loses no write, so it is not synced: after a restart of the machine, `left` is not sound.

        Raises OSError where the disk did not take it.
        """
        if etag:
            text = f"{syscalls.attachment(self._fd)}\n{etag}\n{changed}\n"
            self._parts.replace(self._part + NOTE, text.encode(), durable=False)
        else:
            self._remove(NOTE)

    def append(self, chunks: Sequence[Chunk]) -> None:
        """Add bytes at the end. Raises OSError where the disk did not take them."""
        written = 0
        try:
            written = write_all(self._fd, chunks)
        except OSError:
            self.offset = os.lseek(self._fd, 0, os.SEEK_END)
            raise
        if self._hash and self._hashed == self.offset:
            for chunk in chunks:
                self._hash.update(chunk)
            self._hashed += written
        self.offset += written

    def restart(self) -> None:
        """Throw away what is there."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.offset = self._hashed = 0
        if self._hash:
            self._hash = hashlib.md5()

    def publish(
        self, length: int, accepts: Collection[bytes] | None, token: object, mtime: int = -1
    ) -> Written:
        """Give the object its final name if it has this length (bytes) and one of these MD5s (None: any); say what became of it.

        What has the wrong content is thrown away; the token's outcome then is `truncated`, `size` or `checksum`. It tells the MD5,
        unless any was accepted.
        """
        if self.offset != length:
            short = self.offset < length
            return self._reject(
                Reason.TRUNCATED if short else Reason.SIZE, f"{self.offset} of {length} bytes", token, short
            )
        try:
            found = b"" if accepts is None else self.md5()
            is_accepted = accepts is None or found in accepts
            if is_accepted:
                self._finish(mtime)
        except OSError as error:
            self.close(keep=False)  # what the disk has of it is not known
            return self._files.failed("file not written", error, token)
        if not is_accepted:
            wanted = " or ".join(md5.hex() for md5 in accepts or ()) or "known to be right"
            rejected = self._reject(Reason.CHECKSUM, f"MD5 {found.hex()} is not {wanted}", token, keep=False)
            rejected.md5 = found
            return rejected
        if _reach is not None:
            _reach("streamed")
        written = self._files.publish(self._part, self._parts.fd, self._directory, self._name, token)
        self.close(keep=written.reason not in {None, Reason.UNSTORABLE})
        written.md5 = found
        return written

    def md5(self) -> bytes:
        """Return the MD5 of what is there; what was there before is read back once."""
        digest = self._hash or hashlib.md5()
        at = self._hashed if self._hash else 0
        while at < self.offset and (data := os.pread(self._fd, _READ_BYTES, at)):
            digest.update(data)
            at += len(data)
        if self._hash:
            self._hashed = at
        return digest.digest()

    def close(self, keep: bool) -> None:
        """Close it; what is there is kept for a later resumption, or removed, as what the disk did not take."""
        if self._fd < 0:
            return
        if not keep:
            self._drop()
        try:
            os.close(self._fd)
        except OSError:
            self._drop()
        self._fd = -1

    def _finish(self, mtime: int) -> None:
        """Give it its date. Raises OSError where the disk did not take all of it."""
        if self._files.sync:
            os.fsync(self._fd)
        changed = self._mtime if self._mtime >= 0 else mtime
        if changed >= 0:  # else it is not known
            set_date(self._files.home, self._fd, changed)
        os.close(os.dup(self._fd))  # NFS and FUSE write out at each close; the lock is held all the same

    def _drop(self) -> None:
        with suppress(OSError):
            self._remove()
            self._remove(NOTE)

    def _reject(self, reason: Reason, detail: str, token: object, keep: bool) -> Written:
        self.close(keep)
        return Written(token, reason, detail)

    def _remove(self, suffix: str = "") -> None:
        with suppress(FileNotFoundError):
            beneath.remove(self._parts.fd, self._part + suffix)

    def _read_note(self) -> PartVersion | None:
        """Read of which version the part is; None if that is not known."""
        try:
            lines = self._parts.read(self._part + NOTE).decode().split("\n")
        except (OSError, UnicodeDecodeError):
            return None
        if len(lines) != 4 or not lines[1]:
            return None  # torn
        attachment = syscalls.attachment(self._fd)
        return PartVersion(lines[1], lines[2], attachment != "" and lines[0] == attachment)

    def _resume(self, size: int) -> None:
        """Go on with what is there, or throw away what cannot be of an object of this size (bytes, -1 is not known)."""
        self.offset = os.fstat(self._fd).st_size
        self.left = self._read_note() if self.offset else None
        if self.left is None or 0 <= size < self.offset:
            self.left = None
            self.restart()
        elif self.offset == size or size < 0:
            # It may be whole. There is no range without bytes, so the last one is asked for again, and shows the version.
            self.offset -= 1
            os.ftruncate(self._fd, self.offset)
            os.lseek(self._fd, 0, os.SEEK_END)

    def _open(self) -> int:
        """Open and lock the part; one of its own where another transfer has it, or where it was published meanwhile."""
        fd = self._parts.open_anew(self._part, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink and _same(fd, self._part, self._parts.fd):
                os.lseek(fd, 0, os.SEEK_END)
                return fd
        except BlockingIOError:
            pass
        except OSError:
            beneath.close_ignoring_errors(fd)
            raise
        os.close(fd)
        self._part += f"-{secrets.token_hex(4)}"
        return self._parts.open_anew(self._part, os.O_RDWR | os.O_EXCL)


def _same(fd: int, name: str, dir_fd: int) -> bool:
    """Tell whether an open file still has its name: the one that was locked may have been published meanwhile."""
    found = beneath.look(dir_fd, name)
    return found is not None and os.path.samestat(os.fstat(fd), found)
