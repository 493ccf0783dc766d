"""Replies that carry an object: headers, conditions and ranges."""

import hashlib
import re
import time
from functools import lru_cache
from typing import Final, NamedTuple

from upyun_simulator.bodies import md5_hex
from upyun_simulator.contents import Item
from upyun_simulator.errors import Refusal
from upyun_simulator.message import Reply, Request, Window

HASHED: Final = 64 * 1024 * 1024  # bigger objects have the ETag of a multipart upload and no Content-MD5

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})$")


class RangeCodes(NamedTuple):
    """The error codes of a listener for ranges: not satisfiable or malformed, and more than one."""

    wrong: int
    several: int


REST_CODES: Final = RangeCodes(wrong=40001161, several=40001161)
CDN_CODES: Final = RangeCodes(wrong=41610003, several=41610002)
_CONDITION_FAILED: Final = 41200001


def http_date(moment: float) -> str:
    """Write unix seconds as an RFC 1123 date."""
    t = time.gmtime(moment)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
    )


@lru_cache(maxsize=65_536)
def plain_md5(key: str, size: int, version: int) -> str | None:
    """Return the content's MD5, None for an object too big to have one."""
    return md5_hex(key, size, version) if size <= HASHED else None


def etag_of(item: Item) -> str:
    """Return the quoted ETag: the MD5, or `hex-parts` for big objects."""
    md5 = plain_md5(item.key, item.size, item.version)
    if md5 is None:
        name = f"{item.key}:{item.size}:{item.version}".encode("utf-8", "surrogatepass")
        md5 = f"{hashlib.md5(name).hexdigest()}-{-(-item.size // HASHED)}"
    return f'"{md5}"'


def object_reply(request: Request, item: Item, codes: RangeCodes) -> Reply:
    """Return 200, 206, 304, or raise `Refusal` for a failed condition or a bad range."""
    etag, modified = etag_of(item), http_date(item.mtime)
    headers = [
        ("Content-Type", item.type),
        ("ETag", etag),
        ("Last-Modified", modified),
        ("Accept-Ranges", "bytes"),
    ]
    _check_match(request, etag, modified)
    if _unchanged(request, etag, modified):
        return Reply(304, headers, no_body=True)
    md5 = plain_md5(item.key, item.size, item.version)
    if md5 is not None:
        headers.append(("Content-MD5", md5))
    headers += [(f"x-upyun-meta-{name}", value) for name, value in item.meta]
    wanted = _range(request, item.size, etag, modified, codes)
    if wanted is None:
        return Reply(200, headers, Window(item.key, item.size, item.version, 0, item.size))
    start, stop = wanted
    headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{item.size}"))
    return Reply(206, headers, Window(item.key, item.size, item.version, start, stop))


def _check_match(request: Request, etag: str, modified: str) -> None:
    match, since = request.header(b"if-match"), request.header(b"if-unmodified-since")
    if match is not None and match.strip() != "*" and etag not in _tags(match):
        raise Refusal(_CONDITION_FAILED)
    if since is not None and since != modified:
        raise Refusal(_CONDITION_FAILED)


def _unchanged(request: Request, etag: str, modified: str) -> bool:
    none_match = request.header(b"if-none-match")
    if none_match is not None:
        return none_match.strip() == "*" or etag in _tags(none_match)
    return request.header(b"if-modified-since") == modified


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _range(
    request: Request, size: int, etag: str, modified: str, codes: RangeCodes
) -> tuple[int, int] | None:
    text = request.header(b"range")
    condition = request.header(b"if-range")
    if text is None or (condition is not None and condition not in {etag, modified}):
        return None
    if "," in text:
        raise Refusal(codes.several)
    match = _RANGE.match(text.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        raise Refusal(codes.wrong)
    start, stop = _bounds(match[1], match[2], size)
    if start >= size or start >= stop:
        raise Refusal(codes.wrong)
    return start, stop


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
