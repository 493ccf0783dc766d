"""A source that is another one, some of it changed: what both have in common is asked of the other."""

from collections.abc import Sequence

from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Position
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
        self,
        wanted: Wanted,
        endpoint: str,
        response: Response,
        now: float,
        start: int = 0,
        version: str = "",
    ) -> Verdict:
        """See `Source`."""
        return self._source.judge(wanted, endpoint, response, now, start, version)

    def usage_request(self, site: str, now: float) -> Request | None:  # noqa: ARG002
        """Say that the size of all is not known: only a part is wanted."""
        return None

    def read_usage(self, response: Response) -> int:
        """See `Source`."""
        return self._source.read_usage(response)
