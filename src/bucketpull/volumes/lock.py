"""One process at a time writes a volume."""

import contextlib
import fcntl
import os
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.volumes.identity import Entered

LOCK: Final = "lock"


def take_lock(entered: Entered, path: str) -> int:
    """Lock a volume for this process; the lock is held while the descriptor is open.

    Raises:
        ConfigError: Another process has it.

    """
    # Nobody else may read it: whoever can open it can lock it, and so keep us out.
    fd = entered.home.open_file(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # some file systems keep no modes
        os.fchmod(fd, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise ConfigError(
            f"volume {path} ({entered.identity.id}) is in use by process {holder}; end it, or give another volume"
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd
