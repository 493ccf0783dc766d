"""The batches whose files on this worker's volumes are not known to count yet: noted before a restart, or with a receipt that is not confirmed. Pure.

A batch goes through: `arrived` (in `waiting`), `take_waiting` (in hand), `receipt_made` (in `reporting`), `receipt_sent`, which may
come several times, once a part, and `receipts_booked`. A batch that went so once, without trouble, counts then: each of its
receipts says which part comes next. What is in `_doubted` did not, and the coordinator is asked which of its blocks count.
"""

import math
from collections.abc import Iterable

from bucketpull.agent.volume_state import ManagedVolume
from bucketpull.domain.messages import Begun
from bucketpull.domain.model import Extent, Work

ASK_AFTER_SECONDS = 15.0
IDLE_SECONDS = 1.0
ASKED_AT_ONCE = 50
SPANS_AT_ONCE = 2_000


class Unconfirmed:
    """Remembers batches by their work's id. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.waiting: dict[int, Work] = {}
        """Came, and are not begun."""
        self.reporting: set[int] = set()
        """Their receipt is not with the coordinator's transport yet: still held, as far as anybody else knows."""
        self._since: dict[int, float] = {}
        """Not known to count: from when on an answer is waited for, the one asked about last at the end."""
        self._doubted: set[int] = set()
        """Files of them may lie where no receipt tells: that they are booked does not say that all here counts."""
        self._unanswered: set[int] = set()
        """Their last receipt is sent, and not known to be booked."""

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self._since)

    def add_volume(self, volume: ManagedVolume) -> None:
        """Take over what a volume knows of before this start."""
        self._doubted.update(volume.known)
        self._since.update(dict.fromkeys(volume.known, -math.inf))

    def arrived(self, work: Work, volumes: Iterable[ManagedVolume]) -> None:
        """Note that a batch came, perhaps again; it waits until `take_waiting` returns it."""
        self._since.pop(work.id, None)
        # An answer that is on its way may be to what was said of the batch before.
        if work.id in self._unanswered or any(work.id in volume.known for volume in volumes):
            self._doubted.add(work.id)
        self.waiting[work.id] = work

    def take_waiting(self) -> list[Work]:
        """Return the batches that wait, which begin now."""
        works, self.waiting = list(self.waiting.values()), {}
        return works

    def doubt(self, work: int) -> None:
        """Note that a batch may have files on a volume that no ledger block describes."""
        self._doubted.add(work)

    def receipt_made(self, work: int) -> None:
        """Note that a batch has a receipt, which is to be sent."""
        self.reporting.add(work)

    def receipt_sent(self, work: int, now: float, *, is_last: bool) -> None:
        """Note that a receipt is sent; to the last of a batch an answer should come."""
        self.reporting.discard(work)
        if is_last:
            self._since[work] = now
            self._unanswered.add(work)

    def receipts_booked(self, works: Iterable[int]) -> set[int]:
        """Note that the last receipts of batches are booked; return the batches whose files here all count."""
        found = set(works)
        self._unanswered -= found
        self._since.update(dict.fromkeys(found & self._doubted, -math.inf))
        found -= self._doubted
        self.forget(found)
        return found

    def forget(self, works: Iterable[int]) -> None:
        """Note that nothing is left to ask."""
        for work in works:
            self._since.pop(work, None)
            self._doubted.discard(work)

    def questions(self, volumes: Iterable[ManagedVolume], now: float, *, is_idle: bool) -> list[Begun]:
        """Return what to ask about; sooner if nothing is in hand, and those first that were not asked about for longest."""
        until = now - (IDLE_SECONDS if is_idle else ASK_AFTER_SECONDS)
        due = [work for work, since in self._since.items() if since <= until]
        questions = {work: _questions(volumes, work) for work in due[:ASKED_AT_ONCE]}
        self.forget(work for work, asked in questions.items() if not asked)
        found: list[Begun] = []
        for work, asked in questions.items():
            if asked and sum(len(block.spans) for block in found) < SPANS_AT_ONCE:
                found += asked
                self._since[work] = self._since.pop(work)
        return found


def _questions(volumes: Iterable[ManagedVolume], work: int) -> list[Begun]:
    return [
        block
        for volume in volumes
        if work in volume.known
        for block in volume.known[work] or [Begun(work, volume.id, -1)]
    ]


def begun_on(volumes: Iterable[ManagedVolume], work: int) -> dict[str, list[Extent]]:
    """Return where a batch was begun before a crash: by volume, the blocks that it has there."""
    return {
        volume.id: [Extent(volume.id, block.offset) for block in volume.known[work]]
        for volume in volumes
        if work in volume.known
    }
