"""What writes to one volume of packs (`ports.Writer`): objects are kept back until there are enough of them for one call, then appended.

The open pack is a valid tar at every instant. Of a chunk of members all bytes are written but the first header, in one call, and
then that header. Until then a reader finds zeros there and takes them for the archive's end; after a kill too. What fails is cut
off again. Objects above the limit are files, as on a volume without packs.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from bucketpull import kill_points
from bucketpull.domain import keys
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Chunk
from bucketpull.domain.model import key_of
from bucketpull.domain.packing import Packing, PackNames
from bucketpull.domain.record import Written
from bucketpull.volumes import beneath, os_errors
from bucketpull.volumes.beneath import write_all
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.packs import tar
from bucketpull.volumes.packs.folder import EMPTY_BYTES, NEXT, Folders
from bucketpull.volumes.writer import DiskWriter

_CHUNK_BYTES: Final = 768 << 10
_CHUNK_MEMBERS: Final = 400
_COPIED_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(tar.BLOCK)
_reach = kill_points.reach


class Member(NamedTuple):
    """An object to be packed."""

    directory: bytes
    name: bytes
    mtime: int
    chunks: Sequence[Chunk]
    size: int
    token: object


class Pack:
    """One pack that is appended to. `end` is where the next member begins, in bytes."""

    def __init__(self, fd: int, name: str, number: int, end: int, sync: bool) -> None:
        self.fd = fd
        self.name = name
        self.number = number
        self.end = end
        self._sync = sync

    def append(self, pieces: list[Chunk], size: int) -> None:
        """Add members: `pieces` begin with a header and have `size` bytes in all.

        Raises OSError where the disk did not take them; the pack is as it was.
        """
        first = pieces[0]
        pieces[0] = first[tar.BLOCK :]
        try:
            write_all(self.fd, pieces, self.end + tar.BLOCK)
            self._complete(first[: tar.BLOCK])
        except OSError:
            self._cut()
            raise
        self.end += size

    def append_file(self, header: bytes, source: int, size: int) -> None:
        """Add a member whose body is what lies in an open file, `size` bytes.

        Raises OSError where the disk did not take it; the pack is as it was.
        """
        at, copied = self.end + len(header), 0
        try:
            while copied < size:
                piece = os.pread(source, min(_COPIED_BYTES, size - copied), copied)
                if not piece:
                    raise OSError(errno.EIO, "the part has become shorter")
                write_all(self.fd, [piece], at + copied)
                copied += len(piece)
            write_all(self.fd, [bytes(tar.padding(size))], at + size)
            write_all(self.fd, [header[tar.BLOCK :]], self.end + tar.BLOCK)
            self._complete(header[: tar.BLOCK])
        except OSError:
            self._cut()
            raise
        self.end = at + size + tar.padding(size)

    def finish(self) -> None:
        """Write the end of the archive and let go."""
        write_all(self.fd, [tar.END], self.end)
        self.close()

    def close(self) -> None:
        """Let go, to go on later."""
        os.close(self.fd)

    def _cut(self) -> None:
        """Take back what is written of a chunk; a pack without members keeps its zeros."""
        os.ftruncate(self.fd, max(self.end, EMPTY_BYTES))
        if not self.end:
            with suppress(OSError):  # where there is no room for them, there are no other bytes either
                os.pwrite(self.fd, bytes(EMPTY_BYTES), 0)

    def _complete(self, header: Chunk) -> None:
        """Write the header that makes all that follows it part of the archive."""
        if _reach is not None:
            _reach("bodies_written")
        write_all(self.fd, [header], self.end)
        if self._sync:
            os.fdatasync(self.fd)
        if _reach is not None:
            _reach("packed")


class Appender:
    """One of a volume's writers of packs; its `folders` are closed with it. `sync` makes each chunk durable."""

    def __init__(self, folders: Folders, packing: Packing, sync: bool) -> None:
        self._folders = folders
        self._packing = packing
        self._sync = sync
        self._pack: Pack | None = None
        self._last = -1
        self._plain: bytes | None = None
        """A directory whose keys are paths as they are: the objects that come next mostly are of the same one."""
        self.writer, self._lock = folders.lease()

    def append(self, members: Sequence[Member]) -> tuple[str, list[int]]:
        """Add objects in one go; return their pack, and where each body begins there, in blocks of 512 bytes.

        Raises OSError where the disk did not take them, and nothing of them is left.
        """
        pack = self._pack_for(sum(member.size for member in members) + 2 * tar.BLOCK * len(members))
        pieces: list[Chunk] = []
        offsets, at, gap = [], pack.end, b""
        for member in members:
            head = self._header(pack, at, member.directory, member.name, member.size, member.mtime)
            at += len(head)
            offsets.append(at // tar.BLOCK)
            pieces.append(gap + head)
            pieces += member.chunks
            padding = tar.padding(member.size)
            gap = _ZEROS[:padding]
            at += member.size + padding
        pieces.append(gap)
        with self._guarding(pack):
            pack.append(pieces, at - pack.end)
        return pack.name, offsets

    def append_file(
        self, directory: bytes, name: bytes, mtime: int, source: int, size: int
    ) -> tuple[str, int]:
        """Add an object that lies in an open file; return its pack and the block at which its body begins.

        Raises OSError where the disk did not take it, and nothing of it is left.
        """
        pack = self._pack_for(size + 2 * tar.BLOCK)
        head = self._header(pack, pack.end, directory, name, size, mtime)
        offset = (pack.end + len(head)) // tar.BLOCK
        with self._guarding(pack):
            pack.append_file(head, source, size)
        return pack.name, offset

    def close(self) -> None:
        """Let go of the pack, which is left open, and stop being this writer."""
        if self._pack is not None:
            self._pack.close()
            self._pack = None
        os.close(self._lock)
        self._folders.close()

    @contextmanager
    def _guarding(self, pack: Pack) -> Iterator[None]:
        """Leave a pack that the disk refuses to write for another reason than lack of room: the next may lie on sound blocks."""
        try:
            yield
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                self._last, self._pack = pack.number, None
                pack.close()
            raise

    def _pack_for(self, size: int) -> Pack:
        """Return a pack with room: the open one, or the next."""
        pack = self._pack or self._resume() or self._begin()
        if pack.end and pack.end + size > self._packing.size:
            pack.finish()
            self._pack = None
            pack = self._begin()
        self._pack = pack
        return pack

    def _resume(self) -> Pack | None:
        """Go on with the pack that was left open, if it is as it was left."""
        left = self._folders.take_open(self.writer)
        if left is None:
            return None
        self._last, end = left
        if end == NEXT:
            return None
        number = self._last
        name = self._folders.name(self.writer, number)
        try:
            fd = self._folders.open(name)
        except FileNotFoundError:
            return None
        if os.fstat(fd).st_size != end:
            os.close(fd)
            return None
        return Pack(fd, name, number, end, self._sync)

    def _begin(self) -> Pack:
        """Make the next pack. What its number is the disk knows: a writer that died may have made some meanwhile."""
        numbers = self._folders.numbers().get(self.writer, [])
        number = max(self._last, *numbers, -1) + 1
        name = self._folders.name(self.writer, number)
        fd = self._folders.begin(name)
        if _reach is not None:
            _reach("pack_begun")
        return Pack(fd, name, number, 0, self._sync)

    def _header(self, pack: Pack, at: int, directory: bytes, name: bytes, size: int, mtime: int) -> bytes:
        if self._packing.names is not PackNames.KEY:
            return tar.sample(pack.number, at // tar.BLOCK, key_of(directory, name), size, mtime)
        if (
            directory == self._plain
            and keys.is_ordinary_name(name)
            and len(directory) + len(name) < tar.NAME_BYTES
        ):
            return tar.plain_header(directory + b"/" + name, size, mtime)
        if directory and keys.path_of(directory) == directory:
            self._plain = directory
        return tar.header(key_of(directory, name), size, mtime)


class PackWriter(DiskWriter):
    """Packs objects in turn; all methods are for one thread. Outcomes come by `outcomes`, soon after a `flush`."""

    def __init__(self, files: FileWriter, appender: Appender, limit: int, direct: bool) -> None:
        self._appender = appender  # first, for what cannot be begun is released
        super().__init__(files, direct)
        # A large object is a file at first, which is packed in the end if it is not above the limit.
        self.publisher = _Packed(files, appender, limit)
        self._limit = limit
        self._kept: list[Member] = []
        self._kept_bytes = 0

    def put(
        self, directory: bytes, name: bytes, mtime: int, chunks: Sequence[Chunk], token: object
    ) -> Written | None:
        """Hand over a whole object."""
        size = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        if size > self._limit:
            return super().put(directory, name, mtime, chunks, token)
        self._kept.append(Member(directory, name, mtime, chunks, size, token))
        self._kept_bytes += size
        if self._kept_bytes >= _CHUNK_BYTES or len(self._kept) >= _CHUNK_MEMBERS:
            self.flush()
        return None

    def flush(self) -> None:
        """Write what was kept back."""
        if self._kept:
            members, size = self._kept, self._kept_bytes
            self._kept, self._kept_bytes = [], 0
            self.do(size, self._append, (members,))

    def close(self) -> None:
        """Finish what was handed over, then stop."""
        if not self.is_closing:
            self.flush()
        super().close()

    def release(self) -> None:
        """Close what is open on the volume."""
        super().release()
        self._appender.close()

    def _append(self, members: list[Member]) -> None:
        if self.files.sick:
            self.done.extend(Written(member.token, Reason.VOLUME_SICK, self.files.sick) for member in members)
            return
        try:
            pack, offsets = self._appender.append(members)
        except OSError as error:
            trouble = self.files.failed("pack not written", error, None)
            self.done.extend(Written(member.token, trouble.reason, trouble.detail) for member in members)
            return
        self.done.extend(
            Written(member.token, None, "", None, pack, offset)
            for member, offset in zip(members, offsets, strict=True)
        )


class _Packed:
    """What a stream is given in place of a `FileWriter`: its finished file is packed, not renamed."""

    def __init__(self, files: FileWriter, appender: Appender, limit: int) -> None:
        self._files = files
        self._appender = appender
        self._limit = limit
        self.home = files.home
        self.sync = files.sync
        self.failed = files.failed

    def publish(self, source: str, source_fd: int, directory: bytes, name: bytes, token: object) -> Written:
        """Pack a finished file, which the caller then removes; one above the limit is given its name."""
        fd = beneath.open_file(source_fd, source)
        try:
            found = os.fstat(fd)
            if found.st_size > self._limit:
                return self._files.publish(source, source_fd, directory, name, token)
            pack, offset = self._appender.append_file(directory, name, int(found.st_mtime), fd, found.st_size)
        except OSError as error:
            return self.failed("pack not written", error, token)
        finally:
            os.close(fd)
        return Written(token, pack=pack, offset=offset)


def open_pack_writer(path: str, volume: str, durability: str, packing: Packing) -> PackWriter:
    """Open the volume that must lie at a path for writing packs; `durability` "file" makes each chunk durable.

    Raises VolumeSick where it does not lie there, or cannot be written.
    """
    sync = durability == "file"
    files = FileWriter.open(path, volume, sync)
    try:
        appender = Appender(Folders(files.root, files.home, volume, path), packing, sync)
    except BaseException as error:
        files.close()
        if isinstance(error, OSError):
            raise os_errors.volume_error(path, "packs not opened for writing", error) from error
        raise
    return PackWriter(files, appender, packing.limit, direct=not sync)
