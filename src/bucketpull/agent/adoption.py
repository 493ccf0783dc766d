"""Which objects of a batch are on this worker's volumes already as files of others (`--adopt`)."""

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from bucketpull.agent.active_batch import Task, as_listed
from bucketpull.agent.disk_calls import DiskRequest, Verb
from bucketpull.agent.volume_state import ManagedVolume
from bucketpull.domain.batching import among, without
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.model import Part
from bucketpull.domain.record import Claim, Inspection, Outcome, Record


class AdoptedFiles(NamedTuple):
    """What was found on one volume: `records` are `parts`, the others `claimed`."""

    volume: ManagedVolume
    parts: list[Part]
    records: list[Record]
    claimed: list[Part]
    claims: list[Claim]


def look_among_foreign(
    parts: list[Part],
    volumes: Sequence[ManagedVolume],
    adopts: str,
    note: Callable[[ManagedVolume], DiskRequest],
) -> Generator[DiskRequest, Any, tuple[list[AdoptedFiles], list[Part]]]:
    """Find objects in files of others, volume by volume, and note the batch on volumes that have some. Return what is found, and the rest."""
    found: list[AdoptedFiles] = []
    for volume in volumes:
        with suppress(VolumeError):
            seen: Inspection = yield volume.ask(Verb.INSPECT, parts, adopts)
            if seen.records or seen.claims:
                yield note(volume)
                there = as_listed(parts, seen.records)
                parts = without(parts, seen.records)
                claimed = among(parts, {(claim.directory, claim.name) for claim in seen.claims})
                parts = without(parts, claimed)
                found.append(AdoptedFiles(volume, there, seen.records, claimed, seen.claims))
    return found, parts


def outcome_of(task: Task, records: Sequence[Record], *, is_ours: bool) -> Outcome:
    """Make the outcome of a task whose objects are on its volume already: unsettled files of ours, or files of others."""
    outcome = Outcome(
        id=task.id,
        stored=task.objects,
        stored_bytes=task.size if is_ours else 0,
        records=msgspec.msgpack.encode(records),
        failures=[],
        deferred=[],
        unplaced=[],
        is_recovered=is_ours,
    )
    if not is_ours:
        outcome.claimed, outcome.claimed_bytes = task.objects, task.size
    return outcome
