"""The journal's folder, which one process at a time has, and its SQLite file: made, opened and checked.

Only its user may change the folder: who else may write there could replace our files by links.
WAL with `synchronous=FULL`: a transaction that has returned survives a power cut. A damaged file is refused, never
replaced: beside the journal lies a marker that says there was one.
"""

import fcntl
import os
import secrets
import socket
import sqlite3
import stat
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

from bucketpull.domain.errors import ConfigError, JobMismatch, JournalError, JournalLocked
from bucketpull.journal.journal_connection import (
    FILE,
    JournalConnection,
    TranslatedErrors,
    damaged,
    file_of,
    read,
)
from bucketpull.trusted_path import make_private_folder

MARKER = "journal.id"
LOCK = "journal.lock"
APPLICATION = 0x62706A31  # "bpj1", in the file's header
SCHEMA_VERSION = 8  # one more with each change of `schema.sql`, or of how work is encoded
# A complete check reads the whole file: 1 ms a MiB where it is cached, 10 where it is not.
CHECKED_BYTES = 64 * 1024 * 1024
CHECKED_AFTER_CRASH_BYTES = 256 * 1024 * 1024
# Settings with these prefixes are remembered for commands that go on with the job; they may change from one session to the next.
OPTION = "option."
PRICE = "price."
RESERVE = "session.reserve"  # what volumes keep free, as written
REMEMBERED = (OPTION, PRICE, RESERVE)
_SETTINGS = (
    "pragma busy_timeout = 10000",
    "pragma synchronous = full",
    "pragma cache_size = -65536",
    "pragma temp_store = memory",
    "pragma wal_autocheckpoint = 4000",
    "pragma cell_size_check = on",
    "pragma foreign_keys = off",
)


def exists(folder: str) -> bool:
    """Tell whether there is a journal. Raises JournalDamaged where there was one, and its file is gone or empty."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if os.stat(file_of(folder)).st_size:
            return True
        raise damaged(folder, "the file is empty")
    if os.path.exists(os.path.join(folder, MARKER)):
        raise damaged(folder, "the file is gone")
    return False


def create(folder: str, name: str, now: float) -> None:
    """Make a new journal: whole under its name, or not at all. Raises JournalError where the folder cannot be written."""
    fresh = os.path.join(folder, f"{FILE}.new")
    for leftover in (fresh, f"{fresh}-wal", f"{fresh}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(leftover)
    identity = secrets.token_hex(6)
    with TranslatedErrors(folder):
        sqlite = sqlite3.connect(fresh, isolation_level=None)
        sqlite.execute("pragma synchronous = off")  # the whole file is synced below, before it has its name
        sqlite.execute("pragma journal_mode = wal")
        sqlite.execute(f"pragma application_id = {APPLICATION}")
        sqlite.execute(f"pragma user_version = {SCHEMA_VERSION}")
        sqlite.executescript(f"begin immediate;{read('schema.sql')}")
        sqlite.execute(
            "insert into job (id, journal, name, created) values (1, ?, ?, ?)", (identity, name, now)
        )
        sqlite.execute("insert into book values (1, '{}')")
        sqlite.execute("commit")
        sqlite.close()
    os.chmod(fresh, 0o600)
    _sync(fresh)
    os.rename(fresh, file_of(folder))
    _sync(folder)  # before the marker: after a power cut it must not be alone
    mark(folder, identity)


def mark(folder: str, identity: str) -> None:
    """Leave a marker beside the journal, so that its loss is noticed."""
    marker = os.path.join(folder, MARKER)
    if not os.path.exists(marker):
        try:
            with open(marker, "x") as file:
                file.write(identity + "\n")
        except FileExistsError as error:
            raise JournalError(f"{marker}: is a link that leads nowhere; remove it") from error
        _sync(marker)
        _sync(folder)


def opened(folder: str, job: str, configuration: Mapping[str, str] | None, now: float) -> JournalConnection:
    """Open a journal to write, and make it if there is none; `configuration` is that of this session, None for that of the last.

    Raises JournalError where there is none and no configuration, and as `connect` and `adopt` do.
    """
    if not exists(folder):
        if configuration is None:
            raise JournalError(f"journal {folder}: not found; see --state and --job")
        create(folder, job, now)
    connection = connect(folder)
    try:
        if configuration is not None:
            adopt(connection, folder, job, configuration)
        mark(folder, connection.only_row("job")[0])
        connection.rows("set-closed", 0)
    except BaseException:
        connection.close()
        raise
    return connection


def read_configuration(connection: JournalConnection) -> dict[str, str]:
    """Return the settings of the last session, by name."""
    return {str(key): str(value) for key, value in connection.rows("configuration")}


def adopt(connection: JournalConnection, folder: str, job: str, asked: Mapping[str, str]) -> None:
    """Note the settings of this session; one that is not there is the empty text.

    Raises JobMismatch as `refuse_another` does.
    """
    known = read_configuration(connection)
    refuse_another(folder, job, known, asked)
    changed = [(key, value) for key, value in asked.items() if known.get(key) != value]
    if changed:
        with connection.transaction():
            for row in changed:
                connection.rows("configure", *row)


def refuse_another(folder: str, job: str, known: Mapping[str, str], asked: Mapping[str, str]) -> None:
    """Raise JobMismatch where a journal is of a job with another identity, and say what differs; what is only remembered does not count."""
    differences = [
        f"{key} was {known.get(key, '')!r} and is {asked.get(key, '')!r}"
        for key in sorted({*known, *asked})
        if not key.startswith(REMEMBERED) and known.get(key, "") != asked.get(key, "")
    ]
    if known and differences:
        raise JobMismatch(
            f"journal {folder} is of another job than {job}: {'; '.join(differences)}; "
            "go on with the former settings, or give the new job its own --job or --state"
        )


def connect(folder: str) -> JournalConnection:
    """Open an existing journal to write.

    Raises:
        JournalDamaged: It is corrupt, truncated, or no journal.
        JournalError: It is of another version, or cannot be opened.

    """
    with TranslatedErrors(folder):
        connection = _connected(folder)
        try:
            for setting in _SETTINGS:
                connection.sqlite.execute(setting)
            _refuse_other_versions(connection)
            check_pages(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_to_read(folder: str) -> JournalConnection:
    """Open an existing journal to read, also while a coordinator writes."""
    with TranslatedErrors(folder):
        connection = _connected(folder)
        try:
            connection.sqlite.execute("pragma busy_timeout = 10000")
            connection.sqlite.execute("pragma query_only = on")
            _refuse_other_versions(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _connected(folder: str) -> JournalConnection:
    """Open the file by SQLite alone.

    Whoever else in this process closes a descriptor of it drops all locks that SQLite has on it (POSIX): then another process that
    looks at the journal takes itself for the last one, and removes the write-ahead log under a coordinator that goes on writing to it.

    Raises JournalDamaged where it is no SQLite file, no journal of ours, or shorter than it says.
    """
    path = os.path.join(os.getcwd(), file_of(folder))
    uri = f"file://{quote(os.fsencode(path))}?mode=rw"
    sqlite = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        (application,) = sqlite.execute("pragma application_id").fetchone()
        if application != APPLICATION:
            raise damaged(folder, f"its application id is {application:#x}, not {APPLICATION:#x}")
    except BaseException:
        sqlite.close()
        raise
    return JournalConnection(folder, sqlite)


def check_pages(connection: JournalConnection) -> None:
    """Write the log into the main file, check its length, and check it completely if that is cheap.

    A file that was not closed in order is checked completely up to a larger size.

    Raises JournalDamaged where it is corrupt.
    """
    connection.sqlite.execute("pragma wal_checkpoint(truncate)").fetchall()
    (pages,) = connection.sqlite.execute("pragma page_count").fetchone()
    (page_bytes,) = connection.sqlite.execute("pragma page_size").fetchone()
    size = os.path.getsize(file_of(connection.folder))
    if size < pages * page_bytes:
        raise damaged(connection.folder, f"it has {size} bytes and should have {pages * page_bytes}")
    (closed,) = connection.only_row("was-closed")
    if size <= (CHECKED_BYTES if closed else CHECKED_AFTER_CRASH_BYTES):
        (verdict,) = connection.sqlite.execute("pragma quick_check(1)").fetchone()
        if verdict != "ok":
            raise damaged(connection.folder, str(verdict))


def _refuse_other_versions(connection: JournalConnection) -> None:
    (version,) = connection.sqlite.execute("pragma user_version").fetchone()
    file = file_of(connection.folder)
    if version > SCHEMA_VERSION:
        raise JournalError(f"journal {file}: is of a newer bucketpull; update bucketpull")
    if version < SCHEMA_VERSION:
        raise JournalError(
            f"journal {file}: is of an older bucketpull; move its folder away and make a new one with `bucketpull rebuild`"
        )


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- the folder


def check_ours(folder: str) -> None:
    """Make sure that nobody but this user and root may change what lies in a folder that is there. A group may, if it was let.

    Raises ConfigError where somebody else may, and OSError where it cannot be looked at.
    """
    found = os.stat(folder)
    if found.st_uid not in {os.geteuid(), 0}:
        raise ConfigError(
            f"journal {folder}: its folder belongs to user {found.st_uid}; "
            "run as that user, or name another folder with --state"
        )
    if found.st_mode & stat.S_IWOTH:
        raise ConfigError(
            f"journal {folder}: everybody may write in its folder; "
            "chmod o-w it, or name another folder with --state"
        )


class Lock:
    """An exclusive lock on a file, which the kernel drops when its holder dies. The file says who holds it: process id and host.

    Raises JournalLocked where somebody else holds it.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip()
            os.close(self._fd)
            raise JournalLocked(_refusal(path, holder)) from None
        os.fchmod(self._fd, 0o600)  # who may open it may hold it, and so stop every job
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Release it. The file stays: removing it would let two processes lock two files."""
        if self._fd >= 0:
            with suppress(OSError):  # a disk that died keeps the lock from nobody
                os.ftruncate(self._fd, 0)
            with suppress(OSError):  # Linux closes it all the same
                os.close(self._fd)
            self._fd = -1


def _refusal(path: str, holder: str) -> str:
    return (
        f"journal {os.path.dirname(path)} is in use by {holder or 'another process'}: "
        "wait for it or stop it; for a second job at the same time give another --job or --state"
    )


def locked(folder: str) -> Lock:
    """Make a journal's folder where there is none, and lock it. Raises ConfigError where it cannot be made or written, or is not ours."""
    try:
        make_private_folder(folder)
        check_ours(folder)
        return Lock(os.path.join(folder, LOCK))
    except OSError as error:
        remedy = "give a folder that can be written with --state"
        raise ConfigError(f"journal {folder}: {error.strerror}; {remedy}") from error
