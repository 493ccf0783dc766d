"""What writes to one volume of packs (`ports.Writer`): objects are kept back until there are enough of them for one call.

Objects above the limit are files, as on a volume without packs.
"""

import os
from collections.abc import Sequence
from typing import Final

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Chunk
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Written
from bucketpull.volumes import beneath, os_errors
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.packs.appender import Appender, Member
from bucketpull.volumes.packs.folder import Folders
from bucketpull.volumes.writer import DiskWriter

_CHUNK_BYTES: Final = 768 << 10
_CHUNK_MEMBERS: Final = 400


class PackWriter(DiskWriter):
    """Packs objects in turn; all methods are for one thread. Outcomes come by `outcomes`, soon after a `flush`."""

    def __init__(self, files: FileWriter, appender: Appender, limit: int, direct: bool) -> None:
        super().__init__(files, direct)
        # A large object is a file at first, which is packed in the end if it is not above the limit.
        self.publisher = _Packed(files, appender, limit)
        self._appender = appender
        self._limit = limit
        self._kept: list[Member] = []
        self._kept_bytes = 0
        self._sick = ""

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
        if self._sick:
            self.done.extend(Written(member.token, Reason.VOLUME_SICK, self._sick) for member in members)
            return
        try:
            pack, offsets = self._appender.append(members)
        except OSError as error:
            trouble = self.files.failed("pack not written", error, None)
            self._sick = trouble.detail if trouble.reason is Reason.VOLUME_SICK else ""
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
