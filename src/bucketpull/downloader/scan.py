"""Scans inside one process: surveys of positions become receipts with pages, new positions and batches.

A page is never lost: what passes is tried again with back-off, and a position that still fails when the rest of its survey
is done goes back as new work, so that one stubborn directory holds nobody up.
"""

from collections.abc import Callable, Sequence

import msgspec

from bucketpull.domain.batching import decode_positions
from bucketpull.domain.endpoints import OUTAGE
from bucketpull.domain.errors import AnswerError, Reason, Remedy
from bucketpull.domain.exchange import Response, Verdict
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import Failure, Page, PageRecord, Part, Position, add_counts, key_of, show
from bucketpull.domain.record import Survey
from bucketpull.domain.retry import REMEDIES, Random, attempts, backoff_seconds, next_page_try
from bucketpull.downloader.endpoint import HOPELESS_SECONDS, Endpoint
from bucketpull.downloader.meter import Meter
from bucketpull.downloader.pages import Pages
from bucketpull.downloader.ways import Way
from bucketpull.ports import Clock, Fetcher, Source

LONGEST_SPREAD_SECONDS = 2.0
BLAMED_SECONDS = 0.25
# Of the root: who is answered by something else may have another service's address, and is not to wait for ever.
UNANSWERED = OUTAGE - {Reason.GARBAGE, Reason.TRUNCATED}
UNREADABLE = "names no object"


class Sweep:
    """A survey in hand: what is listed of it, and how many of its positions are still open."""

    __slots__ = ("left", "parts", "receipt")

    def __init__(self, survey: Survey, positions: int) -> None:
        self.left = positions
        self.parts: list[Part] = []
        """Objects that are to be in its batches."""
        self.receipt = ScanReceipt(survey.work, "")

    def listed(self, record: PageRecord, page: Page) -> None:
        """Note a page, and where the listing goes on."""
        self.receipt.pages.append(record)
        self.receipt.duplicates += page.duplicates
        self.receipt.positions += page.following
        directory = page.part.directory
        self.receipt.positions += [Position(key_of(directory, name)) for name in page.directories]

    def retried(self, reason: Reason) -> None:
        """Count a repeated request."""
        add_counts(self.receipt.retries, {reason: 1})


class Look(msgspec.Struct, gc=False, eq=False):
    """One position of a survey. `tries` counts the requests of this pass; `way` is that of the last one."""

    scan: "Scan"
    sweep: Sweep
    position: Position
    tries: int = 0
    way: Way | None = None

    def done(self, response: Response) -> None:
        """Take the answer."""
        self.scan.answered(self, response)

    def again(self) -> None:
        """Get in line."""
        self.scan.line_up(self)


class Scan:
    """All surveys of one process.

    Args:
        pages: What becomes of each page.
        receipt: Called with each receipt, `machine` empty.
        fatal: Called with the reason and the words when the source refuses us as a whole.

    """

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        endpoint: Endpoint[Look],
        clock: Clock,
        random: Random,
        meter: Meter,
        pages: Pages,
        receipt: Callable[[ScanReceipt], None],
        fatal: Callable[[Reason, str], None],
    ) -> None:
        self._source = source
        self._fetcher = fetcher
        self._gate = endpoint
        self._clock = clock
        self._random = random
        self._meter = meter
        self._pages = pages
        self._receipt = receipt
        self._fatal = fatal
        self._root = source.root().directory
        self._closed = False
        self.paused = False

    def add(self, survey: Survey) -> None:
        """Take a survey; its receipt comes when each position has ended in some way."""
        positions = decode_positions(survey.positions)
        sweep = Sweep(survey, len(positions))
        for position in positions:
            look = Look(self, sweep, position)
            if position.attempt:
                # The journal has waited for it; what failed together should not come back together.
                wait = min(LONGEST_SPREAD_SECONDS, float(position.attempt)) * self._random.random()
                self._fetcher.call_later(wait, look.again)
            else:
                self._gate.waiting.append(look)
        if not positions:
            self._receipt(sweep.receipt)

    def line_up(self, look: Look) -> None:
        """Put a position back in line after its back-off."""
        self._gate.waiting.append(look)

    def fill(self, now: float) -> None:
        """Start what the limiter allows."""
        endpoint = self._gate
        if self.paused or self._closed:
            return
        while endpoint.waiting and endpoint.open(now):
            look = endpoint.waiting.popleft()
            if not self._read_here(look):
                look.tries += 1
                request = self._source.list_request(look.position, endpoint.way.site, self._clock.now())
                look.way = way = endpoint.start(now, request.url)
                self._fetcher.submit(way.to(request), look.done)

    def _read_here(self, look: Look) -> bool:
        """Take in a page that lies on this machine; tell whether it does."""
        try:
            page = self._source.page_here(look.position)
        except AnswerError as error:
            look.tries += 1
            self._troubled(look, error, 0)
            return True
        if page is None:
            return False
        self._listed(look, page, 0)
        return True

    def close(self) -> None:
        """Begin nothing more; surveys in hand get no receipt and are given to somebody else."""
        self._closed = True
        self._gate.waiting.clear()

    def answered(self, look: Look, response: Response) -> None:
        """Take in a page, or decide what its failure calls for."""
        now, gate, way = self._clock.monotonic(), self._gate, look.way
        assert way is not None
        try:
            page = self._source.read_page(look.position, response, self._clock.now())
        except AnswerError as error:
            verdict = Verdict(error.reason, error.detail, error.retry_after_seconds)
            gate.finished(way, now, verdict, response.seconds, response.received)
            self._meter.waste(error.reason, response.received)
            self._troubled(look, error, response.status)
            return
        gate.finished(way, now, Verdict(), response.seconds, response.received)
        if gate.is_attentive:
            gate.good(None)
        self._listed(look, page, response.status)

    def _listed(self, look: Look, page: Page, status: int) -> None:
        """Take in a page; entries that cannot be taken fail, the others do not suffer."""
        sweep = look.sweep
        sweep.listed(self._pages.take(look.position, page, sweep.parts), page)
        alone, together = self._pages.failing(page)
        if alone:
            self._failed_alone(look, alone)
        if page.broken:
            self._failed(look, AnswerError(Reason.CURSOR, page.broken), status)
        elif together:
            detail = f"entries that cannot be taken: {len(together)}: {'; '.join(together)}"
            self._failed(look, AnswerError(Reason.GARBAGE, detail), status)
        self._settle(sweep)

    def _troubled(self, look: Look, error: AnswerError, status: int) -> None:
        remedy = REMEDIES[error.reason]
        if self._is_blamed(look, error):
            look.tries = max(0, look.tries - 1)
            look.sweep.retried(error.reason)
            self._meter.retries[error.reason] += 1
            self._fetcher.call_later(BLAMED_SECONDS, look.again)
        elif remedy is Remedy.VANISH:
            self._vanished(look, error)
        else:
            self._be_patient(look, error, status)

    def _be_patient(self, look: Look, error: AnswerError, status: int) -> None:
        """Try again within this pass, then in later ones, if that may help."""
        if self._is_sent_away(look, error):
            self._fatal(error.reason, f"{show(look.position.directory) or '/'}: {error.detail}")
        elif look.tries < attempts(error.reason):
            wait = backoff_seconds(error.reason, look.tries, self._random, error.retry_after_seconds)
            self._retry(look, error, wait)
        elif next_page_try(error.reason, look.position.attempt) is not None:
            self._put_back(look, error)
        else:
            self._fail(look, error, status)

    def _is_sent_away(self, look: Look, error: AnswerError) -> bool:
        """Tell whether the very first page is redirected, also half a minute later: a network's login page passes, a wrong address does not."""
        position = look.position
        is_first = position.directory == self._root and not position.cursor
        return (
            error.reason is Reason.REDIRECTED
            and is_first
            and position.attempt > 0
            and not self._gate.was_good
        )

    def _retry(self, look: Look, error: AnswerError, seconds: float) -> None:
        look.sweep.retried(error.reason)
        self._meter.retries[error.reason] += 1
        if seconds:
            self._fetcher.call_later(seconds, look.again)
        else:
            self._gate.waiting.appendleft(look)

    def _put_back(self, look: Look, error: AnswerError) -> None:
        """End this pass of a position: it becomes new work, one attempt older, when the rest of its survey is done."""
        look.sweep.retried(error.reason)
        self._meter.retries[error.reason] += 1
        look.position.attempt += 1
        look.sweep.receipt.positions.append(look.position)
        self._settle(look.sweep)

    def _vanished(self, look: Look, error: AnswerError) -> None:
        position = look.position
        if position.directory == self._root and not position.cursor:
            self._fatal(Reason.NO_BUCKET, f"{show(position.directory) or '/'}: not found: {error.detail}")
            return
        look.sweep.receipt.vanished += 1
        self._settle(look.sweep)

    def _is_blamed(self, look: Look, error: AnswerError) -> bool:
        """Note what the listing did; tell whether the service is to blame, not the directory. The root may prove it innocent."""
        gate, position, now = self._gate, look.position, self._clock.monotonic()
        if look.way is not None and gate.is_of_way(look.way, now):
            return True
        key, wait = (position.directory, position.cursor), error.retry_after_seconds
        blamed = gate.failed(key, error.reason, error.detail, now, wait)
        if blamed and gate.is_up and gate.was_good:
            self._prove()
        elif gate.is_doubtful(error.reason) and look.way is not None:
            self._doubt(position, error.reason)
        # Credentials that never listed anything are nobody's fault here: the machine ends the job for them.
        return blamed or (REMEDIES[error.reason] is Remedy.STOP and not gate.was_good)

    def _doubt(self, position: Position, reason: Reason) -> None:
        """Find out whether a page that fails alone does so for itself: by the root, which is its own witness where no answer came."""
        if position.directory != self._root or position.cursor:
            self._prove()
        elif reason in UNANSWERED:
            self._gate.accuse(reason)

    def _prove(self) -> None:
        """Ask for the root again."""
        gate = self._gate
        if not gate.is_tried:
            gate.is_tried = True
            way = gate.ways.in_turn()
            request = self._source.list_request(self._source.root(), way.site, self._clock.now())
            self._fetcher.submit(way.to(request), self._proved)

    def _proved(self, response: Response) -> None:
        gate = self._gate
        gate.is_tried = False
        try:
            self._source.read_page(self._source.root(), response, self._clock.now())
        except AnswerError as error:
            gate.accuse(error.reason)
            return
        gate.acquit(self._clock.monotonic())

    def try_out(self) -> None:
        """Find out whether the listing is back."""
        self._prove()
        self._fetcher.call_later(HOPELESS_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if not self._gate.is_up:
            for site in {way.site for way in self._gate.ways}:
                self._fetcher.abandon(site, Reason.TIMEOUT, "the endpoint does not answer")

    def _fail(self, look: Look, error: AnswerError, status: int) -> None:
        self._failed(look, error, status)
        self._settle(look.sweep)

    def _failed(self, look: Look, error: AnswerError, status: int) -> None:
        """Say that a page, or something on it, could not be listed."""
        position = look.position
        self._meter.failures[error.reason] += 1
        look.sweep.receipt.failures.append(
            Failure(
                directory=position.directory,
                name=b"",
                size=0,
                mtime=0,
                cursor=position.cursor,
                reason=error.reason,
                attempts=position.attempt + look.tries,
                status=status,
                detail=error.detail[:300],
            )
        )

    def _failed_alone(self, look: Look, entries: Sequence[str]) -> None:
        """Say of each entry that names no object that it failed, as an object does."""
        position = look.position
        self._meter.failures[Reason.REJECTED] += len(entries)
        look.sweep.receipt.failures += [
            Failure(
                directory=position.directory,
                name=words.encode("utf-8", "surrogateescape"),
                size=0,
                mtime=-1,
                cursor=position.cursor,
                reason=Reason.REJECTED,
                attempts=1,
                status=0,
                detail=UNREADABLE,
            )
            for words in entries
        ]

    def _settle(self, sweep: Sweep) -> None:
        sweep.left -= 1
        if not sweep.left:
            sweep.receipt.batches = self._pages.batches(sweep.parts)
            self._receipt(sweep.receipt)
