"""A giant directory listed in parallel: ranges between forged cursors, each checked, serial listing where a check fails.

The source keeps no state, so each position says in `until` at which stage it is:

    (nothing)  the first page. If a second follows, and cursors look like row keys, that one is a
    probe      its cursor is forged just before the last entry of the first page, so that entry must come first again
    end        one entry in descending order: how far the names go. Then the rest is cut into
    range      entries behind its cursor up to a row. Where its cursor was forged, nothing may lie between that and the first
               entry that it gave:
    check      a few entries in descending order from that first entry on. Those behind the border are a gap, and are taken;
    fill       as are the rest of them, still in descending order, down to the border
    serial     no forged cursors any more. With `tries` it begins again, because a cursor was refused for good, and takes
               only what lies behind `seen`, the row of that cursor, up to `upto` and before `below`: the rest was listed before

So each row belongs to one position, whatever forged cursors answer, and when: those up to a border to one range, those from its
first entry on to the next, those between to the fill.

A cursor may carry a tag in front, `!tag:`, which is not sent: the journal knows pages by directory and cursor, and these are
asked for beside another page of the same cursor.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

import msgspec

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Page, Part, Position
from bucketpull.domain.splitting import cuts, parts_ahead
from bucketpull.sources.upyun.listing import Listing
from bucketpull.sources.upyun.rowkeys import FILE, FOLDER, RowKeys, between

_FEWEST_ENTRIES = 50  # a first page of fewer is not worth a probe
_WORTH_PAGES = 6.0
_MOST_PARTS = 64
_MOST_PARTS_AGAIN = 8  # a range that proves longer than thought is cut again, into fewer
_LONGER = 3  # times as long as thought
_LONG_PAGES = 20  # a thought of more pages than that may be a gap between names
_DEEPEST = 6
_TAG = "!"


class Stage(msgspec.Struct, array_like=True, frozen=True):
    """What a position of a giant directory is for; see the module. Rows are as in `rowkeys`, b"" is none.

    `back` is the cursor from which to list serially should forged ones fail. `pages` is how many a range was thought to have.
    `since` is the border behind which a range, or a gap, begins, until the range gave an entry; `below` is that entry.
    """

    kind: str
    upto: bytes = b""
    back: str = ""
    seen: bytes = b""
    pages: int = 0
    depth: int = 0
    tries: int = 0
    since: bytes = b""
    below: bytes = b""


class Ask(NamedTuple):
    """How a position is asked for: the cursor to send, whether a few entries will do, and whether from the far end."""

    cursor: str
    few: bool
    descending: bool


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stage).decode
_FRESH = Stage("first")


def stage_of(position: Position) -> Stage:
    """Read a position's stage; anything unknown is listed serially."""
    if not position.until:
        return _FRESH
    try:
        return _decode(position.until)
    except msgspec.DecodeError:
        return Stage("serial")


def ask_for(position: Position) -> Ask:
    """Say how to ask for a position."""
    cursor = position.cursor
    if cursor.startswith(_TAG):
        cursor = cursor.partition(":")[2]
    kind = stage_of(position).kind
    return Ask(cursor, kind in {"end", "check"}, kind in {"end", "check", "fill"})


class Answered(NamedTuple):
    """A listing held against the rows of its directory. `rows` are its first and last row, b"" if it is empty."""

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
        """Tell whether the cursor is the row key of the page's last entry, as we forge them."""
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


def hold(position: Position, keys: RowKeys, listing: Listing) -> Answered:
    """Find a page's first and last row, and whether its rows are in order."""
    names, folders = listing.names, listing.directories
    first = FILE + names[0] if names else FOLDER + folders[0] if folders else b""
    last = FOLDER + folders[-1] if folders else FILE + names[-1] if names else b""
    ordered = listing.files_first and names == sorted(names) and folders == sorted(folders)
    return Answered(position, keys, listing, first, last, ordered)


def first_page(page: Answered) -> list[Position]:
    """Go on after the first page of a directory: with a probe, if it looks as if it could be split."""
    listing, directory = page.listing, page.position.directory
    assert listing.cursor is not None
    if page.ordered and page.genuine() and listing.entries >= _FEWEST_ENTRIES:
        names = listing.directories if page.last[:2] == FOLDER else listing.names
        forged = between(page.last[:2] + names[-2], page.last) if len(names) > 1 else None
        if forged is not None:
            stage = Stage("probe", back=listing.cursor, seen=page.last)
            return [_at(directory, page.keys.cursor(forged), stage)]
    return [Position(directory, listing.cursor, _text(Stage("serial")))]


def go_on(page: Answered) -> Page:
    """Understand a page of a stage."""
    stage = stage_of(page.position)
    if stage.kind == "probe":
        return _probed(page, stage)
    if stage.kind == "end":
        return _ended(page, stage)
    if stage.kind in {"check", "fill"}:
        return _filled(page, stage)
    return _ranged(page, stage)


def retreat(position: Position, keys: RowKeys, error: AnswerError) -> Page | None:
    """List serially where a page of a stage is refused for its cursor (or its kind of request); None to go on trying."""
    stage = stage_of(position)
    if error.reason not in {Reason.CURSOR, Reason.REJECTED}:
        return None
    if stage.kind in {"probe", "end"}:
        return _serially(position, stage.back)
    is_final = position.attempt or (stage.kind in {"check", "fill"} and error.reason is Reason.REJECTED)
    if is_final and position.cursor and stage.tries == 0:
        # The cursor is no good (any more): once more from the beginning, and not a third time.
        return _from_the_beginning(position, keys)
    return None


def _from_the_beginning(position: Position, keys: RowKeys) -> Page:
    stage = stage_of(position)
    row = keys.row(ask_for(position).cursor) or b""
    if stage.kind in {"check", "fill"}:
        again = Stage("serial", stage.upto, seen=stage.since, tries=1, below=row or stage.below)
    else:
        again = Stage("serial", stage.upto if stage.kind == "range" else b"", seen=row, tries=1)
    mark = crc32(bytes(1).join((again.seen, again.upto, again.below) if again.below else (row, again.upto)))
    tag = f"{_TAG}again{mark:08x}:"
    following = [_at(position.directory, tag, msgspec.structs.replace(again, back=tag))]
    return Page(_nothing(position), [], following)


def once_more(page: Answered, stage: Stage) -> Page:
    """Take of a page of a second listing what the first one did not reach; its pages are not those of the first."""
    listing, seen, upto, below, after = page.listing, stage.seen, stage.upto, stage.below, page.after

    def is_wanted(row: bytes) -> bool:
        return row > seen and row != after and (not upto or row <= upto) and (not below or row < below)

    part, folders = _picked(page, is_wanted)
    is_past = (upto and page.last >= upto) or (below and page.last >= below)
    if listing.cursor is None or (page.ordered and is_past):
        return Page(part, folders, [])
    return Page(part, folders, [_at(page.position.directory, stage.back + listing.cursor, stage)])


def _picked(page: Answered, is_wanted: Callable[[bytes], bool]) -> tuple[Part, list[bytes]]:
    """Return the files and folders of a page whose rows are wanted."""
    listing, position = page.listing, page.position
    wanted = [place for place, name in enumerate(listing.names) if is_wanted(FILE + name)]
    part = Part(
        position.directory,
        position.cursor,
        [listing.names[place] for place in wanted],
        [listing.sizes[place] for place in wanted],
        [listing.mtimes[place] for place in wanted],
    )
    return part, [name for name in listing.directories if is_wanted(FOLDER + name)]


def _probed(page: Answered, stage: Stage) -> Page:
    listing, directory = page.listing, page.position.directory
    if not page.ordered or page.first != stage.seen:
        return _serially(page.position, stage.back)
    kept = _cut_out(page, stage.seen, b"")
    if listing.cursor is None:
        return Page(*kept, [])
    if not page.genuine():
        return Page(*kept, [_at(directory, listing.cursor, Stage("serial"))])
    return Page(*kept, [_far_end(page, 0)])


def _far_end(page: Answered, depth: int) -> Position:
    """Ask how far the names go: the last file lies before where folders begin; the last folder before the end."""
    assert page.listing.cursor is not None
    cursor = page.keys.cursor(FOLDER) if page.last[:2] == FILE else ""
    stage = Stage("end", back=page.listing.cursor, seen=page.first, depth=depth)
    return _at(page.position.directory, f"!end{depth}:{cursor}", stage)


def _ended(page: Answered, stage: Stage) -> Page:
    """Cut what lies between the last entry listed and the far end."""
    begin, end = page.keys.row(stage.back), page.first
    if begin is None or end[:2] != begin[:2] or end < begin:
        return _serially(page.position, stage.back)
    if end == begin:
        return Page(_nothing(page.position), [], _ranges(page, stage.back, [b""], stage.depth, 0))
    ahead = _ahead(stage.seen, begin, end, [])
    parts = min(_MOST_PARTS, int(ahead / 3))
    borders = [*_borders(begin, end, parts, []), end, b""]
    ranges = _ranges(page, stage.back, borders, stage.depth, int(ahead) // max(parts, 1))
    return Page(_nothing(page.position), [], ranges)


def _ranges(page: Answered, cursor: str, borders: list[bytes], depth: int, pages: int) -> list[Position]:
    """Make a range up to each border, the first from a cursor on; the last border may be b"", the end."""
    cursors = [cursor, *(page.keys.cursor(row) for row in borders[:-1])]
    return [
        _at(page.position.directory, begin, Stage("range", upto=row, depth=depth, pages=pages, since=since))
        for begin, since, row in zip(cursors, [b"", *borders[:-1]], borders, strict=True)
    ]


def _ranged(page: Answered, stage: Stage) -> Page:
    listing, directory, after = page.listing, page.position.directory, page.after
    ends_early = listing.cursor is None and page.last < stage.upto
    if not page.ordered or (page.first and page.first < after) or ends_early:
        if page.position.attempt:
            return _from_the_beginning(page.position, page.keys)
        raise AnswerError(
            Reason.CURSOR,
            "an early end, entries before the cursor, or out of order, in a range listed in parallel",
        )
    part, folders = _cut_out(page, after, stage.upto)
    checks: list[Position] = []
    if stage.since and ((first := page.beyond(stage.since)) or listing.cursor is None):
        checks = [_check(page, msgspec.structs.replace(stage, below=first))]
        stage = msgspec.structs.replace(stage, since=b"")
    if listing.cursor is None or (stage.upto and page.last >= stage.upto):
        return Page(part, folders, checks)
    further = _further(page, stage) or [_at(directory, listing.cursor, stage)]
    return Page(part, folders, [*further, *checks])


def _check(page: Answered, stage: Stage) -> Position:
    """Ask what lies before the first entry that a forged cursor gave; b"" if it gave none, then from the end."""
    cursor = page.keys.cursor(stage.below) if stage.below else ""
    gap = Stage("check", upto=stage.upto, since=stage.since, below=stage.below)
    return _at(page.position.directory, f"!check{crc32(stage.since):08x}:{cursor}", gap)


def _filled(page: Answered, stage: Stage) -> Page:
    """Take what a forged cursor left out: entries behind the border, before the first entry that was given for it."""
    listing, upto, rows = page.listing, stage.upto, page.rows()
    below = page.after or stage.below
    if below and any(row > below for row in rows):
        raise AnswerError(Reason.CURSOR, "entries behind the cursor in a listing in descending order")

    def is_wanted(row: bytes) -> bool:
        return row > stage.since and (not below or row < below) and (not upto or row <= upto)

    part, folders = _picked(page, is_wanted)
    if listing.cursor is None or any(row <= stage.since for row in rows):
        return Page(part, folders, [])
    row = page.keys.row(listing.cursor)
    if row is None or (below and row >= below):
        raise AnswerError(
            Reason.CURSOR, f"the cursor {listing.cursor} of a listing in descending order leads back"
        )
    stage = msgspec.structs.replace(stage, kind="fill")
    cursor = f"!fill{crc32(stage.since):08x}:{listing.cursor}"
    return Page(part, folders, [_at(page.position.directory, cursor, stage)])


def _further(page: Answered, stage: Stage) -> list[Position]:
    """Cut a range again that proves long; [] if it need not be."""
    if stage.depth >= _DEEPEST or not page.genuine() or page.first[:2] != page.last[:2]:
        return []
    if not stage.upto:
        return [_far_end(page, stage.depth + 1)] if page.listing.entries >= _FEWEST_ENTRIES else []
    if stage.upto[:2] != page.last[:2]:
        return []
    names = page.listing.names or page.listing.directories
    ahead = _ahead(page.first, page.last, stage.upto, names)
    if ahead < max(_WORTH_PAGES, _LONGER * min(stage.pages, _LONG_PAGES)):
        return []
    parts = min(_MOST_PARTS_AGAIN, int(ahead / 2))
    borders = [*_borders(page.last, stage.upto, parts, names), stage.upto]
    assert page.listing.cursor is not None
    return _ranges(page, page.listing.cursor, borders, stage.depth + 1, int(ahead / parts))


def _ahead(first: bytes, last: bytes, until: bytes, names: list[bytes]) -> float:
    return parts_ahead(first[2:], last[2:], until[2:], names)


def _borders(low: bytes, high: bytes, parts: int, names: list[bytes]) -> list[bytes]:
    return [low[:2] + name for name in cuts(low[2:], high[2:], parts, names)]


def _cut_out(page: Answered, after: bytes, upto: bytes) -> tuple[Part, list[bytes]]:
    """Return the files and the folders of an ordered page behind one row, up to another (b"" is no border)."""
    listing, position = page.listing, page.position
    begin, end = _span(listing.names, FILE, after, upto)
    part = Part(
        position.directory,
        position.cursor,
        listing.names[begin:end],
        listing.sizes[begin:end],
        listing.mtimes[begin:end],
    )
    begin, end = _span(listing.directories, FOLDER, after, upto)
    return part, listing.directories[begin:end]


def _span(names: list[bytes], kind: bytes, after: bytes, upto: bytes) -> tuple[int, int]:
    begin = 0 if after[:2] < kind else len(names) if after[:2] > kind else bisect_right(names, after[2:])
    if not upto or upto[:2] > kind:
        return begin, len(names)
    return begin, 0 if upto[:2] < kind else bisect_right(names, upto[2:])


def _serially(position: Position, cursor: str) -> Page:
    return Page(_nothing(position), [], [_at(position.directory, cursor, Stage("serial"))])


def _nothing(position: Position) -> Part:
    return Part(position.directory, position.cursor, [], [], [])


def _at(directory: bytes, cursor: str, stage: Stage) -> Position:
    return Position(directory, cursor, _text(stage))


def _text(stage: Stage) -> str:
    return _encode(stage).decode()


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
