"""What a position is for, as it says itself in `until`, and a listing compared with it: what serial and parallel listing share.

A cursor is base64 of the row key of the last entry (not documented, so it is probed: docs/reference/upyun.md). A *row* is the part of the row key
that names an entry: `@#name` for a file, `@~name` for a folder. Rows are in byte order, so all files come before all folders.
"""

import base64
import binascii
from bisect import bisect_left
from collections.abc import Callable, Sequence

import msgspec

from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Page, Part, Position
from bucketpull.sources.cycle_detection import Trail
from bucketpull.sources.upyun.list_response import Listing

FILE = b"@#"
FOLDER = b"@~"


class RowKeys:
    """The row keys of one directory (without slashes at its ends; b"" is the root)."""

    def __init__(self, bucket: str, directory: bytes) -> None:
        folders = b"".join(b"~" + name + b"/" for name in directory.split(b"/")) if directory else b""
        self._prefix = bucket.encode() + b"/" + folders

    def cursor(self, row: bytes) -> str:
        """Construct the cursor behind a row, which need not exist."""
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
    """Return a row between two that no entry has; None if there is no room."""
    row = low + b" "
    return row if low < row < high else None


class LeadsBack(AnswerError):
    """The cursor that a page gives leads back: the one that it was asked with is good."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.CURSOR, detail)


class Stage(msgspec.Struct, array_like=True, frozen=True):
    """What a position is for; `parallel_listing` has the kinds. Rows are as in `RowKeys`, b"" is none.

    It travels as a list: new fields come last.
    """

    kind: str
    upto: bytes = b""
    """The row up to which it takes entries, that one included."""
    back: str = ""
    """The cursor from which to list serially should constructed ones fail."""
    seen: bytes = b""
    """A row that was listed before: the last one for a probe and where a listing begins again, the first of its page for `end`."""
    pages: int = 0
    """How many a range was thought to have."""
    depth: int = 0
    """How often the directory was cut, to come to this range."""
    tries: int = 0
    """How often it began again, because a cursor was refused for good."""
    since: bytes = b""
    """The border behind which a range, or a gap, begins, until the range gave an entry."""
    below: bytes = b""
    """That entry: a gap ends before it."""
    trail: Trail | None = None
    """What a serial listing remembers."""
    held: tuple[tuple[bytes, int, int], ...] = ()
    """Entries that a serial listing holds back: row, size and mtime."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """How a position is asked for: the cursor to send, whether a few entries will do, and whether from the far end."""

    cursor: str
    few: bool
    descending: bool


_TAG = "!"
_encode = msgspec.json.Encoder().encode
_decode = json_decoder(Stage)
_FRESH = Stage("first")


def stage_of(position: Position) -> Stage:
    """Read a position's stage; anything unknown is listed serially."""
    if not position.until:
        return _FRESH
    try:
        return _decode(position.until)
    except msgspec.DecodeError:
        return Stage("serial")


def tagged(tag: str, cursor: str) -> str:
    """Put a tag before a cursor: it is not sent, and tells two pages apart that are asked for with the same cursor."""
    return f"{_TAG}{tag}:{cursor}"


def ask_for(position: Position) -> Ask:
    """Say how to ask for a position."""
    cursor = position.cursor
    if cursor.startswith(_TAG):
        cursor = cursor.partition(":")[2]
    kind = stage_of(position).kind
    return Ask(cursor, kind in {"end", "check"}, kind in {"end", "check", "fill"})


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A listing compared with the rows of its directory. `rows` are its first and last row, b"" if it is empty."""

    position: Position
    keys: RowKeys
    listing: Listing
    first: bytes
    last: bytes
    ordered: bool

    @property
    def after(self) -> bytes:
        """The row behind which was asked; b"" at the beginning, or where the cursor is no row key."""
        return self.keys.row(ask_for(self.position).cursor) or b""

    def genuine(self) -> bool:
        """Tell whether the cursor is the row key of the page's last entry, as we construct them."""
        return (
            bool(self.last)
            and self.listing.cursor is not None
            and self.keys.row(self.listing.cursor) == self.last
        )

    def beyond(self, row: bytes) -> bytes:
        """Return the first row of an ordered page that lies behind a row; b"" if none does."""
        return min((each for each in self.rows() if each > row), default=b"")

    def rows(self) -> list[bytes]:
        """Return the rows of all entries, as they came by kind."""
        listing = self.listing
        return [FILE + name for name in listing.names] + [FOLDER + name for name in listing.directories]


def compared(position: Position, keys: RowKeys, listing: Listing) -> Answered:
    """Find a page's first and last row, and whether its rows are in order."""
    names, folders = listing.names, listing.directories
    first = FILE + names[0] if names else FOLDER + folders[0] if folders else b""
    last = FOLDER + folders[-1] if folders else FILE + names[-1] if names else b""
    ordered = listing.files_first and names == sorted(names) and folders == sorted(folders)
    return Answered(position, keys, listing, first, last, ordered)


def pick(page: Answered, is_wanted: Callable[[bytes], bool]) -> tuple[Part, list[bytes]]:
    """Return the files and folders of a page whose rows are wanted."""
    listing, position = page.listing, page.position
    wanted = [place for place, name in enumerate(listing.names) if is_wanted(FILE + name)]
    folders = [name for name in listing.directories if is_wanted(FOLDER + name)]
    return listing.part(position).take(wanted), folders


def no_objects(position: Position) -> Part:
    """Make a page's part of no objects."""
    return Part(position.directory, position.cursor, [], [], [])


def released(position: Position, entries: Sequence[tuple[bytes, int, int]], duplicates: int = 0) -> Page:
    """Make a page of entries that were held back: their row, size and mtime."""
    files = [entry for entry in entries if entry[0][:2] == FILE]
    part = Part(
        position.directory,
        position.cursor,
        [row[2:] for row, _, _ in files],
        [size for _, size, _ in files],
        [mtime for _, _, mtime in files],
    )
    folders = [row[2:] for row, _, _ in entries if row[:2] == FOLDER]
    return Page(part, folders, [], duplicates=duplicates)


def position_at(directory: bytes, cursor: str, stage: Stage) -> Position:
    """Make a position of a stage."""
    return Position(directory, cursor, _encode(stage).decode())


def looks_back(page: Answered) -> bool:
    """Tell whether a page's cursor leads back: to an entry before others of the page, or before the page itself."""
    listing = page.listing
    if not listing.cursor:
        return False
    row = page.keys.row(listing.cursor)
    if listing.cursor == ask_for(page.position).cursor:
        return True
    if row is None or (row[2:] == listing.last and listing.entries):
        return False
    if not listing.entries:
        return row <= page.after
    if row[:2] == FILE:
        return (
            bool(listing.directories) or bisect_left(sorted(listing.names), row[2:]) < len(listing.names) - 1
        )
    return bool(listing.directories) and row[2:] < max(listing.directories)
