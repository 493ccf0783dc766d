"""Volumes opened for reading: objects by key, on one volume or on several that may disappear and come back."""

import errno
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from bucketpull.domain.errors import VolumeError, VolumeForeign
from bucketpull.domain.model import key_of
from bucketpull.domain.record import Record
from bucketpull.trusted_path import make_private_folder, user_folder
from bucketpull.volumes.beneath import OwnDirectory, is_writable, open_path
from bucketpull.volumes.identity import HOME
from bucketpull.volumes.key_index import NOWHERE, ODD, IndexEntry, KeyIndex, Read
from bucketpull.volumes.ledger import Damage, Kind
from bucketpull.volumes.packs import folder as pack_folder
from bucketpull.volumes.packs import tar
from bucketpull.volumes.reader import open_reader, read_stretch
from bucketpull.volumes.syscalls import is_in_memory

_INDEX: Final = "keys"
T = TypeVar("T")


class Found(NamedTuple):
    """An object on a volume: `size` bytes from byte `offset` of an open file on; its mtime in Unix seconds.

    `etag` names this very version. `path` is below the volume.
    """

    file: "OpenFile"
    offset: int
    size: int
    mtime: int
    etag: str
    path: bytes

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes of the object from byte `start` on. Raises OSError where its file ends before."""
        data = read_stretch(self.file.fd, self.offset + start, length)
        if len(data) != length:
            raise self.ended()
        return data

    def ended(self) -> OSError:
        """Return the error that says that its file, such as a pack that was cut off, ends before it does."""
        return OSError(errno.EIO, "the file ends within the object", os.fsdecode(self.path))


class OpenFile:
    """An open file, closed when nobody uses it any more: another thread may be reading from it."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self.fd)


class ReadableVolume:
    """A volume found at a path; it may be written to meanwhile."""

    def __init__(self, path: str) -> None:
        """Open a volume, and bring its index up to date: half a second for 100,000 objects that are new.

        Raises VolumeError where it is not there, or its ledger cannot be read.
        """
        self.path = path
        self._reader = open_reader(path)
        self.id = self._reader.id
        self._lock = threading.Lock()
        self._packs: dict[str, OpenFile] = {}
        self._home: OwnDirectory | None = None
        self._index = KeyIndex(self._reader.ledger, self._index_folder())
        _volumes.add(self)

    def find(self, key: bytes, read: Read = os.pread) -> Found | None:
        """Return where the newest version of an object is; None if it is not here.

        Raises:
            BlockingIOError: `read` waits for no disk, and one would have to be waited for.
            OSError: The disk does not answer, or does not hold what the ledger says.

        """
        if read is os.pread:
            return self._with_news(self._find, key)
        try:
            return self._find(key, read)
        except FileNotFoundError as error:
            raise BlockingIOError from error

    def place_of(self, key: bytes) -> IndexEntry | None:
        """Return what the ledger says of an object, without looking at its bytes."""
        return self._index.find(key)

    def read(self, key: bytes) -> bytes | None:
        """Return the whole of an object: of a pack with one call to the system. Raises as `find`."""
        return self._with_news(self._read, key)

    def refresh(self) -> None:
        """Index what was stored since, and let go of packs that were removed: their room is free only then."""
        with self._lock:
            self._reader.ledger.follow()
            self._index.refresh()
        self._packs = {name: file for name, file in list(self._packs.items()) if os.fstat(file.fd).st_nlink}

    def check(self) -> None:
        """Check that the volume is still the one that was opened. Raises OSError where it is not."""
        here, opened = os.stat(self.path), os.fstat(self._reader.root)
        if not os.path.samestat(here, opened):
            raise FileNotFoundError(2, "is no longer the disk that was opened", self.path)

    def objects(self, prefix: bytes = b"") -> Iterator[tuple[bytes, IndexEntry]]:
        """Yield key and place of every object below a prefix, in the order in which they were stored."""
        for entry in self._reader.ledger.salvage():
            if isinstance(entry, Damage) or entry.kind is not Kind.BLOCK:
                continue
            for record in entry.records():
                if _may_have(record, prefix):
                    yield from self._newest(record, entry.offset, prefix)

    def close(self) -> None:
        """Close the volume."""
        self._packs.clear()
        if self._home is not None:
            self._home.close()
        self._reader.close()

    def _newest(self, record: Record, block: int, prefix: bytes) -> Iterator[tuple[bytes, IndexEntry]]:
        for index, name in enumerate(record.names):
            key = key_of(record.directory, name)
            if key.startswith(prefix):
                place = self._index.find(key) or NOWHERE
                at = record.offsets[index] * tar.BLOCK if record.pack else block
                if (place.pack, place.offset) == (record.pack, at):
                    yield key, place

    def _with_news(self, look: Callable[[bytes], T], key: bytes) -> T:
        """Look for an object; where what it was in is gone, look again: it may have been written anew somewhere else."""
        try:
            return look(key)
        except FileNotFoundError:
            self.refresh()
            return look(key)

    def _find(self, key: bytes, read: Read = os.pread) -> Found | None:
        place = self._index.find(key, read)
        if place is None:
            return None
        if place.pack:
            return self._in_pack(key, place, read)
        if read is not os.pread:
            raise BlockingIOError  # a file is looked for in folders
        return self._as_file(key, place)

    def _read(self, key: bytes) -> bytes | None:
        place = self._index.find(key)
        if place is None:
            return None
        if place.pack:
            return self._body(key, place)
        found = self._as_file(key, place)
        return found.read(0, found.size)

    def _in_pack(self, key: bytes, place: IndexEntry, read: Read) -> Found:
        file = self._pack(place.pack)
        header = _checked(read(file.fd, tar.BLOCK, place.offset - tar.BLOCK), key, place)
        mtime = tar.stated_mtime(header)
        path = pack_folder.path_of(place.pack).encode()
        return Found(file, place.offset, place.length, mtime, f"{place.pack}-{place.offset:x}", path)

    def _body(self, key: bytes, place: IndexEntry) -> bytes:
        """Return the body of a member, whose header is read with it."""
        file = self._pack(place.pack)  # held while it is read: others may let go of it meanwhile
        data = read_stretch(file.fd, place.offset - tar.BLOCK, tar.BLOCK + place.length)
        if len(data) != tar.BLOCK + place.length:
            raise OSError(
                errno.EIO,
                f"the file ends within the object at byte {place.offset}",
                pack_folder.path_of(place.pack),
            )
        return _checked(data, key, place)[tar.BLOCK :]

    def _as_file(self, key: bytes, place: IndexEntry) -> Found:
        path = self._odd_path(key, place) if place.length == ODD else self._reader.identity.path_of(b"", key)
        with self._lock:
            file = OpenFile(self._reader.tree.open_file(path))
        stat = os.fstat(file.fd)
        return Found(
            file, 0, stat.st_size, int(stat.st_mtime), f"{stat.st_mtime_ns:x}-{stat.st_size:x}", path
        )

    def _odd_path(self, key: bytes, place: IndexEntry) -> bytes:
        for record in self._reader.ledger.read(place.offset).records():
            for index, path in record.paths.items():
                if key_of(*record.id_at(index)) == key:
                    return path
        return self._reader.identity.path_of(b"", key)

    def _pack(self, name: str) -> OpenFile:
        file = self._packs.get(name)
        if file is None:
            if len(self._packs) >= _MOST_PACKS:
                self._packs = {}  # what is being read stays open until it was read
            file = OpenFile(open_path(self._reader.root, pack_folder.path_of(name)))
            self._packs[name] = file
        return file

    def _index_folder(self) -> str | None:
        """Return where the index is kept: on the volume, or in the user's cache where that cannot be written, or is somebody else's."""
        with suppress(OSError, VolumeForeign):
            self._home = OwnDirectory.open(self._reader.root, HOME, self.path, writing=True)
            here = self._home.below(_INDEX)
            if is_writable(here.fd):
                return here.as_path()
        cache = user_folder("XDG_CACHE_HOME", ".cache")
        if cache is None:
            return None
        # Whoever owns a disk may give it the id of one of ours.
        there = os.path.join(cache, f"{self.id}-{os.fstat(self._reader.root).st_uid}")
        try:
            make_private_folder(there)
        except OSError:
            return None
        return there


def read_now(fd: int, length: int, at: int) -> bytes:
    """Return bytes that the system has in memory, as `os.pread` would.

    Raises BlockingIOError where some are not, or the file ends before, or its file system cannot say.
    """
    buffer = bytearray(length)
    try:
        count = os.preadv(fd, [buffer], at, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        if not is_in_memory(fd):
            raise BlockingIOError from error
        count = os.preadv(fd, [buffer], at)
    if count != length:
        raise BlockingIOError
    return bytes(buffer)


_MOST_PACKS: Final = 512
_volumes: "weakref.WeakSet[ReadableVolume]" = weakref.WeakSet()


def _after_fork() -> None:
    """Give a forked process locks that nobody holds."""
    for volume in _volumes:
        volume._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def _may_have(record: Record, prefix: bytes) -> bool:
    directory = record.directory + b"/" if record.directory else b""
    return directory.startswith(prefix) or prefix.startswith(directory)


def _checked(member: bytes, key: bytes, place: IndexEntry) -> bytes:
    """Make sure that what was read is a member of this size and name: the index may be damaged as the disk may."""
    if tar.stated_size(member) != place.length or not tar.may_be_of(member, key):
        raise OSError(
            5,
            f"no object of {place.length} bytes at byte {place.offset}; see `bucketpull verify --hash`",
            place.pack,
        )
    return member


LOOK_SECONDS: Final = 2.0


class Away(Exception):
    """An object was not found, and a volume that may have it is not here."""


class OpenVolumes:
    """Finds objects on all volumes that answer. `look` is to be called regularly, in a thread."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        self._open: dict[str, ReadableVolume] = {}
        self.troubles: dict[str, str] = {}
        self._lock = threading.Lock()
        self.look()

    def find(self, key: bytes, read: Read = os.pread) -> Found | None:
        """Find an object; of several copies the newest counts.

        Raises:
            BlockingIOError: `read` waits for no disk, and one would have to be waited for.
            Away: It is not on the volumes that are here, and one is away, or does not give it.

        """
        hits, is_whole = [], not self.troubles
        for path, volume in list(self._open.items()):
            try:
                found = volume.find(key, read)
            except BlockingIOError:
                raise
            except (OSError, VolumeError) as error:
                self.troubles.setdefault(path, str(error))
                is_whole = False
            else:
                if found is not None:
                    hits.append(found)
        if hits:
            return hits[0] if len(hits) == 1 else max(hits, key=lambda found: found.mtime)
        if is_whole:
            return None
        raise Away

    def look(self) -> None:
        """Open volumes that are back, close those that are gone, index what was stored."""
        with self._lock:
            for path in self.paths:
                try:
                    self._look_at(path)
                except (OSError, VolumeError) as error:
                    self.troubles[path] = str(error)
                    self._open.pop(path, None)
                else:
                    self.troubles.pop(path, None)

    def _look_at(self, path: str) -> None:
        volume = self._open.get(path)
        if volume is None:
            self._open[path] = ReadableVolume(path)
        else:
            volume.check()
            volume.refresh()

    def close(self) -> None:
        """Close all."""
        for volume in self._open.values():
            volume.close()
        self._open.clear()
