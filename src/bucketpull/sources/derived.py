"""Sources that are another one, some of it changed: what both have in common is asked of the other."""

from collections.abc import Sequence

import msgspec

from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Position, key_of
from bucketpull.domain.selection import Selection
from bucketpull.ports import Source


class DerivedSource:
    """Implements `ports.Source` by another one; whoever derives from it says what differs."""

    def __init__(self, source: Source) -> None:
        self._source = source
        # Asked for every object: without a call in between.
        self.routes = source.routes
        self.object_request = source.object_request

    @property
    def endpoints(self) -> Sequence[EndpointSpec]:
        """See `Source`."""
        return self._source.endpoints

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

    def judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """See `Source`."""
        return self._source.judge(wanted, endpoint, response, now, start, version)

    def usage_query(self, site: str, now: float) -> None:
        """Say that the size of all is not known: only a part is wanted."""


class SelectingSource(DerivedSource):
    """Another source's pages, less what the job does not want, and in its order: what is not wanted never leaves its page.

    A page's digest is then that of its wanted objects: with other rules only pages on which these differ yield work.
    """

    def __init__(self, source: Source, selection: Selection) -> None:
        super().__init__(source)
        self._selection = selection
        self.judge = source.judge  # type: ignore[method-assign] # once an object

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
