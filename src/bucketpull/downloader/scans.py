"""The scans of one process: positions to be listed become receipts with pages, new positions and batches.

A page is never lost: what may pass is tried again with back-off, and a position that still fails when the rest of its scan
is done goes back as new work, so that a directory that keeps failing delays no other. So does what a slow scan has not asked
for yet, `REPORT_SECONDS` after its first page: what is listed is reported, which a kill would have listed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from bucketpull.domain.batching import decode_positions
from bucketpull.domain.counting import add_counts
from bucketpull.domain.endpoints import OUTAGE
from bucketpull.domain.errors import AnswerError, Reason, Remedy
from bucketpull.domain.http_exchange import Response, Verdict
from bucketpull.domain.messages import ScanAssignment, ScanReceipt
from bucketpull.domain.model import Failure, Page, PageRecord, Part, Position, bytes_of, key_of, show
from bucketpull.domain.retry import BOUNDS, backoff_seconds, next_page_try
from bucketpull.downloader.endpoint import HOPELESS_SECONDS, Endpoint
from bucketpull.downloader.meter import Meter
from bucketpull.downloader.page_sinks import JobPages, PassedPages
from bucketpull.downloader.targets import Target

if TYPE_CHECKING:
    from random import Random

    from bucketpull.ports import Clock, Fetcher, Source

LONGEST_SPREAD_SECONDS = 2.0
BLAMED_SECONDS = 0.25
# To the second request for a page that is not found: what stands before the service may say so while the service restarts.
NOT_FOUND_SECONDS = 2.0
REPORT_SECONDS = 0.1
# For the root: an answer of another kind may be that of a wrong address, for which nobody should wait for ever.
UNANSWERED = OUTAGE - {Reason.GARBAGE, Reason.TRUNCATED}
UNREADABLE = "names no object"


class ScanProgress:
    """A scan in hand: what is listed of it, and how many of its positions are still open."""

    def __init__(self, assignment: ScanAssignment, positions: int) -> None:
        self.left = positions
        self.parts: list[Part] = []
        """Objects that are to be in its batches."""
        self.receipt = ScanReceipt(assignment.work, "")

    def listed(self, record: PageRecord, page: Page) -> None:
        """Note a page, and where the listing goes on."""
        self.receipt.pages.append(record)
        self.receipt.duplicates += page.duplicates
        self.receipt.positions += page.following
        directory = page.part.directory
        self.receipt.positions += [Position(key_of(directory, name)) for name in page.directories]


class WantedPage(msgspec.Struct, gc=False, eq=False):
    """One position of a scan. `tries` counts the requests of this pass; `target` is that of the last one."""

    progress: ScanProgress
    position: Position
    tries: int = 0
    target: Target | None = None
    is_missed: bool = False
    """Whether it was not found once. With it all below it is lost, so one answer is not believed."""

    def tries_by_chance(self, reason: Reason) -> int:
        """Return how many tries may fail for a reason that say nothing of the page."""
        return self.target.limiter.tries_by_chance(reason) if self.target is not None else 0


class Scans:
    """All scans of one process.

    Args:
        pages: What becomes of each page.
        receipt: Called with each receipt, `machine` empty.
        fatal: Called with the reason and the words when the source refuses us as a whole.

    """

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        endpoint: Endpoint[WantedPage],
        clock: Clock,
        random: Random,
        meter: Meter,
        pages: JobPages | PassedPages,
        receipt: Callable[[ScanReceipt], None],
        fatal: Callable[[Reason, str], None],
    ) -> None:
        self._source = source
        self._fetcher = fetcher
        self._endpoint = endpoint
        self._clock = clock
        self._random = random
        self._meter = meter
        self._pages = pages
        self._receipt = receipt
        self._fatal = fatal
        self._root = source.root().directory
        self._closed = False
        self.paused = False

    def add(self, assignment: ScanAssignment) -> None:
        """Take a scan; its receipt is sent when all its positions have ended."""
        positions = decode_positions(assignment.positions)
        progress = ScanProgress(assignment, len(positions))
        for position in positions:
            wanted = WantedPage(progress, position)
            if position.passes:
                # The journal has waited already; a random wait keeps positions apart that failed together.
                wait = min(LONGEST_SPREAD_SECONDS, float(position.passes)) * self._random.random()
                self._line_up(wanted, wait)
            else:
                self._endpoint.waiting.append(wanted)
        if not positions:
            self._receipt(progress.receipt)

    def _line_up(self, wanted: WantedPage, seconds: float) -> None:
        self._fetcher.call_later(seconds, lambda: self._endpoint.waiting.append(wanted))

    def fill(self, now: float) -> None:
        """Start what the limiter allows."""
        endpoint = self._endpoint
        if self.paused or self._closed:
            return
        while endpoint.waiting and endpoint.open(now):
            wanted = endpoint.waiting.popleft()
            if not self._read_here(wanted):
                wanted.tries += 1
                request = self._source.list_request(wanted.position, endpoint.target.site, self._clock.now())
                wanted.target = target = endpoint.start(now, request.url)
                self._fetcher.submit(target.to(request), partial(self._answered, wanted))

    def delay(self, now: float) -> float:
        """Return in how many seconds a page that waits may be asked for; `math.inf` where none waits, or as `Endpoint.delay`."""
        return self._endpoint.delay(now) if self._endpoint.waiting else math.inf

    def _read_here(self, wanted: WantedPage) -> bool:
        """Read a page that is on this machine; tell whether it is."""
        try:
            page = self._source.page_here(wanted.position)
        except AnswerError as error:
            wanted.tries += 1
            self._troubled(wanted, error, 0)
            return True
        if page is None:
            return False
        self._listed(wanted, page, 0)
        return True

    def close(self) -> None:
        """Begin nothing more. Scans in hand get no receipt, so they are given to another process."""
        self._closed = True
        self._endpoint.waiting.clear()

    def _answered(self, wanted: WantedPage, response: Response) -> None:
        """Read a page, or decide what its failure calls for."""
        now, endpoint, target = self._clock.monotonic(), self._endpoint, wanted.target
        is_retry = wanted.tries > 1
        assert target is not None
        try:
            page = self._source.read_page(wanted.position, response, self._clock.now())
        except AnswerError as error:
            verdict = Verdict(error.reason, error.detail, error.retry_after_seconds)
            endpoint.finished(target, now, verdict, response.seconds, response.received, is_retry)
            self._meter.waste(error.reason, response.received)
            self._troubled(wanted, error, response.status)
            return
        endpoint.finished(target, now, Verdict(), response.seconds, response.received, is_retry)
        if endpoint.is_attentive:
            endpoint.good(None)
        self._listed(wanted, page, response.status)

    def _listed(self, wanted: WantedPage, page: Page, status: int) -> None:
        """Take a page; entries that cannot be used fail alone."""
        progress = wanted.progress
        if progress.left > 1 and not progress.receipt.pages:
            self._fetcher.call_later(REPORT_SECONDS, partial(self._give_back, progress))
        progress.listed(self._pages.take(wanted.position, page, progress.parts), page)
        alone, together = self._pages.failing(page)
        if alone:
            self._failed_alone(wanted, alone)
        if page.broken:
            self._failed(wanted, AnswerError(Reason.CURSOR, page.broken), status)
        elif together:
            detail = f"entries that cannot be taken: {len(together)}: {'; '.join(together)}"
            self._failed(wanted, AnswerError(Reason.GARBAGE, detail), status)
        self._end_one(progress)

    def _give_back(self, progress: ScanProgress) -> None:
        """Let a scan end with what was asked for: its other positions become new work."""
        waiting = self._endpoint.waiting
        unasked = [
            wanted
            for wanted in waiting
            if wanted.progress is progress and not wanted.tries and not wanted.position.passes
        ]
        for wanted in unasked:
            waiting.remove(wanted)
            progress.receipt.positions.append(wanted.position)
            self._end_one(progress)

    def _troubled(self, wanted: WantedPage, error: AnswerError, status: int) -> None:
        remedy = BOUNDS[error.reason].remedy
        if self._is_blamed(wanted, error):
            wanted.tries = max(0, wanted.tries - 1)
            self._retried(wanted, error.reason)
            self._line_up(wanted, BLAMED_SECONDS)
        elif remedy is Remedy.VANISH:
            self._vanished(wanted, error)
        else:
            self._be_patient(wanted, error, status)

    def _be_patient(self, wanted: WantedPage, error: AnswerError, status: int) -> None:
        """Try again in this pass, then in later ones, if that may help."""
        if self._is_sent_away(wanted, error):
            self._fatal(error.reason, f"{show(wanted.position.directory) or '/'}: {error.detail}")
        elif wanted.tries < BOUNDS[error.reason].tries + (by_chance := wanted.tries_by_chance(error.reason)):
            asked = error.retry_after_seconds
            self._retry(
                wanted, error, backoff_seconds(error.reason, wanted.tries, self._random, asked, by_chance)
            )
        elif next_page_try(error.reason, wanted.position.passes) is not None:
            self._put_back(wanted, error)
        else:
            self._failed(wanted, error, status)
            self._end_one(wanted.progress)

    def _is_sent_away(self, wanted: WantedPage, error: AnswerError) -> bool:
        """Tell whether the very first page is still redirected half a minute later: a network's login page goes away, a wrong address does not."""
        position = wanted.position
        is_first = position.directory == self._root and not position.cursor
        return (
            error.reason is Reason.REDIRECTED
            and is_first
            and position.passes > 0
            and not self._endpoint.was_good
        )

    def _retry(self, wanted: WantedPage, error: AnswerError, seconds: float) -> None:
        self._retried(wanted, error.reason)
        if error.reason is Reason.THROTTLED:
            # Before those that were never asked for, which may be thousands.
            self._fetcher.call_later(seconds, partial(self._endpoint.waiting.appendleft, wanted))
        elif seconds:
            self._line_up(wanted, seconds)
        else:
            self._endpoint.waiting.appendleft(wanted)

    def _retried(self, wanted: WantedPage, reason: Reason) -> None:
        add_counts(wanted.progress.receipt.retries, {reason: 1})
        self._meter.retries[reason] += 1

    def _put_back(self, wanted: WantedPage, error: AnswerError) -> None:
        """End this pass of a position: it becomes new work, one pass older, with the receipt of its scan."""
        self._retried(wanted, error.reason)
        wanted.position.passes += 1
        wanted.position.tried += wanted.tries
        wanted.progress.receipt.positions.append(wanted.position)
        self._end_one(wanted.progress)

    def _vanished(self, wanted: WantedPage, error: AnswerError) -> None:
        position = wanted.position
        if position.directory == self._root and not position.cursor:
            self._fatal(Reason.NO_BUCKET, f"{show(position.directory) or '/'}: not found: {error.detail}")
            return
        if not wanted.is_missed:
            wanted.is_missed = True
            self._retry(wanted, error, NOT_FOUND_SECONDS)
            return
        wanted.progress.receipt.vanished += 1
        self._end_one(wanted.progress)

    def _is_blamed(self, wanted: WantedPage, error: AnswerError) -> bool:
        """Note a failure of the listing; tell whether the service is to blame and not the directory. An answer for the root shows that the service works."""
        endpoint, position, now = self._endpoint, wanted.position, self._clock.monotonic()
        assert wanted.target is not None
        if endpoint.ways.is_of_target(wanted.target, now):
            return True
        reason = wanted.target.read(error.reason) or error.reason
        key, wait = (position.directory, position.cursor), error.retry_after_seconds
        blamed = endpoint.failed(key, reason, error.detail, now, wait)
        if blamed and endpoint.is_up and endpoint.was_good:
            self._probe()
        elif endpoint.is_doubtful(reason) or (BOUNDS[reason].remedy is Remedy.STOP and endpoint.was_good):
            self._doubt(position, reason)
        # Credentials with which nothing was ever listed are wrong: the machine ends the job for that.
        return blamed or (BOUNDS[error.reason].remedy is Remedy.STOP and not endpoint.was_good)

    def _doubt(self, position: Position, reason: Reason) -> None:
        """Find out by the root whether only this page fails. The root itself is its own probe if no answer came."""
        if position.directory != self._root or position.cursor:
            self._probe()
        elif reason in UNANSWERED:
            self._endpoint.probe_failed(reason)

    def _probe(self) -> None:
        """Ask for the root again."""
        endpoint = self._endpoint
        if not endpoint.is_tried:
            endpoint.is_tried = True
            target = endpoint.targets.in_turn()
            request = self._source.list_request(self._source.root(), target.site, self._clock.now())
            self._fetcher.submit(target.to(request), partial(self._probe_answered, target))

    def _probe_answered(self, target: Target, response: Response) -> None:
        endpoint = self._endpoint
        endpoint.is_tried = False
        try:
            self._source.read_page(self._source.root(), response, self._clock.now())
        except AnswerError as error:
            endpoint.probe_failed(target.read(error.reason) or error.reason)
            return
        endpoint.probe_came(self._clock.monotonic(), response.seconds)

    def try_out(self) -> None:
        """Find out whether the listing is back."""
        self._probe()
        self._fetcher.call_later(HOPELESS_SECONDS, lambda: self._endpoint.give_up(self._fetcher))

    def _failed(self, wanted: WantedPage, error: AnswerError, status: int) -> None:
        """Add the failure of a page, or of something on it, to its receipt."""
        position = wanted.position
        self._meter.failures[error.reason] += 1
        place, attempts = (position.directory, b"", 0, 0, position.cursor), position.tried + wanted.tries
        failure = Failure(*place, error.reason, attempts, status, error.detail[:300])
        wanted.progress.receipt.failures.append(failure)

    def _failed_alone(self, wanted: WantedPage, entries: Sequence[str]) -> None:
        """Add a failure for each entry that names no object."""
        position = wanted.position
        self._meter.failures[Reason.REJECTED] += len(entries)
        for words in entries:
            place = (position.directory, bytes_of(words), 0, -1, position.cursor)
            wanted.progress.receipt.failures.append(Failure(*place, Reason.REJECTED, 1, 0, UNREADABLE))

    def _end_one(self, progress: ScanProgress) -> None:
        progress.left -= 1
        if not progress.left:
            progress.receipt.batches = self._pages.batches(progress.parts)
            self._receipt(progress.receipt)
