"""The index of a sealed pack, in the format of ratarmount, which then mounts the pack without reading it.

Format: ratarmountcore 0.11, index version 0.7.0 (`create-index-tables.sql` there): the tables `files`, `metadata` and
`versions`, without those that mark an index as unfinished. A row costs some 107 bytes and 5 µs.
"""

import json
import os
import shutil
import sqlite3
import stat
import tempfile
from typing import BinaryIO, Final, Self

from bucketpull.volumes import beneath
from bucketpull.volumes.packs import tar
from bucketpull.volumes.scratch import hold

SUFFIX: Final = ".index.sqlite"
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


class Index:
    """The index of a pack while it is made; it appears beside the pack when it is finished, or not at all.

    SQLite opens files by path alone, and others may be able to change where a path leads. So the index is made in TMPDIR (some 107
    bytes a member), or in memory if there is none, then copied to the pack's `directory`, an open descriptor; `pack` is the name of
    its file there.
    """

    def __init__(self, directory: int, pack: str) -> None:
        self._directory = directory
        self._name = f"{pack}{SUFFIX}"
        try:
            self._home: str | None = tempfile.mkdtemp(prefix="bucketpull-index-")
            self._lock = hold(self._home)
        except OSError:
            self._home = None
        self._made = f"{self._home}/index.sqlite" if self._home else ":memory:"
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
        if self._home:
            os.close(self._lock)
            shutil.rmtree(self._home, ignore_errors=True)

    def add(self, at: int, member: tar.MemberHeader) -> None:
        """Add a member whose header is at this byte of the pack."""
        directory, _, name = member.path.rpartition(b"/")
        folder = self._names.get(directory)
        if folder is None:
            folder = self._names[directory] = self._folder(directory, at)
        place = (folder, _text(name), at, member.body, member.size, member.mtime)
        self._rows.append((*place, _FILE_MODE, 0, "", 0, 0, 0, 0, 0, 0))
        if len(self._rows) >= _GROUP:
            self._insert()

    def finish(self, pack: os.stat_result) -> None:
        """Complete the index, given the state of the pack, and let it appear."""
        self._insert()
        self._rows = [
            (*folder.rpartition("/")[::2], at, at, 0, 0, _FOLDER_MODE, 5, "", 0, 0, 0, 0, 1, 0)
            for folder, at in self._folders.items()
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
        if self._home is None:
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
        folder = found = "/" + _text(directory) if directory else ""
        while found and found not in self._folders:
            self._folders[found] = at
            found = found.rpartition("/")[0]
        return folder


def _text(name: bytes) -> str:
    """Return a name as text; bytes that are no UTF-8 are written as ratarmount writes them."""
    return name.decode("utf-8", "backslashreplace")
