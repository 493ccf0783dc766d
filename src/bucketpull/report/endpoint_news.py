"""What is told of endpoints that change their state: once, when it begins, and once, when it ends."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bucketpull.domain.endpoints import EndpointSpec, Purpose, State
from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import EndpointStatus
from bucketpull.report.figures import duration
from bucketpull.report.words import Words

_WORDS = {
    State.SLOW: "is slow to answer since",
    State.REFUSING: "refuses everything since",
    State.DOWN: "does not answer since",
}
REST_TOLD_SECONDS = 5.0
NAMED = 4  # machines, of those that are in trouble
SLOW_TOLD_SECONDS = 10.0  # of a state that mostly passes, or becomes another

Told = tuple[str, str, str, str]  # level, event, the endpoint that it is about, text


class EndpointNews:
    """Compares the machines' judgements with what was told before. Several machines that see the same make one event.

    It is told again when what some machines see has spread to all.
    """

    def __init__(self, specs: Sequence[EndpointSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._told: dict[str, tuple[State, float]] = {}
        self._everywhere: set[str] = set()
        self._away: dict[str, float] = {}
        self._rests: dict[str, float] = {}

    def look(self, machines: Sequence[Pulse], now: float) -> Iterator[Told]:
        """Return what is new, as level, event, endpoint and text; `now` is Unix seconds."""
        worst = {name: _worst(name, machines) for name in self._specs}
        for name, status in worst.items():
            state, since = self._told.get(name, (State.UP, 0.0))
            if status is None:
                continue
            spread = spread_of(name, machines)
            if status.state is state and (spread.is_partial or state is State.UP or name in self._everywhere):
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
                where = f"{spread.words()}: " if spread.asking > 1 else ""
                text = where + self._trouble(name, status, worst, now)
                yield "warning", f"endpoint.{status.state}", name, text
                since = since or now - status.state_seconds
            self._told[name] = status.state, since if status.state is not State.UP else 0.0
            (self._everywhere.discard if spread.is_partial else self._everywhere.add)(name)
        yield from self._look_at_rests(machines, now)
        yield from self._look_at_addresses(machines, now)

    def _look_at_rests(self, machines: Sequence[Pulse], now: float) -> Iterator[Told]:
        """Tell once that an endpoint asked for a long rest, and until when it lasts."""
        for name in self._specs:
            seconds = max(
                (each.endpoints[name].rest_seconds for each in machines if name in each.endpoints),
                default=0.0,
            )
            until, about = self._rests.get(name, 0.0), f"{name} rest"
            if seconds > REST_TOLD_SECONDS and now + seconds > until + REST_TOLD_SECONDS:
                self._rests[name] = now + seconds
                end = time.strftime("%H:%M:%S", time.localtime(now + seconds))
                text = f"{self._title(name)} asks to be left alone until {end}: it is"
                yield "warning", "endpoint.rest", about, text
            elif until and not seconds:
                del self._rests[name]
                yield "info", "endpoint.rested", about, f"{self._title(name)} is asked again"

    def _look_at_addresses(self, machines: Sequence[Pulse], now: float) -> Iterator[Told]:
        """Tell of addresses that are left alone although their endpoint is up. One host may serve several endpoints: it is told once."""
        away: dict[str, str] = {}
        for name in self._specs:
            for machine in machines:
                away |= machine.endpoints[name].away if name in machine.endpoints else {}
        for label in away.keys() - self._away.keys():
            self._away[label] = now
            text = f"{label} is left alone: {away[label]}; the others are used"
            yield "warning", "address.away", label, text
        for label in self._away.keys() - away.keys():
            since = self._away.pop(label)
            yield "info", "address.back", label, f"{label} is used again, after {duration(now - since)}"

    def _title(self, name: str) -> str:
        return self._specs[name].title or name

    def _trouble(
        self, name: str, status: EndpointStatus, worst: Mapping[str, EndpointStatus | None], now: float
    ) -> str:
        since = time.strftime("%H:%M", time.localtime(now - status.state_seconds))
        why = f" ({status.detail})" if status.detail else ""
        return f"{self._title(name)} {_WORDS[status.state]} {since}: {self._meanwhile(name, worst)}{why}"

    def _meanwhile(self, name: str, worst: Mapping[str, EndpointStatus | None]) -> str:
        if self._specs[name].purpose is Purpose.LIST:
            return "the listing waits for it, fetching goes on"
        for other, spec in self._specs.items():
            status = worst[other]
            well = status is None or status.state is State.UP
            if other != name and spec.purpose is Purpose.FETCH and well:
                return f"objects come from {self._title(other)}"
        return "objects wait for it, none fails for it"


def _worst(name: str, machines: Sequence[Pulse]) -> EndpointStatus | None:
    """Return what the machine says for which the endpoint does worst."""
    found = [machine.endpoints[name] for machine in machines if name in machine.endpoints]
    order = list(State)
    return max(found, key=lambda status: order.index(status.state), default=None)


class Spread(NamedTuple):
    """For which machines an endpoint is not up, of how many that ask there."""

    troubled: list[str]
    asking: int

    @property
    def is_partial(self) -> bool:
        """Whether it is well for another machine."""
        return len(self.troubled) < self.asking

    def words(self) -> str:
        """Name the machines, or say that it is all."""
        if not self.is_partial:
            return f"all {self.asking} machines"
        named = ", ".join(self.troubled[:NAMED]) + (", ..." if len(self.troubled) > NAMED else "")
        return f"{len(self.troubled)} of {self.asking} machines ({named})"


def spread_of(name: str, machines: Sequence[Pulse]) -> Spread:
    """Return for which machines an endpoint is not up; those that never asked there do not count."""
    asking = [
        (machine.machine, machine.endpoints[name].state is not State.UP)
        for machine in machines
        if name in machine.endpoints and machine.endpoints[name].requests
    ]
    return Spread([machine for machine, is_troubled in asking if is_troubled], len(asking))


def state_of(name: str, endpoint: EndpointStatus, machines: Sequence[Pulse], words: Words) -> str:
    """Return what is wrong with an endpoint, for how long, and for which of several machines, in parentheses; nothing if it is up."""
    if endpoint.state is State.UP:
        return ""
    spread = spread_of(name, machines)
    where = f"; {words.message(spread.words())}" if spread.asking > 1 else ""
    since = duration(endpoint.state_seconds, words.language)
    return f" ({words(f'endpoint.{endpoint.state}')} {since}{where})"
