"""Copies that count no more, because their objects were stored on another volume: who is told to remove them, and does."""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence

from bucketpull.agent.active_batch import Task
from bucketpull.agent.volume import Slot
from bucketpull.domain.batching import decode_parts
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.model import Former, Pulse, Removed, VolumeState

AT_ONCE = 50  # a volume: batches of about a thousand objects
AGAIN_SECONDS = 30.0
PATIENCE_SECONDS = 15.0
_USABLE = frozenset({VolumeState.OPEN, VolumeState.FULL, VolumeState.DRAINING})

Find = Callable[[Sequence[str], int], Awaitable[list[Former]]]


class FormerCopies:
    """The coordinator's side: which machines have nothing to remove, and when the others were told. Times are monotonic seconds.

    Args:
        find: The journal's `former`.

    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._clear: dict[str, list[str]] = {}
        self._told: dict[str, float] = {}
        self._moved = -math.inf

    def changed(self, now: float) -> None:
        """Note that there may be more."""
        self._clear.clear()
        self._moved = now

    async def due(self, pulse: Pulse, now: float) -> list[Former]:
        """Return the copies that a machine is to be told of now."""
        volumes = _usable(pulse)
        if self._clear.get(pulse.machine, []) == volumes or self._is_told(pulse.machine, now):
            return []
        copies = await self._find(volumes, AT_ONCE)
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


async def remove(
    slots: dict[str, Slot], tasks: Iterable[Task], journal: str, copies: Sequence[Former]
) -> list[int]:
    """Remove copies from a worker's volumes, but for those of objects that are on their way there; return the ids of the removed."""
    removed: list[int] = []
    for volume, group in _by_volume(copies, tasks).items():
        slot = slots.get(volume)
        if slot is None or slot.status.state not in _USABLE:
            continue
        try:
            await slot.call(slot.volume.remove, journal, group)
        except VolumeError as error:
            slot.trouble(error)
        else:
            removed += [copy.id for copy in group]
    return removed


def _by_volume(copies: Sequence[Former], tasks: Iterable[Task]) -> dict[str, list[Former]]:
    coming = {
        (task.volume, part.directory, name) for task in tasks for part in task.parts for name in part.names
    }
    found: dict[str, list[Former]] = {}
    for copy in copies:
        keys = ((part.directory, name) for part in decode_parts(copy.parts) for name in part.names)
        if not any((copy.volume, *key) in coming for key in keys):
            found.setdefault(copy.volume, []).append(copy)
    return found


def _usable(pulse: Pulse) -> list[str]:
    return sorted(volume.id for volume in pulse.volumes if volume.state in _USABLE)
