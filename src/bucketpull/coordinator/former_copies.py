"""Copies that count no more, because their objects were stored on another volume: which machines are told to remove them."""

import math
from collections.abc import Iterable

from bucketpull.coordinator.effects import Books, Routine
from bucketpull.domain.messages import Pulse, Removed
from bucketpull.domain.model import Former, VolumeState

AT_ONCE = 50  # a volume: batches of about a thousand objects
AGAIN_SECONDS = 30.0
PATIENCE_SECONDS = 15.0
_USABLE = frozenset({VolumeState.OPEN, VolumeState.FULL, VolumeState.DRAINING})


class FormerCopies:
    """Which machines have nothing to remove, and when the others were told. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._clear: dict[str, list[str]] = {}
        self._told: dict[str, float] = {}
        self._moved = -math.inf

    def changed(self, now: float) -> None:
        """Note that there may be more."""
        self._clear.clear()
        self._moved = now

    def due(self, pulse: Pulse, now: float) -> Routine[list[Former]]:
        """Return the copies that a machine is to be told of now."""
        volumes = _usable(pulse)
        if self._clear.get(pulse.machine, []) == volumes or self._is_told(pulse.machine, now):
            return []
        copies: list[Former] = yield Books(lambda journal: journal.former(volumes, AT_ONCE))
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
    return sorted(volume.id for volume in pulse.volumes if volume.state in _USABLE)
