"""A directory listed page after page: cursors that lead back are found, and entries that two neighbouring pages give.

Entries of a page that lie before the end of the page before may have been on that one. They are `held` back, and the page before
is asked for once more: those that it does not give are new. So nothing is taken twice, and nothing is lost if the listing goes by
something else than names.
"""

from collections.abc import Iterator, Sequence
from zlib import crc32

from bucketpull.domain.model import Page, Part, Position
from bucketpull.sources.trail import Trail
from bucketpull.sources.upyun.stages import (
    FILE,
    FOLDER,
    Answered,
    LeadsBack,
    Stage,
    ask_for,
    looks_back,
    pick,
    position_at,
    stage_of,
    tagged,
)

# After so many passes a page whose cursor leads back is taken, and what is behind it is given up.
_PASSES = 6
_HELD = 100  # names of 255 bytes, in base64: 35 KB


def go_on_serially(page: Answered) -> Page:
    """Take a page, and go on behind it.

    Raises:
        LeadsBack: Its cursor leads back, or the page was given before.

    """
    listing, position, rows = page.listing, page.position, page.rows()
    stage = stage_of(position)
    trail = stage.trail or Trail()
    early = _repeated(page, trail, rows)
    part, folders = pick(page, lambda row: row not in early)
    taken = Page(part, folders, [])
    taken.following += _held_back(page, trail.asked, early)
    if listing.cursor is None:
        return taken
    trouble = _trouble(page, trail, rows)
    if not trouble:
        following = trail.after(
            listing.cursor, rows, ask_for(position).cursor, page.last if page.ordered else b""
        )
        taken.following.append(
            position_at(position.directory, listing.cursor, Stage(stage.kind, trail=following))
        )
        return taken
    if position.passes < _PASSES or trail.knows_page(rows):
        raise LeadsBack(trouble)
    taken.broken = f"{trouble}: what follows is not listed"
    return taken


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


def _trouble(page: Answered, trail: Trail, rows: Sequence[bytes]) -> str:
    """Say why a listing cannot go on behind a page; "" if it can."""
    cursor = page.listing.cursor
    assert cursor is not None
    if looks_back(page) or trail.knows_cursor(cursor):
        return f"the cursor {cursor} leads back"
    if trail.knows_page(rows):
        return f"the page behind the cursor {ask_for(page.position).cursor} was listed before"
    if trail.is_endless(rows):
        return f"{trail.empty + 1} pages in a row have no entry, and each leads on"
    return ""


def _repeated(page: Answered, trail: Trail, rows: Sequence[bytes]) -> set[bytes]:
    """Return the rows that may have been on the page before; where they are most of the page, it is not in order of names."""
    if not page.ordered or not trail.last:
        return set()
    early = {row for row in rows if row <= trail.last}
    return early if 2 * len(early) <= len(rows) else set()


def _held_back(page: Answered, asked: str, early: set[bytes]) -> Iterator[Position]:
    """Ask for the page before once more, for as many entries at once as a position may carry."""
    listing = page.listing
    files = zip(listing.names, listing.sizes, listing.mtimes, strict=True)
    entries = [(FILE + name, size, mtime) for name, size, mtime in files]
    entries += [(FOLDER + name, -1, -1) for name in listing.directories]
    held = [entry for entry in entries if entry[0] in early]
    mark = crc32(page.position.cursor.encode())
    for number, start in enumerate(range(0, len(held), _HELD)):
        stage = Stage("held", held=tuple(held[start : start + _HELD]))
        yield position_at(page.position.directory, tagged(f"held{mark:08x}{number}", asked), stage)
