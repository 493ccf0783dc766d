"""Listing answers, in both forms the service has: JSON, and lines with tabs (docs/reference/upyun.md).

An answer that is no listing is never read as an empty one: without an end marker, a cursor or the right shape it is an error.
In a listing, an odd entry costs only itself: a size or time that cannot be one is unknown, an entry of unknown type is taken for
a file and for a folder, and one without a name (`_is_name`) is told in `Listing.odd`. Which pages and folders are refused for
where they lead is decided in `paging`; how many entries are asked for is `list_limit` in `config`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Part, Position, bytes_of
from bucketpull.sources.http import glimpse

END = "g2gCZAAEbmV4dGQAA2VvZg"
_MAX_SIZE = 2**46  # bytes: a larger object is one whose size is not known
_MAX_MTIME = 253_402_300_799  # the end of the year 9999: what is later is no date in seconds
_UNKNOWN = -1
_MAX_CURSOR = 16_384
_LONGEST_NAME = 65_536  # the service takes no key that is nearly as long
_FIELDS = 4
_MOST_DIGITS = 20
_FOLDER = "folder"


class Listing(msgspec.Struct, frozen=True, gc=False):
    """A page by column. `cursor` is where the directory goes on: None at its end, "" where the answer does not say.

    `last` is the name that the answer gives last, and `files_first` whether all files come before all folders. Sizes (bytes) and
    mtimes (Unix seconds) are -1 where they are not known. `odd` tells of the entries that have no name.
    """

    names: list[bytes]
    sizes: list[int]
    mtimes: list[int]
    directories: list[bytes]
    cursor: str | None
    last: bytes = b""
    files_first: bool = True
    odd: tuple[str, ...] = ()

    @property
    def entries(self) -> int:
        """How many files and folders the page holds."""
        return len(self.names) + len(self.directories)

    def part(self, position: Position) -> Part:
        """Return the files, as listed at a position."""
        return Part(position.directory, position.cursor, self.names, self.sizes, self.mtimes)

    def only(self, places: Sequence[int]) -> "Listing":
        """Return the same with some of the files, by index."""
        return msgspec.structs.replace(
            self,
            names=[self.names[place] for place in places],
            sizes=[self.sizes[place] for place in places],
            mtimes=[self.mtimes[place] for place in places],
        )


class _Entry(msgspec.Struct, gc=False):
    name: str
    type: str
    length: Annotated[int, msgspec.Meta(ge=0, le=_MAX_SIZE)]
    last_modified: Annotated[int, msgspec.Meta(ge=0, le=_MAX_MTIME)]


class _Answer(msgspec.Struct, gc=False):
    files: list[_Entry]
    iter: str = ""


_decode = json_decoder(_Answer)


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
        raise AnswerError(Reason.GARBAGE, f"no listing but {glimpse(body)}")
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
        names = [entry.name.encode() for entry in files]
        if b"" in names or max(map(len, names), default=0) >= _LONGEST_NAME:  # as `_is_name`
            return _odd_json(body, stated)
        return Listing(
            names,
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
    """Read JSON of another shape: without `files`, `{}` for an empty list, names that are not UTF-8, values that are not numbers."""
    import json  # 1 ms of every start, for what few answers need

    try:
        answer = json.loads(body.decode("utf-8", "surrogateescape"), parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise _NotJson from error
    if not isinstance(answer, dict) or not (stated or "files" in answer or "iter" in answer):
        raise AnswerError(Reason.GARBAGE, f"JSON that is no listing: {glimpse(body)}")
    files = answer.get("files") or []
    if not isinstance(files, list):
        raise AnswerError(Reason.GARBAGE, f"a listing whose files are no list: {glimpse(body)}")
    cursor = answer.get("iter") or stated
    if not isinstance(cursor, str):
        raise AnswerError(Reason.CURSOR, f"the cursor is no text: {glimpse(body)}")
    return _columns([_odd_entry(entry) or _nameless(str(entry)) for entry in files], cursor, body)


class _Row(msgspec.Struct, frozen=True, gc=False):
    """An entry. One of unknown type is taken for a file and for a folder; one of the two will not be found."""

    name: bytes
    is_file: bool
    is_folder: bool
    size: int
    mtime: int


def _odd_entry(entry: object) -> _Row | None:
    """Read an entry; None if it has no name."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str):
        return None
    kind = entry.get("type")
    if not _is_name(name, kind == _FOLDER):
        return None
    is_file, is_folder = kind != _FOLDER, kind == _FOLDER or not isinstance(kind, str)
    size, mtime = _number(entry.get("length"), _MAX_SIZE), _number(entry.get("last_modified"), _MAX_MTIME)
    return _Row(bytes_of(name), is_file, is_folder, size, mtime)


def _is_name(name: str | bytes, of_folder: bool) -> bool:
    """Tell what may be a name: anything of a length that can be asked for; of a folder also nothing, as in the key `a//b.jpg`."""
    return (of_folder or bool(name)) and len(name) < _LONGEST_NAME


def _whole(digits: str) -> int:
    """Read a whole number of JSON, of any length."""
    return int(digits) if len(digits) < _MOST_DIGITS else _UNKNOWN


def _number(value: object, largest: int) -> int:
    """Read a size or time that may be written as text or with a fraction; -1 for what can be none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _MOST_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
        return _UNKNOWN
    return int(value)


def _lines(body: bytes, stated: str) -> Listing:
    """Read lines of four fields."""
    lines = [line for line in body.split(b"\n") if line.strip(b"\r")]
    return _columns(
        [_line(line) or _nameless(line.decode("utf-8", "replace")) for line in lines], stated, body
    )


def _nameless(entry: str) -> str:
    what = "without a name" if len(entry) < _LONGEST_NAME else "with a name longer than any"
    return f"an entry {what}: {entry[:150]}"


def _line(line: bytes) -> _Row | None:
    """Read a line; None if it is no entry."""
    fields = line.rstrip(b"\r").rsplit(b"\t", 3)
    is_folder = fields[1:2] == [b"F"]
    if len(fields) != _FIELDS or fields[1] not in {b"N", b"F"} or not _is_name(fields[0], is_folder):
        return None
    size, mtime = fields[2].decode("latin-1"), fields[3].decode("latin-1")
    return _Row(fields[0], not is_folder, is_folder, _number(size, _MAX_SIZE), _number(mtime, _MAX_MTIME))


def _columns(entries: list[_Row | str], cursor: str, body: bytes) -> Listing:
    """Make columns of entries, and of the texts of invalid ones; if there are many of these, it is not a listing."""
    rows = [entry for entry in entries if isinstance(entry, _Row)]
    odd = tuple(entry for entry in entries if isinstance(entry, str))
    if len(odd) > len(rows):
        raise AnswerError(Reason.GARBAGE, f"entries that are none: {glimpse(body)}")
    files = [row for row in rows if row.is_file]
    return Listing(
        [row.name for row in files],
        [row.size for row in files],
        [row.mtime for row in files],
        [row.name for row in rows if row.is_folder],
        _cursor(cursor),
        rows[-1].name if rows else b"",
        rows[: len(files)] == files,
        odd,
    )


def _cursor(value: str) -> str | None:
    """Check a cursor: it is sent back in a header, so it must be printable ASCII."""
    if value.rstrip("=") == END:
        return None
    if len(value) > _MAX_CURSOR or not value.isascii() or not value.isprintable() or " " in value:
        raise AnswerError(Reason.CURSOR, f"the cursor {value[:60]!r} cannot be sent back")
    return value
