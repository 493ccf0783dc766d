"""Which machines hand back half of what they have not begun, because others have nothing to do: no slow one holds up the end. Pure."""

import math

from bucketpull.coordinator.fleet import Fleet
from bucketpull.domain.model import WorkKind

IDLE_SECONDS = 10.0  # until what a machine has ended is told and booked


class Relief:
    """Remembers since when some machine has had nothing to do, and which others were asked for what they have. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._idle_since: float | None = None
        self._asked_at: dict[str, float] = {}

    def due(self, fleet: Fleet, now: float) -> list[str]:
        """Return the machines to ask now; to be called when all that is ready was given out."""
        heard = {machine: fleet.members[machine] for machine in sorted(fleet.heard(now))}
        busy = [machine for machine, member in heard.items() if member.sent[WorkKind.BATCH]]
        has_idle = any(member.pulse.window and not member.sent[WorkKind.BATCH] for member in heard.values())
        if not (busy and has_idle):
            self._idle_since = None
            return []
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since < IDLE_SECONDS:
            return []
        self._idle_since = now
        self._asked_at.update(dict.fromkeys(busy, now))
        return busy

    def asked_at(self, machine: str) -> float:
        """Return when a machine was asked last: those that were not get work first."""
        return self._asked_at.get(machine, -math.inf)
