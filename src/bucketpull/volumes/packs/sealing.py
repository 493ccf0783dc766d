"""Seals a pack that its writer has finished: its end is put in order, its SHA-256 taken, its index made.

It takes one pass over the pack, soon after it was written, in a process of its own with the lowest priority:

    python -m bucketpull.volumes.packs.sealing FOLDER PACK:SETTLED...

with FOLDER an open descriptor of the packs' folder and SETTLED where the ledger's last object of a pack ends prints a `Sealed` as JSON for each, and after
`NOT` why it could not be, or what is wrong with it. It may be done again at any time, and always comes to the same.

With its index ratarmount mounts a pack without reading it. Its format: ratarmountcore 0.11, index version 0.7.0
(`create-index-tables.sql` there): the tables `files`, `metadata` and `versions`, without those that mark an index as unfinished.
A row costs some 107 bytes and 5 µs.
"""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import BinaryIO, Final, Self

import msgspec

from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.record import Sealed
from bucketpull.volumes import beneath
from bucketpull.volumes.beneath import closing_fd
from bucketpull.volumes.packs import folder, tar
from bucketpull.volumes.scratch import scratch_folder

NOT: Final = b"!"
_IN_MEMORY: Final = ":memory:"
_WINDOW_BYTES: Final = 4 << 20
_LARGEST_HEADER: Final = 64 << 10
_SEARCHED_BYTES: Final = 256 << 10
_NICE: Final = 19
_MAGIC: Final = b"ustar\0"
_MAGIC_AT: Final = 257

_TABLES: Final = """
    CREATE TABLE "files" ("path" VARCHAR(65535) NOT NULL, "name" VARCHAR(65535) NOT NULL, "offsetheader" INTEGER,
        "offset" INTEGER, "size" INTEGER, "mtime" REAL, "mode" INTEGER, "type" INTEGER, "linkname" VARCHAR(65535),
        "uid" INTEGER, "gid" INTEGER, "istar" BOOL, "issparse" BOOL, "isgenerated" BOOL, "recursiondepth" INTEGER,
        PRIMARY KEY ("path", "name", "offsetheader"));
    CREATE TABLE "metadata" ("key" VARCHAR(65535) NOT NULL, "value" VARCHAR(65535) NOT NULL, PRIMARY KEY ("key"));
    CREATE TABLE "versions" ("name" VARCHAR(65535) NOT NULL, "version" VARCHAR(65535) NOT NULL, "major" INTEGER,
        "minor" INTEGER, "patch" INTEGER, PRIMARY KEY ("name"));
"""
_INSERT: Final = 'INSERT OR REPLACE INTO "files" VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)'
_FILE_MODE: Final = stat.S_IFREG | 0o644
_FOLDER_MODE: Final = stat.S_IFDIR | 0o555
_GROUP: Final = 5_000
_COPIED_BYTES: Final = 1 << 20
_STATS: Final = (
    "st_mode",
    "st_ino",
    "st_dev",
    "st_nlink",
    "st_uid",
    "st_gid",
    "st_size",
    "st_mtime",
    "st_ctime",
)

_Row = tuple[str, str, int, int, int, int, int, int, str, int, int, int, int, int, int]


class TarWalk:
    """Goes through a tar once, in sequence; then `end` is where its last whole member ends, `digest` that of all before.

    A kill leaves a header of zeros, which ends the archive from `settled` on. What else is no header is damaged: the walk goes on at the next one,
    and `damaged` counts it. `fd` stays the caller's.
    """

    def __init__(self, fd: int, settled: int = 0) -> None:
        self._fd = fd
        self._settled = settled
        self._size = os.fstat(fd).st_size
        self._start = 0
        self._data = b""
        self._hashed = 0
        self.end = self.damaged = 0
        self.digest = hashlib.sha256()

    def members(self) -> Iterator[tuple[int, tar.MemberHeader]]:
        """Give the offset of each member's header, and what it says; `body` counts from the archive's beginning."""
        while True:
            if self.end + _LARGEST_HEADER > self._start + len(self._data):
                self._load()
            found = tar.read_header(self._data, self.end - self._start)
            if found is None:
                if self._is_over():
                    break
                self.damaged += 1
                following = self._next_header()
                self.end = self._tail() if following is None else following
                if following is None:
                    break
                continue
            body = self._start + found.body
            if body + found.size > self._size:
                break
            yield self.end, found._replace(body=body)
            self.end = body + found.size + tar.padding(found.size)
        self._hash_to(self.end)

    def _is_over(self) -> bool:
        """Tell whether the archive ends where no header is."""
        at = self.end - self._start
        header = self._data[at : at + tar.BLOCK]
        return self.end >= self._size or (self.end >= self._settled and not any(header))

    def _next_header(self) -> int | None:
        """Return where the next header behind a damaged one is; None where there is none."""
        at = self.end + tar.BLOCK
        while data := os.pread(self._fd, _SEARCHED_BYTES, at):
            place = data.find(_MAGIC, _MAGIC_AT)
            while place >= 0:
                begin = place - _MAGIC_AT
                if begin % tar.BLOCK == 0 and tar.read_header(data, begin) is not None:
                    return at + begin
                place = data.find(_MAGIC, place + 1)
            at += _SEARCHED_BYTES - _LARGEST_HEADER  # one at the end of what was read may be cut off
        return None

    def _tail(self) -> int:
        """Return where the file ends behind a damaged header that is the last, without what ends an archive."""
        end = self._size + tar.padding(self._size)
        begin = max(0, end - len(tar.END))
        return max(self.end, begin) if os.pread(self._fd, len(tar.END), begin) == tar.END else end

    def _load(self) -> None:
        """Read on from the next header, hashing what lies before it."""
        self._hash_to(self.end)
        self._start, self._data = self.end, os.pread(self._fd, _WINDOW_BYTES, self.end)

    def _hash_to(self, end: int) -> None:
        while self._hashed < end:
            at = self._hashed - self._start
            piece: bytes | memoryview = memoryview(self._data)[at : end - self._start] if at >= 0 else b""
            if not piece:
                piece = os.pread(self._fd, min(_WINDOW_BYTES, end - self._hashed), self._hashed)
            if not piece:  # the file ends within the padding of its last body, which will be zeros
                piece = bytes(end - self._hashed)
            self.digest.update(piece)
            self._hashed += len(piece)


class Index:
    """The index of a pack while it is made; it appears beside the pack when it is finished, or not at all.

    SQLite opens files by path alone, and others may be able to change where a path leads. So the index is made in TMPDIR (some 107
    bytes a member), or in memory if there is none, then copied to the pack's `directory`, an open descriptor; `pack` is the name of
    its file there.
    """

    def __init__(self, directory: int, pack: str) -> None:
        self._directory = directory
        self._name = f"{pack}{folder.INDEX_SUFFIX}"
        self._scratch = ExitStack()
        self._made = _IN_MEMORY
        with suppress(ConfigError):
            self._made = f"{self._scratch.enter_context(scratch_folder('index'))}/index.sqlite"
        self._connection = sqlite3.connect(self._made, isolation_level=None)
        self._connection.executescript(
            "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF;" + _TABLES + "BEGIN;"
        )
        self._rows: list[_Row] = []
        self._folders: dict[str, int] = {}
        self._names: dict[bytes, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._scratch.close()

    def add(self, at: int, member: tar.MemberHeader) -> None:
        """Add a member whose header is at this byte of the pack."""
        directory, _, name = member.path.rpartition(b"/")
        found = self._names.get(directory)
        if found is None:
            found = self._names[directory] = self._folder(directory, at)
        place = (found, _text(name), at, member.body, member.size, member.mtime)
        self._rows.append((*place, _FILE_MODE, 0, "", 0, 0, 0, 0, 0, 0))
        if len(self._rows) >= _GROUP:
            self._insert()

    def finish(self, pack: os.stat_result) -> None:
        """Complete the index, given the state of the pack, and let it appear."""
        self._insert()
        self._rows = [
            (*path.rpartition("/")[::2], at, at, 0, 0, _FOLDER_MODE, 5, "", 0, 0, 0, 0, 1, 0)
            for path, at in self._folders.items()
        ]
        self._insert()
        stats = json.dumps({name: getattr(pack, name) for name in _STATS})
        metadata = [("tarstats", stats), ("backendName", "SQLiteIndexedTar"), ("isGnuIncremental", "0")]
        self._connection.executemany('INSERT INTO "metadata" VALUES (?,?)', metadata)
        self._connection.execute("INSERT INTO \"versions\" VALUES ('index', '0.7.0', 0, 7, 0)")
        self._connection.execute("COMMIT")
        temporary = f"{self._name}.new"
        with open(beneath.create(self._directory, temporary), "wb") as file:
            self._copy_to(file)
            file.flush()
            os.fsync(file.fileno())
        beneath.rename(temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _copy_to(self, file: BinaryIO) -> None:
        if self._made == _IN_MEMORY:
            file.write(self._connection.serialize())
            return
        self._connection.close()
        with open(self._made, "rb") as made:
            shutil.copyfileobj(made, file, _COPIED_BYTES)

    def _insert(self) -> None:
        self._connection.executemany(_INSERT, self._rows)
        self._rows = []

    def _folder(self, directory: bytes, at: int) -> str:
        """Return a folder's name as the index has it: with a leading slash, "" for the root; note it and those above it."""
        path = above = "/" + _text(directory) if directory else ""
        while above and above not in self._folders:
            self._folders[above] = at
            above = above.rpartition("/")[0]
        return path


def _text(name: bytes) -> str:
    """Return a name as text; bytes that are no UTF-8 are written as ratarmount writes them."""
    return name.decode("utf-8", "backslashreplace")


def seal(directory: int, pack: str, settled: int = 0) -> tuple[Sealed, int]:
    """Seal a pack that lies in an open directory; return it, and how many damaged stretches it has.

    Raises OSError where it cannot be read or written.
    """
    with closing_fd(beneath.open_file(directory, folder.file_of(pack), os.O_RDWR)) as fd:
        walk, members = TarWalk(fd, settled), 0
        with Index(directory, folder.file_of(pack)) as index:
            for at, found in walk.members():
                index.add(at, found)
                members += 1
            length = walk.end + len(tar.END)
            if os.fstat(fd).st_size != length or os.pread(fd, len(tar.END), walk.end) != tar.END:
                os.ftruncate(fd, walk.end)
                beneath.write_all(fd, [tar.END], walk.end)
            walk.digest.update(tar.END)
            os.fsync(fd)
            index.finish(os.fstat(fd))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return Sealed(pack, length, walk.digest.digest(), members), walk.damaged


def _main(directory: str, *packs: str) -> None:
    os.nice(_NICE)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked was killed: nobody is to be told why
    for each in packs:
        pack, _, settled = each.partition(":")
        try:
            sealed, damaged = seal(int(directory), pack, int(settled or 0))
        except (OSError, sqlite3.Error) as error:
            _tell(NOT + f"pack {pack} is not sealed: {getattr(error, 'strerror', None) or error}".encode())
            continue
        if damaged:
            _tell(
                NOT
                + f"pack {pack} is damaged in {counted(damaged, 'places')}; run `bucketpull verify --hash --repair`".encode()
            )
        _tell(msgspec.json.encode(sealed))


def _tell(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
