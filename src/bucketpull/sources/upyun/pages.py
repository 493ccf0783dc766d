"""From a listing answer to a page: what is doubtful is refused, where the listing goes on is decided."""

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Page, Part, Position
from bucketpull.sources.upyun import parallel_listing
from bucketpull.sources.upyun.listing import Listing
from bucketpull.sources.upyun.rowkeys import FILE, FOLDER, RowKeys

# A folder with an empty name in the root: its objects' keys begin with a slash, and no directory's name says so. It is listed
# under the root's name with this tag, and its entries carry the slash.
_SLASH = "!slash:"
# A service that normalises paths answers for `a/..` with a folder that holds `a` again, without end.
_DEEPEST_ODD = 8
_ODD = frozenset({b"", b".", b".."})


def is_slash_folder(position: Position) -> bool:
    """Tell whether a position is in the folder with an empty name in the root."""
    return position.cursor.startswith(_SLASH)


class Pages:
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
            AnswerError: `cursor`, if it leads nowhere or back; `garbage`, if folders lie in themselves.

        """
        _refuse_endless(position, listing)
        page = self._of(position, listing)
        page.odd = listing.odd
        return page

    def _of(self, position: Position, listing: Listing) -> Page:
        listing = self._with_an_end(position, _without_twins(listing))
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
        """Decide about a page that does not say where the listing goes on (contract 3.3).

        The first answer of that kind counts as failed; only one that stays so, and is short, ends the directory.
        """
        if listing.cursor != "" or parallel_listing.ask_for(position).few:
            return listing
        if position.attempt and listing.entries < self._limit:
            return listing._replace(cursor=None)
        raise AnswerError(Reason.CURSOR, "the page says neither where the listing goes on nor that it ends")

    def _followed(self, position: Position, listing: Listing) -> Page:
        stage = parallel_listing.stage_of(position)
        if listing.cursor is None and stage.kind in {"first", "serial"} and not position.cursor:
            return _whole(position, listing, [])
        answered = parallel_listing.hold(position, RowKeys(self._bucket, position.directory), listing)
        if not parallel_listing.ask_for(position).descending and parallel_listing.looks_back(answered):
            raise AnswerError(Reason.CURSOR, f"the cursor {listing.cursor} leads back")
        if stage.kind not in {"first", "serial"}:
            return parallel_listing.go_on(answered)
        if stage.tries:
            return parallel_listing.once_more(answered, stage)
        following: list[Position] = []
        if listing.cursor is not None:
            following = [Position(position.directory, listing.cursor, position.until)]
            if stage.kind == "first" and not position.cursor and self._split:
                following = parallel_listing.first_page(answered)
        return _whole(position, _without_repeated(answered), following)


def _whole(position: Position, listing: Listing, following: list[Position]) -> Page:
    part = Part(position.directory, position.cursor, listing.names, listing.sizes, listing.mtimes)
    return Page(part, listing.directories, following)


def _slash_page(position: Position, listing: Listing) -> Page:
    part = Part(b"", position.cursor, [b"/" + name for name in listing.names], listing.sizes, listing.mtimes)
    if listing.cursor is not None and _SLASH + listing.cursor == position.cursor:
        raise AnswerError(Reason.CURSOR, f"the cursor {listing.cursor} leads to itself")
    following = [] if listing.cursor is None else [Position(b"", _SLASH + listing.cursor)]
    return Page(part, [b"/" + name for name in listing.directories], following)


def _refuse_endless(position: Position, listing: Listing) -> None:
    odd = _ODD.intersection(listing.directories)
    if not odd:
        return
    above = position.directory.split(b"/")[-_DEEPEST_ODD:]
    if len(above) == _DEEPEST_ODD and _ODD.issuperset(above):
        raise AnswerError(Reason.GARBAGE, f"folders {sorted(odd)} lie in themselves")


def _without_twins(listing: Listing) -> Listing:
    """Drop entries that a page gives twice."""
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


def _without_repeated(page: parallel_listing.Answered) -> Listing:
    """Drop the entry behind which was asked, if the page begins with it: it was on the page before."""
    listing, after = page.listing, page.after
    if after and after == page.first:
        if after[:2] == FILE:
            return listing._replace(
                names=listing.names[1:], sizes=listing.sizes[1:], mtimes=listing.mtimes[1:]
            )
        if after[:2] == FOLDER and not listing.names:
            return listing._replace(directories=listing.directories[1:])
    return listing
