"""What of this worker's files is not known to count, and the removal of what does not. Pure.

A batch goes through: `arrived` (in `waiting`), `take_waiting` (in hand), `receipt_made` (in `reporting`), `receipt_sent`, which may
come several times, once a part, and `receipts_booked`. A batch that went so once, without trouble, counts then: each of its
receipts says which part comes next. What is in `_doubted` did not, or was noted before a restart: the coordinator is asked which
of its blocks count.

A file that is to go may be written anew at the same moment: for what is left of its batch, or as an object that was deferred and
came back in another one. Its name does not tell the two apart. So nothing is removed while any batch is in hand, and none is
begun while anything is removed.
"""

import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import Any

from bucketpull.agent.actions import DiskRequest, DiskRoutine
from bucketpull.agent.managed_volume import ManagedVolume
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.messages import BatchVerdict, Begun, Control, Work
from bucketpull.domain.model import Extent, Former
from bucketpull.domain.record import Conclusion
from bucketpull.domain.status import IN_PLACE

ASK_AFTER_SECONDS = 15.0
IDLE_SECONDS = 1.0
ASKED_AT_ONCE = 50
SPANS_AT_ONCE = 2_000
AT_ONCE = 200
"""So many batches a volume are cleared in one pass over its ledger; what came meanwhile begins before the next."""


class Unconfirmed:
    """Remembers batches by their work's id. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.waiting: dict[int, Work] = {}
        """Came, and are not begun."""
        self.reporting: set[int] = set()
        """Their receipt is not with the coordinator's transport yet: still held, as far as anybody else knows."""
        self._since: dict[int, float] = {}
        """Not known to count: since when an answer is awaited. The one asked about last is at the end."""
        self._doubted: set[int] = set()
        """They may have files that no receipt names: when they are booked, not all of their files need count."""
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
        # An answer that is on its way may be about the time when the batch was here before.
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
        """Note that the last receipts of batches are booked; return the batches whose files here all count, which are to be forgotten."""
        found = set(works)
        self._unanswered -= found
        self._since.update(dict.fromkeys(found & self._doubted, -math.inf))
        return found - self._doubted

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


class Clearing:
    """Collects what the coordinator says is to go, until `run` may remove it. `is_busy` is true while it does.

    `is_due` is true when there is something new.
    """

    def __init__(self, journal: str) -> None:
        self.is_busy = self.is_due = False
        self._journal = journal
        self._verdicts: dict[int, BatchVerdict] = {}
        self._copies: dict[int, Former] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be removed, nor being removed."""
        return not (self.is_busy or self._verdicts or self._copies)

    def take(self, control: Control, volumes: Mapping[str, ManagedVolume]) -> None:
        """Take over what does not count."""
        self.is_due = self.is_due or bool(control.verdicts or control.remove)
        self._verdicts.update((verdict.work, verdict) for verdict in control.verdicts)
        for copy in control.remove:
            volume = volumes.get(copy.volume)
            if volume is not None and volume.status.state in IN_PLACE:
                self._copies[copy.id] = copy

    def run(
        self, volumes: Collection[ManagedVolume], now: Callable[[], float]
    ) -> Generator[DiskRequest, Any, tuple[set[int], list[int]]]:
        """Remove some of it, or all, while nothing is in hand. What fails is asked about again.

        Return the batches whose files here all count, and the former copies, by id, that are on their volume no more.
        """
        verdicts = self._verdicts.copy()
        copies, self._copies = self._copies, {}
        removed: list[int] = []
        self.is_busy, self.is_due = True, False
        for volume in volumes:
            try:
                yield from self._clear_volume(volume, verdicts)
                former = [copy for copy in copies.values() if copy.volume == volume.id]
                if former:
                    yield volume.ask("remove", self._journal, former)
                    removed += [copy.id for copy in former]
            except VolumeError as error:
                volume.trouble(error, now())
        self.is_busy = False
        works = verdicts.keys() - {work for volume in volumes for work in volume.known}
        for work in works:
            self._verdicts.pop(work, None)
        return works, removed

    def _clear_volume(self, volume: ManagedVolume, verdicts: Mapping[int, BatchVerdict]) -> DiskRoutine:
        """Remove what does not count of batches whose end is known, then forget them.

        An object that several blocks describe is removed with the last of them, so blocks wait for what becomes of earlier ones.
        """
        judged = {
            work for work, blocks in volume.known.items() if _is_judged(volume, blocks, verdicts.get(work))
        }
        unknown = [
            block.offset for work, blocks in volume.known.items() if work not in judged for block in blocks
        ]
        ready = [
            each
            for each in (_conclusion(volume, verdicts[work]) for work in judged)
            if not each.gone or max(each.gone) <= min(unknown, default=max(each.gone))
        ]
        now = ready[:AT_ONCE]
        self.is_due = self.is_due or len(now) < len(ready)
        if now:
            yield volume.ask("conclude", self._journal, now)
        for each in now:
            volume.known.pop(each.work, None)


def _is_judged(volume: ManagedVolume, blocks: Iterable[Begun], verdict: BatchVerdict | None) -> bool:
    """Whether a verdict is about all blocks of a batch on a volume."""
    return verdict is not None and all(Extent(volume.id, block.offset) in verdict.judged for block in blocks)


def _conclusion(volume: ManagedVolume, verdict: BatchVerdict) -> Conclusion:
    gone = _offsets(volume, verdict.gone)
    return Conclusion(verdict.work, gone, _offsets(volume, verdict.kept) if gone else [])


def _offsets(volume: ManagedVolume, extents: Iterable[Extent]) -> list[int]:
    return sorted(extent.offset for extent in extents if extent.volume == volume.id)


def forget(volume: ManagedVolume, journal: str, works: Iterable[int]) -> DiskRoutine:
    """Remove the notes of batches on a volume: nothing more will be heard of them."""
    known = [work for work in works if work in volume.known]
    if known:
        yield volume.ask("forget", journal, known)
    for work in known:
        volume.known.pop(work, None)
