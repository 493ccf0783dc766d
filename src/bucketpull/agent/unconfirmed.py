"""The batches of which a worker has not heard what became of them: from before a restart, or because the answer was lost. Pure.

What a worker began and did not settle is cleared before it writes anything new: until then work waits.
"""

from collections.abc import Iterable

from bucketpull.agent.volume import Slot
from bucketpull.domain.messages import Begun
from bucketpull.domain.model import Extent, Work

ASK_AFTER_SECONDS = 15.0
ASKED_AT_ONCE = 50
PATIENCE_SECONDS = 10.0


class Unbooked:
    """Remembers batches with the time at which to ask about them. Times are monotonic seconds.

    `reporting` are those whose receipts are not with the coordinator's transport yet: still held, as far as anybody else knows.
    """

    def __init__(self, now: float) -> None:
        self.reporting: set[int] = set()
        self.waiting: dict[int, Work] = {}
        self._unclear: set[int] = set()
        self._found: set[int] = set()
        self._patient_until = now + PATIENCE_SECONDS
        self._due: dict[int, float] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether every receipt is answered."""
        return not self._due

    def find(self, slot: Slot) -> None:
        """Take over what a volume knows of before this start."""
        for work, blocks in slot.known.items():
            self._due[work] = 0.0
            self._found.add(work)
            if not blocks:
                self._unclear.add(work)

    def left_over(self, works: Iterable[int]) -> set[int]:
        """Return those batches that were begun before a disk came in: files of theirs may be there that were never settled."""
        found = self._found.intersection(works)
        self._found -= found
        return found

    def take(self, work: Work) -> None:
        """Note that a batch came, perhaps again; it waits until `begin` returns it."""
        self.answered([work.id])
        self.waiting[work.id] = work

    def begin(self, now: float) -> list[Work]:
        """Return the batches that may begin now."""
        if self._unclear and now < self._patient_until:
            return []
        works, self.waiting = list(self.waiting.values()), {}
        self._unclear.clear()
        return works

    def done(self, work: int) -> None:
        """Note that a batch's receipt is to be sent."""
        self.reporting.add(work)

    def reported(self, work: int, now: float, *, is_last: bool) -> None:
        """Note that a receipt is sent; to the last of a batch an answer should come."""
        self.reporting.discard(work)
        if is_last:
            self._due[work] = now + ASK_AFTER_SECONDS

    def answered(self, works: Iterable[int]) -> None:
        """Note what need not be asked about any more."""
        for work in works:
            self._due.pop(work, None)
            self._unclear.discard(work)

    def questions(self, slots: Iterable[Slot], now: float) -> list[Begun]:
        """Return what to ask about."""
        due = [work for work, at in self._due.items() if at <= now][:ASKED_AT_ONCE]
        known = [(slot, work) for work in due for slot in slots if work in slot.known]
        self.answered(set(due) - {work for _, work in known})
        return [
            question for slot, work in known for question in slot.known[work] or [Begun(work, slot.id, -1)]
        ]


def begun_on(slots: Iterable[Slot], work: int) -> dict[str, list[Extent]]:
    """Return where a batch was begun before a crash: by volume, the blocks that it has there."""
    return {
        slot.id: [Extent(slot.id, block.offset) for block in slot.known[work]]
        for slot in slots
        if work in slot.known
    }
