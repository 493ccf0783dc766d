"""How a batch begins: objects that are on this worker's volumes already, as ours or as files of others (`--adopt`), are taken over, the rest is placed. Pure."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from bucketpull.agent.actions import DiskRequest, DiskRoutine
from bucketpull.agent.active_batch import ActiveBatch, as_listed
from bucketpull.agent.clearing import begun_on
from bucketpull.agent.managed_volume import ManagedVolume
from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.scheduler import Scheduler
from bucketpull.agent.tasks import Tasks
from bucketpull.domain.batching import among, batch_of, ids_of, objects_in, spans_of, without
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.model import Extent, Part, Span
from bucketpull.domain.record import Inspection, Record

Volumes = Mapping[str, ManagedVolume]


class Intake:
    """Makes tasks of batches. `went_on` is called with a batch when all its objects are placed."""

    def __init__(
        self,
        parameters: AgentParameters,
        scheduler: Scheduler,
        tasks: Tasks,
        went_on: Callable[[ActiveBatch], None],
    ) -> None:
        self._parameters = parameters
        self._scheduler = scheduler
        self._tasks = tasks
        self._went_on = went_on

    def accept(self, batch: ActiveBatch) -> DiskRoutine:
        """Begin a batch."""
        work, rest = batch.work, batch.whole
        begun = begun_on(self._scheduler.working(), work.id)
        # Until all objects are placed: what is handed back at once must not be reported without the rest.
        batch.unsettled += 1
        if work.candidates or work.elsewhere or begun:
            found, whole = yield from recognise(
                batch, begun, self._scheduler.volumes, self._parameters.journal
            )
            rest = batch_of(found.fresh)
            for name, records in whole.items():
                there, volume = as_listed(batch.parts, records), self._scheduler.volumes[name]
                self._tasks.take_over(batch, there, records, volume, is_ours=True)
            for name, parts in found.changed.items():
                self._tasks.place(batch, batch_of(parts), name, {name, *found.doubled})
        if rest.objects and self._parameters.adopts:
            rest = batch_of((yield from self._adopt(batch, rest.parts)))
        if rest.objects:
            self._tasks.place(batch, rest, next(iter(begun), ""))
        batch.unsettled -= 1
        self._went_on(batch)

    def _adopt(self, batch: ActiveBatch, parts: list[Part]) -> Generator[DiskRequest, Any, list[Part]]:
        """Take over files of others on our volumes that are these objects; return the other objects."""
        objects = objects_in(parts)
        scheduler, tasks = self._scheduler, self._tasks
        scheduler.inspected += objects
        for volume in scheduler.working():
            with suppress(VolumeError):
                seen: Inspection = yield volume.ask("inspect", parts, self._parameters.adopts)
                there = as_listed(parts, seen.records)
                others = without(parts, there)
                claimed = among(others, {(claim.directory, claim.name) for claim in seen.claims})
                if there or claimed:
                    yield tasks.note(batch, volume)
                    volume.known.setdefault(batch.work.id, [])
                    parts = without(others, claimed)
                if there:
                    tasks.take_over(batch, there, seen.records, volume, is_ours=False)
                if claimed:
                    tasks.check(batch, claimed, seen.claims, volume)
        scheduler.inspected -= objects
        return parts


class Matched(msgspec.Struct):
    """Listed objects by what ledgers say of them: `skipped` objects are in place, `changed` by volume lie there in another version.

    `extents` are the blocks, oldest first, of those in place, and of others among the names of a part that are not listed: they may come back.

    `fresh` objects were found nowhere. `copies` of objects in place lie on another volume too, as after a rebuild: by the volume whose
    copy counts and the other one. `doubled` are all volumes that have copies which do not count.
    """

    skipped: int
    skipped_bytes: int
    extents: list[Extent]
    changed: dict[str, list[Part]]
    fresh: list[Part]
    copies: dict[tuple[str, str], list[Part]] = {}
    doubled: set[str] = set()


def recognise(
    batch: ActiveBatch, begun: Mapping[str, list[Extent]], volumes: Volumes, journal: str
) -> Generator[DiskRequest, Any, tuple[Matched, dict[str, list[Record]]]]:
    """Find what is there: of earlier runs, and by volume of this very batch, stored or written before a crash (`begun` by volume).

    What it had stored is to be settled anew, in blocks that hold nothing else: an old one may have objects that count elsewhere by now.
    """
    batch.begun = {volume: [extent.offset for extent in extents] for volume, extents in begun.items()}
    whole: dict[str, list[Record]] = {}
    rest = batch.parts
    for volume, extents in begun.items():
        stored = yield from _read(extents, volumes)
        mine = compare(rest, stored)
        left = mine.fresh + [part for parts in mine.changed.values() for part in parts]
        records = _last(without(rest, left), stored)
        rest = left
        with suppress(VolumeError):
            written: list[Record] = yield volumes[volume].ask("recover", journal, batch.work.id, rest)
            records += written
            rest = without(rest, written)
        if records:
            whole[volume] = records
    candidates = yield from _read(batch.work.candidates, volumes)
    batch.note_compared({extent.volume for extent, _ in candidates})
    old = compare(rest, candidates)
    batch.skip(old.skipped, old.skipped_bytes, old.extents)
    for (kept, other), parts in old.copies.items():
        batch.note_second_copies(kept, parts, other)
    if batch.work.elsewhere:
        batch.send_on(old.fresh)
        old.fresh = []
    return old, whole


def _read(
    extents: Iterable[Extent], volumes: Volumes
) -> Generator[DiskRequest, Any, list[tuple[Extent, list[Record]]]]:
    """Read ledger blocks that are here. One that cannot be read says nothing: its objects are fetched again."""
    known = []
    for extent in extents:
        volume = volumes.get(extent.volume)
        if volume is not None and not volume.is_sick:
            with suppress(VolumeError):
                known.append((extent, (yield volume.ask("read", extent.offset))))
    return known


def _last(parts: Iterable[Part], stored: Iterable[tuple[Extent, Sequence[Record]]]) -> list[Record]:
    """Return the records of objects, each as the latest block has it; blocks are given oldest first."""
    wanted = ids_of(parts)
    found: list[Record] = []
    for _, records in reversed(list(stored)):
        for record in records:
            indexes = record.matching(wanted)
            if indexes:
                found.append(record.take(indexes))
                wanted.difference_update(found[-1].ids())
    return found


def compare(parts: Sequence[Part], known: Sequence[tuple[Extent, Sequence[Record]]]) -> Matched:
    """Compare listed objects with ledger blocks, given oldest first: a later block overrides an earlier one.

    An object is in place when its size (bytes) and mtime (Unix seconds) are those of the listing, and its MD5 where both tell one.
    """
    found, others = _index({part.directory for part in parts}, known)
    result = Matched(0, 0, [], {}, [])
    extents: set[Extent] = set()
    for part in parts:
        fresh: list[int] = []
        changed: dict[str, list[int]] = {}
        copies: dict[tuple[str, str], list[int]] = {}
        for index, (name, size, mtime) in enumerate(zip(part.names, part.sizes, part.mtimes, strict=True)):
            key = part.directory, name
            old = found.get(key)
            if old is None:
                fresh.append(index)
            elif _is_in_place(old, size, mtime, part, index):
                result.skipped += 1
                result.skipped_bytes += old[3]
                extents.add(old[2])
                if key in others:
                    for other in others[key] - {old[2].volume}:
                        copies.setdefault((old[2].volume, other), []).append(index)
            else:
                changed.setdefault(old[2].volume, []).append(index)
        if fresh:
            result.fresh.append(part.take(fresh))
        for volume, indexes in changed.items():
            result.changed.setdefault(volume, []).append(part.take(indexes))
        for pair, indexes in copies.items():
            result.copies.setdefault(pair, []).append(part.take(indexes))
    extents.update(_unlisted(parts, found))
    result.extents = [extent for extent, _ in known if extent in extents]
    result.doubled = set().union(*others.values())
    return result


_Old = tuple[int, int, Extent, int, bytes]
"""Size, mtime, block, stored bytes and MD5 of an object; the MD5 is b"" where none can be compared with a listed one."""
_Found = dict[tuple[bytes, bytes], _Old]
"""Objects by directory and name, as the latest block has them."""
_Others = dict[tuple[bytes, bytes], set[str]]
"""The volumes of earlier blocks that have an object which lies on another volume by the latest one."""


def _unlisted(parts: Sequence[Part], found: _Found) -> Iterator[Extent]:
    """Give the blocks of objects that are not listed and stand among the names of a part, as where some were deleted at the source."""
    left = found.keys() - ids_of(parts)
    spans: dict[bytes, list[Span]] = {}
    for span in spans_of(parts) if left else ():
        spans.setdefault(span.directory, []).append(span)
    for directory, name in left:
        if any(span.first < name < span.last for span in spans[directory]):
            yield found[directory, name][2]


def _is_in_place(old: _Old, size: int, mtime: int, part: Part, index: int) -> bool:
    if old[:2] != (size, mtime):
        return False
    stated = part.stated_md5(index) if old[4] else ""
    return not stated or stated == old[4].hex()


def _index(
    directories: set[bytes], known: Iterable[tuple[Extent, Sequence[Record]]]
) -> tuple[_Found, _Others]:
    found: _Found = {}
    others: _Others = {}
    for extent, records in known:
        for record in records:
            if record.directory in directories:
                for name, size, mtime, there, md5 in zip(
                    record.names,
                    record.sizes,
                    record.mtimes,
                    record.lengths,
                    record.comparable_md5s(),
                    strict=True,
                ):
                    key = record.directory, name
                    former = found.get(key)
                    if former is not None and former[2].volume != extent.volume:
                        others.setdefault(key, set()).add(former[2].volume)
                    found[key] = (size, mtime, extent, size if size >= 0 else there, md5)
    return found, others
