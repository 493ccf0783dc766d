"""A source asked one question at a time, by the commands that look before a job begins."""

import time
from collections.abc import Iterator

from bucketpull.domain.endpoints import EndpointSpec, Purpose
from bucketpull.domain.errors import AnswerError
from bucketpull.domain.exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Part, Position
from bucketpull.ports import Fetcher, Source


class SourceClient:
    """One source, by one fetcher. Errors are those of the source's own verbs."""

    def __init__(self, source: Source, fetcher: Fetcher) -> None:
        self.source = source
        self._fetcher = fetcher
        self.listing = next(spec for spec in source.endpoints if spec.purpose is Purpose.LIST)
        self.fetching = {spec.name: spec for spec in source.endpoints if spec.purpose is Purpose.FETCH}

    def ask(self, request: Request) -> Response:
        """Make one request and wait for its answer."""
        answers: list[Response] = []
        self._fetcher.submit(request, answers.append)
        while not answers:
            self._fetcher.run_once(1.0)
        return answers[0]

    def ask_for_page(self, position: Position) -> Response:
        """Ask for a page; return the raw answer."""
        return self.ask(self.source.list_request(position, site_of(self.listing), time.time()))

    def page(self, position: Position) -> Page:
        """Return a page, wherever it lies."""
        page = self.source.page_here(position)
        if page is not None:
            return page
        return self.source.read_page(position, self.ask_for_page(position), time.time())

    def usage(self) -> int | None:
        """Return the bytes of all that is listed; None where the source cannot tell."""
        request = self.source.usage_request(site_of(self.listing), time.time())
        return None if request is None else self.source.read_usage(self.ask(request))

    def routes(self, wanted: Wanted) -> tuple[str, ...]:
        """Name the endpoints that may have an object; none where it cannot be had."""
        try:
            return self.source.routes(wanted.directory, wanted.name, wanted.size)
        except AnswerError:
            return ()

    def fetch(self, wanted: Wanted, endpoint: str) -> tuple[Response, Verdict]:
        """Fetch an object from one endpoint."""
        site = site_of(self.fetching[endpoint])
        response = self.ask(self.source.object_request(wanted, endpoint, site, time.time()))
        return response, self.source.judge(wanted, endpoint, response, time.time())


def wanted_of(part: Part) -> Iterator[Wanted]:
    """Return the objects of a part one by one."""
    nothing = [""] * len(part.names)
    for name, size, mtime, version, url in zip(
        part.names, part.sizes, part.mtimes, part.versions or nothing, part.urls or nothing, strict=True
    ):
        yield Wanted(part.directory, name, size, mtime, version, url)


def site_of(spec: EndpointSpec) -> str:
    """Return the address that is asked first."""
    return spec.sites[0] if spec.sites else ""
