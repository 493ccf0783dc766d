"""One row of a list: a URL and what is said of its object."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

_URL: Final = re.compile(
    rb"(https?)://([^/?#\s]*@)?([^/?#\s@]+)(?:/([^?#]*))?((?:[?#].*)?)", re.IGNORECASE | re.DOTALL
)
_USER: Final = re.compile(rb"//[^/?#]*@")
# What may stand in a request line as it is. `#` is an ordinary character of a list: there are no fragments.
_MUST_ENCODE: Final = re.compile(rb"[^!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")
# Letters that the two editions of the standard of names read differently.
_DISPUTED: Final = frozenset("\u00df\u03c2\u200c\u200d")
_HEX_MD5: Final = re.compile(r"[0-9a-fA-F]{32}")
_MD5_BYTES: Final = 16
_MOST_SIZE: Final = 2**62
_MOST_TIME: Final = 2**40


_UNREADABLE: Final = re.compile(rb"line [0-9]+: .*", re.DOTALL)


def is_unreadable(key: bytes) -> bool:
    """Tell whether these are the words in place of a key for a row that names no object."""
    return key[:5] == b"line " and _UNREADABLE.fullmatch(key) is not None


class UrlRow(msgspec.Struct):
    """An object of a list. `size` in bytes and `mtime` in Unix seconds are -1, `md5` (hex) is "", where not said."""

    key: bytes
    url: str
    size: int = -1
    mtime: int = -1
    md5: str = ""


class OddRow(ValueError):
    """A row that names no object; its text says why."""


def row_of(url: bytes, key: bytes = b"", size: str = "", md5: str = "", mtime: str = "") -> UrlRow:
    """Understand a row; what is blank is not said. Without a key it is the URL's host, path and query.

    Raises:
        OddRow: It names no object.

    """
    found = _URL.fullmatch(url)
    if found is None:
        raise OddRow(f"{_shown(url)} is not an http:// or https:// URL")
    if found[2]:
        raise OddRow(f"{_shown(url)} has a user before its host; leave that out")
    if not key:
        key = found[3].lower() + b"/" + unquote_to_bytes(found[4] or b"") + found[5]
    elif is_unreadable(key):
        raise OddRow(f"{_shown(key)} is no key: rows without an object are told by such words")
    # A slash stands before the query even where none was written: what is sent begins at the first one.
    whole = url if found[4] is not None else b"%s://%s/%s" % found.group(1, 3, 5)
    if not found[3].isascii():
        whole = whole.replace(found[3], _ascii_host(found[3]), 1)
    sent = _MUST_ENCODE.sub(lambda odd: b"%%%02X" % odd[0][0], whole)
    return UrlRow(key, sent.decode("ascii"), _size(size.strip()), _time(mtime.strip()), _md5(md5.strip()))


def _size(text: str) -> int:
    if not text:
        return -1
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _MOST_SIZE:
        raise OddRow(f"{text[:40]!r} is no size")
    return int(text)


def _time(text: str) -> int:
    if not text:
        return -1
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return min(int(text), _MOST_TIME)
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise OddRow(f"{text[:40]!r} is neither Unix seconds nor a date") from None


def _md5(text: str) -> str:
    if not text or _HEX_MD5.fullmatch(text):
        return text.lower()
    try:
        digest = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        digest = b""
    if len(digest) != _MD5_BYTES:
        raise OddRow(f"{text[:40]!r} is no MD5, neither in hex nor in base64")
    return digest.hex()


def _ascii_host(host: bytes) -> bytes:
    """Return a name of other letters as it is asked for (RFC 3490)."""
    try:
        name, colon, port = host.decode().partition(":")
        if _DISPUTED.isdisjoint(name):
            return name.encode("idna") + (colon + port).encode("ascii")
    except UnicodeError:
        pass
    raise OddRow(f"{_shown(host)} is a host whose name is not clear; write its ASCII form (xn--…)")


def _shown(url: bytes) -> str:
    """Show a row, without what may be a password."""
    return repr(_USER.sub(b"//***@", url[:300])[:100].decode("utf-8", "backslashreplace"))
