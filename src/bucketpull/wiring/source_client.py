"""A source asked by a command, or before a job begins: one question at a time, or listed to its end; and how long an answer is waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from bucketpull.domain.counting import counted
from bucketpull.domain.endpoints import OUTAGE, EndpointSpec, Purpose
from bucketpull.domain.errors import AnswerError, Reason, Remedy, SourceRefused, SourceSilent
from bucketpull.domain.http_exchange import Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Part, Position, show
from bucketpull.domain.retry import BOUNDS
from bucketpull.fetch.loop import FetchLoop
from bucketpull.report.console import News, tell
from bucketpull.report.reasons import explain
from bucketpull.report.times import duration
from bucketpull.sources.registry import credentials_of
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.system import SystemClock

if TYPE_CHECKING:
    from bucketpull.downloader.walk import ListingWalk
    from bucketpull.ports import Fetcher, Source

T = TypeVar("T")
FIRST_SECONDS: Final = 8.0
LONGEST_SECONDS: Final = 600.0
SILENT_SECONDS: Final = 5.0  # of an address, before another is asked
TRIES: Final = 4
PAUSE_SECONDS: Final = 0.5
LONGEST_QUESTION_SECONDS: Final = 10.0  # after which a question is not asked again
_SHOWN: Final = 5


class Patience:
    """Tells why nothing comes from `source`, as the user calls it, after 8 s and whenever that has doubled.

    After `longest` seconds it is over; `math.inf` is for one who goes on by itself. `now` returns monotonic seconds.
    """

    def __init__(
        self,
        source: str,
        now: Callable[[], float] = time.monotonic,
        told: Callable[[str], None] = tell,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self.source = source
        self._now = now
        self._told = told
        self._longest = longest
        self.trouble = ""
        self.came()

    def came(self) -> None:
        """Note that something came."""
        self._since = self._now()
        self._due = FIRST_SECONDS

    def expect(self, sites: Sequence[str]) -> None:
        """Note who is asked."""
        self.trouble = f"no answer so far from {', '.join(sites)}"

    def blame(self, reason: Reason, detail: str) -> None:
        """Note what happened last."""
        meaning, _ = explain(reason)
        self.trouble = f"{meaning} ({reason}: {detail})"

    def wait(self) -> None:
        """Tell, if it is time to. Raises SourceSilent where nothing has come for ten minutes."""
        seconds = self._now() - self._since
        if seconds >= self._longest:
            raise SourceSilent(
                f"{self.source}: nothing has come for {duration(seconds)}: {self.trouble}; "
                "check the network and the addresses of the source, then run it again"
            )
        if seconds >= self._due:
            self._due = 2 * seconds
            text = f"{self.source}: nothing has come for {duration(seconds)}: {self.trouble}"
            if self._longest == math.inf:
                self._told(f"{text}; it is tried on, Ctrl-C ends it")
            else:
                bound = duration(self._longest)
                self._told(f"{text}; it is tried on for {bound} in all, Ctrl-C ends it")


class SourceClient:
    """One source, by one fetcher. Errors are those of the source's own verbs, and `patience`'s."""

    def __init__(self, source: Source, fetcher: Fetcher, patience: Patience) -> None:
        self.source = source
        self.patience = patience
        self._fetcher = fetcher
        self.listing = next(spec for spec in source.endpoints if spec.purpose is Purpose.LIST)
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
        self.patience.came()
        return page

    def usage(self) -> int | None:
        """Return the bytes of all that is listed; None where the source cannot tell."""
        source, listing = self.source, self.listing
        query = source.usage_query(site_of(listing), time.time())
        if query is None:
            return None

        def request(site: str) -> Request:
            found = source.usage_query(site, time.time())
            assert found is not None
            return found.request

        return query.read(self._answer(listing, request))

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
    return (Wanted(part.directory, *row) for row in part.rows())


def site_of(spec: EndpointSpec) -> str:
    """Return the address that is asked first."""
    return spec.sites[0] if spec.sites else ""


class Findings(msgspec.Struct):
    """What the source told: bytes in the whole bucket (None: it did not say), and the first page of the listing."""

    usage_bytes: int | None
    first_page: Page | None


def probe(client: SourceClient) -> Findings:
    """Ask for usage and for the first page; temporary trouble is left to the job, which waits for longer.

    Raises SourceRefused where credentials, permission or bucket are wrong, or the folder is not there.
    """
    usage = _asked(client.usage, client)
    page = _asked(lambda: client.page(client.source.root()), client)
    return Findings(usage, page)


def reach(client: SourceClient) -> tuple[Findings, Page]:
    """Probe until the first page comes; the client's patience says why it does not.

    Raises as `probe`, and SourceSilent where it does not come.
    """
    while True:
        findings = probe(client)
        if findings.first_page is not None:
            return findings, findings.first_page
        time.sleep(PAUSE_SECONDS)
        client.patience.wait()


def _asked(question: Callable[[], T], client: SourceClient) -> T | None:
    deadline = time.monotonic() + LONGEST_QUESTION_SECONDS
    for attempt in range(TRIES):
        try:
            return question()
        except AnswerError as error:
            client.patience.blame(error.reason, error.detail)
            remedy = BOUNDS[error.reason].remedy
            if remedy in {Remedy.STOP, Remedy.VANISH}:
                reason = error.reason if remedy is Remedy.STOP else Reason.NO_BUCKET
                name = client.patience.source
                refused = SourceRefused(reason, f"{name}: {error.detail}")
                refused.credentials = credentials_of(name)
                raise refused from error
            if time.monotonic() >= deadline:
                break
            time.sleep(PAUSE_SECONDS * attempt)
    return None


# --- to its end


def turn(walk: ListingWalk, patience: Patience) -> None:
    """Go on with a walk; what keeps it is told. Raises as `reach`."""
    walk.turn()
    if walk.trouble is None:
        patience.came()
    else:
        patience.blame(*walk.trouble)
        patience.wait()


def list_all(settings: Settings, source: Source, take: Callable[[Part], None]) -> ListingWalk:
    """List a source; `take` is called with the objects of each page. What could not be listed is told. Raises as `reach`."""
    from bucketpull.downloader.walk import ListingWalk  # a job lists by its downloaders

    objects = 0

    def taken(part: Part) -> None:
        nonlocal objects
        objects += len(part.names)
        take(part)

    patience = Patience(settings.source)
    with closing(FetchLoop(settings.fetch_options())) as fetcher:
        reach(SourceClient(source, fetcher, patience))
        walk = ListingWalk(source, fetcher, SystemClock(), taken, rate=settings.rate)
        news = News(quiet=settings.quiet)
        while not walk.is_over:
            turn(walk, patience)
            if news.are_due():
                tell(f"{counted(objects, 'objects')}, {counted(walk.pages, 'pages')} listed so far")
                _tell_resting(walk)
    for failure in walk.failures[:_SHOWN]:
        tell(f"not listed: {show(failure.directory) or '/'}: {failure.reason}: {failure.detail}")
    return walk


def _tell_resting(walk: ListingWalk) -> None:
    """Say what keeps a listing from its end, as it may for minutes."""
    if walk.resting is None:
        return
    pages, position, reason = walk.resting
    others = f" (and {counted(pages - 1, 'pages')} more)" if pages > 1 else ""
    tell(f"{show(position.directory) or '/'}{others}: {reason}: tried again until it is given up")
