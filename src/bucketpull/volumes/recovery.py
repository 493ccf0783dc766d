"""Which files of a batch a killed worker had written completely, and their MD5s.

They are read once: a ledger without their MD5 could not tell later whether they changed, and where the listing states
an MD5, they are held against it. What was in flight at a kill is little; only a file larger than a batch is left unread.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from bucketpull.domain.batching import MAX_BYTES, among, decode_parts, ids_of
from bucketpull.domain.model import Part
from bucketpull.domain.record import Record
from bucketpull.volumes.as_stored import has_our_date, has_whole_seconds, md5_of
from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import Identity
from bucketpull.volumes.ledger import Ledger
from bucketpull.volumes.leftovers import read_intent


def whole_files(tree: Tree, identity: Identity, part: Part, made_at: int) -> Record | None:
    """Return the objects of which a file lies there that is newer than the batch's note (ns since 1970), and as long and as old as listed.

    Where no length is listed it may be of any: a file gets its final name only when it is whole.

    Raises:
        OSError: The disk refused.

    """
    found: dict[int, bytes] = {}
    lengths: dict[int, int] = {}
    for index, length in _candidates(tree, identity, part, made_at):
        lengths[index] = length
        if length > MAX_BYTES:
            found[index] = b""
            continue
        with suppress(OSError):  # what cannot be read is fetched again
            md5 = md5_of(tree.open_file(identity.path_of(part.directory, part.names[index])))
            if md5.hex() == (part.stated_md5(index) or md5.hex()):
                found[index] = md5
    if not found:
        return None
    record = Record.of(part).take(list(found))
    record.md5s = list(found.values())
    stored = [lengths[index] for index in found]
    if stored != record.sizes:
        record.stored = stored
    return record


def begun_parts(home: OwnDirectory, ledger: Ledger, name: str, since: int) -> list[Part]:
    """Return the objects of a batch's note, by its name, of which the ledger does not tell from an offset on; none where it cannot be read."""
    try:
        body = read_intent(home, name).body
        parts = decode_parts(body) if body else []
    except (OSError, msgspec.DecodeError):
        return []
    left = ids_of(parts)
    for frame in ledger.frames(since) if left else ():
        left -= ids_of(frame.records())
    return among(parts, left)


def _candidates(tree: Tree, identity: Identity, part: Part, made_at: int) -> Iterator[tuple[int, int]]:
    """Give each index, and the length of its file."""
    for index, name in enumerate(part.names):
        found = tree.stat(identity.path_of(part.directory, name))
        if (
            found is not None
            and stat.S_ISREG(found.st_mode)
            and part.sizes[index] in {-1, found.st_size}
            and _may_be_dated(found, part.mtimes[index], made_at)
            and (found.st_ctime_ns >= made_at or (_lacks_ctime(found) and part.stated_md5(index)))
        ):
            yield index, found.st_size


def _may_be_dated(found: os.stat_result, mtime: int, made_at: int) -> bool:
    """Compare with the listed date; where none is listed a file has that of its answer, or keeps that of its writing."""
    if mtime >= 0:
        return has_our_date(found, mtime)
    return has_whole_seconds(found) or found.st_mtime_ns >= made_at


def _lacks_ctime(found: os.stat_result) -> bool:
    """Tell whether the file system keeps no date of change, as FAT and exFAT do: then only an MD5 says whose file it is."""
    return found.st_ctime_ns == found.st_mtime_ns
