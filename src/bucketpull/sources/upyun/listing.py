"""Listing answers, in both forms the service has: JSON, and lines with tabs (contract 3.2-3.4).

An answer that is no listing is never read as an empty one: without an end marker, a cursor or the right shape it is an error.
"""

import json
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import msgspec

from bucketpull.domain.errors import AnswerError, Reason

END = "g2gCZAAEbmV4dGQAA2VvZg"
_MAX_SIZE = 2**62
_MAX_MTIME = 2**40
_MAX_CURSOR = 16_384
_FIELDS = 4
_FOLDER = "folder"


class Listing(NamedTuple):
    """A page by column. `cursor` is where the directory goes on: None at its end, "" where the answer does not say.

    `last` is the name that the answer gives last, and `files_first` whether all files come before all folders.
    """

    names: list[bytes]
    sizes: list[int]
    mtimes: list[int]
    directories: list[bytes]
    cursor: str | None
    last: bytes = b""
    files_first: bool = True

    @property
    def entries(self) -> int:
        """How many files and folders the page holds."""
        return len(self.names) + len(self.directories)


class _Entry(msgspec.Struct, gc=False):
    name: str
    type: str
    length: Annotated[int, msgspec.Meta(ge=0, le=_MAX_SIZE)]
    last_modified: Annotated[int, msgspec.Meta(ge=0, le=_MAX_MTIME)]


class _Answer(msgspec.Struct, gc=False):
    files: list[_Entry]
    iter: str = ""


_decode = msgspec.json.Decoder(_Answer).decode


def read_listing(body: bytes, headers: Mapping[str, str]) -> Listing:
    """Read the body of a 200 answer.

    Raises:
        AnswerError: `garbage`, if it is no listing; `cursor`, if its cursor cannot be one.

    """
    stated = headers.get("x-upyun-list-iter", "")
    if not body.strip():
        return _empty(stated)
    if body.lstrip()[:1] == b"{":
        try:
            return _json(body, stated)
        except _NotJson:
            pass  # the first name of a listing by lines may begin with a brace
    if not stated:
        raise AnswerError(Reason.GARBAGE, f"no listing but {_glimpse(body)}")
    return _lines(body, stated)


class _NotJson(Exception):
    """The body is no JSON at all."""


def _empty(stated: str) -> Listing:
    """Read an empty body: an empty folder, if the answer says where it goes on, or that it ends."""
    if not stated:
        raise AnswerError(Reason.GARBAGE, "an empty answer without a cursor")
    return Listing([], [], [], [], _cursor(stated))


def _json(body: bytes, stated: str) -> Listing:
    try:
        answer = _decode(body)
        entries = answer.files
        files = [entry for entry in entries if entry.type != _FOLDER]
        return Listing(
            [entry.name.encode() for entry in files],
            [entry.length for entry in files],
            [entry.last_modified for entry in files],
            [entry.name.encode() for entry in entries if entry.type == _FOLDER],
            _cursor(answer.iter or stated),
            entries[-1].name.encode() if entries else b"",
            entries[: len(files)] == files,
        )
    except (msgspec.DecodeError, UnicodeError):
        return _odd_json(body, stated)


def _odd_json(body: bytes, stated: str) -> Listing:
    """Read JSON of another shape: no `files`, `{}` for an empty list, names that are no UTF-8, numbers as text."""
    try:
        answer = json.loads(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise _NotJson from error
    if not isinstance(answer, dict) or not (stated or "files" in answer or "iter" in answer):
        raise AnswerError(Reason.GARBAGE, f"JSON that is no listing: {_glimpse(body)}")
    files = answer.get("files") or []
    if not isinstance(files, list):
        raise AnswerError(Reason.GARBAGE, f"a listing whose files are no list: {_glimpse(body)}")
    cursor = answer.get("iter") or stated
    if not isinstance(cursor, str):
        raise AnswerError(Reason.CURSOR, f"the cursor is no text: {_glimpse(body)}")
    return _columns([_odd_entry(entry) for entry in files], _cursor(cursor))


def _odd_entry(entry: object) -> tuple[bytes, bool, int, int]:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str):
        raise AnswerError(Reason.GARBAGE, f"an entry without a name: {str(entry)[:200]!r}")
    if entry.get("type") == _FOLDER:
        return _bytes(name), True, 0, 0
    if not isinstance(entry.get("type"), str):
        raise AnswerError(Reason.GARBAGE, f"entry {name[:100]!r} has no type")
    return (
        _bytes(name),
        False,
        _number(entry.get("length"), _MAX_SIZE),
        _number(entry.get("last_modified"), _MAX_MTIME),
    )


def _bytes(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _number(value: object, largest: int) -> int:
    """Read a whole number that may be written as text or with a fraction of zero."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        raise AnswerError(Reason.GARBAGE, f"{str(value)[:100]!r} is no size or time")
    return value


def _lines(body: bytes, stated: str) -> Listing:
    """Read lines of four fields; others are skipped (contract 3.2), unless they are many: then it is no listing."""
    lines = [line for line in body.split(b"\n") if line.strip(b"\r")]
    entries = [entry for line in lines if (entry := _line(line)) is not None]
    if len(entries) * 2 < len(lines):
        raise AnswerError(Reason.GARBAGE, f"lines that are no listing: {_glimpse(body)}")
    return _columns(entries, _cursor(stated))


def _line(line: bytes) -> tuple[bytes, bool, int, int] | None:
    fields = line.rstrip(b"\r").rsplit(b"\t", 3)
    if len(fields) != _FIELDS or fields[1] not in {b"N", b"F"}:
        return None
    if fields[1] == b"F":
        return fields[0], True, 0, 0
    size, mtime = fields[2].decode("latin-1"), fields[3].decode("latin-1")
    return fields[0], False, _number(size, _MAX_SIZE), _number(mtime, _MAX_MTIME)


def _columns(entries: list[tuple[bytes, bool, int, int]], cursor: str | None) -> Listing:
    files = [entry for entry in entries if not entry[1]]
    return Listing(
        [entry[0] for entry in files],
        [entry[2] for entry in files],
        [entry[3] for entry in files],
        [entry[0] for entry in entries if entry[1]],
        cursor,
        entries[-1][0] if entries else b"",
        entries[: len(files)] == files,
    )


def _cursor(value: str) -> str | None:
    """Check a cursor: it is sent back in a header, so it must be printable ASCII."""
    if value.rstrip("=") == END:
        return None
    if len(value) > _MAX_CURSOR or not value.isascii() or not value.isprintable() or " " in value:
        raise AnswerError(Reason.CURSOR, f"the cursor {value[:60]!r} cannot be sent back")
    return value


def _glimpse(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))
