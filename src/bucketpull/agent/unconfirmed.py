"""The batches of which a worker does not know that all it has of them counts: from before a restart, or not answered. Pure.

A batch that it had in hand once, without trouble, and whose last receipt is booked, counts: each of its receipts says which part
comes next. About all others it asks.
"""

import math
from collections.abc import Iterable

from bucketpull.agent.volume import ManagedVolume
from bucketpull.domain.messages import Begun
from bucketpull.domain.model import Extent, Work

ASK_AFTER_SECONDS = 15.0
IDLE_SECONDS = 1.0
ASKED_AT_ONCE = 50
SPANS_AT_ONCE = 2_000


class Unconfirmed:
    """Remembers batches with the time from which an answer is waited for (monotonic seconds).

    `reporting` are those whose receipts are not with the coordinator's transport yet: still held, as far as anybody else knows.
    `waiting` came and are not begun.
    """

    def __init__(self) -> None:
        self.reporting: set[int] = set()
        self.waiting: dict[int, Work] = {}
        self._since: dict[int, float] = {}
        self._doubted: set[int] = set()
        self._unanswered: set[int] = set()

    @property
    def left(self) -> int:
        """Of how many it does not know that they count."""
        return len(self._since)

    def find(self, volume: ManagedVolume) -> None:
        """Take over what a volume knows of before this start."""
        self._doubted.update(volume.known)
        self._since.update(dict.fromkeys(volume.known, -math.inf))

    def take(self, work: Work, volumes: Iterable[ManagedVolume]) -> None:
        """Note that a batch came, perhaps again; it waits until `begin` returns it."""
        self._since.pop(work.id, None)
        # An answer that is on its way may be to what was said of the batch before.
        if work.id in self._unanswered or any(work.id in volume.known for volume in volumes):
            self._doubted.add(work.id)
        self.waiting[work.id] = work

    def begin(self) -> list[Work]:
        """Return the batches that are to begin."""
        works, self.waiting = list(self.waiting.values()), {}
        return works

    def doubt(self, work: int) -> None:
        """Note that files of a batch may lie somewhere of which no block tells."""
        self._doubted.add(work)

    def done(self, work: int) -> None:
        """Note that a batch's receipt is to be sent."""
        self.reporting.add(work)

    def reported(self, work: int, now: float, *, is_last: bool) -> None:
        """Note that a receipt is sent; to the last of a batch an answer should come."""
        self.reporting.discard(work)
        if is_last:
            self._since[work] = now
            self._unanswered.add(work)

    def booked(self, works: Iterable[int]) -> set[int]:
        """Note that the last receipts of batches count; return those of which all that is here does."""
        found = set(works)
        self._unanswered -= found
        self._since.update(dict.fromkeys(found & self._doubted, -math.inf))
        found -= self._doubted
        self.ended(found)
        return found

    def ended(self, works: Iterable[int]) -> None:
        """Note that nothing is left to ask."""
        for work in works:
            self._since.pop(work, None)
            self._doubted.discard(work)

    def questions(self, volumes: Iterable[ManagedVolume], now: float, *, is_idle: bool) -> list[Begun]:
        """Return what to ask about; sooner if nothing is in hand, and those first that were not asked about for longest."""
        until = now - (IDLE_SECONDS if is_idle else ASK_AFTER_SECONDS)
        due = [work for work, since in self._since.items() if since <= until]
        questions = {work: _questions(volumes, work) for work in due[:ASKED_AT_ONCE]}
        self.ended(work for work, asked in questions.items() if not asked)
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
