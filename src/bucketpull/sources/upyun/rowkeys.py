"""What a cursor is when looked into: base64 of the row key of the last entry (contract 3.7; undocumented, hence probed).

A *row* is the part of the row key that names an entry: `@#name` for a file, `@~name` for a folder. Rows are in byte order,
so all files come before all folders.
"""

import base64
import binascii

FILE = b"@#"
FOLDER = b"@~"


class RowKeys:
    """The row keys of one directory (without slashes at its ends; b"" is the root)."""

    def __init__(self, bucket: str, directory: bytes) -> None:
        folders = b"".join(b"~" + name + b"/" for name in directory.split(b"/")) if directory else b""
        self._prefix = bucket.encode() + b"/" + folders

    def cursor(self, row: bytes) -> str:
        """Forge the cursor behind a row, which need not exist."""
        return base64.b64encode(self._prefix + row).decode("ascii")

    def row(self, cursor: str) -> bytes | None:
        """Return the row of a cursor; None if it is no row key of this directory."""
        try:
            key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), validate=True)
        except (binascii.Error, ValueError):
            return None
        row = key.removeprefix(self._prefix)
        return row if key.startswith(self._prefix) and row[:2] in {FILE, FOLDER} else None


def between(low: bytes, high: bytes) -> bytes | None:
    """Return a row between two, such as no entry has; None if there is no room."""
    row = low + b" "
    return row if low < row < high else None
