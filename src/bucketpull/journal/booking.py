"""How receipts enter the books: their work goes, what they bring and spawn comes, in one transaction.

On a first run nothing is looked up that only an earlier run can have left.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import msgspec

from bucketpull.domain.batching import cut, decode_parts, decode_positions, spans_of
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.model import (
    BatchDraft,
    BatchReceipt,
    Failure,
    PageRecord,
    Part,
    Position,
    ScanReceipt,
    Span,
    WorkKind,
)
from bucketpull.domain.retry import LAST_PASS, next_page_try
from bucketpull.journal.books import Books
from bucketpull.journal.extents import Entry, covers
from bucketpull.journal.failing import Failures, Recorded
from bucketpull.journal.frontier import AGAIN, LAST, USUAL, Frontier, Taken, candidates_blob
from bucketpull.journal.pages import Known, Pages, Share
from bucketpull.journal.shelf import Shelf

NextTry = Callable[[int], float | None]
PATIENCE_SECONDS = (
    60.0  # between tries of a page, once the policy has no answer: a page is given up by its worker only
)

PageKey = tuple[bytes, str]


class Run(msgspec.Struct):
    """The number of the present run (0 before the first), and whether pages may be known from before it.

    `tidied` is the last run after which what it had not seen was forgotten.
    """

    number: int
    past: bool
    tidied: int


class _Names(msgspec.Struct, array_like=True, gc=False):
    """The head of an encoded `Part`: to count its objects, sizes and times need not be read."""

    directory: bytes
    cursor: str
    names: list[bytes]


_names = msgspec.msgpack.Decoder(list[_Names])


class Booking:
    """Books receipts. Every method runs in the caller's transaction."""

    def __init__(
        self,
        run: Run,
        books: Books,
        shelf: Shelf,
        frontier: Frontier,
        pages: Pages,
        failures: Failures,
        next_try: NextTry,
    ) -> None:
        self._run = run
        self._books = books
        self._shelf = shelf
        self._frontier = frontier
        self._pages = pages
        self._failures = failures
        self._next_try = next_try

    # Scans

    def add_root(self, root: Position) -> None:
        """Add the first scan of a run."""
        known = self._looked_up(root, USUAL) if self._run.past else root
        self._frontier.add_scans([known or root])

    def scan(self, receipt: ScanReceipt, now: float) -> bool:
        """Book a scan; False if its work was booked before."""
        taken = self._frontier.take(receipt.work)
        if taken is None:
            return False
        looks_back = self._run.past or self._books.tiers[AGAIN] > 0 or taken.tier == AGAIN
        new = self._without_unsettled(taken, receipt) if looks_back else receipt
        candidates = self._pages.candidates(_spans(new.batches)) if looks_back else {}
        for page in new.pages:
            self._book_page(page)
        if taken.tier == AGAIN:
            self._drop_vanished(taken, receipt)
        self._add_positions(receipt, taken.tier, looks_back, now)
        for draft in new.batches:
            self._add_batch(draft, candidates)
        self._failures.add(receipt.failures, self._run.number)
        self._books.vanished_directories += receipt.vanished
        self._books.retry(receipt.retries)
        return True

    def _book_page(self, page: PageRecord) -> None:
        known = self._pages.known(page.directory, page.cursor)
        failed = self._failures.remove_of_page(page.directory, page.cursor)
        if page.unchanged and (known is None or known.digest != page.digest):
            # What was known of the page when its position was given out has been lost since.
            self._frontier.add_scans([Position(page.directory, page.cursor)], tier=AGAIN)
            return
        if known is not None and known.run == self._run.number:
            self._unbook(page, known, failed)
        self._count(page)
        if page.unchanged and known is not None:
            self._book_unchanged(page, known, [failure for failure, _ in failed if failure.name])
        else:
            kept = known.extents if known is not None and known.run == self._run.number else b""
            self._pages.add(page, self._run.number, kept)

    def _book_unchanged(self, page: PageRecord, known: Known, failed: list[Failure]) -> None:
        skipped = page.objects - len(failed)
        self._pages.see(page, known, self._run.number, skipped)
        self._books.counters.skipped += skipped
        self._books.counters.skipped_bytes += page.bytes - sum(failure.size for failure in failed)
        self.try_again(failed)

    def _count(self, page: PageRecord) -> None:
        counters = self._books.counters
        counters.pages += 1
        counters.directories += not page.cursor
        counters.listed += page.objects
        counters.listed_bytes += page.bytes

    def _unbook(self, page: PageRecord | Position, known: Known, failed: Sequence[Recorded]) -> None:
        """Take out of the books what a page brought that is listed again in the same run."""
        counters = self._books.counters
        counters.pages -= 1
        counters.directories -= not page.cursor
        counters.listed -= known.objects
        counters.listed_bytes -= known.size
        counters.stored -= known.stored
        counters.skipped -= known.skipped
        counters.vanished -= known.vanished
        counters.failed -= sum(1 for failure, run in failed if failure.name and run == known.run)
        self._pages.remove(page.directory, page.cursor, known.run)

    def _without_unsettled(self, taken: Taken, receipt: ScanReceipt) -> ScanReceipt:
        """Leave out pages that were listed before in this run and whose batches are still outstanding.

        It happens where volumes are lost one after the other. To book such a page twice would count its objects twice.
        """
        unsettled = {
            (page.directory, page.cursor)
            for page in receipt.pages
            if self._is_unsettled(page.directory, page.cursor)
        }
        if not unsettled:
            return receipt
        if taken.tier == AGAIN:
            again = [Position(directory, cursor) for directory, cursor in unsettled]
            self._frontier.add_scans(again, tier=AGAIN)
        parts = [part for draft in receipt.batches for part in decode_parts(draft.body)]
        return msgspec.structs.replace(
            receipt,
            pages=[page for page in receipt.pages if (page.directory, page.cursor) not in unsettled],
            batches=cut(part for part in parts if (part.directory, part.cursor) not in unsettled),
        )

    def _is_unsettled(self, directory: bytes, cursor: str) -> bool:
        known = self._pages.known(directory, cursor)
        if known is None or known.run != self._run.number:
            return False
        failed = self._failures.count_of_page(directory, cursor, known.run)
        return known.objects > known.stored + known.skipped + known.vanished + failed

    def _drop_vanished(self, taken: Taken, receipt: ScanReceipt) -> None:
        """Take out of the books the pages that were listed in this run, and are gone when they are listed again."""
        there = {(page.directory, page.cursor) for page in receipt.pages}
        there |= {(position.directory, position.cursor) for position in receipt.positions}
        there |= {(failure.directory, failure.cursor) for failure in receipt.failures}
        for position in decode_positions(taken.body):
            if (position.directory, position.cursor) not in there:
                self._drop(position)

    def _drop(self, position: Position) -> None:
        known = self._pages.known(position.directory, position.cursor)
        if known is None or known.run != self._run.number:
            return
        if self._is_unsettled(position.directory, position.cursor):
            self._frontier.add_scans([position], tier=AGAIN)
            return
        failed = self._failures.remove_of_page(position.directory, position.cursor)
        self._unbook(position, known, failed)

    def _add_positions(self, receipt: ScanReceipt, tier: int, looks_back: bool, now: float) -> None:
        positions, retries = receipt.positions, receipt.retries
        if looks_back:
            positions = [
                new for position in positions if (new := self._looked_up(position, tier)) is not None
            ]
        for attempt, group in groupby(sorted(positions, key=_attempt), key=_attempt):
            due, later = self._page_due(attempt, retries, now)
            self._frontier.add_scans(list(group), due=due, tier=max(later, tier) if attempt else USUAL)

    def _looked_up(self, position: Position, tier: int) -> Position | None:
        """Attach what is known of a page; None if it need not be listed again."""
        known = self._pages.known(position.directory, position.cursor)
        if known is None:
            return position
        if known.run == self._run.number:
            # Where pages are listed again, each that needs it is work of its own, and the others are booked.
            return None if tier == AGAIN and not position.attempt else position
        return msgspec.structs.replace(position, digest=known.digest)

    def _page_due(self, attempt: int, retries: dict[str, int], now: float) -> tuple[float, int]:
        """Say when, and in which tier, a page is tried again. Whether it is given up, its worker decides."""
        if not attempt:
            return 0, USUAL
        return _when(next_page_try(_usual_reason(retries), attempt - 1), now)

    def _add_batch(self, draft: BatchDraft, known: dict[bytes, list[Entry]]) -> None:
        candidates = [
            entry
            for span in draft.spans
            for entry in known.get(span.directory, ())
            if self._shelf.is_there(entry[0]) and covers(entry, span.first, span.last)
        ]
        self._frontier.add_batch(
            draft.body,
            draft.objects,
            draft.bytes,
            candidates=candidates_blob(candidates),
            home=self._frontier.home_of(candidates),
        )

    def try_again(self, failures: Iterable[Failure]) -> int:
        """Make batches of objects that failed, compared with what lies on volumes; return how many objects."""
        drafts = cut(parts_of(failures))
        known = self._pages.candidates(_spans(drafts))
        for draft in drafts:
            self._add_batch(draft, known)
        return sum(draft.objects for draft in drafts)

    # Batches

    def batch(self, receipt: BatchReceipt, now: float) -> bool:
        """Book a batch; False if its work was booked before.

        Raises:
            JournalError: The receipt does not add up.

        """
        taken = self._frontier.take(receipt.work)
        if taken is None:
            return False
        failed = [failure for failure in receipt.failures if failure.reason is not Reason.GONE]
        vanished = len(receipt.failures) - len(failed)
        _check(receipt, taken)
        counters = self._books.counters
        counters.stored += receipt.stored
        counters.skipped += receipt.skipped
        counters.bytes += receipt.bytes
        counters.skipped_bytes += receipt.skipped_bytes
        counters.vanished += vanished
        self._fail(failed)
        self._books.retry(receipt.retries)
        self._settle(receipt, taken)
        if receipt.deferred is not None:
            self._defer(receipt.deferred, receipt, taken, now)
        if receipt.returned is not None:
            # To anybody: its home has no room for it, or no time.
            self._give_again(receipt.returned, taken, attempt=taken.attempt, home=0, due=0, tier=taken.tier)
        return True

    def _fail(self, failed: Sequence[Failure]) -> None:
        self._failures.add(failed, self._run.number)
        self._books.counters.failed += len(failed)

    def _settle(self, receipt: BatchReceipt, taken: Taken) -> None:
        shares = _shares(receipt, taken)
        spans = {(span.directory, span.cursor): span for span in spans_of(decode_parts(taken.body))}
        volumes = [
            (self._shelf.number(extent.volume, receipt.machine), extent.offset) for extent in receipt.extents
        ]
        there = [block for block in volumes if self._shelf.is_there(block[0])]
        for page, share in shares.items():
            self._pages.settle(spans[page], share, there, self._run.number)
        if len(there) < len(volumes):
            self._list_again(spans.values())

    def _list_again(self, spans: Iterable[Span]) -> None:
        """List pages again whose objects went to a volume that was lost meanwhile."""
        for span in spans:
            self._pages.doubt(span.directory, span.cursor)
        again = [Position(span.directory, span.cursor) for span in spans]
        self._frontier.add_scans(again, tier=AGAIN)

    def _defer(self, draft: BatchDraft, receipt: BatchReceipt, taken: Taken, now: float) -> None:
        attempt = taken.attempt + 1
        delay = self._next_try(taken.attempt)
        if delay is None:
            self._fail(_given_up(draft, receipt, attempt))
            return
        due, tier = _when(delay, now)
        self._give_again(draft, taken, attempt=attempt, home=taken.home, due=due, tier=max(tier, taken.tier))

    def _give_again(
        self, draft: BatchDraft, taken: Taken, *, attempt: int, home: int, due: float, tier: int
    ) -> None:
        self._frontier.add_batch(
            draft.body,
            draft.objects,
            draft.bytes,
            candidates=taken.candidates,
            home=home,
            attempt=attempt,
            due=due,
            tier=tier,
        )


def parts_of(failures: Iterable[Failure]) -> list[Part]:
    """Return failed objects by page."""
    parts: dict[PageKey, Part] = {}
    for failure in failures:
        key = (failure.directory, failure.cursor)
        part = parts.setdefault(key, Part(failure.directory, failure.cursor, [], [], []))
        part.names.append(failure.name)
        part.sizes.append(failure.size)
        part.mtimes.append(failure.mtime)
    return list(parts.values())


def _spans(drafts: Iterable[BatchDraft]) -> Iterable[Span]:
    return (span for draft in drafts for span in draft.spans)


def _when(delay: float | None, now: float) -> tuple[float, int]:
    """Turn a delay of the retry policy into a time and a tier; the last pass has no time."""
    if delay is None or delay == LAST_PASS:
        return 0, LAST
    return now + delay, USUAL


def _attempt(position: Position) -> int:
    return position.attempt


def _check(receipt: BatchReceipt, taken: Taken) -> None:
    deferred = receipt.deferred.objects if receipt.deferred else 0
    returned = receipt.returned.objects if receipt.returned else 0
    told = receipt.stored + receipt.skipped + len(receipt.failures) + deferred + returned
    if taken.kind is not WorkKind.BATCH or told != taken.objects:
        raise JournalError(
            f"receipt for batch {receipt.work} from {receipt.machine} does not add up: {receipt.stored} stored, "
            f"{receipt.skipped} skipped, {len(receipt.failures)} failed or vanished, {deferred} deferred, "
            f"{returned} returned, of {taken.objects} objects"
        )


def _shares(receipt: BatchReceipt, taken: Taken) -> dict[PageKey, Share]:
    """Say what a batch brought to each of its pages.

    Where some objects were stored and others skipped, which page they are of is not told: the first pages are taken for
    skipped. The sums are exact.
    """
    settled: dict[PageKey, int] = {}
    vanished: dict[PageKey, int] = {}
    _tally(settled, taken.body, 1)
    for draft in (receipt.deferred, receipt.returned):
        if draft is not None:
            _tally(settled, draft.body, -1)
    for failure in receipt.failures:
        key = (failure.directory, failure.cursor)
        settled[key] = settled.get(key, 0) - 1
        if failure.reason is Reason.GONE:
            vanished[key] = vanished.get(key, 0) + 1
    shares: dict[PageKey, Share] = {}
    skipped_left = receipt.skipped
    for key, count in settled.items():
        skipped = min(count, skipped_left)
        skipped_left -= skipped
        shares[key] = Share(count - skipped, skipped, vanished.get(key, 0))
    return shares


def _tally(counts: dict[PageKey, int], body: bytes, sign: int) -> None:
    for part in _names.decode(body):
        key = (part.directory, part.cursor)
        counts[key] = counts.get(key, 0) + sign * len(part.names)


def _given_up(draft: BatchDraft, receipt: BatchReceipt, attempts: int) -> list[Failure]:
    """Return the failures of objects that the retry policy gives up."""
    reason = _usual_reason(receipt.retries)
    return [
        Failure(
            part.directory,
            name,
            size,
            mtime,
            part.cursor,
            reason,
            attempts,
            0,
            f"given up after {attempts} tries",
        )
        for part in decode_parts(draft.body)
        for name, size, mtime in zip(part.names, part.sizes, part.mtimes, strict=True)
    ]


def _usual_reason(retries: dict[str, int]) -> Reason:
    known = {reason: count for reason, count in retries.items() if reason in set(Reason)}
    return Reason(max(known, key=lambda reason: known[reason])) if known else Reason.TIMEOUT
