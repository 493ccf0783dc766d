"""What downloaders need of a source of objects, and what a source must be told."""

from collections.abc import Sequence
from typing import Protocol

from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.http_exchange import Request, Response, UsageQuery, Verdict, Wanted
from bucketpull.domain.model import Page, Position


class Source(Protocol):
    """A service's dialect: builds requests and judges answers, never opens a connection. `now` is Unix seconds, always given.

    Signatures are made when a request is built, so build it when it is about to be sent. `site` is one of the endpoint's
    `sites`, chosen by the caller ("" where it has none); `endpoint` is the name of one that the source declares.
    """

    @property
    def endpoints(self) -> Sequence[EndpointSpec]:
        """All endpoints: exactly one lists, at least one fetches. The same each time, in the same order."""

    def root(self) -> Position:
        """Say where the listing of the whole job begins."""

    def page_here(self, position: Position) -> Page | None:
        """Read a page that lies on this machine, in a file; None where it must be asked for by `list_request`. Raises AnswerError as `read_page` does."""

    def list_request(self, position: Position, site: str, now: float) -> Request:
        """Ask for the page at a position."""

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Read the answer to a listing request.

        Raises AnswerError where it is no listing, which is never taken for an empty directory; the reason's remedy says what to do.
        """

    def routes(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:
        """Name the endpoints that may have an object, in the order in which they are to be tried; at least one.

        Raises AnswerError where none can have it; the reason is that of its failure.
        """

    def object_request(
        self, wanted: Wanted, endpoint: str, site: str, now: float, start: int = 0, version: str = ""
    ) -> Request:
        """Ask for an object, from byte `start` on (then only if it still is of `version`; "" takes any)."""

    def judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """Decide whether an answer holds the object's bytes. Looks at status, headers, length and, if odd, the body.

        `start` and `version` are those of the request: a part of another version (if one was named), or the whole in place
        of a part, is refused (`range`). The verdict names the version also where the transfer broke off (failure set).
        """

    def usage_query(self, site: str, now: float) -> UsageQuery | None:
        """Ask for the size of all that is listed; None where the source cannot tell."""
