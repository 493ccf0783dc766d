"""What is told of endpoints that change their state: once, when it begins, and once, when it ends."""

import time
from collections.abc import Iterator, Mapping, Sequence

from bucketpull.domain.endpoints import EndpointSpec, Purpose, State
from bucketpull.domain.model import LaneStatus, Pulse
from bucketpull.report.figures import duration
from bucketpull.report.words import Words

_WORDS = {
    State.SLOW: "is slow to answer since",
    State.REFUSING: "refuses everything since",
    State.DOWN: "does not answer since",
}
SLOW_TOLD_SECONDS = 10.0  # of a state that mostly passes, or becomes another

Told = tuple[str, str, str, str]  # level, event, the endpoint that it is about, text


class EndpointNews:
    """Compares the machines' judgements with what was told before. Several machines that see the same make one event."""

    def __init__(self, specs: Sequence[EndpointSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._told: dict[str, tuple[State, float]] = {}

    def look(self, machines: Sequence[Pulse], now: float) -> Iterator[Told]:
        """Return what is new, as level, event, endpoint and text; `now` is Unix seconds."""
        worst = {name: _worst(name, machines) for name in self._specs}
        for name, status in worst.items():
            state, since = self._told.get(name, (State.UP, 0.0))
            if status is None or status.state is state:
                continue
            if status.state is State.UP:
                yield (
                    "info",
                    "endpoint.up",
                    name,
                    f"{self._title(name)} answers again, after {duration(now - since)}",
                )
            elif status.state is State.SLOW and status.state_seconds < SLOW_TOLD_SECONDS:
                continue
            else:
                yield "warning", f"endpoint.{status.state}", name, self._trouble(name, status, worst, now)
                since = since or now - status.state_seconds
            self._told[name] = status.state, since if status.state is not State.UP else 0.0

    def _title(self, name: str) -> str:
        return self._specs[name].title or name

    def _trouble(
        self, name: str, status: LaneStatus, worst: Mapping[str, LaneStatus | None], now: float
    ) -> str:
        since = time.strftime("%H:%M", time.localtime(now - status.state_seconds))
        why = f" ({status.detail})" if status.detail else ""
        return f"{self._title(name)} {_WORDS[status.state]} {since}: {self._meanwhile(name, worst)}{why}"

    def _meanwhile(self, name: str, worst: Mapping[str, LaneStatus | None]) -> str:
        if self._specs[name].purpose is Purpose.LIST:
            return "the listing waits for it, fetching goes on"
        for other, spec in self._specs.items():
            status = worst[other]
            well = status is None or status.state is State.UP
            if other != name and spec.purpose is Purpose.FETCH and well:
                return f"objects come from {self._title(other)}"
        return "objects wait for it, none fails for it"


def _worst(name: str, machines: Sequence[Pulse]) -> LaneStatus | None:
    """Return what the machine says for which the endpoint does worst."""
    found = [machine.lanes[name] for machine in machines if name in machine.lanes]
    order = list(State)
    return max(found, key=lambda status: order.index(status.state), default=None)


def state_of(lane: LaneStatus, words: Words) -> str:
    """Return what is wrong with an endpoint and for how long, in parentheses; nothing if it is up."""
    if lane.state is State.UP:
        return ""
    return f" ({words(f'endpoint.{lane.state}')} {duration(lane.state_seconds, words.language)})"
