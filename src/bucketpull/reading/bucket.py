"""A pulled bucket as Python reads it: by key, from any number of volumes."""

import io
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

from bucketpull.domain.errors import VolumeError
from bucketpull.domain.model import bytes_of, text_of
from bucketpull.reading.readable_volumes import Found, ReadableVolume

_REFRESH_SECONDS: Final = 1.0
_BUFFER_BYTES: Final = 1 << 16

Key = str | bytes


class Stat(NamedTuple):
    """What is known of an object without reading it: `size` in bytes, `mtime` in Unix seconds.

    `etag` changes with the content. The bytes are in the file `path`, from byte `offset` on.
    """

    key: str
    size: int
    mtime: int
    etag: str
    path: str
    offset: int


class Bucket:
    """The objects of one or more volumes. Keys are text, or bytes; a key that is not UTF-8 is text with surrogates.

    It can be pickled, and used by several threads and forked processes at once. What is stored while it is open is found, within
    a second for keys that were not there before; an object that was replaced may be read in its former version until `refresh`.
    """

    def __init__(self, volumes: Sequence[str | os.PathLike[str]]) -> None:
        """Open volumes. Raises VolumeError where one is not there, or two are the same one."""
        if not volumes:
            msg = "name at least one volume: the folder that objects were pulled into"
            raise ValueError(msg)
        self._paths = [os.fspath(path) for path in volumes]
        self._volumes = _opened(self._paths)
        self._only = self._volumes[0] if len(self._volumes) == 1 else None
        self._refreshed = time.monotonic()

    def read(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        """Return an object, or a part of it: at most `length` bytes from byte `start` on.

        Raises KeyError where there is no such object, and OSError where its disk does not answer, or does not hold what its ledger says.
        """
        if self._only is not None and start == 0 and length is None:
            data = self._only.read(_bytes(key))
            if data is not None:
                return data
        found = self._found(key)
        wanted = max(0, found.size - start)
        wanted = wanted if length is None else min(length, wanted)
        return found.read(start, wanted)

    def open(self, key: Key) -> io.BufferedReader:
        """Return an object as a file to read, which can be sought. Raises as `read`."""
        found = self._found(key)
        return io.BufferedReader(_Stretch(found), _BUFFER_BYTES)

    def stat(self, key: Key) -> Stat:
        """Return what is known of an object. Raises as `read`."""
        return self.copies(key)[0]

    def copies(self, key: Key) -> list[Stat]:
        """Return what is known of an object's copies, that which is read first; there are several until a `sync` removes others.

        Raises as `read`.
        """
        return [_stat(key, volume, found) for volume, found in self._find_all(key)]

    def __contains__(self, key: Key) -> bool:
        """Tell whether there is an object."""
        try:
            self._found(key)
        except KeyError:
            return False
        return True

    def keys(self, prefix: Key = "") -> Iterator[str]:
        """Yield every key with this prefix, in the order in which the objects were stored, volume after volume.

        One whose object is stored anew meanwhile may come twice.
        """
        for volume in self._volumes:
            for key, _ in volume.objects(_bytes(prefix)):
                yield text_of(key)

    def items(self, prefix: Key = "") -> Iterator[tuple[str, bytes]]:
        """Yield every key with this prefix, with its object; this order reads a disk in sequence."""
        for volume in self._volumes:
            for key, _ in volume.objects(_bytes(prefix)):
                data = volume.read(key)
                if data is not None:
                    yield text_of(key), data

    def refresh(self) -> None:
        """Index everything that was stored since."""
        for volume in self._volumes:
            volume.refresh()
        self._refreshed = time.monotonic()

    def close(self) -> None:
        """Close the volumes. Files that were opened can still be read."""
        for volume in self._volumes:
            volume.close()
        self._volumes = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the volumes' paths alone."""
        return {"paths": self._paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the volumes again, in another process."""
        self.__init__(state["paths"])  # type: ignore[misc]

    def _found(self, key: Key) -> Found:
        return self._find_all(key)[0][1]

    def _find_all(self, key: Key) -> list[tuple[ReadableVolume, Found]]:
        """Find an object; of several copies, as after the return of a disk, that with the latest date is first."""
        wanted = _bytes(key)
        hits = self._hits(wanted)
        if not hits and time.monotonic() - self._refreshed > _REFRESH_SECONDS:
            self.refresh()
            hits = self._hits(wanted)
        if not hits:
            raise KeyError(key)
        return sorted(hits, key=lambda hit: hit[1].mtime, reverse=True) if len(hits) > 1 else hits

    def _hits(self, key: bytes) -> list[tuple[ReadableVolume, Found]]:
        return [(volume, found) for volume in self._volumes if (found := volume.find(key)) is not None]


def _stat(key: Key, volume: ReadableVolume, found: Found) -> Stat:
    path = os.path.join(volume.path, os.fsdecode(found.path))
    return Stat(text_of(_bytes(key)), found.size, found.mtime, found.etag, path, found.offset)


def _opened(paths: Sequence[str]) -> list[ReadableVolume]:
    found: dict[str, ReadableVolume] = {}
    try:
        for path in paths:
            volume = ReadableVolume(path)
            former = found.setdefault(volume.id, volume)
            if former is not volume:
                volume.close()
                raise VolumeError(
                    path, f"is the same volume as {former.path}, or a copy of it; name one of them"
                )
    except BaseException:
        for volume in found.values():
            volume.close()
        raise
    return list(found.values())


class _Stretch(io.RawIOBase):
    """A stretch of an open file, as a file."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.size}[whence]
        if base + offset < 0:
            msg = f"negative position {base + offset}"
            raise ValueError(msg)
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        found = self._found
        view = memoryview(buffer)[: max(0, found.size - self._at)]
        count = os.preadv(found.file.fd, [view], found.offset + self._at) if view else 0
        if view and not count:
            raise found.ended()
        self._at += count
        return count


def _bytes(key: Key) -> bytes:
    return bytes_of(key) if isinstance(key, str) else key
