"""Copies that count no more, because their objects were stored on another volume: their removal."""

from collections.abc import Iterable, Mapping, Sequence

from bucketpull.agent.active_batch import Task
from bucketpull.agent.volume import Slot
from bucketpull.domain.batching import decode_parts
from bucketpull.domain.model import Former, VolumeState

_USABLE = frozenset({VolumeState.OPEN, VolumeState.FULL, VolumeState.DRAINING})


def removable(
    slots: Mapping[str, Slot], tasks: Iterable[Task], copies: Sequence[Former]
) -> dict[str, list[Former]]:
    """Return, by volume, the copies that can be removed now: not those of objects that are on their way there."""
    coming = {
        (task.volume, part.directory, name) for task in tasks for part in task.parts for name in part.names
    }
    found: dict[str, list[Former]] = {}
    for copy in copies:
        slot = slots.get(copy.volume)
        keys = ((part.directory, name) for part in decode_parts(copy.parts) for name in part.names)
        if (
            slot is not None
            and slot.status.state in _USABLE
            and not any((copy.volume, *key) in coming for key in keys)
        ):
            found.setdefault(copy.volume, []).append(copy)
    return found
