"""A small write in a directory of our own, with all that a file goes through: whether a disk that refused something is well."""

import os
import secrets
from contextlib import suppress
from typing import Final

from bucketpull.volumes import system

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def try_writing(directory: int, length: int) -> None:
    """Make a directory and a file of so many bytes in an open directory, give it a date and another name, and remove both.

    Raises:
        OSError: One of that does not work.

    """
    trial = f"trial-{secrets.token_hex(4)}"
    os.mkdir(trial, 0o700, dir_fd=directory)
    names = (f"{trial}/a", f"{trial}/b")
    try:
        _write(names[0], directory, length)
        os.rename(names[0], names[1], src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        for name in names:
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
        with suppress(OSError):
            os.rmdir(trial, dir_fd=directory)


def _write(name: str, directory: int, length: int) -> None:
    fd = os.open(name, _CREATE, 0o600, dir_fd=directory)
    try:
        written = 0
        while written < length:
            written += os.write(fd, bytes(length - written))
        system.set_date(fd, 0)
    finally:
        os.close(fd)
