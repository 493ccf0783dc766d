"""What is to be removed from this worker's volumes because it counts elsewhere: only while no batch is in hand. Pure.

A file that is to go may be written anew at the same moment: for what is left of its batch, or as an object that was deferred and
came back in another one. Its name does not tell the two apart. So nothing is removed while anything may be written, and nothing
is begun while anything is removed.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import Any, NamedTuple

from bucketpull.agent.disk_calls import DiskRequest, DiskRoutine, Verb
from bucketpull.agent.volume_state import ManagedVolume
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.messages import BatchVerdict, Begun, Control
from bucketpull.domain.model import IN_PLACE, Extent, Former
from bucketpull.domain.record import Conclusion

AT_ONCE = 200
"""So many batches a volume are cleared in one pass over its ledger; what came meanwhile begins before the next."""


class Cleared(NamedTuple):
    """The batches whose files here all count, and the former copies, by id, that are on their volume no more."""

    works: Collection[int]
    removed: list[int]


class Clearing:
    """Collects what the coordinator says is to go, until `run` may remove it. `is_busy` is true while it does.

    `is_due` is true when there is something new.

    Args:
        journal: The id of the job's journal.

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
        self, volumes: Collection[ManagedVolume], trouble: Callable[[ManagedVolume, VolumeError], None]
    ) -> Generator[DiskRequest, Any, Cleared]:
        """Remove some of it, or all, while nothing is in hand. What fails is asked about again."""
        verdicts = self._verdicts.copy()
        copies, self._copies = self._copies, {}
        removed: list[int] = []
        self.is_busy, self.is_due = True, False
        for volume in volumes:
            try:
                yield from self._clear_volume(volume, verdicts)
                former = [copy for copy in copies.values() if copy.volume == volume.id]
                if former:
                    yield volume.ask(Verb.REMOVE, self._journal, former)
                    removed += [copy.id for copy in former]
            except VolumeError as error:
                trouble(volume, error)
        self.is_busy = False
        works = verdicts.keys() - {work for volume in volumes for work in volume.known}
        for work in works:
            self._verdicts.pop(work, None)
        return Cleared(works, removed)

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
            yield volume.ask(Verb.CONCLUDE, self._journal, now)
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
    """Let go of batches of which nothing more will be heard."""
    for work in [work for work in works if work in volume.known]:
        yield volume.ask(Verb.FORGET, journal, work)
        volume.known.pop(work, None)
