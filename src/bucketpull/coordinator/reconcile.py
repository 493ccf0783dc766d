"""Which of several copies count: an object may be stored twice, by two machines or on two volumes, and one copy stays.

Machines keep a note of each batch until all that they stored of it is known to count. They ask about the others when they come
back and when they have nothing in hand, at the end of a job about all that is left. What is answered is final: it is about work
that is outstanding no more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec

from bucketpull.coordinator.effects import Entry, Routine, UseJournal
from bucketpull.domain.batching import merged_spans
from bucketpull.domain.messages import BatchReceipt, BatchVerdict, Begun, Pulse, Removed
from bucketpull.domain.model import Extent, Former
from bucketpull.domain.status import IN_PLACE

if TYPE_CHECKING:
    from bucketpull.ports import Journal

AT_ONCE = 50  # a volume: batches of about a thousand objects
AGAIN_SECONDS = 30.0
PATIENCE_SECONDS = 15.0


class Reconciliation(msgspec.Struct, frozen=True):
    """What a machine is told of the batches that it asks about, and which it is given `again`, as nobody has them."""

    verdicts: list[BatchVerdict]
    again: list[int]


def booked(entries: Iterable[Entry], dropped: Collection[int]) -> dict[str, list[int]]:
    """Say which batches are booked for good, by the machine that ended them."""
    found: dict[str, list[int]] = {}
    for entry in entries:
        if isinstance(entry, BatchReceipt) and entry.remainder is None and entry.work not in dropped:
            found.setdefault(entry.machine, []).append(entry.work)
    return found


def judge(journal: Journal, begun: Iterable[Begun]) -> Reconciliation:
    """Answer what a machine asks; nothing is said yet of work that somebody has."""
    asked: dict[int, list[Begun]] = {}
    for each in begun:
        asked.setdefault(each.work, []).append(each)
    holders = journal.holders(list(asked))
    found = {work: BatchVerdict(work) for work in asked if work not in holders}
    unknown: list[Begun] = []
    for work, verdict in found.items():
        blocks = [each for each in asked[work] if each.offset >= 0]
        if blocks:
            unknown += _judge_blocks(journal, blocks, verdict)
    for block in unknown:  # after all are judged: what is kept is no answer to them
        journal.keep(_extent(block), block.spans)
    return Reconciliation(list(found.values()), [work for work in asked if holders.get(work) == ""])


def _judge_blocks(journal: Journal, blocks: list[Begun], verdict: BatchVerdict) -> list[Begun]:
    """Say of blocks of a batch which count: each as a whole or not at all, as all of it is in one receipt.

    Return those of which the source no longer has a page: what is there stays, and is found should it be listed again.
    """
    counted = journal.holding(merged_spans(span for block in blocks for span in block.spans))
    if counted is None and len(blocks) > 1:
        return [each for block in blocks for each in _judge_blocks(journal, [block], verdict)]
    extents = [_extent(block) for block in blocks]
    verdict.judged += extents
    if counted is None:
        return blocks
    gone = [extent for extent in extents if extent not in counted]
    verdict.gone += gone
    volumes = {extent.volume for extent in gone}
    verdict.kept += [extent for extent in counted if extent.volume in volumes]
    return []


def _extent(block: Begun) -> Extent:
    return Extent(block.volume, block.offset)


class FormerCopies:
    """Copies that no longer count, because their objects were stored on another volume since.

    It remembers which machines have none, and when the others were told of theirs.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._clear: dict[str, list[str]] = {}
        self._told: dict[str, float] = {}
        self._moved = -math.inf
        self._noted = 0

    def see(self, noted: int, now: float) -> None:
        """Note how many the journal has noted."""
        if noted != self._noted:
            self._noted = noted
            self._clear.clear()
            self._moved = now

    def due(self, pulse: Pulse, now: float) -> Routine[list[Former]]:
        """Return the copies that a machine is to be told of now."""
        volumes = _usable(pulse)
        if self._clear.get(pulse.machine, []) == volumes or self._is_told(pulse.machine, now):
            return []
        copies: list[Former] = yield UseJournal(lambda journal: journal.former(volumes, AT_ONCE))
        if copies:
            self._told[pulse.machine] = self._moved = now
        else:
            self._clear[pulse.machine] = volumes
        return copies

    def removed(self, answer: Removed, now: float) -> None:
        """Note an answer."""
        if answer.ids:
            self._told.pop(answer.machine, None)
            self._moved = now

    def is_busy(self, pulses: Iterable[Pulse], now: float) -> bool:
        """Whether the machines of these pulses are still removing copies, and get on with it."""
        if self._moved == -math.inf:
            self._moved = now
        is_left = any(self._clear.get(pulse.machine, []) != _usable(pulse) for pulse in pulses)
        return is_left and now - self._moved < PATIENCE_SECONDS

    def _is_told(self, machine: str, now: float) -> bool:
        return now - self._told.get(machine, -AGAIN_SECONDS) < AGAIN_SECONDS


def _usable(pulse: Pulse) -> list[str]:
    return sorted(volume.id for volume in pulse.volumes if volume.state in IN_PLACE)
