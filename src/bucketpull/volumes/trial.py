"""A small write in a directory of our own, with all that a file goes through: whether a disk that refused something is well."""

import os
import secrets
from contextlib import suppress

from bucketpull.volumes import beneath, system


def try_writing(directory: int, length: int) -> None:
    """Make a directory and a file of so many bytes in an open directory, give it a date and another name, and remove both.

    Raises:
        OSError: One of that does not work.

    """
    trial = f"trial-{secrets.token_hex(4)}"
    beneath.make(directory, trial, 0o700)
    try:
        inside = beneath.enter(directory, trial)
        try:
            _try_inside(inside, length)
        finally:
            os.close(inside)
    finally:
        with suppress(OSError):
            beneath.remove_directory(directory, trial)


def _try_inside(directory: int, length: int) -> None:
    try:
        _write(directory, "a", length)
        beneath.rename("a", "b", src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        for name in ("a", "b"):
            with suppress(OSError):
                beneath.remove(directory, name)


def _write(directory: int, name: str, length: int) -> None:
    fd = beneath.create(directory, name)
    try:
        system.write_all(fd, [bytes(length)])
        system.set_date(fd, 0)
    finally:
        os.close(fd)
