"""HTTP's view of an object: ranges, conditions, content type, and who may ask. Pure.

RFC 9110: sections 7.2 (Host), 8 (fields of a representation), 13 (conditional requests) and 14 (ranges).
"""

import mimetypes
import re
from collections.abc import Collection, Mapping, Sequence
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import is_ip_address

MOST_RANGES: Final = 16
"""A request for more ranges gets the whole object: so many pieces are an attack, or cost more than the object."""

OTHER_TYPE: Final = "application/octet-stream"
SANDBOX: Final = "sandbox"
"""The Content-Security-Policy of what may hold scripts: none runs, and what it shows is of no origin (CSP level 3, 6.2.3)."""

_SCRIPTLESS: Final = re.compile(
    r"(image/(?!svg)|audio/|video/|font/|text/plain\b|application/(pdf|zip|json|octet-stream)\b)",
    re.IGNORECASE,
)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")
_MOST_KNOWN: Final = 1000
_RANGE: Final = re.compile(r"([0-9]{0,4000})-([0-9]{0,4000})")  # `int` refuses more than 4,300 digits
_ETAG: Final = re.compile(r'(?:W/)?"[^"]*"')


def parse_ranges(text: str, size: int) -> list[tuple[int, int]] | None:
    """Return the ranges (first byte, and the one after the last) that a Range header asks of an object of `size` bytes.

    None where the whole object is to be sent: the header is not understood, or asks for too much. An empty list says that it
    asks for nothing that there is.
    """
    unit, equals, rest = text.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    specs = [spec.strip() for spec in rest.split(",") if spec.strip()]
    if not specs or len(specs) > MOST_RANGES:
        return None
    found = []
    for spec in specs:
        match = _RANGE.fullmatch(spec)
        if match is None or spec == "-":
            return None
        first, last = match[1], match[2]
        if first and last and int(last) < int(first):
            return None
        start = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if start < end:
            found.append((start, end))
    return None if sum(end - start for start, end in found) > size and len(found) > 1 else found


def is_not_modified(headers: Mapping[str, str], etag: str, mtime: int) -> bool:
    """Tell whether the client has this version already."""
    tags = headers.get("If-None-Match")
    if tags is not None:
        return _matches(tags, etag, weak=True)
    since = _date(headers.get("If-Modified-Since"))
    return since is not None and mtime <= since


def is_precondition_met(headers: Mapping[str, str], etag: str, mtime: int) -> bool:
    """Tell whether If-Match and If-Unmodified-Since allow an answer."""
    tags = headers.get("If-Match")
    if tags is not None:
        return _matches(tags, etag, weak=False)
    since = _date(headers.get("If-Unmodified-Since"))
    return since is None or mtime <= since


def is_range_allowed(headers: Mapping[str, str], etag: str, mtime: int) -> bool:
    """Tell whether If-Range allows a range; else the whole object is sent."""
    condition = headers.get("If-Range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == etag
    return _date(condition) == mtime


@lru_cache(maxsize=1024)
def http_date(mtime: int) -> str:
    """Write Unix seconds as HTTP does."""
    return formatdate(mtime, usegmt=True)


class Types:
    """Content types by the suffix of a name."""

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self._known = mimetypes.MimeTypes()
        self._known.add_type("image/webp", ".webp")
        self._known.add_type("image/avif", ".avif")
        self._more = more or {}
        self._found: dict[bytes, str] = {}

    def of(self, key: bytes) -> str:
        """Return the content type for a name: by its last suffix, which tells of a compression too."""
        suffix = key.rpartition(b"/")[2].rpartition(b".")
        found = self._found.get(suffix[2]) if suffix[1] else OTHER_TYPE
        if found is None:
            found = self._of(suffix[2].decode("utf-8", "replace").lower())
            if len(self._found) < _MOST_KNOWN:
                self._found[suffix[2]] = found
        return found

    def _of(self, suffix: str) -> str:
        if suffix in self._more:
            return self._more[suffix]
        kind, encoding = self._known.guess_type(f"x.{suffix}", strict=False)
        return OTHER_TYPE if kind is None or encoding is not None else kind


@lru_cache(maxsize=256)
def may_run_scripts(kind: str) -> bool:
    """Tell whether a browser may run scripts of a document of this content type, or does not say."""
    return _SCRIPTLESS.match(kind) is None


def host_name(host: str) -> str:
    """Return the name in a Host header in lower case, without the port; "" if it is invalid."""
    found = _HOST.fullmatch(host)
    return found[1].lower() if found else ""


def is_known_host(host: str, names: Collection[str]) -> bool:
    """Tell whether a Host header is one of `names`, an address, or a name without a dot.

    The others may be names of the Internet that were made to point here (DNS rebinding): nobody there has a name without a dot, and
    it is what a web server says that was told of an `upstream`, or of a container.
    """
    name = host_name(host)
    return bool("." not in name and name) or name in map(str.lower, names) or is_ip_address(name)


def parse_types(text: str, name: str) -> dict[str, str]:
    """Return content types by suffix, from a file as web servers have it: a type and its suffixes on each line.

    Raises ConfigError where a line is not understood.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        kind, *suffixes = line.partition("#")[0].rstrip("; ").split() or [""]
        if not kind:
            continue
        if "/" not in kind or not suffixes:
            raise ConfigError(
                f"--types {name}: line {number}: write a type and its suffixes, such as: image/webp webp"
            )
        found.update((suffix.lower().lstrip("."), kind) for suffix in suffixes)
    return found


def _matches(tags: str, etag: str, *, weak: bool) -> bool:
    if tags.strip() == "*":
        return True
    found: Sequence[str] = _ETAG.findall(tags)
    return etag in ([tag.removeprefix("W/") for tag in found] if weak else found)


def _date(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
