"""What a killed worker left on a volume: temporary files, parts of large objects, notes of begun batches, and files of these that are whole.

Files of a batch are read once: a ledger without their MD5 could not tell later whether they changed, and where the listing states
an MD5, they are held against it. What was in flight at a kill is little; only a file larger than a batch is left unread.
"""

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from bucketpull.domain.batching import MAX_BYTES, decode_parts, ids_of
from bucketpull.domain.model import Id, Part, key_of
from bucketpull.domain.record import Record
from bucketpull.volumes import beneath
from bucketpull.volumes.beneath import OwnDirectory, closing_fd
from bucketpull.volumes.files.stream import NOTE, PARTIAL
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import TEMPORARY, Identity
from bucketpull.volumes.ledger import Damage, Frame, Kind, Ledger
from bucketpull.volumes.os_errors import Culprit, culprit
from bucketpull.volumes.sizes_and_dates import has_our_date, has_whole_seconds, md5_of

BatchId = tuple[str, int]
"""A batch: its journal and the work's id."""

_NOTES: Final = "intents"
_NOTE: Final = r"(.+)\.([0-9]{1,19})\.([0-9]{1,19})"
_PARTIAL_SECONDS: Final = 7 * 86400.0  # an unfinished large object is worth resuming for a week


def tidy(home: OwnDirectory) -> None:
    """Empty the folder for temporary files, and drop parts of large objects that nobody came back for."""
    temporary, partial = home.below(TEMPORARY), home.below(PARTIAL)
    for name in temporary.names():
        # A process of a job that was killed just now may still give it its final name.
        with suppress(FileNotFoundError):
            try:
                beneath.remove(temporary.fd, name)
            except (IsADirectoryError, PermissionError):
                beneath.remove_all(temporary.fd, name)
    oldest = time.time() - _PARTIAL_SECONDS
    for name in partial.names():
        found = beneath.look(partial.fd, name.removesuffix(NOTE))  # a note is kept as long as its part
        is_lone = found is None and name.endswith(NOTE)
        if is_lone or (found is not None and found.st_mtime < oldest):
            with suppress(FileNotFoundError):
                beneath.remove(partial.fd, name)


class BatchNote(msgspec.Struct, frozen=True, gc=False):
    """A batch's note: the ledger's end and the time (ns since 1970) when it was made, in which attachment of the disk, and the batch's body."""

    end: int
    made_at: int = 0
    attachment: str = ""
    body: bytes = b""

    def parts(self) -> list[Part]:
        """Return the batch's objects; none where the note does not tell them."""
        with suppress(msgspec.DecodeError):
            return decode_parts(self.body) if self.body else []
        return []


class BatchNotes:
    """The batches that are being stored on a volume, each noted in a file of `.bucketpull/intents` before its first file is written.

    File systems keep such changes in order, so after a power cut too the note is there wherever a file of the batch is (its
    content perhaps not). Its name holds the ledger's end, from where the batch's blocks are looked for: see `ends`.

    A batch that came back has several where the disk did not remove the first. Its blocks are looked for from the oldest on, and
    the newest says what is being written.
    """

    def __init__(self, home: OwnDirectory) -> None:
        self._folder = home.below(_NOTES)
        self.ends: dict[BatchId, int] = {}
        self._names: dict[BatchId, list[str]] = {}
        # NFS keeps what was removed while it was open, under a name of its own
        notes = [note for name in self._folder.names() if (note := re.fullmatch(_NOTE, name)) is not None]
        for note in sorted(notes, key=lambda note: int(note[3])):
            work = unquote(note[1]), int(note[2])
            self.ends.setdefault(work, int(note[3]))
            self._names.setdefault(work, []).append(note[0])

    def of(self, journal: str) -> list[int]:
        """Return the batches of a journal."""
        return [work for name, work in self.ends if name == journal]

    def oldest(self) -> int:
        """Return when the oldest note was made (ns since 1970); now where there is none."""
        found = (beneath.look(self._folder.fd, name) for name in self._folder.names())
        return min([time.time_ns(), *(note.st_mtime_ns for note in found if note is not None)])

    def tell_of(self, key: bytes) -> bool:
        """Tell whether one of the batches has an object."""
        name = key.rpartition(b"/")[2]
        notes = (self.known(work) for work in list(self.ends))  # another thread may note more
        return any(
            key == key_of(*each)
            for note in notes
            if name in note.body  # decoding it takes 20 times as long
            for each in ids_of(note.parts())
        )

    def add(self, work: BatchId, end: int, attachment: str, body: bytes) -> None:
        """Note a batch. On a full disk its name alone is enough. Raises OSError where the disk does not take that."""
        name = f"{quote(work[0], safe='')}.{work[1]}.{end}"
        made = self._folder.open_file(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        with closing_fd(made), suppress(OSError):
            os.write(made, attachment.encode() + b"\n" + body)
        self._names[work] = [name]
        self.ends[work] = end

    def read(self, work: BatchId) -> BatchNote:
        """Read a batch's note. Raises OSError where it cannot be read: its files may be there all the same, as on a disk that is away."""
        end = self.ends.get(work, 0)
        name = self._names.get(work, [""])[-1]  # another thread may have removed it
        with open(self._folder.open_file(name), "rb") as file:
            made_at = os.fstat(file.fileno()).st_mtime_ns
            attachment, _, body = file.read().partition(b"\n")
        return BatchNote(end, made_at, attachment.decode("ascii", "replace"), body)

    def known(self, work: BatchId) -> BatchNote:
        """Read a batch's note, of one that the disk refuses to read its name. Raises OSError where this machine is short of something."""
        try:
            return self.read(work)
        except OSError as error:
            if culprit(error) is Culprit.MACHINE:
                raise
            return BatchNote(self.ends.get(work, 0))

    def remove(self, work: BatchId) -> None:
        """Remove a batch's notes. A stale one costs nothing: work ids are never used again."""
        self.ends.pop(work, None)  # another thread may remove it too
        for name in self._names.pop(work, ()):
            with suppress(OSError):
                beneath.remove(self._folder.fd, name)


def whole_files(tree: Tree, identity: Identity, part: Part, made_at: int) -> Record | None:
    """Return the objects of which a file lies there that is newer than the batch's note (ns since 1970), and as long and as old as listed.

    Where no length is listed it may be of any: a file gets its final name only when it is whole.

    Raises OSError where the disk refused.
    """
    found: dict[int, tuple[bytes, int, bytes]] = {}
    for index, path, length in _candidates(tree, identity, part, made_at):
        with suppress(OSError):  # what cannot be read is fetched again
            md5 = b"" if length > MAX_BYTES else md5_of(tree.open_file(path))
            if md5.hex() in {"", part.stated_md5(index) or md5.hex()}:
                found.setdefault(index, (path, length, md5))
    if not found:
        return None
    record = Record.of(part).take(list(found))
    record.md5s = [md5 for _, _, md5 in found.values()]
    stored = [length for _, length, _ in found.values()]
    if stored != record.sizes:
        record.stored = stored
    for place, (path, _, _) in enumerate(found.values()):
        if path != identity.path_of(*record.id_at(place)):
            record.paths[place] = path
    return record


class Told(msgspec.Struct):
    """What a ledger tells of a noted batch's objects: the offsets of the `former` blocks, and what it told last `since` the note.

    `since` has a record and its index by directory and name, None for an object that was removed.
    """

    former: list[int] = []
    since: dict[Id, tuple[Record, int] | None] = {}

    def add(self, frame: Frame, noted_at: int, places: Mapping[Id, tuple[Record, int]]) -> None:
        """Take what a later frame tells of some of the objects; `noted_at` is the ledger's end when the batch was noted."""
        if frame.offset >= noted_at:
            self.since.update(places if frame.kind is Kind.BLOCK else dict.fromkeys(places))
        elif frame.kind is Kind.BLOCK:
            self.former.append(frame.offset)


def told_of(ledger: Ledger, notes: Mapping[BatchId, BatchNote]) -> dict[BatchId, Told]:
    """Find in one pass what the ledger tells of noted batches; damage is stepped over, memory is that of their objects."""
    found = {work: Told() for work in notes}
    batches: dict[Id, list[BatchId]] = {}
    for work, note in notes.items():
        for key in ids_of(note.parts()):
            batches.setdefault(key, []).append(work)
    for frame in ledger.salvage() if batches else ():
        if isinstance(frame, Damage):
            continue
        places: dict[BatchId, dict[Id, tuple[Record, int]]] = {}
        for record in frame.records():
            for index in record.matching(batches):
                for work in batches[key := record.id_at(index)]:
                    places.setdefault(work, {})[key] = record, index
        for work, objects in places.items():
            found[work].add(frame, notes[work].end, objects)
    return found


def _candidates(tree: Tree, identity: Identity, part: Part, made_at: int) -> Iterator[tuple[int, bytes, int]]:
    """Give each index, and the path and length of a file that may be its object."""
    folders: dict[bytes, list[bytes]] = {}
    for index, name in enumerate(part.names):
        for path in tree.homes(identity.path_of(part.directory, name), folders):
            found = tree.stat(path)
            if (
                found is not None
                and stat.S_ISREG(found.st_mode)
                and part.sizes[index] in {-1, found.st_size}
                and _may_be_dated(found, part.mtimes[index], made_at)
                and (found.st_ctime_ns >= made_at or (_lacks_ctime(found) and part.stated_md5(index)))
            ):
                yield index, path, found.st_size


def _may_be_dated(found: os.stat_result, mtime: int, made_at: int) -> bool:
    """Compare with the listed date; where none is listed a file has that of its answer, or keeps that of its writing."""
    if mtime >= 0:
        return has_our_date(found, mtime)
    return has_whole_seconds(found) or found.st_mtime_ns >= made_at


def _lacks_ctime(found: os.stat_result) -> bool:
    """Tell whether the file system keeps no date of change, as FAT and exFAT do: then only an MD5 says whose file it is."""
    return found.st_ctime_ns == found.st_mtime_ns
