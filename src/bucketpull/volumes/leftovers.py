"""What lies in our own folder of a volume besides the ledger: temporary files, parts of large objects, notes of begun batches."""

import contextlib
import os
import re
import time
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from bucketpull.volumes import beneath
from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.files.file import TEMPORARY
from bucketpull.volumes.files.stream import NOTE, PARTIAL

INTENTS: Final = "intents"
_NOTE: Final = re.compile(r"(.+)\.([0-9]{1,19})\.([0-9]{1,19})")
_PARTIAL_SECONDS: Final = 7 * 86400.0  # an unfinished large object is worth resuming for a week


def tidy(home: OwnDirectory) -> None:
    """Make our folders; empty the one for temporary files, and drop parts of large objects that nobody came back for."""
    home.below(INTENTS)
    temporary, partial = home.below(TEMPORARY), home.below(PARTIAL)
    for name in temporary.names():
        try:
            beneath.remove(temporary.fd, name)
        except (IsADirectoryError, PermissionError):
            beneath.remove_all(temporary.fd, name)
    oldest = time.time() - _PARTIAL_SECONDS
    for name in partial.names():
        found = beneath.look(partial.fd, name.removesuffix(NOTE))  # a note is kept as long as its part
        is_lone = found is None and name.endswith(NOTE)
        if is_lone or (found is not None and found.st_mtime < oldest):
            with contextlib.suppress(FileNotFoundError):
                beneath.remove(partial.fd, name)


def read_intents(home: OwnDirectory) -> dict[tuple[str, int], int]:
    """Return the batches that are noted, by journal and work, with the ledger's end at that time."""
    intents: dict[tuple[str, int], int] = {}
    for name in home.below(INTENTS).names():
        note = _NOTE.fullmatch(name)
        if note is not None:  # NFS keeps what was removed while it was open, under a name of its own
            intents[unquote(note[1]), int(note[2])] = int(note[3])
    return intents


def oldest_intent(home: OwnDirectory) -> int:
    """Return when the oldest batch that is noted was begun (ns since 1970); now where there is none."""
    notes = home.below(INTENTS)
    found = (beneath.look(notes.fd, name) for name in notes.names())
    return min([time.time_ns(), *(note.st_mtime_ns for note in found if note is not None)])


class IntentNote(NamedTuple):
    """A batch's note: when it was made (ns since 1970), in which attachment of the disk, and the batch's body."""

    made_at: int
    attachment: str
    body: bytes


def write_intent(home: OwnDirectory, name: str, attachment: str, body: bytes) -> None:
    """Note a batch. On a full disk its name alone is enough."""
    fd = home.below(INTENTS).open_file(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        with contextlib.suppress(OSError):
            os.write(fd, attachment.encode() + b"\n" + body)
    finally:
        os.close(fd)


def read_intent(home: OwnDirectory, name: str) -> IntentNote:
    """Read a batch's note; unreadable parts are empty."""
    with open(home.below(INTENTS).open_file(name), "rb") as file:
        made_at = os.fstat(file.fileno()).st_mtime_ns
        attachment, _, body = file.read().partition(b"\n")
    return IntentNote(made_at, attachment.decode("ascii", "replace"), body)


def remove_intent(home: OwnDirectory, name: str) -> None:
    """Remove a batch's note. A stale one costs nothing: work ids are never used again."""
    with contextlib.suppress(OSError):
        beneath.remove(home.below(INTENTS).fd, name)


def intent(journal: str, work: int, offset: int) -> str:
    """Return the name of a batch's note."""
    return f"{quote(journal, safe='')}.{work}.{offset}"
