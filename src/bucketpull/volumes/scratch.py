"""A temporary folder for data that is too large for memory."""

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bucketpull.domain.errors import ConfigError
from bucketpull.volumes.beneath import closing_fd

_OURS = re.compile(r"bucketpull-[a-z-]+-\w{8}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Between a folder's making and its lock nobody may take it for one that was left behind.
_YOUNG_SECONDS = 60.0


@contextmanager
def scratch_folder(name: str, below: str | None = None) -> Iterator[str]:
    """Make a folder that only this user can enter, below `below` or else TMPDIR, and remove it in the end.

    Those that killed processes of this user left there are removed too: one may hold 10 GB.

    Raises ConfigError where there is no place where one can be made, as in a container with a read-only root and without /tmp.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f"bucketpull-{name}-", dir=below)
    except OSError as error:
        raise ConfigError(
            f"temporary files cannot be written ({error.strerror}); set TMPDIR to a folder where they can be"
        ) from error
    with folder as path, closing_fd(hold(path)):
        _remove_left_behind(os.path.dirname(path))
        yield path


def hold(folder: str) -> int:
    """Lock a folder, as long as the descriptor is open: it is in use."""
    fd = os.open(folder, _FOLDER)
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return fd


def _remove_left_behind(place: str) -> None:
    with suppress(OSError):
        for entry in os.scandir(place):
            if _OURS.fullmatch(entry.name) and _is_old(entry.stat(follow_symlinks=False)):
                _remove_if_free(entry.path)


def _is_old(found: os.stat_result) -> bool:
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_ours and time.time() - found.st_mtime > _YOUNG_SECONDS


def _remove_if_free(folder: str) -> None:
    with suppress(OSError), closing_fd(os.open(folder, _FOLDER)) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
