"""A job's budget: what is used is counted, and written to the journal from time to time."""

from collections.abc import Callable, Collection, Iterable

import msgspec

from bucketpull.coordinator.fleet import Fleet
from bucketpull.domain.batching import Batch, decode_batch
from bucketpull.domain.budget import ANY_ROOM, Budget, BudgetLeft, BudgetState, Spending, judged, left
from bucketpull.domain.messages import BatchReceipt, FromWorker, Pulse, Work
from bucketpull.domain.model import SentWork, WorkKind

# A pulse that comes so long after a receipt includes what that reports: processes report twice a second.
TOLD_SECONDS = 1.5
# After a crash at most the use of so many seconds is forgotten.
WRITE_SECONDS = 2.0


class _Promises:
    """What machines may still use: objects and bytes of batches in hand, and of receipts that are not in their pulses yet.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._given: dict[int, tuple[int, int]] = {}
        self._untold: dict[str, list[tuple[float, int, int]]] = {}

    def give(self, work: int, batch: Batch | SentWork) -> None:
        """Note that a machine has a batch, or what is left of one."""
        self._given[work] = batch.objects, batch.bytes

    def book(self, receipt: BatchReceipt, now: float) -> None:
        """Take the receipt of a batch."""
        self._given.pop(receipt.work, None)
        if receipt.remainder is not None:
            self.give(receipt.work, receipt.remainder)
        self._untold.setdefault(receipt.machine, []).append((now, receipt.stored, receipt.bytes))

    def see(self, machine: str, now: float) -> None:
        """Note that a machine's pulse came."""
        untold = self._untold.pop(machine, [])
        if later := [entry for entry in untold if now - entry[0] < TOLD_SECONDS]:
            self._untold[machine] = later

    def forget_others(self, batches: Collection[int], machines: Collection[str]) -> None:
        """Keep what is of these batches and machines alone."""
        self._given = {work: size for work, size in self._given.items() if work in batches}
        self._untold = {name: untold for name, untold in self._untold.items() if name in machines}

    @property
    def sum(self) -> tuple[int, int]:
        """The objects and bytes."""
        untold = [entry[1:] for entries in self._untold.values() for entry in entries]
        sizes = [*self._given.values(), *untold]
        return sum(objects for objects, _ in sizes), sum(size for _, size in sizes)


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
        self._is_bounded = budget != Budget()
        self._promises = _Promises()
        self._ended = 0
        self._held: dict[int, int] = {}
        """Of a trial: the objects of batches that were given out in this session and have not ended."""
        self._written_at = 0.0
        self._changed = False

    def see(self, pulse: Pulse, now: float) -> None:
        """Count what a machine used."""
        self._promises.see(pulse.machine, now)
        self._changed |= self.spent.see(pulse, self._today())

    def inherit(self, sent: Iterable[SentWork]) -> None:
        """Count what an earlier coordinator of the job sent: machines may still have it. A trial counts only objects of its own session."""
        for work in sent:
            self._promises.give(work.id, work)

    def gave(self, works: Iterable[Work]) -> None:
        """Count the objects of batches that were given to a machine."""
        if self._is_bounded:
            for work in works:
                if work.kind is WorkKind.BATCH:
                    batch = decode_batch(work.body)
                    self._promises.give(work.id, batch)
                    if self.is_trial:
                        self._held[work.id] = batch.objects

    def booked(self, receipts: Iterable[FromWorker], dropped: Collection[int], now: float) -> None:
        """Count receipts. Those of work that was booked before (`dropped`) tell of bytes alone."""
        for receipt in receipts:
            if isinstance(receipt, BatchReceipt):
                if receipt.work in self._held and receipt.work not in dropped:
                    self._ended += receipt.stored + receipt.skipped + len(receipt.failures)
                    self._held[receipt.work] = receipt.remainder.objects if receipt.remainder else 0
                self._promises.book(receipt, now)

    @property
    def is_trial(self) -> bool:
        """Whether only so many objects are to be fetched in this session."""
        return self._budget.objects is not None

    def forget_gone(self, fleet: Fleet) -> None:
        """Forget machines that are gone, and batches that none has any more: what these are without is given out again."""
        if self._is_bounded:
            batches = fleet.batches()
            self._promises.forget_others(batches, fleet.members)
            self._held = {work: objects for work, objects in self._held.items() if work in batches}

    @property
    def has_given_all(self) -> bool:
        """Whether a trial has all its objects."""
        return self._budget.objects is not None and self._given >= self._budget.objects

    @property
    def _given(self) -> int:
        """How many objects of this session have ended, or are with machines."""
        return self._ended + sum(self._held.values())

    def room(self) -> BudgetLeft:
        """Return how much more may be given out, as if machines used all that they have."""
        if not self._is_bounded:
            return ANY_ROOM
        room = left(self._budget, self.spent, self._today()).less(*self._promises.sum)
        if self._budget.objects is None:
            return room
        trial = self._budget.objects - self._given
        return msgspec.structs.replace(
            room, objects=trial if room.objects is None else min(trial, room.objects)
        )

    @property
    def verdict(self) -> BudgetState:
        """Whether bytes and requests are left."""
        return judged(self._budget, self.spent, self._today())

    def _today(self) -> str:
        """Return the date. If the clock was set back, use counts for the earlier date: one far in the future would last for years."""
        today = self._day()
        self.spent.day = min(self.spent.day, today)
        return today

    def is_to_be_written(self, now: float) -> bool:
        """Whether what was used should be written to the journal now."""
        if not self._changed or now - self._written_at < WRITE_SECONDS:
            return False
        self._written_at, self._changed = now, False
        return True
