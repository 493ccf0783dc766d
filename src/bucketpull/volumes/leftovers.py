"""What lies in our own folder of a volume besides the ledger: temporary files, parts of large objects, notes of begun batches."""

import contextlib
import os
import time
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from bucketpull.volumes.files.file import TEMPORARY
from bucketpull.volumes.files.stream import PARTIAL
from bucketpull.volumes.identity import HOME

INTENTS: Final = f"{HOME}/intents"
_PARTIAL_SECONDS: Final = 7 * 86400.0  # an unfinished large object is worth resuming for a week


def tidy(root: int) -> None:
    """Make our folders; empty the one for temporary files, and drop parts of large objects that nobody came back for."""
    for folder in (TEMPORARY, PARTIAL, INTENTS):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o755, dir_fd=root)
    for name in _names(root, TEMPORARY):
        try:
            os.unlink(f"{TEMPORARY}/{name}", dir_fd=root)
        except (IsADirectoryError, PermissionError):
            _remove_tree(root, f"{TEMPORARY}/{name}")
    oldest = time.time() - _PARTIAL_SECONDS
    for name in _names(root, PARTIAL):
        if os.stat(f"{PARTIAL}/{name}", dir_fd=root, follow_symlinks=False).st_mtime < oldest:
            os.unlink(f"{PARTIAL}/{name}", dir_fd=root)


def _remove_tree(root: int, folder: str) -> None:
    import shutil  # 2 ms, for what few starts find

    shutil.rmtree(folder, dir_fd=root)


def read_intents(root: int) -> dict[tuple[str, int], int]:
    """Return the batches that are noted, by journal and work, with the ledger's end at that time."""
    intents: dict[tuple[str, int], int] = {}
    for name in _names(root, INTENTS):
        journal, work, offset = name.rsplit(".", 2)
        intents[unquote(journal), int(work)] = int(offset)
    return intents


class Note(NamedTuple):
    """A batch's note: when it was made (ns since 1970), in which attachment of the disk, and the batch's body."""

    made_at: int
    attachment: str
    body: bytes


def write_intent(root: int, name: str, attachment: str, body: bytes) -> None:
    """Note a batch. On a full disk the name alone must do."""
    fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=root)
    try:
        with contextlib.suppress(OSError):
            os.write(fd, attachment.encode() + b"\n" + body)
    finally:
        os.close(fd)


def read_intent(root: int, name: str) -> Note:
    """Read a batch's note; what cannot be read of it is empty."""
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=root)) as file:
        made_at = os.fstat(file.fileno()).st_mtime_ns
        attachment, _, body = file.read().partition(b"\n")
    return Note(made_at, attachment.decode("ascii", "replace"), body)


def _names(root: int, folder: str) -> list[str]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def intent(journal: str, work: int, offset: int) -> str:
    """Return where a batch is noted, below the volume."""
    return f"{INTENTS}/{quote(journal, safe='')}.{work}.{offset}"
