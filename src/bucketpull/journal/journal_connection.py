"""A connection to a journal's file: transactions, named statements, and SQLite's errors as our own."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, reduce
from typing import Any
from zlib import crc32

import msgspec

from bucketpull.domain.errors import JournalDamaged, JournalError

_HERE = os.path.dirname(__file__)  # importlib.resources would cost 7 ms of every start
_MARK = "-- name: "
FILE = "journal.sqlite"
FLOOR_BYTES = 64 * 1024 * 1024
_DAMAGED = {
    sqlite3.SQLITE_CORRUPT: "",
    sqlite3.SQLITE_ERROR: "",  # a table or a column is not there
    sqlite3.SQLITE_NOTADB: "it does not begin like an SQLite file",
}
"""What such an error says, where SQLite's own words say less."""


class ImpossibleRow(Exception):
    """A row holds what no journal writes; the text says what."""


class JournalConnection:
    """A connection to a journal's file, for one thread at a time. It raises only errors of `domain.errors`."""

    def __init__(self, folder: str, sqlite: sqlite3.Connection) -> None:
        self.folder = folder
        self.sqlite = sqlite

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all or nothing; what is done is durable at the end."""
        with TranslatedErrors(self.folder):
            self.sqlite.execute("begin immediate")
            try:
                yield
                self.sqlite.execute("commit")
            except BaseException:
                if self.sqlite.in_transaction:
                    self.sqlite.execute("rollback")
                raise

    def reading(self) -> "TranslatedErrors":
        """Return what raises SQLite's errors as our own, for a block that reads."""
        return TranslatedErrors(self.folder)

    def run(self, name: str, values: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Cursor:
        """Run a named statement, within `transaction` or `reading`."""
        return self.sqlite.execute(statements()[name], values)

    def rows(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows of a named statement. Their types are those of the schema."""
        with TranslatedErrors(self.folder):
            return self.run(name, values).fetchall()

    def only_row(self, name: str) -> tuple[Any, ...]:
        """Return the row of a named statement that has one in each journal. Raises ImpossibleRow where there is none."""
        rows = self.rows(name)
        if not rows:
            raise ImpossibleRow(f"its table has no row for {name!r}")
        return rows[0]

    def check_order(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        """Make sure that a walk advances: in a damaged tree it might never end. Raises JournalDamaged where it does not."""
        if after <= before:
            raise damaged(self.folder, "its rows are not in order")

    def check_room(self) -> None:
        """Make sure that the journal can go on growing; a disk that tells no size, as some FUSE, may have room.

        Raises JournalError where less than the floor is free, its folder is gone, or the disk does not answer.
        """
        try:
            space = os.statvfs(self.folder)
        except OSError as error:
            raise JournalError(
                f"journal {self.folder}: {error.strerror}; put its folder back, or make a journal from the volumes: `bucketpull rebuild`"
            ) from error
        free = space.f_bavail * space.f_frsize
        if space.f_blocks and free < FLOOR_BYTES:
            raise JournalError(
                f"journal {self.folder}: {free >> 20} MiB free on its disk, {FLOOR_BYTES >> 20} MiB are needed; "
                "free some space there, or move the folder with --state"
            )

    def close(self) -> None:
        """Close the file."""
        self.sqlite.close()


def check_types(rows: Iterable[tuple[Any, ...]], types: tuple[type, ...]) -> None:
    """Make sure that rows have the types of their columns, which SQLite checks only with the whole file.

    Raises ImpossibleRow where one has others.
    """
    for row in rows:
        if tuple(map(type, row)) != types:
            raise ImpossibleRow(f"a row has the types {', '.join(type(each).__name__ for each in row)}")


def checksum(*columns: bytes | None) -> int:
    """Return the CRC-32 of columns, which is kept beside them: SQLite has none."""
    return reduce(lambda sum_, column: crc32(column or b"", sum_), columns, 0)


def is_sound(kept: int, *columns: bytes | None) -> bool:
    """Whether columns are as they were written, by what is kept beside them."""
    with suppress(TypeError):  # no bytes
        return checksum(*columns) == kept
    return False


class TranslatedErrors:
    """Raises SQLite's errors in a block as our own. There is one for each statement: a class costs half of a generator."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Raise our own error in place of SQLite's."""
        if error is not None and (own := _translated(error, self._folder)) is not None:
            raise own from error


def _translated(error: BaseException, folder: str) -> JournalError | None:
    """Return our own error for one of SQLite; None for all others."""
    if isinstance(error, (ImpossibleRow, msgspec.DecodeError, OverflowError, UnicodeDecodeError)):
        return damaged(folder, str(error))
    if isinstance(error, MemoryError):  # SQLite asks for as much as a length in the file says
        return JournalError(
            f"journal {file_of(folder)}: there is no memory to read it; allow more (`ulimit -v`), then run the same command again; "
            "if that changes nothing, move it away and make a new one with `bucketpull rebuild`"
        )
    if not isinstance(error, sqlite3.Error):
        return None
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return damaged(folder, _DAMAGED[code] or str(error))
    if isinstance(error, sqlite3.OperationalError):
        return JournalError(
            f"journal {file_of(folder)}: {error}; see to its disk, then run the same command again"
        )
    return None


def file_of(folder: str) -> str:
    """Return the path of a journal's file."""
    return os.path.join(folder, FILE)


def damaged(folder: str, fact: str) -> JournalDamaged:
    """Return the error that says what is wrong with a journal, and what to do."""
    remedy = "its volumes know what they hold: move it away and make a new one with `bucketpull rebuild`"
    return JournalDamaged(f"journal {file_of(folder)}: {fact}; {remedy}")


@cache
def statements() -> dict[str, str]:
    """Return the statements of `queries.sql` by name."""
    return parse(read("queries.sql"))


def parse(text: str) -> dict[str, str]:
    """Split a file at its `-- name:` lines; what comes before the first is its head. Comments stay: SQLite reads over them."""
    _, *pieces = text.split(_MARK)
    named = (piece.split("\n", 1) for piece in pieces)
    return {name.strip(): body.strip() for name, body in named}


def read(name: str) -> str:
    """Return the text of a file of this package."""
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()
