"""What of a batch lies on this worker's volumes already."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from bucketpull.agent.active_batch import ActiveBatch
from bucketpull.agent.disk_calls import DiskRequest, Verb
from bucketpull.agent.volume import ManagedVolume
from bucketpull.domain.batching import ids_of, without
from bucketpull.domain.comparison import compare
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.model import Extent, Part
from bucketpull.domain.record import Record

Volumes = Mapping[str, ManagedVolume]


class AlreadyStored(NamedTuple):
    """What a batch finds: `changed` by volume lie there in another version, `fresh` are to be stored anywhere.

    `whole` by volume are those that this very batch left there before; they have to be settled.
    """

    changed: dict[str, list[Part]]
    fresh: list[Part]
    whole: dict[str, list[Record]]


def recognise(
    batch: ActiveBatch, begun: Mapping[str, list[Extent]], volumes: Volumes, journal: str
) -> Generator[DiskRequest, Any, AlreadyStored]:
    """Find what is there: of this very batch, stored or written before a crash (`begun` by volume), and of earlier runs.

    What it had stored is settled anew, in blocks that hold nothing else: an old one may have objects that count elsewhere by now.
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
            written: list[Record] = yield volumes[volume].ask(Verb.RECOVER, journal, batch.work.id, rest)
            records += written
            rest = without(rest, written)
        if records:
            whole[volume] = records
    candidates = yield from _read(batch.work.candidates, volumes)
    batch.looked_at({extent.volume for extent, _ in candidates})
    old = compare(rest, candidates)
    batch.skip(old.skipped, old.skipped_bytes, old.extents)
    if not batch.work.elsewhere:
        return AlreadyStored(old.changed, old.fresh, whole)
    batch.send_on(old.fresh)
    return AlreadyStored(old.changed, [], whole)


def _read(
    extents: Iterable[Extent], volumes: Volumes
) -> Generator[DiskRequest, Any, list[tuple[Extent, list[Record]]]]:
    """Read ledger blocks that are here. One that cannot be read says nothing: its objects are fetched again."""
    known = []
    for extent in extents:
        volume = volumes.get(extent.volume)
        if volume is not None and not volume.is_sick:
            with suppress(VolumeError):
                known.append((extent, (yield volume.ask(Verb.READ, extent.offset))))
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
