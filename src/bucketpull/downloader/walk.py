"""A source listed without a job: its pages are handed on and forgotten.

The same scans as a job's list it, with the same patience; what is still to be listed (`frontier`) is all that a later walk needs to go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from bucketpull.domain.batching import encode_positions
from bucketpull.domain.endpoint_judge import EndpointJudge
from bucketpull.domain.endpoints import Purpose
from bucketpull.domain.errors import Reason, SourceRefused
from bucketpull.domain.messages import ScanAssignment, ScanReceipt
from bucketpull.domain.model import Failure, Part, Position
from bucketpull.domain.pacing import Limiter
from bucketpull.domain.user_limits import TokenBucket
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.meter import Meter
from bucketpull.downloader.page_sinks import PassedPages
from bucketpull.downloader.scans import Scans, WantedPage
from bucketpull.downloader.watch import Watch

if TYPE_CHECKING:
    from bucketpull.ports import Clock, Fetcher, Source

AT_ONCE: Final = 128
_TURN_SECONDS: Final = 0.2
_JUDGED_SECONDS: Final = 0.5
_LONGEST_REST_SECONDS: Final = 60.0


class ListingWalk:
    """One walk. `listed` is called with the objects of each page, `frontier` is where to begin (empty: the root).

    `rate` is how many requests a second are made at most, None for as many as the source bears.
    """

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        clock: Clock,
        listed: Callable[[Part], None],
        frontier: Sequence[Position] = (),
        rate: float | None = None,
    ) -> None:
        spec = next(spec for spec in source.endpoints if spec.purpose is Purpose.LIST)
        bucket = TokenBucket(rate) if rate is not None else None
        self._endpoint: Endpoint[WantedPage] = Endpoint(
            spec, Limiter(spec.first, spec.highest, bucket=bucket)
        )
        self._fetcher = fetcher
        self._clock = clock
        pages, meter = PassedPages(listed), Meter()
        self._scans = Scans(
            source, fetcher, self._endpoint, clock, Random(), meter, pages, self._ended, self._refuse
        )
        self._watch = Watch(self._endpoint, {}, fetcher, self._scans, None, clock)
        self._watch.resolve()
        self._judge = EndpointJudge((spec,), 1)
        self._judged_at = clock.monotonic()
        # The last one found is listed first, so that a deep tree keeps few positions open.
        self._pending = list(frontier) or [source.root()]
        self._resting: dict[int, tuple[Position, str]] = {}
        self._in_hand: dict[int, Position] = {}
        self._next = 0
        self._refusal: SourceRefused | None = None
        self.pages = self.vanished = self.excluded = 0
        self.failures: list[Failure] = []
        self.odd: set[bytes] = set()
        """Folders with entries that name no object: what these stand for is not known."""
        self.unlisted = 0
        """Failures of pages that could not be listed; the others are of odd entries."""

    @property
    def is_over(self) -> bool:
        """Whether everything is listed."""
        return not (self._pending or self._in_hand or self._resting)

    @property
    def trouble(self) -> tuple[Reason, str] | None:
        """Why nothing comes, while the listing is down."""
        return self._endpoint.trouble

    def frontier(self) -> list[Position]:
        """Return what is not listed yet."""
        resting = (position for position, _ in self._resting.values())
        return [*self._pending, *resting, *self._in_hand.values()]

    @property
    def resting(self) -> tuple[int, Position, str] | None:
        """How many pages wait to be tried again, with the one that waits longest and the reason (see `Reason`); None for none."""
        if not self._resting:
            return None
        return len(self._resting), *next(iter(self._resting.values()))

    def turn(self) -> None:
        """Wait for answers, and take them. Raises SourceRefused where the source refuses us as a whole."""
        while self._pending and len(self._in_hand) < AT_ONCE:
            position = self._pending.pop()
            self._next += 1
            self._in_hand[self._next] = position
            self._scans.add(ScanAssignment(self._next, encode_positions([position])))
        now = self._clock.monotonic()
        self._scans.fill(now)
        if now - self._judged_at >= _JUDGED_SECONDS:
            self._judge_endpoint(now)
        wait = self._endpoint.delay(now)
        if self._in_hand or self._resting:
            self._fetcher.run_once(min(_TURN_SECONDS, wait if wait < math.inf else _TURN_SECONDS))
        if self._refusal is not None:
            raise self._refusal

    def _judge_endpoint(self, now: float) -> None:
        """Decide whether the service refuses us or is down, as a job's machine does."""
        self._judged_at = now
        for _, judged in self._judge.look(0, self._watch.symptoms(), now):
            self._watch.follow(judged)
        if self._judge.refusal is not None:
            self._refuse(*self._judge.refusal)

    def _ended(self, receipt: ScanReceipt) -> None:
        del self._in_hand[receipt.work]
        self.pages += len(receipt.pages)
        self.vanished += receipt.vanished
        self.excluded += sum(page.excluded for page in receipt.pages)
        self.failures += receipt.failures
        self._sort_out(receipt)
        for position in reversed(receipt.positions):
            if position.passes:
                self._rest(position, next(iter(receipt.retries)))
            else:
                self._pending.append(position)

    def _sort_out(self, receipt: ScanReceipt) -> None:
        """Tell pages that could not be listed from listed ones with an unusable entry."""
        listed = {(page.directory, page.cursor) for page in receipt.pages}
        for failure in receipt.failures:
            if failure.reason is Reason.GARBAGE and (failure.directory, failure.cursor) in listed:
                self.odd.add(failure.directory)
            else:
                self.unlisted += 1

    def _rest(self, position: Position, reason: str) -> None:
        """Try a refused page again later."""
        self._next += 1
        number = self._next
        self._resting[number] = position, reason
        wait = min(_LONGEST_REST_SECONDS, 2.0 ** min(position.passes, 8))
        self._fetcher.call_later(wait, lambda: self._pending.append(self._resting.pop(number)[0]))

    def _refuse(self, reason: Reason, detail: str) -> None:
        if self._refusal is None:
            self._refusal = SourceRefused(reason, detail)
