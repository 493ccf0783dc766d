"""What is told of machines, volumes, endpoints, the broker, room and a job that stands still: once, when trouble begins, and once, when it ends."""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bucketpull.domain.counting import counted, growth
from bucketpull.domain.endpoints import EndpointSpec, Purpose, State
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import Pulse
from bucketpull.domain.progress import JobState
from bucketpull.domain.status import IN_PLACE, EndpointStatus, VolumeState, VolumeStatus
from bucketpull.report.reasons import explain, remedy_while_running
from bucketpull.report.times import clock, clock_minutes, duration
from bucketpull.report.words import Words

Told = tuple[str, str, str, str]  # level, event, what it is about, text

_TROUBLED: Final = {VolumeState.FULL, VolumeState.SICK}
_FIRST_SECONDS: Final = 10.0
# Of one server as of many: `urls:FILE` has "the servers of the list".
_WORDS: Final = {
    State.SLOW: "answers have come slowly from",
    State.REFUSING: "nothing but refusals has come from",
    State.DOWN: "nothing usable has come from",
}
_ERRORS: Final = {Reason.GARBAGE, Reason.SERVER_ERROR}  # it answers, but so
_REST_TOLD_SECONDS: Final = 5.0
_SLOW_TOLD_SECONDS: Final = 10.0  # of a state that mostly passes, or becomes another
_REASONS: Final = 5  # told of one outage of the broker
_NAMED: Final = 4  # machines, of those that are in trouble
_ODD_SECONDS: Final = 60.0
STOPPING: Final = (
    "stopping: finishing what has begun; Ctrl-C once more leaves at once, and what is stored stays"
)


class MachineEvents:
    """Compares the machines that are there with those that were. One that has gone was not heard for `silence_seconds` before."""

    def __init__(self, silence_seconds: float = 0.0) -> None:
        self._silence = silence_seconds
        self._there: set[str] = set()
        self._silent: dict[str, float] = {}

    def look(self, machines: Mapping[str, int], left: set[str], now: float) -> Iterator[Told]:
        """Return what is new. `machines` are those there with the number of their volumes, `left` those that left in order."""
        passed_by = left & self._silent.keys()  # came back and left between two looks
        for machine in sorted((machines.keys() | passed_by) - self._there):
            since = self._silent.pop(machine, None)
            text = f"machine {machine} joined; volumes: {machines.get(machine, 0)}"
            if since is not None:
                text = f"machine {machine} is heard again, after {duration(now - since)}"
            yield "info", "machine.joined" if since is None else "machine.back", f"machine {machine}", text
        for machine in sorted(self._there - machines.keys()):
            if machine in left:
                yield "info", "machine.left", f"machine {machine}", f"machine {machine} left in order"
                continue
            self._silent[machine] = now - self._silence
            text = f"nothing is heard of machine {machine} any more: its work goes to others, its volumes count as away"
            yield "warning", "machine.silent", f"machine {machine}", text
        self._there = set(machines)


class ProcessEvents:
    """Tells of processes that died, which costs no object. What died before a machine was first looked at is not told."""

    def __init__(self) -> None:
        self._died: dict[tuple[str, str], int] = {}

    def look(self, pulses: Sequence[Pulse]) -> Iterator[Told]:
        """Return what is new."""
        for pulse in pulses:
            start = pulse.machine, pulse.incarnation
            if pulse.deaths > self._died.setdefault(start, pulse.deaths):
                self._died[start] = pulse.deaths
                text = f"a process of machine {pulse.machine} died: another one does its work"
                yield "warning", "process.died", f"machine {pulse.machine}", text


class VolumeEvents:
    """Compares the volumes with how they were: each change of a state, and what is odd with one that takes objects all the same.

    Volumes of machines that are not `local` are named with their machine: several often mount their disks alike. What is odd has
    numbers that grow: of a volume it is told at most once a minute, and at the end.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[VolumeState, float]] = {}
        self._warned: dict[str, tuple[str, float]] = {}

    def look(
        self, volumes: Sequence[VolumeStatus], local: Collection[str], now: float, *, is_end: bool = False
    ) -> Iterator[Told]:
        """Return what is new."""
        for volume in volumes:
            name = volume.path if volume.machine in local else f"{volume.machine}:{volume.path}"
            before, since = self._told.get(volume.id, (None, now))
            if volume.state != before:
                self._told[volume.id] = (volume.state, now)
                if before is not None or volume.state in _TROUBLED:
                    yield _state_told(volume, name, now - since)
            warning, at = self._warned.get(volume.id, ("", -_ODD_SECONDS))
            if not volume.warning:
                self._warned[volume.id] = "", at
            elif volume.warning != warning and (is_end or now - at >= _ODD_SECONDS):
                self._warned[volume.id] = volume.warning, now
                yield "warning", "volume.odd", "", f"volume {name} {volume.warning}"


def _state_told(volume: VolumeStatus, name: str, seconds: float) -> Told:
    if volume.state is VolumeState.OPEN:
        return "info", "volume.open", name, f"volume {name} takes objects again, after {duration(seconds)}"
    if not volume.detail:
        return "warning", f"volume.{volume.state}", name, f"volume {name} is {volume.state}"
    text = f"volume {name} is {volume.state}: {volume.detail}"
    if volume.state is VolumeState.FULL and "; " not in volume.detail:  # else the remedy is said
        over_quota = os.strerror(errno.EDQUOT) in volume.detail
        text += (
            f"; free some space, add a volume, or {'raise the quota' if over_quota else 'lower --reserve'}"
        )
    return "warning", f"volume.{volume.state}", name, text


class RoomEvents:
    """Tells that no volume takes objects, and that one does again."""

    def __init__(self) -> None:
        self._since: float | None = None

    def look(self, state: JobState, volumes: Collection[VolumeState], now: float) -> Iterator[Told]:
        """Return what is new; `state` is that of the job, `volumes` are those of its volumes."""
        if state == JobState.NO_ROOM and self._since is None:
            self._since = now
            if IN_PLACE.isdisjoint(volumes):
                text = "no volume can be written: the job waits until one is back"
            else:
                text = "no volume has room: the job waits; free some space, add a volume, or lower --reserve"
            yield "warning", "job.no-room", "room", text
        elif state != JobState.NO_ROOM and self._since is not None:
            text = f"a volume takes objects again, after {duration(now - self._since)}"
            yield "info", "job.room", "room", text
            self._since = None


class WaitEvents:
    """Tells after 10 s which machines all that is left waits for, and that it goes on."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._is_told = False

    def look(self, machines: Sequence[str], now: float) -> Iterator[Told]:
        """Return what is new. `machines` are those waited for, none where work goes on."""
        since = self._since if self._since is not None else now
        if machines and not self._is_told and now - since >= _FIRST_SECONDS:
            self._is_told = True
            text = (
                f"what is left waits for machine {', '.join(machines)}: its volumes may have some of it, and it takes none now; start "
                "its worker, or make room there; five minutes after it last took any, other machines get it"
            )
            yield "warning", "work.waits", "work", text
        if not machines and self._is_told:
            self._is_told = False
            yield "info", "work.goes-on", "work", f"what was left goes on, after {duration(now - since)}"
        self._since = since if machines else None


class BrokerEvents:
    """Tells that the broker is lost, with the first reason, that another one keeps it away after 10 s, and that it is reached again.

    `note` takes level, event and text of what is told.
    """

    def __init__(self, note: Callable[[str, str, str], None], now: Callable[[], float]) -> None:
        self._note = note
        self._now = now
        self._since: float | None = None
        self._told: set[str] = set()

    def lost(self, reason: str) -> None:
        """Note that there is no connection; it is tried again and again."""
        first, self._since = self._since is None, self._since if self._since is not None else self._now()
        later = self.seconds() >= _FIRST_SECONDS and len(self._told) < _REASONS
        if first or (later and reason not in self._told):
            self._told = {reason} if first else self._told | {reason}
            self._note("warning", "broker.lost", reason)

    def reached(self) -> None:
        """Note that there is a connection."""
        if self._since is not None:
            text = f"the broker is reached again, after {duration(self._now() - self._since)}"
            self._note("info", "broker.reached", text)
            self._since = None

    def seconds(self) -> float:
        """Return for how long there has been no connection, 0 if there is one."""
        return 0.0 if self._since is None else max(0.0, self._now() - self._since)


class StallEvents:
    """Tells that a job receives nothing although it asks again and again: after 10 s, and whenever that has doubled and it has asked again;
    and then that something comes again. Time in which nothing is asked does not count. `asked` names who is asked.
    """

    def __init__(self, asked: str) -> None:
        self._sites = asked
        self._gain = -1
        self._arriving = 0
        self._since = self._at = 0.0
        self._before: dict[str, int] = {}
        self._asked = 0  # when it was told last
        self._due_seconds = _FIRST_SECONDS

    def look(
        self, now: float, gain: int, retries: Mapping[str, int], arriving: int = 0, *, asks: bool = True
    ) -> Iterator[Told]:
        """Return what is new; `now` is monotonic seconds.

        `gain` grows with whatever is received, bytes that are `arriving` come before. `asks` says that anything is asked of the source.
        """
        self._since += 0.0 if asks else now - self._at
        self._at = now
        asked, seconds = sum(retries.values()), now - self._since
        # The text of a refusal arrives too: of what is not done only more than there was before is a gain.
        if gain != self._gain or arriving > self._arriving:
            self._arriving = arriving
            if self._due_seconds > _FIRST_SECONDS:
                text = f"something comes from the source again, after {duration(seconds)}"
                yield "info", "source.back", "source", text
            self._gain, self._since, self._before, self._asked = gain, now, dict(retries), asked
            self._due_seconds = _FIRST_SECONDS
            return
        grown = growth(self._before, retries)
        reason = max(grown, key=lambda reason: grown[reason], default="")
        if seconds < self._due_seconds or not reason or asked <= self._asked:
            return
        self._due_seconds, self._asked = 2 * seconds, asked
        why = f"{reason}, {counted(grown[reason], 'times')}; asked: {self._sites}"
        meaning, _ = explain(reason)
        text = f"nothing has come for {duration(seconds)}: {meaning} ({why}); {remedy_while_running(reason)}"
        yield "warning", "source.silent", "source", text


# --- endpoints


class EndpointEvents:
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
        """Return what is new; `now` is monotonic seconds."""
        worst = {name: _worst(name, machines) for name in self._specs}
        for name, status in worst.items():
            state, since = self._told.get(name, (State.UP, 0.0))
            if status is None:
                continue
            spread = spread_of(name, machines)
            if status.state is state and (spread.is_partial or state is State.UP or name in self._everywhere):
                continue
            if status.state is State.UP:
                # Perhaps without an answer: after long, the objects are held to be at fault.
                text = f"requests go to {self._title(name)} again, after {duration(now - since)}"
                yield "info", "endpoint.up", f"endpoint {name}", text
            elif status.state is State.SLOW and status.state_seconds < _SLOW_TOLD_SECONDS:
                continue
            else:
                where = f"{spread.words()}: " if spread.asking > 1 else ""
                text = where + self._trouble(name, status, worst)
                yield "warning", f"endpoint.{status.state}", f"endpoint {name}", text
                since = now - status.state_seconds if state is State.UP else since
            self._told[name] = status.state, since
            (self._everywhere.discard if spread.is_partial else self._everywhere.add)(name)
        yield from self._look_at_rests(machines, now)
        yield from self._look_at_addresses(machines, now)

    def _look_at_rests(self, machines: Sequence[Pulse], now: float) -> Iterator[Told]:
        """Tell once that an endpoint is given a long rest, and until when it lasts."""
        for name in self._specs:
            seconds = max(
                (each.endpoints[name].rest_seconds for each in machines if name in each.endpoints),
                default=0.0,
            )
            until, about = self._rests.get(name, 0.0), f"endpoint {name} rest"
            if seconds > _REST_TOLD_SECONDS and now + seconds > until + _REST_TOLD_SECONDS:
                self._rests[name] = now + seconds
                end = clock(time.time() + seconds)
                text = f"no requests go to {self._title(name)} until {end}: this was asked for, or all requests are refused"
                yield "warning", "endpoint.rest", about, text
            elif until and not seconds:
                del self._rests[name]
                yield "info", "endpoint.rested", about, f"requests go to {self._title(name)} again"

    def _look_at_addresses(self, machines: Sequence[Pulse], now: float) -> Iterator[Told]:
        """Tell of addresses that are left alone although their endpoint is up. One host may serve several endpoints: it is told once."""
        away: dict[str, str] = {}
        replaced: dict[str, str] = {}
        for name in self._specs:
            for status in (machine.endpoints[name] for machine in machines if name in machine.endpoints):
                away |= status.away
                replaced |= status.away if status.state is State.UP else {}
        for label in sorted(replaced.keys() - self._away.keys()):
            self._away[label] = now
            text = f"{label} is left alone: {replaced[label]}; the others are used"
            yield "warning", "address.away", f"endpoint {label}", text
        for label in sorted(self._away.keys() - away.keys()):
            text = f"{label} is used again, after {duration(now - self._away.pop(label))}"
            yield "info", "address.back", f"endpoint {label}", text

    def _title(self, name: str) -> str:
        return self._specs[name].title or name

    def _trouble(self, name: str, status: EndpointStatus, worst: Mapping[str, EndpointStatus | None]) -> str:
        since = clock_minutes(time.time() - status.state_seconds)
        why = f" ({status.detail})" if status.detail else ""
        answers = status.state is State.DOWN and status.detail.partition(":")[0] in _ERRORS
        words = "nothing but errors has come from" if answers else _WORDS[status.state]
        return f"{words} {self._title(name)} since {since}: {self._meanwhile(name, worst)}{why}"

    def _meanwhile(self, name: str, worst: Mapping[str, EndpointStatus | None]) -> str:
        if self._specs[name].purpose is Purpose.LIST:
            return "the listing waits, fetching goes on"
        for other, spec in self._specs.items():
            status = worst[other]
            well = status is None or status.state is State.UP
            if other != name and spec.purpose is Purpose.FETCH and well:
                return f"objects come from {self._title(other)}"
        return "objects wait, and none fails meanwhile"


def _worst(name: str, machines: Sequence[Pulse]) -> EndpointStatus | None:
    """Return what the machine says for which the endpoint does worst."""
    found = [machine.endpoints[name] for machine in machines if name in machine.endpoints]
    order = list(State)
    return max(found, key=lambda status: order.index(status.state), default=None)


class Spread(msgspec.Struct, frozen=True):
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
        named = ", ".join(self.troubled[:_NAMED]) + (", ..." if len(self.troubled) > _NAMED else "")
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
