"""How receipts of batches are booked, and how batches are added to the journal; each in the caller's transaction."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from bucketpull.domain.batching import Batch, cut, decode_batch, decode_parts, spans_of
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.messages import BatchReceipt
from bucketpull.domain.model import Failure, Former, Part, Span, WorkKind
from bucketpull.domain.retry import LAST_PASS, next_try
from bucketpull.journal import second_copies
from bucketpull.journal.extents import Entry, covers, unpack_entries
from bucketpull.journal.frontier import LAST, REPAIR, USUAL, Taken, candidates_blob
from bucketpull.journal.journal_tables import Tables
from bucketpull.journal.listed_pages import Share

PageKey = tuple[bytes, str]


def add(tables: Tables, batch: Batch, known: dict[bytes, list[Entry]]) -> None:
    """Add a batch; `known` are, by directory, the blocks that may hold some of its objects."""
    candidates = [
        entry
        for span in batch.spans
        for entry in known.get(span.directory, ())
        if tables.volumes.is_there(entry[0]) and covers(entry, span.first, span.last)
    ]
    tables.frontier.add_batch(
        batch, candidates=candidates_blob(candidates), home=tables.frontier.home_of(candidates)
    )


def try_again(tables: Tables, failures: Iterable[Failure]) -> int:
    """Make batches of objects that failed, compared with what lies on volumes; return how many objects."""
    batches = cut(parts_of(failures))
    known = tables.pages.candidates(spans_in(batches))
    for batch in batches:
        add(tables, batch, known)
    return sum(batch.objects for batch in batches)


def book(tables: Tables, receipt: BatchReceipt, now: float) -> bool:
    """Book a batch, or a part of one; False if it was booked before. Raises JournalError where the receipt does not add up."""
    taken = tables.frontier.take(receipt.work, receipt.part)
    if taken is None:
        return False
    if (rest := receipt.remainder) is not None:
        tables.frontier.go_on(taken, rest, receipt.next_part, receipt.machine)
    check_objects(receipt, taken.kind, taken.objects)
    receipt.add_to(tables.books.counters)
    tables.failures.add(receipt.failed(), tables.run.number)
    _book_extents(tables, receipt, taken)
    for double in tables.copies.add(receipt.former, receipt.machine):
        _compare_again(tables, double)
    if receipt.deferred is not None:
        _defer(tables, receipt.deferred, receipt, taken, now)
    if receipt.returned is not None:
        # To anybody: its home has no room for it, or no time.
        candidates = tables.frontier.candidates_left(taken, receipt, sent_on=False)
        _give_on(tables, receipt.returned, taken, candidates, home=0)
    if receipt.sent_on is not None:
        candidates = tables.frontier.candidates_left(taken, receipt, sent_on=True)
        _give_on(tables, receipt.sent_on, taken, candidates, home=tables.frontier.home_of(candidates))
    return True


def _give_on(tables: Tables, batch: Batch, taken: Taken, candidates: list[Entry], home: int) -> None:
    """Add a batch of objects that were not tried."""
    tables.frontier.add_batch(
        batch,
        candidates=REPAIR if taken.candidates == REPAIR else candidates_blob(candidates),
        home=home,
        passes=taken.passes,
        tier=taken.tier,
    )


def _book_extents(tables: Tables, receipt: BatchReceipt, taken: Taken) -> None:
    spans = {(span.directory, span.cursor): span for span in decode_batch(taken.body).spans}
    shares = _shares(receipt, spans)
    volumes = [
        (tables.volumes.number(extent.volume, receipt.machine), extent.offset) for extent in receipt.extents
    ]
    for extent in receipt.extents:
        tables.books.note_block(extent.volume, extent.offset)
    there = [block for block in volumes if tables.volumes.is_there(block[0])]
    for page, share in shares.items():
        tables.pages.book(spans[page], share, there, tables.run.number)
    second_copies.settle(tables, receipt, taken, spans.values())
    failed = {(failure.directory, failure.cursor) for failure in receipt.failures} & spans.keys()
    _keep_candidates(tables, taken, (spans[key] for key in failed), tables.volumes.numbers())
    _keep_candidates(tables, taken, spans.values(), tables.books.unmet)
    if len(there) < len(volumes):
        # Stored on a volume that was given up meanwhile.
        tables.list_again([row for key in spans if (row := tables.pages.known(*key)) is not None])


def _keep_candidates(tables: Tables, taken: Taken, spans: Iterable[Span], volumes: Collection[int]) -> None:
    """Keep, in pages of a batch, the blocks on some volumes with which it was, or was to be, compared.

    They may hold another version of an object that failed, or objects on a volume that could not be read.
    """
    kept = {entry[:2] for entry in unpack_entries(taken.candidates) if entry[0] in volumes} if volumes else ()
    for span in spans if kept else ():
        near = tables.pages.candidates([span])[span.directory]
        blocks = [entry[:2] for entry in near if entry[:2] in kept and covers(entry, span.first, span.last)]
        if blocks:
            tables.pages.recall(span, blocks, tables.run.number)


def _compare_again(tables: Tables, double: Former) -> None:
    """Have the next run compare the pages of objects that lie twice, with the blocks of which nothing else counts too."""
    volume = tables.volumes.known_number(double.volume)
    blocks = [(volume, offset) for offset in sorted(double.offsets)] if volume is not None else []
    for span in spans_of(part for part in decode_parts(double.parts) if part.names):
        tables.pages.recall(span, blocks, tables.run.number)
        tables.pages.doubt(span.directory, span.cursor)


def _defer(tables: Tables, batch: Batch, receipt: BatchReceipt, taken: Taken, now: float) -> None:
    passes = taken.passes + 1
    delay = next_try(taken.passes, tables.retry_seconds)
    if delay is None:
        _keep_candidates(tables, taken, batch.spans, tables.volumes.numbers())
        failed = given_up(batch, receipt, passes)
        tables.failures.add(failed, tables.run.number)
        tables.books.counters.failed += len(failed)
        return
    due, tier = when(delay, now)
    tables.frontier.add_batch(
        batch,
        candidates=taken.candidates,
        home=taken.home,
        passes=passes,
        due=due,
        tier=max(tier, taken.tier),
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
        if failure.version or part.versions:
            part.versions += [""] * (len(part.names) - 1 - len(part.versions)) + [failure.version]
        if failure.url or part.urls:
            part.urls += [""] * (len(part.names) - 1 - len(part.urls)) + [failure.url]
    return list(parts.values())


def spans_in(batches: Iterable[Batch]) -> Iterable[Span]:
    """Return the spans of batches."""
    return (span for batch in batches for span in batch.spans)


def when(delay: float | None, now: float) -> tuple[float, int]:
    """Turn a delay of the retry policy into a time and a tier; the last pass has no time."""
    if delay is None or delay == LAST_PASS:
        return 0, LAST
    return now + delay, USUAL


def check_objects(receipt: BatchReceipt, kind: WorkKind, objects: int) -> None:
    """Make sure that a receipt accounts for every object of its work. Raises JournalError where it does not add up."""
    if kind is not WorkKind.BATCH or receipt.objects != objects:
        deferred = receipt.deferred.objects if receipt.deferred else 0
        returned = receipt.returned.objects if receipt.returned else 0
        sent_on = receipt.sent_on.objects if receipt.sent_on else 0
        left = receipt.remainder.objects if receipt.remainder else 0
        raise JournalError(
            f"receipt for batch {receipt.work} from {receipt.machine} does not add up: {receipt.stored} stored, "
            f"{receipt.skipped} skipped, {len(receipt.failures)} failed or vanished, {deferred} deferred, "
            f"{returned} returned, {sent_on} sent on, {left} left, of {objects} objects"
        )


def _shares(receipt: BatchReceipt, spans: Mapping[PageKey, Span]) -> dict[PageKey, Share]:
    """Return what a batch contributes to each of its pages; what a worker says of other pages is not believed.

    Where some objects were stored and others skipped, which page they are of is not told: the first pages are taken for
    skipped. The sums are exact.
    """
    settled = Counter({key: span.objects for key, span in spans.items()})
    vanished = Counter[PageKey]()
    for batch in (receipt.deferred, receipt.returned, receipt.sent_on, receipt.remainder):
        for span in batch.spans if batch is not None else ():
            settled[span.directory, span.cursor] -= span.objects
    for failure in receipt.failures:
        key = (failure.directory, failure.cursor)
        settled[key] -= 1
        vanished[key] += failure.reason is Reason.GONE
    shares: dict[PageKey, Share] = {}
    skipped_left = receipt.skipped
    for key in spans:
        skipped = min(settled[key], skipped_left)
        skipped_left -= skipped
        shares[key] = Share(settled[key] - skipped, skipped, vanished[key])
    return shares


def given_up(batch: Batch, receipt: BatchReceipt, attempts: int) -> list[Failure]:
    """Return the failures of objects that the retry policy gives up."""
    reason, detail = usual_reason(receipt.retries), f"given up after {counted(attempts, 'passes')}"
    return [each for part in batch.parts for each in part.failures(reason, attempts, detail)]


def usual_reason(retries: dict[str, int]) -> Reason:
    """Return the reason of most repeated requests."""
    known = {reason: count for reason, count in retries.items() if reason in set(Reason)}
    return Reason(max(known, key=lambda reason: known[reason])) if known else Reason.TIMEOUT
