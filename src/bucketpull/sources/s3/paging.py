"""How the pages of a bucket follow each other: one after the other at first, later by ranges of names side by side.

Pages go on by name: `start-after` (ListObjectsV2) or `marker` (ListObjects) may be any name, so a listing has no state at the
service and can begin anywhere. That it is honoured, and that names come in the order of their bytes, is checked on each page;
where the first pages show otherwise, the listing goes on by the service's own tokens, one page after the other.

The source keeps no state, so each position says in `until` at which stage it is:

    (nothing)  the first page
    range      names behind its cursor up to one. After some pages without an end in sight the next is a
    probe      its cursor is a name just before the last one, so that must come first again
    end        one question of the search for the bound of all names (`name_bound`). Then what lies between is cut into ranges
    token      by the service's token
    last       what is behind a page that said it was the last one. A service in trouble ends a listing early, and says that it is whole

A cursor may carry a tag in front, `!tag:`: the journal knows pages by directory and cursor, and these are asked for beside
another page of the same cursor. Names in cursors are percent-encoded.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import ge
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.key_ranges import DEEPEST, cut_again, first_ranges
from bucketpull.domain.keys import quoted
from bucketpull.domain.model import Page, Part, Position, bytes_of, key_of, text_of
from bucketpull.sources.cycle_detection import Trail
from bucketpull.sources.s3.list_response import Listing
from bucketpull.sources.s3.name_bound import Search, search_from

PAGE_KEYS = 1000
"""The most keys that services give in one page."""

_TAG = "!"
_SEARCH_AFTER = 8  # pages: the search for the far end costs a dozen short requests
_SAMPLES = 8
# After so many passes a page whose token leads back is taken, and what is behind it is given up.
_PASSES = 6


class Stage(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True):
    """What a position is for; see the module.

    `pages` counts those listed, for a range without an end, and is how many a range with one (`upto`) was thought to have. `token` is
    the service's word for what follows the page before. `names` are samples of that page, the first and the last among them.
    """

    kind: str = "range"
    pages: int = 0
    depth: int = 0
    upto: bytes = b""
    token: str = ""
    is_old: bool = False
    """Whether the service knows only ListObjects, of version 1."""
    names: tuple[bytes, ...] = ()
    search: Search | None = None
    trail: Trail | None = None
    """What is remembered of the pages before, where tokens are followed."""


class Ask(NamedTuple):
    """How a position is asked for: after which name, or by which token, and for how many keys."""

    after: bytes
    token: str
    keys: int
    is_old: bool


_NOWHERE = "a truncated page that does not say where it goes on"
_encode = msgspec.json.Encoder().encode
_decode = json_decoder(Stage)
_FRESH = Stage()


def stage_of(position: Position) -> Stage:
    """Read a position's stage.

    Raises:
        AnswerError: `cursor`, if it is none.

    """
    if not position.until:
        return _FRESH
    try:
        return _decode(position.until)
    except msgspec.DecodeError as error:
        raise AnswerError(Reason.CURSOR, f"no stage of a listing: {position.until[:80]!r}") from error


def ask_for(position: Position) -> Ask:
    """Say how to ask for a position."""
    stage, cursor = stage_of(position), position.cursor
    if cursor.startswith(_TAG):
        cursor = cursor.partition(":")[2]
    token = stage.token if stage.kind == "token" else ""
    keys = 1 if stage.kind in {"probe", "end"} else PAGE_KEYS
    return Ask(b"" if token else unquote_to_bytes(cursor), token, keys, stage.is_old)


def followed(position: Position, names: list[bytes], listing: Listing) -> Page:
    """Make a page of a listing; `names` are its keys below the position's directory.

    Raises AnswerError (`cursor`) where it leads nowhere or back, in a way that leaves no other.
    """
    stage = stage_of(position)
    if stage.kind == "probe":
        return _probed(position, stage, names)
    if stage.kind == "end":
        return _searched(position, stage, names)
    if listing.is_old and not stage.is_old:
        stage = msgspec.structs.replace(stage, is_old=True)
    listed = Part(position.directory, position.cursor, names, listing.sizes, listing.mtimes, listing.etags)
    part = _once_each(listed, stage.trail.last if stage.trail else ask_for(position).after)
    if not part.names and stage.kind != "token":
        part = listed  # the service ignored after which name it was asked
    answer = _Answer(position, stage, part, listing, rows=names)
    page = answer.by_token() if stage.kind == "token" else answer.by_name()
    page.duplicates += len(names) - len(part.names)
    page.odd = listing.odd
    return page


def refused(position: Position, error: AnswerError) -> Page | None:
    """Ask in the old way where the first page was refused as unknown; None to do what the error calls for."""
    if error.reason is not Reason.REJECTED or position.cursor or position.until:
        return None
    return _nothing(position, [_at(position, "!old:", Stage(is_old=True))])


class _Answer:
    """A listed page compared with what was asked. `part` has each entry once, `rows` are all names as they came."""

    def __init__(
        self, position: Position, stage: Stage, part: Part, listing: Listing, rows: list[bytes]
    ) -> None:
        self._rows = rows
        self._position = position
        self._stage = stage
        self._part = part
        self._names = part.names
        self._is_truncated = listing.is_truncated
        self._token = listing.token
        if stage.is_old and not self._token and part.names:
            # Without a delimiter ListObjects names no marker: it is the last key, in whatever order the service has.
            self._token = text_of(key_of(part.directory, part.names[-1]))

    def by_token(self) -> Page:
        """Take the whole page, and go on by the token that it gives.

        Raises:
            AnswerError: `cursor`, if the token leads back; after some passes the page is taken all the same.

        """
        page = Page(self._part, [], [])
        trouble = self._trouble() if self._is_truncated else ""
        if trouble and self._position.passes < _PASSES:
            raise AnswerError(Reason.CURSOR, trouble)
        if trouble:
            page.broken = f"{trouble}: what follows is not listed"
        elif self._is_truncated:
            page.following = self._by_token()
        return page

    def _trouble(self) -> str:
        """Say why a listing cannot go on by the token of a page; "" if it can."""
        if not self._token or self._token == self._stage.token:
            return _NOWHERE
        trail = self._stage.trail or Trail()
        if trail.knows_cursor(self._token) or trail.knows_page(self._rows):
            return f"the token {self._token[:80]!r} leads back to what was listed before"
        if trail.goes_round:
            return "most keys come again and again, on pages that differ"
        if trail.is_endless(self._rows):
            return f"{trail.empty + 1} pages in a row have no key, and each leads on"
        return ""

    def by_name(self) -> Page:
        """Take what lies before the range's end."""
        names, after = self._names, ask_for(self._position).after
        is_honoured = not names or not after or names[0] > after
        if self._stage.kind == "last":
            if not names or not is_honoured:
                return Page(self._part.slice(0, 0), [], [])
            self._stage = msgspec.structs.replace(self._stage, kind="range")
        if not is_honoured or not _is_ordered(names):
            return self._distrusted(is_honoured and not after)
        upto = self._stage.upto
        end = bisect_right(names, upto) if upto else len(names)
        if end < len(names):
            return Page(self._part.slice(0, end), [], [])
        if not self._is_truncated:
            return Page(self._part, [], [self._behind_last(names[-1] if names else after)])
        return Page(self._part, [], self._further() if names else self._by_token())

    def _distrusted(self, is_first: bool) -> Page:
        """Go on by token: names do not come in order, or `start-after` is ignored."""
        if is_first:
            return Page(self._part, [], self._by_token() if self._is_truncated else [], serial=True)
        if not self._stage.token:
            raise AnswerError(
                Reason.CURSOR, "keys out of order, or before the one after which was asked, in a later page"
            )
        return Page(self._part.slice(0, 0), [], [self._token_position(self._stage.token)], serial=True)

    def _by_token(self) -> list[Position]:
        if not self._token or self._token == self._stage.token:
            raise AnswerError(Reason.CURSOR, _NOWHERE)
        last = self._rows[-1] if self._rows else b""
        trail = (self._stage.trail or Trail()).after(self._token, self._rows, "", last)
        return [self._token_position(self._token, trail)]

    def _token_position(self, token: str, trail: Trail | None = None) -> Position:
        stage = Stage("token", token=token, is_old=self._stage.is_old, trail=trail)
        return _at(self._position, f"{_TAG}token:{quoted(bytes_of(token))}", stage)

    def _behind_last(self, name: bytes) -> Position:
        stage = msgspec.structs.replace(self._stage, kind="last")
        return _at(self._position, f"{_TAG}last:{quoted(name)}", stage)

    def _further(self) -> list[Position]:
        """Go on after a whole page of names in order."""
        stage, names = self._stage, self._names
        if stage.upto:
            return self._cut_again() or [self._next(stage)]
        stage = msgspec.structs.replace(stage, pages=stage.pages + 1, token=self._token[:2000])
        if stage.pages == _SEARCH_AFTER and stage.depth < DEEPEST and len(names) > 1:
            constructed = names[-2] + b" "
            if names[-2] < constructed < names[-1]:
                probe = msgspec.structs.replace(stage, kind="probe", names=_samples(names))
                return [_at(self._position, f"{_TAG}probe:{quoted(constructed)}", probe)]
        return [self._next(stage)]

    def _next(self, stage: Stage) -> Position:
        return _at(self._position, quoted(self._names[-1]), stage)

    def _cut_again(self) -> list[Position]:
        """Cut a range again that proves long; [] if it need not be."""
        stage, names, upto = self._stage, self._names, self._stage.upto
        if stage.depth >= DEEPEST:
            return []
        ranges = cut_again(names[0], names[-1], upto, names, stage.pages)
        if ranges is None:
            return []
        borders = [*_as_text(ranges.borders, names[-1], upto), upto]
        return _ranges(self._position, names[-1], borders, stage, ranges.pages)


def _probed(position: Position, stage: Stage, names: list[bytes]) -> Page:
    """Search for the bound of the names if a name that no key has was honoured."""
    if names[:1] != [stage.names[-1]]:
        return _nothing(position, [_serial(position, stage)])
    return _nothing(position, [_question(position, stage, search_from(stage.names[0], stage.names[-1]))])


def _searched(position: Position, stage: Stage, names: list[bytes]) -> Page:
    search = stage.search
    if search is None:
        raise AnswerError(Reason.CURSOR, "a search without a state")
    if names and names[0] <= search.question:
        return _nothing(position, [_serial(position, stage)])
    search = search.answered(names[0] if names else None)
    if not search.is_done:
        return _nothing(position, [_question(position, stage, search)])
    return _nothing(position, _cut(position, stage, search.end))


def _cut(position: Position, stage: Stage, end: bytes) -> list[Position]:
    """Cut what lies between the last name listed and that bound; behind that a range looks for names that are new."""
    last = stage.names[-1]
    ranges = first_ranges(stage.names[0], last, end, stage.names)
    borders = [*_as_text(ranges.borders, last, end), end, b""] if end > last else [b""]
    return _ranges(position, last, borders, stage, ranges.pages)


def _ranges(
    position: Position, after: bytes, borders: Sequence[bytes], stage: Stage, pages: int
) -> list[Position]:
    """Make a range up to each border, the first behind a name; the last border may be b"", the end."""
    depth, is_old = stage.depth + 1, stage.is_old
    return [
        _at(
            position,
            quoted(begin),
            Stage(upto=upto, pages=pages if upto else 0, depth=depth, is_old=is_old),
        )
        for begin, upto in zip([after, *borders[:-1]], borders, strict=True)
    ]


def _as_text(borders: Sequence[bytes], low: bytes, high: bytes) -> list[bytes]:
    """Return borders between two names as UTF-8: services refuse a name that is not."""
    whole = {name.decode("utf-8", "ignore").encode() for name in borders}
    return sorted(name for name in whole if low < name < high)


def _serial(position: Position, stage: Stage) -> Position:
    """Go on page by page after the last name listed."""
    plain = msgspec.structs.replace(stage, kind="range", names=(), search=None, depth=DEEPEST)
    return _at(position, quoted(stage.names[-1]), plain)


def _question(position: Position, stage: Stage, search: Search) -> Position:
    asking = msgspec.structs.replace(stage, kind="end", search=search)
    return _at(position, f"{_TAG}end{stage.depth}:{quoted(search.question)}", asking)


def _is_ordered(names: list[bytes]) -> bool:
    return not any(map(ge, names, names[1:]))


def _once_each(part: Part, given: bytes) -> Part:
    """Leave out the entries that a page gives again, or that the page before gave last (`given`; b"" is none: it is also the name of the key `PREFIX/`)."""
    unique = set(part.names)
    if len(unique) == len(part.names) and (not given or given not in unique):
        return part
    places: dict[bytes, int] = {}
    for index, name in enumerate(part.names):
        if not given or name != given:
            places.setdefault(name, index)
    return part.take(list(places.values()))


def _samples(names: list[bytes]) -> tuple[bytes, ...]:
    step = max(1, len(names) // _SAMPLES)
    return (*names[:-1:step], names[-1])


def _at(position: Position, cursor: str, stage: Stage) -> Position:
    return Position(position.directory, cursor, _encode(stage).decode())


def _nothing(position: Position, following: list[Position]) -> Page:
    return Page(Part(position.directory, position.cursor, [], [], []), [], following)
