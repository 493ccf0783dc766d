"""What of a batch lies on this worker's volumes already."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from bucketpull.agent.active_batch import Held, without
from bucketpull.agent.volume import Slot
from bucketpull.domain.comparing import compare
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.model import Extent, Part
from bucketpull.domain.record import Record

Slots = Mapping[str, Slot]


class Found(NamedTuple):
    """What a batch finds: `changed` by volume lie there in another version, `fresh` are to be stored anywhere.

    `whole` by volume are files that were written there before a crash, and have to be settled.
    """

    changed: dict[str, list[Part]]
    fresh: list[Part]
    whole: dict[str, list[Record]]


async def recognise(held: Held, here: list[Extent], slots: Slots, journal: str) -> Found:
    """Find what is there: of this very batch, stored or written before a crash (`here`), and of earlier runs."""
    mine = compare(held.parts, await _read(here, slots))
    held.store(mine.skipped, mine.skipped_bytes, mine.extents)
    rest = mine.fresh + [part for parts in mine.changed.values() for part in parts]
    if mine.extents:
        # What it replaced before the crash was not told: all that its candidates' volumes may hold of it.
        volumes = {extent.volume for extent in held.work.candidates}
        held.replace(mine.extents[0].volume, without(held.parts, rest), volumes)
    whole: dict[str, list[Record]] = {}
    for volume in dict.fromkeys(extent.volume for extent in here):
        with suppress(VolumeError):
            records = await slots[volume].call(slots[volume].volume.recover, journal, held.work.id, rest)
            if records:
                whole[volume] = records
                rest = without(rest, records)
    candidates = await _read(held.work.candidates, slots)
    held.looked_at({extent.volume for extent, _ in candidates})
    old = compare(rest, candidates)
    held.skip(old.skipped, old.skipped_bytes, old.extents)
    if not held.work.elsewhere:
        return Found(old.changed, old.fresh, whole)
    held.send_on(old.fresh)
    return Found(old.changed, [], whole)


async def _read(extents: Iterable[Extent], slots: Slots) -> list[tuple[Extent, list[Record]]]:
    """Read ledger blocks that are here. One that cannot be read says nothing: its objects are fetched again."""
    known = []
    for extent in extents:
        slot = slots.get(extent.volume)
        if slot is not None and extent.offset >= 0:
            with suppress(VolumeError):
                known.append((extent, await slot.call(slot.volume.read, extent.offset)))
    return known
