"""The Unix socket in a journal's folder, through which other commands of the same user reach the coordinator.

A coordinator that was killed leaves a socket that refuses: then nobody runs.
"""

import contextlib
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from typing import Final

NAME: Final = "control"


def listen(folder: str) -> socket.socket:
    """Listen. Only the holder of the journal's lock may do that: a socket that is there is a dead one's.

    Raises OSError where the folder's file system has no sockets.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        remove(folder)
        with _address(folder) as address:
            listener.bind(address)
        os.chmod(os.path.join(folder, NAME), 0o600)
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(folder: str, seconds: float) -> socket.socket | None:
    """Connect to the coordinator that has the journal; None if none does. Raises OSError where we may not."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        with _address(folder) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def remove(folder: str) -> None:
    """Leave no socket behind."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, NAME))


def user_of(connection: socket.socket) -> str:
    """Name the user at the other end."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    with contextlib.suppress(KeyError):
        return f"user '{pwd.getpwuid(user).pw_name}'"
    return f"user '{user}'"


@contextlib.contextmanager
def _address(folder: str) -> Iterator[str]:
    """Yield the socket's address through the open folder: an address has at most 107 bytes, a path may have more."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)
