"""How receipts of scans are booked: pages, new positions, new batches.

On a first run nothing is looked up that only an earlier run can have left.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

import msgspec

from bucketpull.domain.batching import cut, decode_parts, decode_positions
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import Failure, PageRecord, Part, Position
from bucketpull.journal.batch_receipts import Batches, NextPageTry, PageKey, Run, spans_in, usual_reason, when
from bucketpull.journal.failures import Failures, Recorded
from bucketpull.journal.frontier import AGAIN, USUAL, Frontier, Taken
from bucketpull.journal.listed_pages import Known, Pages
from bucketpull.journal.sums import Books


class Scans:
    """Books scans. Every method runs in the caller's transaction."""

    def __init__(
        self,
        run: Run,
        books: Books,
        frontier: Frontier,
        pages: Pages,
        failures: Failures,
        batches: Batches,
        next_try: NextPageTry,
    ) -> None:
        self._run = run
        self._books = books
        self._frontier = frontier
        self._pages = pages
        self._failures = failures
        self._batches = batches
        self._next_try = next_try

    def add_root(self, root: Position) -> None:
        """Add the first scan of a run."""
        known = self._looked_up(root, USUAL) if self._run.past else root
        self._frontier.add_scans([known or root])

    def try_again(self, position: Position) -> None:
        """Add a position that could not be listed."""
        self._frontier.add_scans([position], tier=AGAIN if self._listed(position) else USUAL)

    def book(self, receipt: ScanReceipt, now: float) -> bool:
        """Book a scan; False if its work was booked before."""
        taken = self._frontier.take(receipt.work)
        if taken is None:
            return False
        positions = {_key(position): position for position in decode_positions(taken.body)}
        looks_back = self._run.past or self._books.tiers[AGAIN] > 0 or taken.tier == AGAIN
        known = {_key(page): self._pages.known(page.directory, page.cursor) for page in receipt.pages}
        new = self._without_unsettled(taken, positions, receipt, known)
        candidates = self._pages.candidates(spans_in(new.batches)) if looks_back else {}
        booked = {_key(page) for page in new.pages}
        failures = [failure for failure in receipt.failures if not failure.name or _key(failure) in booked]
        said = {(failure.directory, failure.name) for failure in failures if failure.name}
        for page in new.pages:
            self._book_page(page, known[_key(page)], positions.get(_key(page)) or _afresh(page), said)
        if taken.tier == AGAIN:
            self._drop_vanished(positions, receipt)
        self._add_positions(receipt, taken.tier, looks_back, now)
        for draft in new.batches:
            self._batches.add(draft, candidates)
        untils = {key: position.until for key, position in positions.items() if position.until}
        self._failures.add(failures, self._run.number, untils)
        self._books.counters.failed += len(said)
        self._books.counters.duplicates += receipt.duplicates
        self._books.retry(receipt.retries)
        return True

    def _book_page(
        self,
        page: PageRecord,
        known: Known | None,
        position: Position,
        said: Collection[tuple[bytes, bytes]],
    ) -> None:
        failed = self._failures.remove_of_page(page.directory, page.cursor)
        if page.unchanged and (known is None or known.digest != page.digest):
            # What was known of the page when its position was given out has been lost since.
            self._frontier.add_scans([_afresh(position)], tier=AGAIN)
            return
        extents = b""
        if known is not None and known.run == self._run.number:
            self._unbook(page, known, failed)
            extents = known.extents
            if not page.unchanged:
                self._pages.remove(page.directory, page.cursor, known.run)
        self._count(page)
        if page.unchanged and known is not None:
            self._book_unchanged(page, known, position.until, failed, said)
        else:
            self._pages.add(page, self._run.number, position.until, extents)

    def _book_unchanged(
        self,
        page: PageRecord,
        known: Known,
        until: str,
        failed: Sequence[Recorded],
        said: Collection[tuple[bytes, bytes]],
    ) -> None:
        """Book an unchanged page. What failed before is tried again, except entries that the listing itself makes fail."""
        objects = [entry.failure for entry in failed if entry.failure.name]
        skipped = page.objects - len(objects)
        self._pages.see(page, known, self._run.number, until, skipped)
        self._books.counters.skipped += skipped
        self._books.counters.skipped_bytes += page.bytes - sum(failure.size for failure in objects)
        self._batches.try_again([entry for entry in objects if (entry.directory, entry.name) not in said])

    def _count(self, page: PageRecord) -> None:
        counters = self._books.counters
        counters.pages += 1
        counters.directories += not page.cursor
        counters.listed += page.objects + page.excluded
        counters.excluded += page.excluded
        counters.listed_bytes += page.bytes

    def _unbook(self, page: PageRecord | Position, known: Known, failed: Sequence[Recorded]) -> None:
        """Take a page that is listed again in the same run out of the books."""
        counters = self._books.counters
        counters.pages -= 1
        counters.directories -= not page.cursor
        counters.listed -= known.objects + known.excluded
        counters.excluded -= known.excluded
        counters.listed_bytes -= known.size
        counters.stored -= known.stored
        counters.skipped -= known.skipped
        counters.vanished -= known.vanished
        counters.failed -= sum(1 for entry in failed if entry.failure.name and entry.run == known.run)

    def _without_unsettled(
        self,
        taken: Taken,
        positions: dict[PageKey, Position],
        receipt: ScanReceipt,
        known: Mapping[PageKey, Known | None],
    ) -> ScanReceipt:
        """Leave out pages that were listed before in this run and whose batches are still outstanding.

        It happens where volumes are lost one after the other, and where a page is tried again by hand that was found anew.
        To book such a page twice would count its objects twice.
        """
        unsettled = {key for key, page in known.items() if self._is_unsettled(*key, page)}
        if not unsettled:
            return receipt
        if taken.tier == AGAIN:
            self._frontier.add_scans([_afresh(positions[key]) for key in unsettled], tier=AGAIN)
        parts = [part for draft in receipt.batches for part in decode_parts(draft.body)]
        return msgspec.structs.replace(
            receipt,
            pages=[page for page in receipt.pages if _key(page) not in unsettled],
            batches=cut(part for part in parts if _key(part) not in unsettled),
        )

    def _is_unsettled(self, directory: bytes, cursor: str, known: Known | None) -> bool:
        """Whether objects are outstanding of a page of which this is known."""
        if known is None or known.run != self._run.number:
            return False
        failed = self._failures.count_of_page(directory, cursor, known.run)
        return known.objects > known.stored + known.skipped + known.vanished + failed

    def _drop_vanished(self, positions: dict[PageKey, Position], receipt: ScanReceipt) -> None:
        """Take out of the books the pages that were listed in this run, and are gone when they are listed again."""
        answered = {_key(page) for page in receipt.pages}
        answered |= {_key(position) for position in receipt.positions}
        answered |= {_key(failure) for failure in receipt.failures}
        for key, position in positions.items():
            if key not in answered:
                self._drop(position)

    def _drop(self, position: Position) -> None:
        known = self._listed(position)
        if known is None:
            return
        if self._is_unsettled(*_key(position), known):
            self._frontier.add_scans([position], tier=AGAIN)
            return
        failed = self._failures.remove_of_page(position.directory, position.cursor)
        self._unbook(position, known, failed)
        self._pages.remove(position.directory, position.cursor, known.run)

    def _listed(self, page: PageRecord | Position) -> Known | None:
        """Return what is known of a page that was listed in this run."""
        known = self._pages.known(page.directory, page.cursor)
        return known if known is not None and known.run == self._run.number else None

    def _add_positions(self, receipt: ScanReceipt, tier: int, looks_back: bool, now: float) -> None:
        positions, retries = receipt.positions, receipt.retries
        if looks_back:
            positions = [
                new for position in positions if (new := self._looked_up(position, tier)) is not None
            ]
        for passes, group in groupby(sorted(positions, key=_passes), key=_passes):
            due, later = self._page_due(passes, retries, now)
            self._frontier.add_scans(list(group), due=due, tier=max(later, tier) if passes else USUAL)

    def _looked_up(self, position: Position, tier: int) -> Position | None:
        """Attach what is known of a page; None if it need not be listed again."""
        known = self._pages.known(position.directory, position.cursor)
        if known is None:
            return position
        if known.run == self._run.number:
            # Where pages are listed again, each that needs it is work of its own, and the others are booked.
            return None if tier == AGAIN and not position.passes else position
        return msgspec.structs.replace(position, digest=known.digest)

    def _page_due(self, passes: int, retries: dict[str, int], now: float) -> tuple[float, int]:
        """Return when, and in which tier, a page is tried again. Its worker decides whether it is given up."""
        if not passes:
            return 0, USUAL
        return when(self._next_try(usual_reason(retries), passes - 1), now)


def _key(page: PageRecord | Position | Part | Failure) -> PageKey:
    return page.directory, page.cursor


def _afresh(page: PageRecord | Position) -> Position:
    return Position(page.directory, page.cursor, page.until if isinstance(page, Position) else "")


def _passes(position: Position) -> int:
    return position.passes
