"""A job's budget as the coordinator follows it: what is used is counted, and written to the journal now and then."""

from collections.abc import Callable, Iterable

from bucketpull.domain.batching import decode_parts
from bucketpull.domain.budget import Budget, Spending, Usage, Verdict, judged
from bucketpull.domain.messages import BatchReceipt, FromWorker, Pulse
from bucketpull.domain.model import BatchDraft, Work, WorkKind

# A crash forgets at most so much of what was used.
WRITE_SECONDS = 2.0


class BudgetWatch:
    """Decides whether anything new may start. Times are monotonic seconds.

    `spent` is what all sessions used.

    Args:
        day: Returns today's date where the coordinator runs.

    """

    def __init__(self, budget: Budget, day: Callable[[], str]) -> None:
        self.spent = Spending()
        self._budget = budget
        self._day = day
        self._usage = Usage()
        self._given = 0
        self._written_at = 0.0
        self._changed = False

    def see(self, pulse: Pulse) -> None:
        """Count what a machine used."""
        used = self._usage.since_last(pulse)
        if any(used):
            self.spent.add(used.bytes, used.requests, self._day(), used.wasted)
            self._changed = True

    def gave(self, works: Iterable[Work]) -> None:
        """Count the objects of batches that were given to a machine."""
        if self._budget.objects is not None:
            batches = (decode_parts(work.body) for work in works if work.kind is WorkKind.BATCH)
            self._given += sum(len(part.names) for parts in batches for part in parts)

    def took_back(self, receipts: Iterable[FromWorker]) -> None:
        """Count objects that came back untouched or to be tried again: they are given once more."""
        for receipt in receipts:
            if isinstance(receipt, BatchReceipt):
                drafts = (receipt.deferred, receipt.returned, receipt.sent_on)
                self._given -= sum(draft.objects for draft in drafts if isinstance(draft, BatchDraft))

    @property
    def objects_left(self) -> int | None:
        """How many objects may still be given out; None is any number."""
        bound = self._budget.objects
        return None if bound is None else max(0, bound - self._given)

    @property
    def verdict(self) -> Verdict:
        """Whether bytes and requests are left."""
        return judged(self._budget, self.spent, self._day())

    def is_to_be_written(self, now: float) -> bool:
        """Whether what was used should be written to the journal now."""
        if not self._changed or now - self._written_at < WRITE_SECONDS:
            return False
        self._written_at, self._changed = now, False
        return True
