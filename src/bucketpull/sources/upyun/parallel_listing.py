"""A giant directory listed in parallel: ranges between constructed cursors, each checked, serial listing where a check fails.

The source keeps no state, so each position says in `until` at which stage it is:

    (nothing)  the first page
    first      the next ones, one after the other. If the third is not the last, and cursors look like row keys, then comes a
    probe      its cursor is constructed, just before the last entry of the page before, so that entry must come first again
    end        one entry in descending order: how far the names go. Then the rest is cut into
    range      entries behind its cursor up to a row. Where its cursor was constructed, nothing may lie between that and the first
               entry that it gave:
    check      a few entries in descending order from that first entry on. Those behind the border are a gap, and are taken;
    fill       as are the rest of them, still in descending order, down to the border
    serial     no constructed cursors any more, see `paging`. With `tries` it begins again, because a cursor was refused for
               good, and takes only what lies behind `seen`, the row of that cursor, up to `upto` and before `below`: the rest was
               listed before
    held       entries held back by a serial listing

So each row belongs to one position, whatever constructed cursors answer, and when: those up to a border to one range, those from its
first entry on to the next, those between to the fill.

A cursor may carry a tag in front, `!tag:`, which is not sent: the journal knows pages by directory and cursor, and these are
asked for beside another page of the same cursor.
"""

from bisect import bisect_right
from zlib import crc32

import msgspec

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.key_ranges import DEEPEST, cut_again, first_ranges
from bucketpull.domain.model import Page, Part, Position
from bucketpull.sources.cycle_detection import Trail
from bucketpull.sources.upyun.stages import (
    FILE,
    FOLDER,
    Answered,
    LeadsBack,
    RowKeys,
    Stage,
    ask_for,
    between,
    no_objects,
    pick,
    position_at,
    released,
    stage_of,
    tagged,
)

_SERIAL_PAGES = 3  # a directory of fewer costs no request more than it has pages; splitting one costs four
_FEWEST_ENTRIES = 50  # a page of fewer is not worth a probe
_HELD_PAGES = 20  # for so many pages at most an entry is looked for that a page had before


def is_worth_a_probe(stage: Stage) -> bool:
    """Tell whether, at the page of this stage, a directory is long enough for splitting to save time."""
    steps = stage.trail.steps if stage.trail else 0
    return stage.kind == "first" and steps == _SERIAL_PAGES - 1


def probe(page: Answered) -> list[Position]:
    """Return a probe as what follows a page, if the directory looks as if it could be split; else nothing."""
    listing, directory = page.listing, page.position.directory
    assert listing.cursor is not None
    if page.ordered and page.genuine() and listing.entries >= _FEWEST_ENTRIES:
        names = listing.directories if page.last[:2] == FOLDER else listing.names
        constructed = between(page.last[:2] + names[-2], page.last) if len(names) > 1 else None
        if constructed is not None:
            stage = Stage("probe", back=listing.cursor, seen=page.last)
            return [position_at(directory, page.keys.cursor(constructed), stage)]
    return []


def go_on(page: Answered) -> Page:
    """Make a page of the answer at a stage."""
    stage = stage_of(page.position)
    if stage.kind == "probe":
        return _probed(page, stage)
    if stage.kind == "end":
        return _ended(page, stage)
    if stage.kind in {"check", "fill"}:
        return _filled(page, stage)
    if stage.kind == "held":
        return _released(page, stage)
    return _ranged(page, stage)


def _released(page: Answered, stage: Stage) -> Page:
    """Give out the entries held back that the page asked for again does not have; it may end before where it ended at first."""
    given, cursor = set(page.rows()), page.listing.cursor
    new = [entry for entry in stage.held if entry[0] not in given]
    ends = stage.pages < _HELD_PAGES and page.ordered and cursor
    behind = tuple(entry for entry in new if entry[0] > page.last) if ends else ()
    found = released(
        page.position, [entry for entry in new if entry not in behind], len(stage.held) - len(new)
    )
    if behind and cursor:
        position, tag = page.position, page.position.cursor[1:].partition(":")[0]
        following = Stage("held", pages=stage.pages + 1, held=behind)
        found.following.append(position_at(position.directory, tagged(tag, cursor), following))
    return found


def retreat(position: Position, keys: RowKeys, error: AnswerError) -> Page | None:
    """List serially where a page of a stage is refused for its cursor (or its kind of request); None to go on trying."""
    stage = stage_of(position)
    if error.reason not in {Reason.CURSOR, Reason.REJECTED}:
        return None
    if stage.kind in {"probe", "end"}:
        return _serially(position, stage.back, stage.seen if stage.kind == "probe" else b"")
    if stage.kind == "held":
        return released(position, stage.held) if position.passes else None
    if stage.kind in {"first", "serial"} and isinstance(error, LeadsBack):
        return None
    is_final = position.passes or (stage.kind in {"check", "fill"} and error.reason is Reason.REJECTED)
    if is_final and position.cursor and stage.tries == 0:
        # The cursor is no good (any more): once more from the beginning, and not a third time.
        return _from_the_beginning(position, keys)
    return None


def _from_the_beginning(position: Position, keys: RowKeys) -> Page:
    stage = stage_of(position)
    row = keys.row(ask_for(position).cursor) or (stage.trail.last if stage.trail else b"")
    if stage.kind in {"check", "fill"}:
        again = Stage("serial", stage.upto, seen=stage.since, tries=1, below=row or stage.below)
    else:
        again = Stage("serial", stage.upto if stage.kind == "range" else b"", seen=row, tries=1)
    mark = crc32(bytes(1).join((again.seen, again.upto, again.below) if again.below else (row, again.upto)))
    tag = tagged(f"again{mark:08x}", "")
    following = [position_at(position.directory, tag, msgspec.structs.replace(again, back=tag))]
    return Page(no_objects(position), [], following)


def once_more(page: Answered, stage: Stage) -> Page:
    """Take of a page of a second listing what the first one did not reach; its pages are not those of the first."""
    listing, seen, upto, below, after = page.listing, stage.seen, stage.upto, stage.below, page.after

    def is_wanted(row: bytes) -> bool:
        return row > seen and row != after and (not upto or row <= upto) and (not below or row < below)

    part, folders = pick(page, is_wanted)
    is_past = (upto and page.last >= upto) or (below and page.last >= below)
    if listing.cursor is None or (page.ordered and is_past):
        return Page(part, folders, [])
    trail = stage.trail or Trail()
    if trail.knows_cursor(listing.cursor) or trail.knows_page(page.rows()):
        raise LeadsBack(f"the cursor {listing.cursor} leads back")
    stage = msgspec.structs.replace(stage, trail=trail.after(listing.cursor, page.rows(), "", b""))
    return Page(part, folders, [position_at(page.position.directory, stage.back + listing.cursor, stage)])


def _probed(page: Answered, stage: Stage) -> Page:
    listing, directory = page.listing, page.position.directory
    if not page.ordered or page.first != stage.seen:
        return _serially(page.position, stage.back, stage.seen)
    kept = _cut_out(page, stage.seen, b"")
    if listing.cursor is None:
        return Page(*kept, [])
    if not page.genuine():
        return Page(*kept, [position_at(directory, listing.cursor, Stage("serial"))])
    return Page(*kept, [_far_end(page, 0)])


def _far_end(page: Answered, depth: int) -> Position:
    """Ask how far the names go: the last file lies before where folders begin; the last folder before the end."""
    assert page.listing.cursor is not None
    cursor = page.keys.cursor(FOLDER) if page.last[:2] == FILE else ""
    stage = Stage("end", back=page.listing.cursor, seen=page.first, depth=depth)
    return position_at(page.position.directory, tagged(f"end{depth}", cursor), stage)


def _ended(page: Answered, stage: Stage) -> Page:
    """Cut what lies between the last entry listed and the far end."""
    begin, end = page.keys.row(stage.back), page.first
    if begin is None or end[:2] != begin[:2] or end < begin:
        return _serially(page.position, stage.back)
    if end == begin:
        return Page(no_objects(page.position), [], _ranges(page, stage.back, [b""], stage.depth, 0))
    kind = end[:2]
    cut = first_ranges(stage.seen[2:], begin[2:], end[2:])
    borders = [*(kind + name for name in cut.borders), end, b""]
    return Page(no_objects(page.position), [], _ranges(page, stage.back, borders, stage.depth, cut.pages))


def _ranges(page: Answered, cursor: str, borders: list[bytes], depth: int, pages: int) -> list[Position]:
    """Make a range up to each border, the first from a cursor on; the last border may be b"", the end."""
    cursors = [cursor, *(page.keys.cursor(row) for row in borders[:-1])]
    return [
        position_at(
            page.position.directory, begin, Stage("range", upto=row, depth=depth, pages=pages, since=since)
        )
        for begin, since, row in zip(cursors, [b"", *borders[:-1]], borders, strict=True)
    ]


def _ranged(page: Answered, stage: Stage) -> Page:
    listing, directory, after = page.listing, page.position.directory, page.after
    ends_early = listing.cursor is None and page.last < stage.upto
    if not page.ordered or (page.first and page.first < after) or ends_early:
        if page.position.passes:
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
    further = _further(page, stage) or [position_at(directory, listing.cursor, stage)]
    return Page(part, folders, [*further, *checks])


def _check(page: Answered, stage: Stage) -> Position:
    """Ask what lies before the first entry that a constructed cursor gave; b"" if it gave none, then from the end."""
    cursor = page.keys.cursor(stage.below) if stage.below else ""
    gap = Stage("check", upto=stage.upto, since=stage.since, below=stage.below)
    return position_at(page.position.directory, tagged(f"check{crc32(stage.since):08x}", cursor), gap)


def _filled(page: Answered, stage: Stage) -> Page:
    """Take what a constructed cursor left out: entries behind the border, before the first entry that was given for it."""
    listing, upto, rows = page.listing, stage.upto, page.rows()
    below = page.after or stage.below
    if below and any(row > below for row in rows):
        raise AnswerError(Reason.CURSOR, "entries behind the cursor in a listing in descending order")

    def is_wanted(row: bytes) -> bool:
        return row > stage.since and (not below or row < below) and (not upto or row <= upto)

    part, folders = pick(page, is_wanted)
    if listing.cursor is None or any(row <= stage.since for row in rows):
        return Page(part, folders, [])
    row = page.keys.row(listing.cursor)
    if row is None or (below and row >= below):
        raise AnswerError(
            Reason.CURSOR, f"the cursor {listing.cursor} of a listing in descending order leads back"
        )
    stage = msgspec.structs.replace(stage, kind="fill")
    cursor = tagged(f"fill{crc32(stage.since):08x}", listing.cursor)
    return Page(part, folders, [position_at(page.position.directory, cursor, stage)])


def _further(page: Answered, stage: Stage) -> list[Position]:
    """Cut a range again that proves long; [] if it need not be."""
    if stage.depth >= DEEPEST or not page.genuine() or page.first[:2] != page.last[:2]:
        return []
    if not stage.upto:
        return [_far_end(page, stage.depth + 1)] if page.listing.entries >= _FEWEST_ENTRIES else []
    kind = page.last[:2]
    if stage.upto[:2] != kind:
        return []
    names = page.listing.names or page.listing.directories
    cut = cut_again(page.first[2:], page.last[2:], stage.upto[2:], names, stage.pages)
    if cut is None:
        return []
    borders = [*(kind + name for name in cut.borders), stage.upto]
    assert page.listing.cursor is not None
    return _ranges(page, page.listing.cursor, borders, stage.depth + 1, cut.pages)


def _cut_out(page: Answered, after: bytes, upto: bytes) -> tuple[Part, list[bytes]]:
    """Return the files and the folders of an ordered page behind one row, up to another (b"" is no border)."""
    listing = page.listing
    part = listing.part(page.position).slice(*_span(listing.names, FILE, after, upto))
    begin, end = _span(listing.directories, FOLDER, after, upto)
    return part, listing.directories[begin:end]


def _span(names: list[bytes], kind: bytes, after: bytes, upto: bytes) -> tuple[int, int]:
    begin = 0 if after[:2] < kind else len(names) if after[:2] > kind else bisect_right(names, after[2:])
    if not upto or upto[:2] > kind:
        return begin, len(names)
    return begin, 0 if upto[:2] < kind else bisect_right(names, upto[2:])


def _serially(position: Position, cursor: str, last: bytes = b"") -> Page:
    """Go on from a cursor; `last` is the last row of the directory's first page, if that is the one before."""
    return Page(
        no_objects(position),
        [],
        [position_at(position.directory, cursor, Stage("serial", trail=Trail(last=last)))],
    )
