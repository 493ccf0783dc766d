"""Whether a file is still what was stored there: told by its length and date, and only in doubt by what is in it."""

import os

from bucketpull.domain.record import Record
from bucketpull.volumes import system
from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import LOCK
from bucketpull.volumes.recovery import md5_of
from bucketpull.volumes.system import has_date, has_length


def is_as_stored(
    tree: Tree, home: OwnDirectory, path: bytes, found: os.stat_result, record: Record, index: int
) -> bool:
    """Tell whether what was `found` at a path is the file of this record; one that was taken over may have another date, but the MD5."""
    if not has_length(found, (record.stored or record.sizes)[index]):
        return False
    if record.mtimes[index] < 0 or has_date(found, record.mtimes[index]) or not keeps_dates(home):
        return True
    if not record.md5s or not record.md5s[index]:
        return False
    try:
        return md5_of(tree.open_file(path)) == record.md5s[index]
    except OSError:  # what cannot be read is not known to be ours
        return False


def keeps_dates(home: OwnDirectory) -> bool:
    """Tell whether the file system of our own folder keeps dates."""
    fd = home.open_file(LOCK)
    try:
        return system.keeps_dates(fd)
    finally:
        os.close(fd)
