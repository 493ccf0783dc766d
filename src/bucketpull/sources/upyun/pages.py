"""From a listing answer to a page: refuses what is doubtful, and decides where the listing goes on."""

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Page, Part, Position, show
from bucketpull.sources.trail import Trail
from bucketpull.sources.upyun import parallel_listing
from bucketpull.sources.upyun.listing import Listing
from bucketpull.sources.upyun.serial_listing import go_on_serially
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
        """Make a page of a listing.

        Raises:
            AnswerError: `cursor`, if it leads nowhere or back.

        """
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
            return listing._replace(cursor=None)
        raise AnswerError(Reason.CURSOR, "the page says neither where the listing goes on nor that it ends")

    def _followed(self, position: Position, listing: Listing) -> Page:
        stage = stage_of(position)
        if listing.cursor is None and stage.kind in {"first", "serial"} and not position.cursor:
            return _whole(position, listing, [])
        answered = compared(position, RowKeys(self._bucket, position.directory), listing)
        if stage.kind not in {"first", "serial"} or stage.tries:
            if not ask_for(position).descending and looks_back(answered):
                raise LeadsBack(f"the cursor {listing.cursor} leads back")
            if stage.tries:
                return parallel_listing.once_more(answered, stage)
            return parallel_listing.go_on(answered)
        page = go_on_serially(answered._replace(listing=_without_repeated(answered)))
        if self._split and parallel_listing.is_worth_a_probe(stage) and listing.cursor and not page.broken:
            probe = parallel_listing.probe(answered)
            page.following[-1:] = probe or page.following[-1:]
        return page


def _whole(position: Position, listing: Listing, following: list[Position]) -> Page:
    part = Part(position.directory, position.cursor, listing.names, listing.sizes, listing.mtimes)
    return Page(part, listing.directories, following)


def _slash_page(position: Position, listing: Listing) -> Page:
    part = Part(b"", position.cursor, [b"/" + name for name in listing.names], listing.sizes, listing.mtimes)
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
        listing = listing._replace(directories=list(dict.fromkeys(folders)))
    if len(set(names)) == len(names):
        return listing
    places = sorted({name: place for place, name in reversed(list(enumerate(names)))}.values())
    return listing._replace(
        names=[names[place] for place in places],
        sizes=[listing.sizes[place] for place in places],
        mtimes=[listing.mtimes[place] for place in places],
    )


def _without_repeated(page: Answered) -> Listing:
    """Drop the entry of the cursor if the page begins with it: it was on the page before."""
    listing, after = page.listing, page.after
    if after and after == page.first:
        if after[:2] == FILE:
            return listing._replace(
                names=listing.names[1:], sizes=listing.sizes[1:], mtimes=listing.mtimes[1:]
            )
        if after[:2] == FOLDER and not listing.names:
            return listing._replace(directories=listing.directories[1:])
    return listing
