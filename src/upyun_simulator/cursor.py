"""Positions in a listing: the text of `x-list-iter`."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, NamedTuple

END: Final = "g2gCZAAEbmV4dGQAA2VvZg"  # Erlang's {next, eof}


class Position(NamedTuple):
    """The entry behind which a page starts; entries sort as files, then folders, each by name."""

    folders: bool
    name: str


class BadCursor(ValueError):
    """A cursor that is none of this directory's."""


@dataclass(frozen=True)
class RowKeys:
    """The service's own form: padded base64 of the row key of the last entry, so that a forged one works by seeking."""

    bucket: str
    padding: bool = True

    def encode(self, folder: str, position: Position) -> str:
        """Return the cursor behind an entry of a folder (`""` or ending in a slash)."""
        key = f"{self._prefix(folder)}{'@~' if position.folders else '@#'}{position.name}"
        text = base64.b64encode(key.encode("utf-8", "surrogatepass")).decode()
        return text if self.padding else text.rstrip("=")

    def decode(self, folder: str, cursor: str) -> Position:
        """Return the position of a cursor; BadCursor where it is not one of this folder."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), validate=True)
            key = raw.decode("utf-8", "surrogatepass")
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise BadCursor(cursor) from error
        prefix = self._prefix(folder)
        kind, name = key[len(prefix) : len(prefix) + 2], key[len(prefix) + 2 :]
        if not key.startswith(prefix) or kind not in {"@#", "@~"}:
            raise BadCursor(cursor)
        return Position(kind == "@~", name)

    def _prefix(self, folder: str) -> str:
        steps = folder.split("/")[:-1]
        return "/".join([self.bucket, *(f"~{step}" for step in steps), ""])


@dataclass(frozen=True)
class Sealed:
    """A form that cannot be forged: the row key masked and signed. For rehearsing a service without row keys."""

    inner: RowKeys
    secret: bytes = b"sealed"

    def encode(self, folder: str, position: Position) -> str:
        """See `RowKeys.encode`."""
        plain = base64.b64decode(self.inner.encode(folder, position) + "==")
        return base64.b64encode(self._sign(plain) + self._mask(plain)).decode()

    def decode(self, folder: str, cursor: str) -> Position:
        """See `RowKeys.decode`."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadCursor(cursor) from error
        plain = self._mask(raw[8:])
        if not hmac.compare_digest(raw[:8], self._sign(plain)):
            raise BadCursor(cursor)
        return self.inner.decode(folder, base64.b64encode(plain).decode())

    def _sign(self, plain: bytes) -> bytes:
        return hmac.digest(self.secret, plain, "sha1")[:8]

    def _mask(self, data: bytes) -> bytes:
        stream = hashlib.shake_128(self.secret).digest(len(data))
        return bytes(a ^ b for a, b in zip(data, stream, strict=True))


Cursors = RowKeys | Sealed
