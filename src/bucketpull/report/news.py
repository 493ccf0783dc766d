"""What is told of machines, volumes, the broker, room and a job that stands still: once, when trouble begins, and once, when it ends."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from bucketpull.domain.model import IN_PLACE, VolumeState, VolumeStatus
from bucketpull.domain.progress import JobState
from bucketpull.report.figures import duration

_TROUBLED: Final = {VolumeState.FULL, VolumeState.SICK}
_FIRST_SECONDS: Final = 10.0
Told = tuple[str, str, str, str]  # level, event, what it is about, text


class MachineNews:
    """Compares the machines that are there with those that were."""

    def __init__(self) -> None:
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
            self._silent[machine] = now
            text = f"nothing is heard of machine {machine} any more: its work goes to others, its volumes count as away"
            yield "warning", "machine.silent", f"machine {machine}", text
        self._there = set(machines)


class VolumeNews:
    """Compares the volumes with how they were: each change of a state, and what is odd with one that takes objects all the same.

    Volumes of machines that are not `local` are named with their machine: several often mount their disks alike.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[VolumeState, float]] = {}
        self._warned: dict[str, str] = {}

    def look(self, volumes: Sequence[VolumeStatus], local: Collection[str], now: float) -> Iterator[Told]:
        """Return what is new."""
        for volume in volumes:
            name = volume.path if volume.machine in local else f"{volume.machine}:{volume.path}"
            before, since = self._told.get(volume.id, (None, now))
            if volume.state != before:
                self._told[volume.id] = (volume.state, now)
                if before is not None or volume.state in _TROUBLED:
                    yield _state_told(volume, name, now - since)
            if volume.warning != self._warned.get(volume.id, ""):
                self._warned[volume.id] = volume.warning
                if volume.warning:
                    yield "warning", "volume.odd", "", f"volume {name} {volume.warning}"


def _state_told(volume: VolumeStatus, name: str, seconds: float) -> Told:
    if volume.state is VolumeState.OPEN:
        return "info", "volume.open", name, f"volume {name} takes objects again, after {duration(seconds)}"
    if not volume.detail:
        return "warning", f"volume.{volume.state}", name, f"volume {name} is {volume.state}"
    text = f"volume {name} is {volume.state}: {volume.detail}"
    remedy = "; free some space, add a volume, or lower --reserve" if volume.state is VolumeState.FULL else ""
    return "warning", f"volume.{volume.state}", name, text + remedy


class RoomNews:
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


class BrokerNews:
    """Tells that the broker is lost, with the first reason, and that it is reached again. `note` takes what is told."""

    def __init__(self, note: Callable[[str, str, str, str], None], now: Callable[[], float]) -> None:
        self._note = note
        self._now = now
        self._since: float | None = None

    def lost(self, reason: str) -> None:
        """Note that there is no connection; it is tried again and again."""
        if self._since is None:
            self._since = self._now()
            self._note("warning", "broker.lost", "broker", reason)

    def reached(self) -> None:
        """Note that there is a connection."""
        if self._since is not None:
            text = f"the broker is reached again, after {duration(self._now() - self._since)}"
            self._note("info", "broker.reached", "broker", text)
            self._since = None

    def seconds(self) -> float:
        """Return for how long there has been no connection, 0 if there is one."""
        return 0.0 if self._since is None else max(0.0, self._now() - self._since)


class Stall(NamedTuple):
    """Nothing was received for so many seconds; meanwhile requests were repeated, most of them, so many times, for this reason."""

    seconds: float
    reason: str
    times: int


class StallNews:
    """Notices that a job receives nothing although it asks again and again; tells it after 10 s, and whenever that has doubled."""

    def __init__(self) -> None:
        self._gain = -1
        self._since = 0.0
        self._before: dict[str, int] = {}
        self._due_seconds = _FIRST_SECONDS

    def look(self, now: float, gain: int, retries: Mapping[str, int]) -> Stall | None:
        """Return the stall if it is to be told now. `gain` grows with whatever is received; `now` is monotonic seconds."""
        if gain != self._gain:
            self._gain, self._since, self._before = gain, now, dict(retries)
            self._due_seconds = _FIRST_SECONDS
            return None
        seconds = now - self._since
        grown = {reason: times - self._before.get(reason, 0) for reason, times in retries.items()}
        reason = max(grown, key=lambda reason: grown[reason], default="")
        if seconds < self._due_seconds or not reason or grown[reason] <= 0:
            return None
        self._due_seconds = 2 * seconds
        return Stall(seconds, reason, grown[reason])
