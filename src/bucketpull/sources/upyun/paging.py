"""From a listing answer to a page: decides where the listing goes on, refuses pages that lead nowhere or back, and leaves out folders
that lie deeper than any real one. Which answers and entries are refused for what they are is decided in `list_response`.

A directory is listed page after page, unless it is so large that `parallel_listing` takes over. Cursors that lead back are found,
and entries that two neighbouring pages give: those of a page that lie before the end of the page before, or whose marks are among
those of its last entries where they are not in order of names, may have been on that one. They are `held` back, and the page before
is asked for once more: those that it does not give are new. So nothing that slipped on is taken twice, and nothing is lost if the
listing goes by something else than names.
"""

from collections.abc import Iterator, Sequence
from zlib import crc32

import msgspec

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Page, Position, show
from bucketpull.sources.cycle_detection import Trail
from bucketpull.sources.upyun import parallel_listing
from bucketpull.sources.upyun.list_response import Listing
from bucketpull.sources.upyun.stages import (
    FILE,
    FOLDER,
    Answered,
    LeadsBack,
    RowKeys,
    Stage,
    ask_for,
    compared,
    looks_back,
    pick,
    position_at,
    stage_of,
    tagged,
)

# A folder with an empty name in the root: its objects' keys begin with a slash, and no directory's name says so. It is listed
# under the root's name with this tag, and its entries carry the slash.
_SLASH = tagged("slash", "")
# A folder may hold itself: a service that normalises paths answers so for `a/..`. Real ones do not lie that deep.
_DEEPEST = 1000
_LONGEST_KEY = 65_536
_DEEPEST_ODD = 8
_ODD = frozenset({b"", b".", b".."})
# After so many passes a page whose cursor leads back is taken, and what is behind it is given up.
_PASSES = 6
_HELD = 100  # names of 255 bytes, in base64: 35 KB


def is_slash_folder(position: Position) -> bool:
    """Tell whether a position is in the folder with an empty name in the root."""
    return position.cursor.startswith(_SLASH)


class Paging:
    """How the pages of one bucket follow each other.

    Args:
        limit: Entries asked for; a page of fewer may be the last one where nothing is said of it.
        split: Whether giant directories may be listed in parallel.

    """

    def __init__(self, bucket: str, limit: int, split: bool) -> None:
        self._bucket = bucket
        self._limit = limit
        self._split = split

    def page(self, position: Position, listing: Listing) -> Page:
        """Make a page of a listing. Raises AnswerError (`cursor`) where it leads nowhere or back."""
        unique = _without_twins(listing)
        page = self._of(position, unique)
        page.odd = (*listing.odd, *_without_endless(page))
        page.duplicates += listing.entries - unique.entries
        return page

    def _of(self, position: Position, listing: Listing) -> Page:
        listing = self._with_an_end(position, listing)
        if is_slash_folder(position):
            return _slash_page(position, listing)
        page = self._followed(position, listing)
        if not position.directory and b"" in page.directories:
            page.directories.remove(b"")
            page.following.append(Position(b"", _SLASH))
        return page

    def instead(self, position: Position, error: AnswerError) -> Page | None:
        """Return what to do in place of a page that was refused; None to try it again."""
        if is_slash_folder(position):
            return None
        return parallel_listing.retreat(position, RowKeys(self._bucket, position.directory), error)

    def _with_an_end(self, position: Position, listing: Listing) -> Listing:
        """Decide about a page that does not say where the listing goes on.

        The first answer of that kind counts as failed; only one that stays so, and is short, ends the directory.
        """
        if listing.cursor != "" or ask_for(position).few:
            return listing
        if position.passes and listing.entries < self._limit:
            return msgspec.structs.replace(listing, cursor=None)
        raise AnswerError(Reason.CURSOR, "the page says neither where the listing goes on nor that it ends")

    def _followed(self, position: Position, listing: Listing) -> Page:
        stage = stage_of(position)
        if listing.cursor is None and stage.kind in {"first", "serial"} and not position.cursor:
            return Page(listing.part(position), listing.directories, [])
        answered = compared(position, RowKeys(self._bucket, position.directory), listing)
        if stage.kind not in {"first", "serial"} or stage.tries:
            if not ask_for(position).descending and looks_back(answered):
                raise LeadsBack(f"the cursor {listing.cursor} leads back")
            if stage.tries:
                return parallel_listing.once_more(answered, stage)
            return parallel_listing.go_on(answered)
        page = _go_on_serially(msgspec.structs.replace(answered, listing=_without_repeated(answered)))
        if self._split and parallel_listing.is_worth_a_probe(stage) and listing.cursor and not page.broken:
            probe = parallel_listing.probe(answered)
            page.following[-1:] = probe or page.following[-1:]
        return page


def _go_on_serially(page: Answered) -> Page:
    """Take a page, and go on behind it. Raises LeadsBack where its cursor leads back, or the page was given before."""
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
        last, tail = (page.last, ()) if page.ordered else (b"", rows)
        following = trail.after(listing.cursor, rows, ask_for(position).cursor, last, tail)
        taken.following.append(
            position_at(position.directory, listing.cursor, Stage(stage.kind, trail=following))
        )
        return taken
    is_transient = position.passes < _PASSES and not trail.goes_round
    if is_transient or trail.knows_page(rows):
        raise LeadsBack(trouble)
    taken.broken = f"{trouble}: what follows is not listed"
    return taken


def _trouble(page: Answered, trail: Trail, rows: Sequence[bytes]) -> str:
    """Say why a listing cannot go on behind a page; "" if it can."""
    cursor = page.listing.cursor
    assert cursor is not None
    if looks_back(page) or trail.knows_cursor(cursor):
        return f"the cursor {cursor} leads back"
    if trail.knows_page(rows):
        return f"the page behind the cursor {ask_for(page.position).cursor} was listed before"
    if trail.goes_round:
        return "most entries come again and again, on pages that differ"
    if trail.is_endless(rows):
        return f"{trail.empty + 1} pages in a row have no entry, and each leads on"
    return ""


def _repeated(page: Answered, trail: Trail, rows: Sequence[bytes]) -> set[bytes]:
    """Return the rows that may have been on the page before; where they are most of the page, it is not in order of names."""
    if page.ordered and trail.last:
        early = {row for row in rows if row <= trail.last}
    else:
        early = trail.may_know(rows)
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


def _slash_page(position: Position, listing: Listing) -> Page:
    part = msgspec.structs.replace(listing, names=[b"/" + name for name in listing.names]).part(position)
    page = Page(part, [b"/" + name for name in listing.directories], [])
    if listing.cursor is not None:
        trail, rows = stage_of(position).trail or Trail(), [*part.names, b"", *page.directories]
        if trail.knows_cursor(listing.cursor) or _SLASH + listing.cursor == position.cursor:
            raise LeadsBack(f"the cursor {listing.cursor} leads back")
        stage = Stage("serial", trail=trail.after(listing.cursor, rows, "", b""))
        page.following.append(position_at(b"", _SLASH + listing.cursor, stage))
    return page


def _without_endless(page: Page) -> list[str]:
    """Leave out folders that are deeper than any real one, or contain themselves; return descriptions of them."""
    above = page.part.directory.split(b"/")
    is_deep = len(above) >= _DEEPEST
    is_odd = len(above) >= _DEEPEST_ODD and _ODD.issuperset(above[-_DEEPEST_ODD:])
    left = _LONGEST_KEY - len(page.part.directory)
    told = [name for name in page.directories if is_deep or len(name) >= left or (is_odd and name in _ODD)]
    if told:
        page.directories = [name for name in page.directories if name not in told]
    return [f"the folder {show(name)[:100]!r} lies deeper than any real one" for name in told]


def _without_twins(listing: Listing) -> Listing:
    """Drop entries that a page has twice."""
    names, folders = listing.names, listing.directories
    if len(set(folders)) < len(folders):
        listing = msgspec.structs.replace(listing, directories=list(dict.fromkeys(folders)))
    if len(set(names)) == len(names):
        return listing
    places = sorted({name: place for place, name in reversed(list(enumerate(names)))}.values())
    return listing.only(places)


def _without_repeated(page: Answered) -> Listing:
    """Drop the entry of the cursor if the page begins with it: it was on the page before."""
    listing, after = page.listing, page.after
    if after and after == page.first:
        if after[:2] == FILE:
            return listing.only(range(1, len(listing.names)))
        if after[:2] == FOLDER and not listing.names:
            return msgspec.structs.replace(listing, directories=listing.directories[1:])
    return listing
