"""A source of which a job wants only some objects, or some first: what is not wanted never leaves the page where it was listed."""

from collections.abc import Sequence

import msgspec

from bucketpull.domain.batching import chosen
from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.exchange import Request, Response
from bucketpull.domain.model import Page, Position, key_of
from bucketpull.domain.selection import Selection
from bucketpull.ports import Source


class SelectingSource:
    """Implements `ports.Source` by another one; only pages differ.

    A page's digest is then that of its wanted objects: with other rules only pages on which these differ yield work.
    """

    def __init__(self, source: Source, selection: Selection) -> None:
        self._source = source
        self._selection = selection
        self.routes = source.routes
        self.object_request = source.object_request
        self.judge = source.judge

    @property
    def endpoints(self) -> Sequence[EndpointSpec]:
        """See `Source`."""
        return self._source.endpoints

    def root(self) -> Position:
        """See `Source`."""
        return self._source.root()

    def page_here(self, position: Position) -> Page | None:
        """See `Source`."""
        page = self._source.page_here(position)
        return None if page is None else self._chosen(page)

    def list_request(self, position: Position, site: str, now: float) -> Request:
        """See `Source`."""
        return self._source.list_request(position, site, now)

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """See `Source`."""
        return self._chosen(self._source.read_page(position, response, now))

    def usage_request(self, site: str, now: float) -> Request | None:  # noqa: ARG002
        """Return None: how much of the source is wanted, nobody knows before it is listed."""
        return None

    def read_usage(self, response: Response) -> int:
        """See `Source`."""
        return self._source.read_usage(response)

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
        if excluded or selection.order.by:
            part = chosen(part, wanted)
        return msgspec.structs.replace(page, part=part, directories=folders, excluded=excluded)
