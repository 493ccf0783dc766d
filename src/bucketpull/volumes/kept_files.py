"""Files of others that lay where an object belongs: they get another name beside it, and are written down."""

import errno
import fcntl
import os
from itertools import count
from typing import Final

from bucketpull.domain.keys import LONGEST_NAME
from bucketpull.domain.model import show
from bucketpull.volumes import beneath
from bucketpull.volumes.beneath import OwnDirectory, closing_fd
from bucketpull.volumes.files.tree import Tree

LIST: Final = "kept.txt"
_SUFFIX: Final = b".kept"
_MOST_READ: Final = 1 << 20
# A mount point, an immutable file, a folder without permission: what cannot be renamed there cannot be replaced either.
_IMMOVABLE: Final = frozenset({errno.EBUSY, errno.EPERM, errno.EACCES})


def set_aside(tree: Tree, home: OwnDirectory, path: bytes) -> bool:
    """Rename what lies at a path, a directory excepted, to the first free of `NAME.kept`, `NAME.kept-2`, …; it is written down before.

    Return False if it stays, because it can be neither renamed nor replaced: then its object cannot be stored either.

    Raises OSError where it cannot be renamed for another cause.
    """
    folder, _, name = path.rpartition(b"/")
    place = tree.place(folder, create=False)
    kept = _free_name(place.fd, name)
    with closing_fd(home.open_file(LIST, os.O_WRONLY | os.O_CREAT | os.O_APPEND)) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        before = os.fstat(fd).st_size
        os.write(fd, f"{show(path)}\t{show(place.join(kept))}\n".encode())
        try:
            beneath.rename(name, kept, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        except OSError as error:
            os.ftruncate(fd, before)
            if error.errno in _IMMOVABLE:
                return False
            raise
    return True


class KeptCount:
    """How many files of others are kept on a volume; `count` costs nothing while none are added."""

    def __init__(self, home: OwnDirectory) -> None:
        self._home = home
        self._read = 0
        self._lines = 0

    def count(self) -> int:
        """Return how many were written down."""
        found = beneath.look(self._home.fd, LIST)
        if found is not None and found.st_size > self._read:
            with closing_fd(self._home.open_file(LIST)) as fd:
                while data := os.pread(fd, _MOST_READ, self._read):
                    self._lines += data.count(b"\n")
                    self._read += len(data)
        return self._lines


def _free_name(directory: int, name: bytes) -> bytes:
    for number in count(1):
        suffix = _SUFFIX if number == 1 else b"%s-%d" % (_SUFFIX, number)
        kept = name[: LONGEST_NAME - len(suffix)] + suffix
        if beneath.look(directory, kept) is None:
            return kept
    raise AssertionError
