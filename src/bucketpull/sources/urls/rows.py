"""What a row of a list of URLs means: the object that it names, or why it names none."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from functools import lru_cache
from socket import AF_INET6, inet_pton
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

_URL: Final = re.compile(
    rb"(https?)://([^/?#\s]*@)?([^/?#\s@]+)(?:/([^?#]*))?((?:[?#].*)?)", re.IGNORECASE | re.DOTALL
)
_USER: Final = re.compile(rb"//[^/?#]*@")
_HOST: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)(?:%25[\w.~-]+)?\]|(?:[\w~-]{1,63}\.)*[\w~-]{1,63}\.?)(?::([0-9]{0,5}))?"
)
_MOST_PORT: Final = 65_535
_PARTING: Final = re.compile(r"%(2[5Ff]|3[Ff])")
# What may stand in a request line as it is. `#` is an ordinary character of a list: there are no fragments.
_MUST_ENCODE: Final = re.compile(rb"[^!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")
# Letters that the two editions of the standard of names read differently.
_DISPUTED: Final = frozenset("\u00df\u03c2\u200c\u200d")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_HEX_MD5: Final = re.compile(r"[0-9a-fA-F]{32}")
_MD5_BYTES: Final = 16
_MOST_SIZE: Final = 2**62
_MOST_TIME: Final = 2**40
_LONGEST: Final = 65_536  # no server takes a URL that is nearly as long


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
    """Understand a row; what is blank is not said. Without a key it is the URL's host, path and query. Raises OddRow where it names no object."""
    found = _URL.fullmatch(url)
    if found is None:
        raise OddRow(f"{shown_row(url)} is not an http:// or https:// URL")
    if b"\t" in url:
        raise OddRow(f"{shown_row(url)} has a tab in it; let the name of a table end in .tsv")
    if _CONTROL.search(url):
        raise OddRow(
            f"{shown_row(url)} has a control character in it; end each line with a line feed, and write %0D for one that is meant"
        )
    if found[2]:
        raise OddRow(f"{shown_row(url)} has a user before its host; leave that out")
    if not key:
        key = found[3].lower() + b"/" + unquote_to_bytes(found[4] or b"") + found[5]
    elif is_unreadable(key):
        raise OddRow(f"{shown_row(key)} is no key: rows without an object are told by such words")
    # A slash stands before the query even where none was written: what is sent begins at the first one.
    whole = url if found[4] is not None else b"%s://%s/%s" % found.group(1, 3, 5)
    if (host := _host(found[3])) != found[3]:
        whole = whole.replace(found[3], host, 1)
    sent = _MUST_ENCODE.sub(lambda odd: b"%%%02X" % odd[0][0], whole)
    if max(len(sent), len(key)) >= _LONGEST:
        raise OddRow(f"{shown_row(url)} or its key is longer than any server takes")
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


def is_same_object(one: str, other: str) -> bool:
    """Tell whether two URLs that give the same key are spellings of one: an escaped slash, question or percent sign is another character than a bare one."""
    return _parted(one) == _parted(other)


def _parted(url: str) -> bytes:
    return unquote_to_bytes(_PARTING.sub(lambda sign: f"%25{sign[1].upper()}", url.split("/", 3)[3]))


@lru_cache(maxsize=1000)
def _host(host: bytes) -> bytes:
    """Return a host with its port as it is asked for; one that no request can be sent to is odd."""
    sent = host if host.isascii() else _ascii_host(host)
    found = _HOST.fullmatch(sent)
    if found is None or (found[2] and not 0 < int(found[2]) <= _MOST_PORT) or not _is_address(found[1]):
        raise OddRow(
            f"{shown_row(host)} is no host with a port from 1 to {_MOST_PORT}; write a name, an IPv4 address, or an IPv6 address in brackets"
        )
    return sent


def _is_address(bracketed: bytes | None) -> bool:
    try:
        return bracketed is None or bool(inet_pton(AF_INET6, bracketed.decode()))
    except OSError:
        return False


def _ascii_host(host: bytes) -> bytes:
    """Return a name of other letters as it is asked for (RFC 3490)."""
    try:
        name, colon, port = host.decode().partition(":")
        if _DISPUTED.isdisjoint(name):
            return name.encode("idna") + (colon + port).encode("ascii")
    except UnicodeError:
        pass
    raise OddRow(f"{shown_row(host)} is a host whose name is not clear; write its ASCII form (xn--…)")


def shown_row(url: bytes) -> str:
    """Show a row, without what may be a password."""
    return repr(_USER.sub(b"//***@", url[:300])[:100].decode("utf-8", "backslashreplace"))
