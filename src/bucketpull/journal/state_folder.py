"""The journal's folder: only its user may change it, and one process at a time writes the journal.

Who else may write there could replace our files by links. The lock is dropped by the kernel when its holder dies, however it dies.
"""

import fcntl
import os
import socket
import stat
from pathlib import Path

from bucketpull.domain.errors import ConfigError, JournalLocked


def check_ours(folder: Path) -> None:
    """Make sure that nobody but this user and root may change what lies in a folder that is there. A group may, if it was let.

    Raises:
        ConfigError: Somebody else may.
        OSError: It cannot be looked at.

    """
    found = folder.stat()
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
    """An exclusive lock on a file. The file says who holds it: process id and host. Raises JournalLocked where somebody else holds it."""

    def __init__(self, path: Path) -> None:
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
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _refusal(path: Path, holder: str) -> str:
    return (
        f"journal {path.parent} is in use by {holder or 'another process'}: "
        "wait for it or stop it; for a second job at the same time give another --job or --state"
    )
