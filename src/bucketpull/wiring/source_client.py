"""A source asked one question at a time, by the commands that look before a job begins."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

from bucketpull.domain.endpoints import OUTAGE, EndpointSpec, Purpose
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Part, Position
from bucketpull.ports import Fetcher, Source
from bucketpull.wiring.patience import Patience

SILENT_SECONDS: Final = 5.0  # of an address, before another is asked


class SourceClient:
    """One source, by one fetcher. Errors are those of the source's own verbs, and `patience`'s."""

    def __init__(self, source: Source, fetcher: Fetcher, patience: Patience | None = None) -> None:
        self.source = source
        self.patience = patience
        self._fetcher = fetcher
        self.listing = next(spec for spec in source.endpoints if spec.purpose is Purpose.LIST)
        if patience is not None:
            patience.expect(self.listing.sites)
        self._silent: set[str] = set()
        self.fetching = {spec.name: spec for spec in source.endpoints if spec.purpose is Purpose.FETCH}

    def ask(self, request: Request, site: str = "") -> Response:
        """Make one request and wait for its answer; with a site no longer than may be waited where others are to be asked."""
        answers: list[Response] = []
        deadline = time.monotonic() + SILENT_SECONDS if site else math.inf
        self._fetcher.submit(request, answers.append)
        while not answers:
            self._fetcher.run_once(1.0)
            if self.patience is not None:
                self.patience.wait()
            if time.monotonic() >= deadline:
                self._fetcher.abandon(site, Reason.TIMEOUT, f"no answer within {SILENT_SECONDS:.0f} s")
        return answers[0]

    def site(self, spec: EndpointSpec) -> str:
        """Return the address of an endpoint that is asked first: one that answered, as far as is known."""
        return next((site for site in spec.sites if site not in self._silent), site_of(spec))

    def _answer(self, spec: EndpointSpec, request: Callable[[str], Request]) -> Response:
        """Ask one address after the other, until one answers."""
        sites = sorted(spec.sites, key=self._silent.__contains__) or [""]
        for site in sites[:-1]:
            response = self.ask(request(site), site)
            if response.failure not in OUTAGE:
                return response
            self._silent.add(site)
        return self.ask(request(sites[-1]))

    def ask_for_page(self, position: Position) -> Response:
        """Ask for a page; return the raw answer."""
        return self._answer(self.listing, lambda site: self.source.list_request(position, site, time.time()))

    def page(self, position: Position) -> Page:
        """Return a page, wherever it lies."""
        page = self.source.page_here(position)
        if page is None:
            page = self.source.read_page(position, self.ask_for_page(position), time.time())
        if self.patience is not None:
            self.patience.came()
        return page

    def usage(self) -> int | None:
        """Return the bytes of all that is listed; None where the source cannot tell."""
        source, listing = self.source, self.listing

        def request(site: str) -> Request:
            found = source.usage_request(site, time.time())
            assert found is not None
            return found

        if source.usage_request(site_of(listing), time.time()) is None:
            return None
        return source.read_usage(self._answer(listing, request))

    def routes(self, wanted: Wanted) -> tuple[str, ...]:
        """Name the endpoints that may have an object; none where it cannot be had."""
        try:
            return self.source.routes(wanted.directory, wanted.name, wanted.size)
        except AnswerError:
            return ()

    def fetch(self, wanted: Wanted, endpoint: str, site: str = "") -> tuple[Response, Verdict]:
        """Fetch an object from one endpoint, from one of its addresses if that is named."""

        def request(at: str) -> Request:
            return self.source.object_request(wanted, endpoint, at, time.time())

        response = self.ask(request(site)) if site else self._answer(self.fetching[endpoint], request)
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
