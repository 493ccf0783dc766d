"""A source whose objects are plain HTTP resources: what such sources have in common, for them to build on.

Lengths, parts and versions are judged as RFC 9110 says. Every endpoint is an origin: what it says of an object is final.
"""

from collections.abc import Mapping

from bucketpull.domain.endpoints import EndpointSpec, Purpose
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.keys import quoted
from bucketpull.domain.model import Page, Position
from bucketpull.sources.http import (
    IN_MEMORY_BYTES,
    UNALTERED,
    misplaced,
    range_headers,
    reason_of,
    request_headers,
    retry_after,
    start_of,
    version_of,
)


def check_page(response: Response, now: float) -> None:
    """Make sure that an answer to a listing request is a whole one. Raises AnswerError where it is not."""
    if response.failure is not None:
        raise AnswerError(response.failure, response.detail)
    if response.status != 200:
        wait = retry_after(response.headers().get("retry-after", ""), now)
        raise AnswerError(reason_of(response.status), said_of(response), wait)


def said_of(response: Response) -> str:
    """Describe a refusal in a line."""
    text = response.body[:200].decode("utf-8", "replace")
    where = response.headers().get("location", "")
    return " ".join(f"HTTP {response.status}: {where} {text}".split())


class PlainSource:
    """Base of a source of plain resources, listed and fetched from the same sites; it lacks `list_request` and `read_page`.

    Args:
        sites: Where the resources are; keys are paths below. () where every object brings a URL.
        title: What people are told of it, such as "the server example.com".
        headers: Those of each request.

    """

    def __init__(
        self, sites: tuple[str, ...], title: str, headers: tuple[str, ...] = request_headers()
    ) -> None:
        self.headers = headers
        self.endpoints: tuple[EndpointSpec, ...] = (
            EndpointSpec(name="list", purpose=Purpose.LIST, sites=sites, title=title, first=4, highest=64),
            EndpointSpec(name="files", purpose=Purpose.FETCH, sites=sites, title=title),
        )

    def root(self) -> Position:
        """Begin at the sites themselves."""
        return Position(b"")

    def page_here(self, position: Position) -> Page | None:  # noqa: ARG002
        """Nothing lies here: all is asked for."""
        return None

    def routes(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:  # noqa: ARG002
        """Try the endpoints in the order in which they were declared."""
        return tuple(spec.name for spec in self.endpoints if spec.purpose is Purpose.FETCH)

    def url_of(self, wanted: Wanted, site: str) -> str:
        """Return an object's own address, or its key below a site."""
        if wanted.url:
            return wanted.url
        key = wanted.directory + b"/" + wanted.name if wanted.directory else wanted.name
        return f"{site}/{quoted(key)}"

    def object_request(
        self,
        wanted: Wanted,
        endpoint: str,  # noqa: ARG002
        site: str,
        now: float,  # noqa: ARG002
        start: int = 0,
        version: str = "",
    ) -> Request:
        """Ask for an object."""
        headers = self.headers + range_headers(start, version) if start else self.headers
        return Request(self.url_of(wanted, site), headers, max(IN_MEMORY_BYTES, wanted.size))

    def judge(
        self,
        wanted: Wanted,
        endpoint: str,  # noqa: ARG002
        response: Response,
        now: float,
        start: int = 0,
        version: str = "",
    ) -> Verdict:
        """Decide whether an answer holds the object's bytes, by status, lengths and version."""
        headers = response.headers()
        found = version_of(headers)
        if response.failure is not None:
            place = start_of(response, headers)
            return Verdict(response.failure, response.detail, version=found, start=place)
        if response.status not in {200, 206}:
            wait = retry_after(headers.get("retry-after", ""), now)
            return Verdict(reason_of(response.status), said_of(response), wait)
        return misplaced(response, headers, found, start, wanted, version) or _whole(
            wanted, headers, response, start, found
        )

    def usage_query(self, site: str, now: float) -> None:
        """None: the total size is not known."""


def _whole(
    wanted: Wanted, headers: Mapping[str, str], response: Response, start: int, version: str
) -> Verdict:
    length = start + response.received
    encoding = headers.get("content-encoding", "").lower()
    if encoding not in UNALTERED:
        return Verdict(Reason.TRANSFORMED, f"content-encoding {encoding}", version=version)
    if wanted.size >= 0 and length != wanted.size and not version:
        return Verdict(Reason.GARBAGE, f"{length} bytes without a version came, {wanted.size} are listed")
    return Verdict(size=length, version=version, start=start)
