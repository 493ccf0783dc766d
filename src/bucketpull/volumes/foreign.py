"""Files that lie where objects belong and are not ours: they are taken over if they are the objects, else kept, never lost.

What is ours at an object's path is an older version that is as the ledger says, or what a kill left behind, which has the object's
date; where the file system keeps no dates, its length. An older version that somebody changed is kept like any other file. A folder that
was not there when it was first asked for, or held only folders, as a volume's root does, holds no file but what was stored since: so on
a new disk nothing is looked at twice, and a folder of millions costs one call.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from bucketpull.domain.batching import Batch, ids_of
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import LedgerError
from bucketpull.domain.keys import LONGEST_NAME, LONGEST_PATH
from bucketpull.domain.memo import Memo
from bucketpull.domain.model import Id, Part, Span, key_of, show
from bucketpull.domain.record import Claim, Inspection, Record
from bucketpull.volumes import beneath
from bucketpull.volumes.beneath import OwnDirectory, closing_fd
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import Identity
from bucketpull.volumes.ledger import Ledger
from bucketpull.volumes.leftovers import BatchNotes
from bucketpull.volumes.os_errors import Culprit, culprit
from bucketpull.volumes.sizes_and_dates import (
    has_date,
    has_length,
    has_our_date,
    has_whole_seconds,
    is_as_stored,
    keeps_dates,
    md5_of,
)

if TYPE_CHECKING:
    from bucketpull.volumes.key_index import IndexEntry, KeyIndex

_KEPT: Final = "kept.txt"
_SUFFIX: Final = b".kept"
_MOST_READ: Final = 1 << 20
# A mount point, an immutable file, a folder without permission: what cannot be renamed there cannot be replaced either.
_IMMOVABLE: Final = frozenset({errno.EBUSY, errno.EPERM, errno.EACCES})
_INDEX: Final = "keys"
_MOST_FOLDERS: Final = 20_000
_Older = dict[Id, tuple[Record, int]]
"""Records and indexes of objects in an older version, by directory and name."""
_LONGEST_FOLDER: Final = LONGEST_PATH - LONGEST_NAME - 1  # below it no path is shortened


class ForeignFiles:
    """Those of one volume. `root` and `home` stay the caller's. May be called by several threads at once."""

    def __init__(
        self, root: int, home: OwnDirectory, identity: Identity, ledger: Ledger, notes: BatchNotes
    ) -> None:
        self._home = home
        self._identity = identity
        self._ledger = ledger
        self._tree = Tree(root)
        self._lock = threading.Lock()
        self._notes = notes
        self._ours_since = notes.oldest()
        self._opened_at = time.time_ns()
        self._had_no_file = Memo[bytes, bool](_MOST_FOLDERS)
        self._seen_folders = Memo[bytes, bool](_MOST_FOLDERS)
        self._index: KeyIndex | None = None
        self._block: tuple[int, list[Record]] = (-1, [])
        self._kept = _KeptCount(home)
        self._obstacle = b""

    def inspect(self, parts: Sequence[Part], adopts: str) -> Inspection:
        """Find files that are these objects, or may be: as long as listed, with the listed date (`adopts` is "date") or MD5.

        Where it states no MD5, the file's own is told, for the source to say whether it is the object's. A file that has another MD5 is
        put aside.
        """
        seen, by_date = Inspection([], []), adopts == "date"
        for part in parts:
            md5s: dict[int, bytes] = {}
            for index in range(len(part.names)):
                with suppress(OSError):  # what cannot be read is no object
                    md5 = self._inspect(part, index, seen.claims, by_date=by_date)
                    if md5 is not None:
                        md5s[index] = md5
            if md5s:
                record = Record.of(part).take(list(md5s))
                record.md5s = [] if by_date else list(md5s.values())
                seen.records.append(record)
        return seen

    def clear(self, batch: Batch, older: Sequence[int] = ()) -> None:
        """Put aside what is not ours at the paths of objects that are about to be stored.

        The ledger's blocks at `older` tell of some of them in another version: these need not be looked up by their keys.

        Raises OSError where something cannot be renamed.
        """
        with self._lock:
            for span in batch.spans:
                self._note_obstacle(span.directory)
            pages = {
                (span.directory, span.cursor)
                for span in batch.spans
                if older or not self._is_for_new_folder(span)
            }
            if pages:
                versions = self._latest(ids_of(batch.parts), older) if older else {}
                for part in batch.parts:
                    if (part.directory, part.cursor) in pages:
                        self._clear(part, versions)

    def warning(self) -> str:
        """Say what was put aside, and what keeps folders from their place; "" where nothing is."""
        kept = self._kept.count()
        said = [
            f"had {counted(kept, 'files')} of others where objects belong: kept as NAME.kept, see .bucketpull/kept.txt"
            if kept
            else "",
            f"has a file or link of others where the folder {show(self._obstacle)} belongs: its objects lie beside it, in %~NAME%~d"
            if self._obstacle
            else "",
        ]
        return "; ".join(filter(None, said))

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            self._tree.close()
            self._index = None

    def _is_for_new_folder(self, span: Span) -> bool:
        """Tell quickly that all objects of a span belong in one folder in which no file was before: each by itself takes 1.5 µs."""
        folder = span.directory
        if len(folder) > _LONGEST_FOLDER or span.is_nested:
            return False
        path = self._identity.path_of(folder, span.first)
        return path.rpartition(b"/")[0] == folder and self._look(path) is None and self._had_no_file[folder]

    def _clear(self, part: Part, older: _Older) -> None:
        for name, size, mtime in zip(part.names, part.sizes, part.mtimes, strict=True):
            path = self._identity.path_of(part.directory, name)
            version = older.get((part.directory, name))
            if version is None:
                found = self._look(path)
            else:
                record, index = version
                path = record.paths.get(index, path)
                found = self._stat(path)
            if found is None or stat.S_ISDIR(found.st_mode) or self._is_left(found, size, mtime):
                continue
            self._put_aside(path, found, version or self._recorded(part.directory, name))

    def _inspect(self, part: Part, index: int, claims: list[Claim], *, by_date: bool) -> bytes | None:
        """Return the MD5 of a file that is an object, b"" where it is by its date; None where it is not, or is a claim."""
        name, mtime = part.names[index], part.mtimes[index]
        path = self._identity.path_of(part.directory, name)
        with self._lock:
            found = self._look(path)
            if found is None or not has_length(found, part.sizes[index]):
                return None
            if by_date:
                return b"" if mtime >= 0 and has_date(found, mtime) else None
            fd = self._tree.open_file(path)
        md5 = md5_of(fd)
        stated = part.stated_md5(index)
        if stated == md5.hex():
            return md5
        if not stated:
            claims.append(Claim(part.directory, name, md5))
        else:
            with self._lock:
                found = self._stat(path)
                if found is not None:
                    self._put_aside(path, found, self._recorded(part.directory, name))
        return None

    def _note_obstacle(self, directory: bytes) -> None:
        """Note what lies where a folder of objects belongs, and is neither a directory nor an object."""
        if directory in self._seen_folders or self._obstacle:
            return
        self._seen_folders[directory] = True
        steps = directory.split(b"/")
        for depth in range(1, len(steps) + 1):
            key = b"/".join(steps[:depth])
            if depth < len(steps) and key in self._seen_folders:
                continue  # else a tree of a thousand levels is looked through from its root for each of them
            path = self._identity.path_of(b"", key)
            found = self._stat(path)
            if found is None:
                return
            self._seen_folders[key] = True
            if not stat.S_ISDIR(found.st_mode):
                if self._find(key) is None and not self._notes.tell_of(key):
                    self._obstacle = path
                return

    def _look(self, path: bytes) -> os.stat_result | None:
        """Return what lies at a path; None at once in a folder in which no file was before."""
        folder = path.rpartition(b"/")[0]
        had_no_file = self._had_no_file.get(folder)
        if had_no_file:
            return None
        found = self._stat(path)
        if found is None and had_no_file is None:
            self._had_no_file[folder] = self._tree.holds_no_file(folder)
        return found

    def _stat(self, path: bytes) -> os.stat_result | None:
        """Return what lies at a path; None also where the disk does not say: storing there meets the same error, and blames whom it should."""
        try:
            return self._tree.stat(path)
        except OSError as error:
            if culprit(error) in {Culprit.MACHINE, Culprit.FULL}:
                raise
            return None

    def _is_left(self, found: os.stat_result, size: int, mtime: int) -> bool:
        """Tell whether a file is what a kill left of the object, or cannot be told from it."""
        if not stat.S_ISREG(found.st_mode):
            return False
        is_recent = found.st_ctime_ns >= self._ours_since
        if mtime < 0:
            return is_recent
        if has_our_date(found, mtime):
            return found.st_size == size or is_recent
        return is_recent and found.st_size == size and not keeps_dates(self._home)

    def _put_aside(self, path: bytes, found: os.stat_result, version: tuple[Record, int] | None) -> None:
        """Put aside what was found at a path, unless it is the older version of ours of which the ledger tells.

        That is a file as we stored it, or one between that and the next that a kill left unsettled.
        """
        is_left = self._ours_since <= found.st_ctime_ns < self._opened_at and has_whole_seconds(found)
        if version and (is_left or is_as_stored(self._tree, self._home, path, found, *version)):
            return
        set_aside(self._tree, self._home, path)

    def _recorded(self, directory: bytes, name: bytes) -> tuple[Record, int] | None:
        """Return what the ledger says of an object: its record, and the index there; None where it has none."""
        place = self._find(key_of(directory, name))
        if place is None or place.pack:  # what is in a pack is no file
            return None
        return self._latest({(directory, name)}, [place.offset]).get((directory, name))

    def _find(self, key: bytes) -> "IndexEntry | None":
        """Return where the ledger says that an object lies."""
        if self._index is None:
            from bucketpull.volumes.key_index import KeyIndex  # 1.3 ms of a start, which few jobs need

            self._index = KeyIndex(self._ledger, self._home.below(_INDEX).as_path())
        self._index.refresh()
        return self._index.find(key)

    def _latest(self, wanted: Collection[Id], offsets: Iterable[int]) -> _Older:
        """Return what some blocks say of objects, the latest word on each."""
        return {
            record.id_at(index): (record, index)
            for offset in sorted(offsets)
            for record in self._read(offset)
            for index in record.matching(wanted)
        }

    def _read(self, offset: int) -> list[Record]:
        """Return the objects of a block; of one that is damaged nothing is known."""
        if self._block[0] != offset:
            with suppress(LedgerError):
                self._block = offset, self._ledger.read(offset).records()
        return self._block[1] if self._block[0] == offset else []


def set_aside(tree: Tree, home: OwnDirectory, path: bytes) -> bool:
    """Rename what lies at a path, a directory excepted, to the first free of `NAME.kept`, `NAME.kept-2`, …; it is written down before.

    Return False if it stays, because it can be neither renamed nor replaced: then its object cannot be stored either.

    Raises OSError where it cannot be renamed for another cause.
    """
    folder, _, name = path.rpartition(b"/")
    place = tree.place(folder, create=False)
    kept = _free_name(place.fd, name)
    with closing_fd(home.open_file(_KEPT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        before = os.fstat(fd).st_size
        os.write(fd, b"%s\t%s\n" % (written(path), written(place.join(kept))))
        try:
            beneath.rename(name, kept, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        except OSError as error:
            os.ftruncate(fd, before)
            if error.errno in _IMMOVABLE:
                return False
            raise
    return True


def written(path: bytes) -> bytes:
    """Write a path as a field of a line: as people are shown it, and without the tabs and line ends that it may have."""
    return show(path).replace("\t", "\\t").replace("\n", "\\n").encode()


def kept_names(home: OwnDirectory) -> Iterator[bytes]:
    """Give the paths to which files of others were renamed on a volume, as `written`. Raises OSError where they cannot be read."""
    with suppress(FileNotFoundError), open(home.open_file(_KEPT), "rb") as file:
        for line in file:
            yield line.rstrip(b"\n").rpartition(b"\t")[2]


class _KeptCount:
    """How many files of others are kept on a volume; `count` costs nothing while none are added."""

    def __init__(self, home: OwnDirectory) -> None:
        self._home = home
        self._read = 0
        self._lines = 0

    def count(self) -> int:
        """Return how many were written down."""
        found = beneath.look(self._home.fd, _KEPT)
        if found is not None and found.st_size > self._read:
            with closing_fd(self._home.open_file(_KEPT)) as fd:
                while data := os.pread(fd, _MOST_READ, self._read):
                    self._lines += data.count(b"\n")
                    self._read += len(data)
        return self._lines


def _free_name(directory: int, name: bytes) -> bytes:
    for number in count(1):
        suffix = _SUFFIX if number == 1 else b"%s-%d" % (_SUFFIX, number)
        kept = name[: LONGEST_NAME - len(suffix)] + suffix
        if beneath.look(directory, kept) is None:
            return kept
    raise AssertionError
