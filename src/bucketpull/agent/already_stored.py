"""What of a batch lies on this worker's volumes already."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from bucketpull.agent.active_batch import Held, without
from bucketpull.agent.disk_calls import Ask, Verb
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


def recognise(
    held: Held, begun: Mapping[str, list[Extent]], slots: Slots, journal: str
) -> Generator[Ask, Any, Found]:
    """Find what is there: of this very batch, stored or written before a crash (`begun` by volume), and of earlier runs."""
    stored = yield from _read((extent for extents in begun.values() for extent in extents), slots)
    mine = compare(held.parts, stored)
    held.store(mine.skipped, mine.skipped_bytes, mine.extents)
    rest = mine.fresh + [part for parts in mine.changed.values() for part in parts]
    if mine.extents:
        # What it replaced before the crash was not told: all that its candidates' volumes may hold of it.
        volumes = {extent.volume for extent in held.work.candidates}
        held.replace(mine.extents[0].volume, without(held.parts, rest), volumes)
    whole: dict[str, list[Record]] = {}
    for volume in begun:
        with suppress(VolumeError):
            records = yield slots[volume].ask(Verb.RECOVER, journal, held.work.id, rest)
            if records:
                whole[volume] = records
                rest = without(rest, records)
    candidates = yield from _read(held.work.candidates, slots)
    held.looked_at({extent.volume for extent, _ in candidates})
    old = compare(rest, candidates)
    held.skip(old.skipped, old.skipped_bytes, old.extents)
    if not held.work.elsewhere:
        return Found(old.changed, old.fresh, whole)
    held.send_on(old.fresh)
    return Found(old.changed, [], whole)


def _read(extents: Iterable[Extent], slots: Slots) -> Generator[Ask, Any, list[tuple[Extent, list[Record]]]]:
    """Read ledger blocks that are here. One that cannot be read says nothing: its objects are fetched again."""
    known = []
    for extent in extents:
        slot = slots.get(extent.volume)
        if slot is not None and not slot.is_sick:
            with suppress(VolumeError):
                known.append((extent, (yield slot.ask(Verb.READ, extent.offset))))
    return known
