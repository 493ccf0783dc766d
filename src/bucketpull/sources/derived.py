"""Sources that are another one, some of it changed: with rules of what is wanted, or for the keys of a list alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Part, Position, key_of
from bucketpull.domain.selection import Selection
from bucketpull.sources.http import note_date
from bucketpull.sources.list_files import CORRECT_IT, ListPosition, check_unchanged, read_lines

if TYPE_CHECKING:
    from bucketpull.ports import Source


class DerivedSource:
    """Implements `ports.Source` by another one; whoever derives from it says what differs."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.endpoints = source.endpoints
        # Asked for every object: without a call in between.
        self.routes = source.routes
        self.object_request = source.object_request
        self.judge = source.judge

    def root(self) -> Position:
        """See `Source`."""
        return self._source.root()

    def page_here(self, position: Position) -> Page | None:
        """See `Source`."""
        return self._source.page_here(position)

    def list_request(self, position: Position, site: str, now: float) -> Request:
        """See `Source`."""
        return self._source.list_request(position, site, now)

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """See `Source`."""
        return self._source.read_page(position, response, now)

    def usage_query(self, site: str, now: float) -> None:
        """Say that the size of all is not known: only a part is wanted."""


class SelectingSource(DerivedSource):
    """Another source's pages, less what the job does not want, and in its order: what is not wanted never leaves its page.

    A page's digest is then that of its wanted objects: with other rules only pages on which these differ yield work.
    """

    def __init__(self, source: Source, selection: Selection) -> None:
        super().__init__(source)
        self._selection = selection

    def page_here(self, position: Position) -> Page | None:
        """See `Source`."""
        page = self._source.page_here(position)
        return None if page is None else self._chosen(page)

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """See `Source`."""
        return self._chosen(self._source.read_page(position, response, now))

    def _chosen(self, page: Page) -> Page:
        part, selection = page.part, self._selection
        directory = part.directory
        wanted = [
            index
            for index in selection.order.arranged(part)
            if selection.wants(key_of(directory, part.names[index]), part.sizes[index], part.mtimes[index])
        ]
        folders = [name for name in page.directories if selection.may_want_below(key_of(directory, name))]
        excluded = len(part.names) - len(wanted)
        if excluded or not selection.order.is_any:
            part = part.take(wanted)
        return msgspec.structs.replace(page, part=part, directories=folders, excluded=excluded)


# The words in place of a key for a line that is none: they come back when what failed is tried again.
_TOO_LONG: Final = rb"line [0-9]+: longer than [0-9]+ bytes"


class KeyedSource(DerivedSource):
    """A bucket of which only the keys of a list are wanted: nothing is listed, and sizes and dates are not known.

    Args:
        source: The bucket.
        path: The list.
        separator: What ends a key in it.
        state: Its `fingerprint`; "" for any.
        before: What may stand before a key and is not part of it.

    """

    def __init__(self, source: Source, path: str, separator: bytes, state: str, before: bytes = b"") -> None:
        super().__init__(source)
        self._path = path
        self._separator = separator
        self._state = state
        self._before = before
        self.routes = self._routes
        self.judge = self._judge

    def root(self) -> Position:
        """Begin at the list's first line."""
        return Position(b"")

    def page_here(self, position: Position) -> Page:
        """Read some keys; a key that stands there again is wanted once."""
        check_unchanged(self._path, self._state)
        found = read_lines(self._path, ListPosition.of(position.cursor), self._separator)
        keys = list(dict.fromkeys(line.removeprefix(self._before) for line in found.lines))
        unknown = [-1] * len(keys)
        following = [Position(b"", found.following.text())] if found.following else []
        part = Part(b"", position.cursor, keys, unknown, unknown)
        return Page(part, [], following, unreadable=found.odd)

    def _routes(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:
        if re.fullmatch(_TOO_LONG, name):
            raise AnswerError(Reason.REJECTED, CORRECT_IT)
        return self._source.routes(directory, name, size)

    def _judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """Judge as the bucket does; but a key that is not there has not vanished: it should be."""
        verdict = self._source.judge(wanted, endpoint, response, now, start, version)
        if verdict.reason is Reason.GONE:
            verdict.reason = Reason.NOT_FOUND
        note_date(verdict, wanted, response)
        return verdict
