"""What is to be removed from this worker's volumes because it counts elsewhere: only while no batch is in hand. Pure.

A file that is to go may be written anew at the same moment: for what is left of its batch, or as an object that was deferred and
came back in another one. Its name does not tell the two apart. So nothing is removed while anything may be written, and nothing
is begun while anything is removed.
"""

from collections.abc import Callable, Iterable, Mapping

from bucketpull.agent.disk_calls import Routine, Verb
from bucketpull.agent.volume import Slot
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.messages import Control, Discard
from bucketpull.domain.model import Extent


class Clearing:
    """Collects what the coordinator says is to go, until `run` may remove it. `is_busy` is true while it does.

    Args:
        journal: The id of the job's journal.

    """

    def __init__(self, journal: str) -> None:
        self.is_busy = False
        self._journal = journal
        self._abandoned: set[int] = set()
        self._discards: list[Discard] = []
        self._booked: set[int] = set()
        self._claims: dict[int, dict[Extent, int]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be removed, nor being removed."""
        return not (self.is_busy or self._abandoned or self._discards)

    def claim(self, work: int, extents: Iterable[Extent], part: int) -> None:
        """Note that blocks of a batch are named, or will be, in the receipt of a part of it."""
        self._claims.setdefault(work, {}).update(dict.fromkeys(extents, part))

    def came_back(self, work: int) -> None:
        """Note that a batch is in hand again: what is there of it is not left over."""
        self._abandoned.discard(work)

    def abandon(self, works: Iterable[int]) -> None:
        """Have removed what was written of batches and never settled."""
        self._abandoned.update(works)

    def told(self, control: Control, slots: Mapping[str, Slot]) -> None:
        """Take over what does not count. A block is hidden at once: it must not be taken for stored if its batch comes again."""
        self.abandon(control.abandon)
        for discard in control.discard:
            gone = [extent for extent in discard.gone if self._is_void(extent, discard)]
            for slot in slots.values():
                if discard.work in slot.known:
                    left = [b for b in slot.known[discard.work] if Extent(slot.id, b.offset) not in gone]
                    slot.known[discard.work] = left
            if gone:
                kept = {*discard.kept, *(extent for slot in slots.values() for extent in _unanswered(slot))}
                self._discards.append(Discard(discard.work, gone, list(kept.difference(gone)), discard.part))

    def forgettable(self, booked: Iterable[int]) -> list[int]:
        """Return those booked batches that need not be remembered until their blocks are removed; the others are forgotten then."""
        waiting = {discard.work for discard in self._discards}
        works = set(booked)
        for work in works:
            self._claims.pop(work, None)
        self._booked |= works & waiting
        return sorted(works - waiting)

    def left(self, volume: str) -> None:
        """Forget what was to go from a volume that was opened anew: what lies there is asked about again."""
        for discard in self._discards:
            discard.gone = [extent for extent in discard.gone if extent.volume != volume]

    def run(self, slots: Iterable[Slot], trouble: Callable[[Slot, VolumeError], None]) -> Routine:
        """Remove all of it, while nothing is in hand. A volume that fails keeps it, and is asked about it when it is back."""
        abandoned, self._abandoned = self._abandoned, set()
        discards, self._discards = self._discards, []
        booked, self._booked = self._booked, set()
        self.is_busy = True
        for slot in slots:
            try:
                yield from self._discard(slot, discards)
                yield from self._abandon(slot, abandoned)
                yield from forget(slot, self._journal, booked)
            except VolumeError as error:
                trouble(slot, error)
        self.is_busy = False

    def _is_void(self, extent: Extent, discard: Discard) -> bool:
        """Whether a block is not named for another part since, of which the answer is still to come."""
        claimed = self._claims.get(discard.work, {}).get(extent, discard.part)
        return discard.part < 0 or claimed == discard.part

    def _abandon(self, slot: Slot, works: Iterable[int]) -> Routine:
        for work in [work for work in works if work in slot.known]:
            yield slot.ask(Verb.ABANDON, self._journal, work)
            slot.known.pop(work, None)

    def _discard(self, slot: Slot, discards: Iterable[Discard]) -> Routine:
        for each in discards:
            gone = [extent.offset for extent in each.gone if extent.volume == slot.id]
            if gone:
                # Later blocks are looked at anyway.
                kept = [e.offset for e in each.kept if e.volume == slot.id and e.offset < max(gone)]
                yield slot.ask(Verb.DISCARD, self._journal, each.work, gone, sorted(kept))


def _unanswered(slot: Slot) -> list[Extent]:
    """Return the blocks of which the coordinator may not have known when it said which count."""
    return [Extent(slot.id, block.offset) for blocks in slot.known.values() for block in blocks]


def forget(slot: Slot, journal: str, works: Iterable[int]) -> Routine:
    """Let go of batches of which nothing more will be heard."""
    for work in [work for work in works if work in slot.known]:
        yield slot.ask(Verb.FORGET, journal, work)
        slot.known.pop(work, None)
