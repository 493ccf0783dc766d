"""A giant directory listed in parallel: ranges between forged cursors, each checked, serial listing where a check fails.

The source keeps no state, so each position says in `until` at which stage it is:

    (nothing)  the first page. If a second follows, and cursors look like row keys, that one is a
    probe      its cursor is forged just before the last entry of the first page, so that entry must come first again
    end        one entry in descending order: how far the names go. Then the rest is cut into
    range      entries behind its cursor up to a row. Where that row is crossed, the next range must have begun:
    verify     the forged cursor of the next range, asked again, must give the entry that was seen behind the row
    bridge     if it does not (something was deleted or added), the crossing is looked at anew, a few times
    serial     no forged cursors any more. With `tries` it begins again, because a cursor was refused for good, and takes
               only what lies behind `seen`, the row of that cursor, up to `upto`: the rest was listed before

A cursor may carry a tag in front, `!tag:`, which is not sent: the journal knows pages by directory and cursor, and these are
asked for beside another page of the same cursor.
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple
from zlib import crc32

import msgspec

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Page, Part, Position
from bucketpull.domain.splitting import cuts, parts_ahead
from bucketpull.sources.listing import Listing
from bucketpull.sources.rowkeys import FILE, FOLDER, RowKeys, between

_FEWEST_ENTRIES = 50  # a first page of fewer is not worth a probe
_WORTH_PAGES = 6.0
_MOST_PARTS = 64
_MOST_PARTS_AGAIN = 8  # a range that proves longer than thought is cut again, into fewer
_LONGER = 3  # times as long as thought
_LONG_PAGES = 20  # a thought of more pages than that may be a gap between names
_DEEPEST = 6
_BRIDGES = 3
_LAST_FILE = "@~"
_TAG = "!"


class Stage(msgspec.Struct, array_like=True, frozen=True):
    """What a position of a giant directory is for; see the module. Rows are as in `rowkeys`, b"" is none.

    `back` is the cursor from which to list serially should forged ones fail. `pages` is how many a range was thought to have.
    """

    kind: str
    upto: bytes = b""
    back: str = ""
    seen: bytes = b""
    pages: int = 0
    depth: int = 0
    tries: int = 0


class Ask(NamedTuple):
    """How a position is asked for: the cursor to send, and whether it is a single entry, from the far end."""

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
    return Ask(cursor, kind in {"end", "verify"}, kind == "end")


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
        names, folders = self.listing.names, self.listing.directories
        if row[:2] == FILE:
            at = bisect_right(names, row[2:])
            if at < len(names):
                return FILE + names[at]
            return FOLDER + folders[0] if folders else b""
        at = bisect_right(folders, row[2:])
        return FOLDER + folders[at] if at < len(folders) else b""


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
    if stage.kind == "verify":
        return _verified(page, stage)
    if stage.kind == "bridge":
        return _bridged(page, stage)
    return _ranged(page, stage)


def retreat(position: Position, keys: RowKeys, error: AnswerError) -> Page | None:
    """List serially where a page of a stage is refused for its cursor (or its kind of request); None to go on trying."""
    stage = stage_of(position)
    if error.reason not in {Reason.CURSOR, Reason.REJECTED}:
        return None
    if stage.kind in {"probe", "end"}:
        return _serially(position, stage.back)
    if stage.kind in {"verify", "bridge"}:
        return _serially(position, f"!again-{stage.kind}:{stage.back}") if position.attempt else None
    if position.attempt and position.cursor and stage.tries == 0:
        # The cursor is no good (any more): once more from the beginning, and not a third time.
        return _from_the_beginning(position, keys)
    return None


def _from_the_beginning(position: Position, keys: RowKeys) -> Page:
    stage = stage_of(position)
    seen = keys.row(ask_for(position).cursor) or b""
    upto = stage.upto if stage.kind == "range" else b""
    tag = f"{_TAG}again{crc32(seen + bytes(1) + upto):08x}:"
    again = Stage("serial", upto, tag, seen, tries=1)
    return Page(_nothing(position), [], [_at(position.directory, tag, again)])


def once_more(page: Answered, stage: Stage) -> Page:
    """Take of a page of a second listing what the first one did not reach; its pages are not those of the first."""
    listing, position, seen, upto = page.listing, page.position, stage.seen, stage.upto

    def is_wanted(row: bytes) -> bool:
        return row > seen and (not upto or row <= upto)

    wanted = [place for place, name in enumerate(listing.names) if is_wanted(FILE + name)]
    part = Part(
        position.directory,
        position.cursor,
        [listing.names[place] for place in wanted],
        [listing.sizes[place] for place in wanted],
        [listing.mtimes[place] for place in wanted],
    )
    folders = [name for name in listing.directories if is_wanted(FOLDER + name)]
    if listing.cursor is None or (upto and page.ordered and page.last >= upto):
        return Page(part, folders, [])
    return Page(part, folders, [_at(position.directory, stage.back + listing.cursor, stage)])


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
        _at(page.position.directory, begin, Stage("range", upto=row, depth=depth, pages=pages))
        for begin, row in zip(cursors, borders, strict=True)
    ]


def _ranged(page: Answered, stage: Stage) -> Page:
    listing, directory, after = page.listing, page.position.directory, page.after
    if not page.ordered or (page.first and page.first < after):
        if page.position.attempt:
            return _from_the_beginning(page.position, page.keys)
        raise AnswerError(
            Reason.CURSOR, "entries before the cursor, or out of order, in a range listed in parallel"
        )
    kept = _cut_out(page, after, stage.upto)
    crossed = listing.cursor is None or (stage.upto and page.last > stage.upto)
    if crossed and not stage.upto:
        return Page(*kept, [])
    if crossed:
        return Page(*kept, [_verify(page.position, page.keys, stage, page.beyond(stage.upto))])
    if page.last == stage.upto and stage.upto:
        return Page(*kept, [])
    assert listing.cursor is not None
    return Page(*kept, _further(page, stage) or [_at(directory, listing.cursor, stage)])


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


def _verify(position: Position, keys: RowKeys, stage: Stage, seen: bytes) -> Position:
    cursor = f"!verify{stage.tries}:{keys.cursor(stage.upto)}"
    back = ask_for(position).cursor
    return _at(position.directory, cursor, Stage("verify", stage.upto, back, seen, tries=stage.tries))


def _verified(page: Answered, stage: Stage) -> Page:
    """Hold what the next range begins with against what this one ended before."""
    if (
        page.ordered
        and page.beyond(stage.upto) == stage.seen
        and not (page.first and page.first < stage.upto)
    ):
        return Page(_nothing(page.position), [], [])
    if stage.tries >= _BRIDGES:
        return _serially(page.position, f"!again-verify:{stage.back}")
    bridge = Stage("bridge", stage.upto, stage.back, tries=stage.tries + 1)
    position = _at(page.position.directory, f"!bridge{bridge.tries}:{stage.back}", bridge)
    return Page(_nothing(page.position), [], [position])


def _bridged(page: Answered, stage: Stage) -> Page:
    if not page.ordered or (page.listing.cursor is not None and page.last <= stage.upto):
        return _serially(page.position, f"!again-bridge:{stage.back}")
    seen = page.beyond(stage.upto)
    cursor = f"!verify{stage.tries}:{page.keys.cursor(stage.upto)}"
    verify = Stage("verify", stage.upto, stage.back, seen, tries=stage.tries)
    return Page(_nothing(page.position), [], [_at(page.position.directory, cursor, verify)])


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
