"""What a bucket holds: folders of entries, by name order, found or computed when asked for."""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from upyun_simulator.sizes import Sizes

FOLDER: Final = "folder"
OLDEST: Final = 1_400_000_000  # modification times lie in the 300 million seconds from here (2014 to 2023)
_PAGE: Final = 10_000

_TYPES: Final = {
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp",
    "txt": "text/plain", "html": "text/html", "css": "text/css", "js": "application/javascript",
    "json": "application/json", "mp4": "video/mp4", "zip": "application/zip", "pdf": "application/pdf",
}  # fmt: skip


class Entry(msgspec.Struct, gc=False):
    """One row of a listing, with the field names of the JSON form.

    `length` is bytes, `last_modified` unix seconds, `type` a MIME type or `folder`.
    """

    name: str
    type: str
    length: int
    last_modified: int


class Item(NamedTuple):
    """One object as it can be fetched: the key, bytes, unix seconds, and which version of the bytes it has."""

    key: str
    size: int
    mtime: int
    type: str
    version: int = 0
    secret: str = ""  # direct access on the CDN is refused without it
    meta: tuple[tuple[str, str], ...] = ()


class Folder(ABC):
    """One directory: its files and its folders, each in byte order of their names."""

    @abstractmethod
    def scan(self, *, folders: bool, after: str | None, limit: int, desc: bool = False) -> list[Entry]:
        """Return up to `limit` entries of one sort strictly behind the name `after` (in the direction asked for)."""


class Contents(ABC):
    """A bucket. Folder paths are `""` for the root or end with a slash; keys have no leading slash of their own."""

    @abstractmethod
    def folder(self, path: str) -> Folder | None:
        """Return the directory, or None where there is none."""

    @abstractmethod
    def item(self, key: str) -> Item | None:
        """Return the object of this key, or None."""

    @abstractmethod
    def usage(self) -> int:
        """Return the bytes in the bucket (from the mean size, for buckets too big to add up)."""

    def row(self, path: str, entry: Entry) -> Item | None:
        """Return the object that an entry of a folder's listing stands for."""
        return self.item(path + entry.name)

    def walk(self, path: str = "") -> Iterator[Item]:
        """Yield every object at and below a folder, each once."""
        pending = [path]
        while pending:
            here = pending.pop()
            folder = self.folder(here)
            if folder is None:
                continue
            for entry in _all(folder, folders=False):
                item = self.row(here, entry)
                if item is not None:
                    yield item
            pending.extend(f"{here}{entry.name}/" for entry in _all(folder, folders=True))


def _all(folder: Folder, *, folders: bool) -> Iterator[Entry]:
    after = None
    while rows := folder.scan(folders=folders, after=after, limit=_PAGE):
        yield from rows
        after = rows[-1].name


def mime_type(name: str) -> str:
    """Guess the type from the extension, as the service does on upload."""
    return _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def span(names: "Sequence[str] | Numbered", after: str | None, limit: int, *, desc: bool) -> tuple[int, int]:
    """Return the index range of the `limit` names strictly behind `after`; for `desc` it ends just before it."""
    if desc:
        stop = len(names) if after is None else bisect_left(names, after)
        return max(0, stop - limit), stop
    start = 0 if after is None else bisect_right(names, after)
    return start, min(len(names), start + limit)


class Numbered:
    """Names computed from their index: prefix, number padded with zeros, suffix. Name order is index order."""

    def __init__(self, count: int, prefix: str, suffix: str = "", width: int = 0) -> None:
        self._count = count
        self._prefix, self._suffix = prefix, suffix
        self._pattern = f"{prefix}%0{width or len(str(max(0, count - 1)))}d{suffix}"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._pattern % index

    def between(self, start: int, stop: int) -> list[str]:
        """Return the names from one index to before another, both within their number."""
        pattern = self._pattern
        return [pattern % number for number in range(start, stop)]

    def find(self, name: str) -> int | None:
        """Return the index of a name, or None where it is not one of these."""
        digits = name.removeprefix(self._prefix).removesuffix(self._suffix)
        index = int(digits) if digits.isdecimal() else self._count
        return index if index < self._count and self[index] == name else None


class FormulaFolder(Folder):
    """A directory whose names are `Numbered`, and whose sizes and times come from a hash of the key."""

    def __init__(self, path: str, files: Numbered, folders: Numbered, sizes: Sizes, seed: int) -> None:
        self._files, self._folders, self._sizes = files, folders, sizes
        self._type = mime_type(files[0]) if len(files) else ""
        self._digest = crc32(path.encode(), seed)

    def scan(self, *, folders: bool, after: str | None, limit: int, desc: bool = False) -> list[Entry]:
        """See `Folder.scan`. About 1 microsecond an entry."""
        names = self._folders if folders else self._files
        start, stop = span(names, after, limit, desc=desc)
        rows = self._folder_rows(start, stop) if folders else self._file_rows(start, stop)
        return rows[::-1] if desc else rows

    def find(self, name: str) -> Entry | None:
        """Return one file's entry."""
        index = self._files.find(name)
        return None if index is None else self._file_rows(index, index + 1)[0]

    def _file_rows(self, start: int, stop: int) -> list[Entry]:
        digest, table, kind, make, crc = self._digest, self._sizes.table, self._type, Entry, crc32
        rows: list[Entry] = []
        add = rows.append
        for name in self._files.between(start, stop):
            mark = crc(name.encode(), digest)
            add(make(name, kind, table[(mark * 2654435761 & 0xFFFFFFFF) >> 20], OLDEST + mark % 300_000_000))
        return rows

    def _folder_rows(self, start: int, stop: int) -> list[Entry]:
        return [Entry(name, FOLDER, 0, OLDEST) for name in self._folders.between(start, stop)]
