"""How receipts of scans are booked: pages, new positions, new batches; each in the caller's transaction.

On a first run nothing is looked up that only an earlier run can have left.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from bucketpull.domain.batching import cut, decode_positions, known_bytes
from bucketpull.domain.counting import add_counts
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import Failure, PageRecord, Part, Position
from bucketpull.domain.retry import next_page_try
from bucketpull.journal import batch_receipts
from bucketpull.journal.batch_receipts import PageKey, spans_in, usual_reason, when
from bucketpull.journal.failures import Recorded
from bucketpull.journal.frontier import AGAIN, USUAL, Taken
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.listed_pages import PageRow


def add_root(tables: Tables, root: Position) -> None:
    """Add the first scan of a run."""
    known = _looked_up(tables, root, USUAL) if tables.run.looks_back else root
    tables.frontier.add_scans([known or root])


def try_again(tables: Tables, position: Position) -> None:
    """Add a position that could not be listed."""
    if _listed(tables, position):
        tables.add_again([position])
    else:
        tables.frontier.add_scans([position])


def book(tables: Tables, receipt: ScanReceipt, now: float) -> bool:
    """Book a scan; False if its work was booked before."""
    taken = tables.frontier.take(receipt.work)
    if taken is None:
        return False
    positions = {_key(position): position for position in decode_positions(taken.body)}
    looks_back = tables.run.looks_back
    known = {_key(page): tables.pages.known(page.directory, page.cursor) for page in receipt.pages}
    new = _without_unsettled(tables, taken, positions, receipt, known)
    candidates = tables.pages.candidates(spans_in(new.batches)) if looks_back else {}
    booked = {_key(page) for page in new.pages}
    failures = [failure for failure in receipt.failures if not failure.name or _key(failure) in booked]
    said = {(failure.directory, failure.name) for failure in failures if failure.name}
    for page in new.pages:
        _book_page(tables, page, known[_key(page)], positions.get(_key(page)) or _afresh(page), said)
    if taken.tier == AGAIN:
        _drop_vanished(tables, positions, receipt)
    unasked = [new for new in receipt.positions if not new.passes and _key(new) in positions]
    tables.frontier.add_scans(unasked, tier=taken.tier)
    others = [new for new in receipt.positions if new.passes or _key(new) not in positions]
    _add_positions(tables, others, receipt.retries, taken.tier, looks_back, now)
    for batch in new.batches:
        batch_receipts.add(tables, batch, candidates)
    untils = {key: position.until for key, position in positions.items() if position.until}
    tables.failures.add(failures, tables.run.number, untils)
    tables.books.counters.failed += len(said)
    tables.books.counters.duplicates += receipt.duplicates
    add_counts(tables.books.counters.retries, receipt.retries)
    return True


def _book_page(
    tables: Tables,
    page: PageRecord,
    known: PageRow | None,
    position: Position,
    said: Collection[tuple[bytes, bytes]],
) -> None:
    failed = tables.failures.remove_of_page(page.directory, page.cursor)
    if page.unchanged and (known is None or known.digest != page.digest):
        # What was known of the page when its position was given out has been lost since.
        tables.frontier.add_scans([_afresh(position)], tier=AGAIN)
        return
    if known is not None and known.run == tables.run.number:
        _unbook(tables, known, failed)
        if not page.unchanged:
            tables.pages.set_aside(known)
    tables.books.counters.add_page(page)
    if page.unchanged and known is not None:
        _book_unchanged(tables, page, known, position.until, failed, said)
    else:
        tables.pages.add(page, tables.run.number, position.until)


def _book_unchanged(
    tables: Tables,
    page: PageRecord,
    known: PageRow,
    until: str,
    failed: Sequence[Recorded],
    said: Collection[tuple[bytes, bytes]],
) -> None:
    """Book an unchanged page. What failed before is tried again, except entries that the listing itself makes fail."""
    objects = [entry.failure for entry in failed if entry.failure.name]
    skipped = page.objects - len(objects)
    tables.pages.see(known, tables.run.number, until, page.excluded, skipped)
    tables.books.counters.skipped += skipped
    tables.books.counters.skipped_bytes += page.bytes - known_bytes([failure.size for failure in objects])
    batch_receipts.try_again(
        tables, [entry for entry in objects if (entry.directory, entry.name) not in said]
    )


def _unbook(tables: Tables, known: PageRow, failed: Sequence[Recorded]) -> None:
    """Take a page that is listed again in the same run out of the books."""
    counters = tables.books.counters
    counters.pages -= 1
    counters.directories -= not known.cursor
    counters.listed -= known.objects + known.excluded
    counters.excluded -= known.excluded
    counters.listed_bytes -= known.size
    counters.stored -= known.stored
    counters.skipped -= known.skipped
    counters.vanished -= known.vanished
    now = [entry.failure for entry in failed if entry.failure.name and entry.run == known.run]
    counters.failed -= len(now)
    # A page's row has no bytes by outcome: of a page that was stored in part and skipped in part, each takes its share.
    there = known.stored + known.skipped
    held = max(0, known.size - known_bytes([failure.size for failure in now])) if there else 0
    stored = held * known.stored // max(1, there)
    counters.bytes -= min(counters.bytes, stored)
    counters.skipped_bytes -= min(counters.skipped_bytes, held - stored)


def _without_unsettled(
    tables: Tables,
    taken: Taken,
    positions: dict[PageKey, Position],
    receipt: ScanReceipt,
    known: Mapping[PageKey, PageRow | None],
) -> ScanReceipt:
    """Leave out pages that were listed before in this run and whose batches are still outstanding.

    It happens where volumes are lost one after the other, and where a page is tried again by hand that was found anew.
    To book such a page twice would count its objects twice.
    """
    unsettled = {key for key, page in known.items() if _is_unsettled(tables, page)}
    if not unsettled:
        return receipt
    if taken.tier == AGAIN:
        tables.frontier.add_scans([_afresh(positions[key]) for key in unsettled], tier=AGAIN)
    parts = [part for batch in receipt.batches for part in batch.parts]
    return msgspec.structs.replace(
        receipt,
        pages=[page for page in receipt.pages if _key(page) not in unsettled],
        batches=cut(part for part in parts if _key(part) not in unsettled),
    )


def _is_unsettled(tables: Tables, known: PageRow | None) -> bool:
    """Whether objects are outstanding of a page of which this is known."""
    if known is None or known.run != tables.run.number:
        return False
    failed = tables.failures.count_of_page(known.directory, known.cursor, known.run)
    return known.objects > known.stored + known.skipped + known.vanished + failed


def _drop_vanished(tables: Tables, positions: dict[PageKey, Position], receipt: ScanReceipt) -> None:
    """Take out of the books the pages that were listed in this run, and are gone when they are listed again."""
    answered = {_key(page) for page in receipt.pages}
    answered |= {_key(position) for position in receipt.positions}
    answered |= {_key(failure) for failure in receipt.failures}
    for key, position in positions.items():
        if key not in answered:
            _drop(tables, position)


def _drop(tables: Tables, position: Position) -> None:
    known = _listed(tables, position)
    if known is None:
        return
    if _is_unsettled(tables, known):
        tables.frontier.add_scans([position], tier=AGAIN)
        return
    failed = tables.failures.remove_of_page(position.directory, position.cursor)
    _unbook(tables, known, failed)
    tables.pages.set_aside(known)


def _listed(tables: Tables, page: PageRecord | Position) -> PageRow | None:
    """Return what is known of a page that was listed in this run."""
    known = tables.pages.known(page.directory, page.cursor)
    return known if known is not None and known.run == tables.run.number else None


def _add_positions(
    tables: Tables,
    positions: list[Position],
    retries: dict[str, int],
    tier: int,
    looks_back: bool,
    now: float,
) -> None:
    if looks_back:
        positions = [new for position in positions if (new := _looked_up(tables, position, tier)) is not None]
    tables.frontier.add_scans([position for position in positions if not position.passes])
    again = sorted((position for position in positions if position.passes), key=attrgetter("passes"))
    for passes, group in groupby(again, key=attrgetter("passes")):
        # Its worker decides whether a page is given up.
        due, later = when(next_page_try(usual_reason(retries), passes - 1, tables.retry_seconds), now)
        tables.frontier.add_scans(list(group), due=due, tier=max(later, tier))


def _looked_up(tables: Tables, position: Position, tier: int) -> Position | None:
    """Attach what is known of a page; None if it need not be listed again."""
    known = tables.pages.known(position.directory, position.cursor)
    if known is None:
        return position
    if known.run == tables.run.number:
        # Where pages are listed again, each that needs it is work of its own, and the others are booked.
        return None if tier == AGAIN and not position.passes else position
    return msgspec.structs.replace(position, digest=known.digest)


def _key(page: PageRecord | Position | Part | Failure) -> PageKey:
    return page.directory, page.cursor


def _afresh(page: PageRecord | Position) -> Position:
    return Position(page.directory, page.cursor, page.until if isinstance(page, Position) else "")
