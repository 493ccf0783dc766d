"""Which endpoints are down for the other machines of the fleet: a hint, so that a machine asks once before it asks a thousand times. Pure."""

from collections.abc import Iterator

from bucketpull.coordinator.fleet import Fleet
from bucketpull.domain.endpoints import State


class Outages:
    """Remembers which machine was told of which endpoints."""

    def __init__(self) -> None:
        self._told: dict[str, list[str]] = {}

    def due(self, fleet: Fleet, now: float) -> Iterator[tuple[str, list[str]]]:
        """Give the machines with volumes that are to be told now, with what is down for all others; `now` is monotonic seconds."""
        for machine in [name for name, member in fleet.members.items() if member.pulse.volumes]:
            down = _down_for_others(machine, fleet, now)
            if down != self._told.get(machine, []):
                self._told[machine] = down
                yield machine, down

    def forget(self, machine: str) -> None:
        """Tell a machine again: it is new."""
        self._told.pop(machine, None)


def _down_for_others(machine: str, fleet: Fleet, now: float) -> list[str]:
    """Return the endpoints that are down for every other machine which is heard and has asked there."""
    seen: dict[str, set[State]] = {}
    for other in fleet.heard(now) - {machine}:
        for name, status in fleet.members[other].pulse.endpoints.items():
            if status.requests:
                seen.setdefault(name, set()).add(status.state)
    return sorted(name for name, states in seen.items() if states == {State.DOWN})
