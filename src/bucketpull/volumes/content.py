"""What is in a file."""

import hashlib
import os
from typing import Final

_PIECE_BYTES: Final = 1 << 20


def md5_of(fd: int) -> bytes:
    """Read an open file once, from where it stands to its end, and close it; return its MD5, 16 raw bytes.

    Raises:
        OSError: It cannot be read.

    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        while data := os.read(fd, _PIECE_BYTES):
            digest.update(data)
    finally:
        os.close(fd)
    return digest.digest()
