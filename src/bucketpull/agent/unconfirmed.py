"""The batches of which a worker has not heard what became of them: from before a restart, or because the answer was lost.

A worker asks only where others may do its work meanwhile. What it began and did not settle is cleared before it writes anything
new: until then work waits.
"""

from collections.abc import Collection, Iterable, Iterator

from bucketpull.agent.volume import Slot
from bucketpull.domain.errors import VolumeSick
from bucketpull.domain.model import Begun, Control, Extent, Work
from bucketpull.ports import Volume

ASK_AFTER_SECONDS = 15.0
ASKED_AT_ONCE = 50
PATIENCE_SECONDS = 10.0


class Unbooked:
    """Remembers batches with the time at which to ask about them. Times are monotonic seconds.

    `reporting` are those whose receipts are not with the coordinator's transport yet: still held, as far as anybody else knows.
    """

    def __init__(self, journal: str, *, asks: bool, now: float) -> None:
        self.reporting: set[int] = set()
        self.waiting: dict[int, Work] = {}
        self._journal = journal
        self._asks = asks
        self._unclear: set[int] = set()
        self._patient_until = now + PATIENCE_SECONDS
        self._due: dict[int, float] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether every receipt is answered."""
        return not self._due

    def find(self, volume: Volume) -> None:
        """Take over what a volume knows of before this start."""
        for work, offset in volume.pending(self._journal) if self._asks else ():
            self._due[work] = 0.0
            if offset < 0:
                self._unclear.add(work)

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
        if self._asks and is_last:
            self._due[work] = now + ASK_AFTER_SECONDS

    def answered(self, works: Iterable[int]) -> None:
        """Note what need not be asked about any more."""
        for work in works:
            self._due.pop(work, None)
            self._unclear.discard(work)

    def recall(self, volumes: Iterable[Volume], work: int) -> list[Extent]:
        """Return where a batch was begun before a crash, and the blocks of its parts; offset -1 where it was only intended."""
        found = []
        for volume in volumes:
            blocks = volume.recall(self._journal, work)
            if blocks is not None:
                found += blocks or [Extent(volume.id, -1)]
        return found

    async def tidy(self, slots: Iterable[Slot], control: Control, *, idle: bool) -> None:
        """Forget batches that are booked; remove the files of those that others have done. `idle`: nothing is being written."""
        if control.abandon or control.discard or control.booked:
            for slot in slots:
                try:
                    await slot.call(self._tidy, slot.volume, control, idle)
                except VolumeSick as error:
                    slot.trouble(error)
        self.answered((*control.abandon, *control.discard, *control.booked))

    def _tidy(self, volume: Volume, control: Control, idle: bool) -> None:
        for work in control.abandon if idle else ():
            volume.abandon(self._journal, work)
        for work in control.discard:
            volume.discard(self._journal, work)
        for work in control.booked:
            volume.forget(self._journal, work)

    def questions(self, volumes: Collection[Volume], now: float) -> list[Begun]:
        """Return what to ask about. Reads a ledger block each."""
        due = [work for work, at in self._due.items() if at <= now][:ASKED_AT_ONCE]
        asked = [question for work in due for volume in volumes for question in self._ask(work, volume)]
        self.answered(set(due) - {question.work for question in asked})
        return asked

    def _ask(self, work: int, volume: Volume) -> Iterator[Begun]:
        blocks = volume.recall(self._journal, work)
        for block in blocks or ():
            record = volume.read(block.offset)[0]
            yield Begun(work, volume.id, block.offset, record.directory, record.names[0])
        if blocks == []:
            yield Begun(work, volume.id, -1)
