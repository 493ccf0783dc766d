"""Which workers are alive, what each was sent, and how much more it may be sent; which volumes are there. Pure.

A worker says in its pulses how much it wants to hold in all (its window); what it was sent and has not answered
is counted here, so that pulses may be late without anybody being flooded.
"""

from collections.abc import Collection, Iterator, Sequence

from msgspec.structs import replace

from bucketpull.domain.endpoints import State
from bucketpull.domain.messages import Pulse, Work
from bucketpull.domain.model import SentWork, WorkKind
from bucketpull.domain.status import IN_PLACE, VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits

HEARD_SECONDS = 3.0
SILENCE_SECONDS = 30.0  # a worker that sent no pulse for so long is taken for dead
GRACE_SECONDS = 30.0  # work that its worker does not hold so long after it was sent is taken for lost
GIVEN_UP = "given up"
RESTORED = "was put back from an older copy: what it lacks is fetched again"
# Of batches that were deferred before, a worker is sent few while there are others: objects that are refused again and again,
# or come slowly, stay long in hand.
LATE_MOST, LATE_FREE = 100, 4


class Worker:
    """One worker: its last pulse with its time, and the work it was sent, each with the time when it was sent or last reported as held.

    `share` of the limits, and the endpoints `told_down`, are what it was told last.
    """

    def __init__(self, pulse: Pulse, now: float) -> None:
        self.pulse = pulse
        self.share: Limits | None = None
        self.share_told_at = now
        self.told_down: list[str] = []
        self.seen = now
        self.excused = now
        self.sent: dict[WorkKind, dict[int, float]] = {WorkKind.SCAN: {}, WorkKind.BATCH: {}}
        self._late: set[int] = set()

    def note_sent(self, kind: WorkKind, works: Sequence[Work], now: float) -> None:
        """Note that it was sent work."""
        self.sent[kind].update((work.id, now) for work in works)
        if kind is WorkKind.BATCH:
            self._late.update(work.id for work in works if work.passes)

    def silence(self, now: float) -> float:
        """Return for how many seconds no pulse came, although it could have."""
        return now - max(self.seen, self.excused)

    def late_allowance(self, limit: int) -> int:
        """Return how many of `limit` batches may be ones that were deferred before, as long as there are others."""
        self._late &= self.sent[WorkKind.BATCH].keys()
        held = len(self._late)
        return max(0, min(LATE_MOST - held, max(limit // 2, LATE_FREE - held)))

    def allowance(self, kind: WorkKind) -> int:
        """Return how many more pieces of a kind of work the worker may be sent."""
        window = self.pulse.scan_window if kind is WorkKind.SCAN else self.pulse.window
        return max(0, window - len(self.sent[kind]))

    def note_held(self, works: list[int], now: float) -> None:
        """Note which of its work it reports as held."""
        for sent in self.sent.values():
            sent.update((work, now) for work in works if work in sent)


class Fleet:
    """All workers of a job, by machine. `left` are those that left in order and have not come back.

    `restored` are the volumes, by id, that were put back from older copies since this session began. `has_earlier_work`: a
    machine joined that had worked before this session, and its first counters include that work.

    Args:
        silence_seconds: A worker that sent no pulse for so long is taken for dead; as `CoordinatorParameters` say.
        grace_seconds: Work that its worker does not hold so long after it was sent is taken for lost on the way; likewise.

    """

    def __init__(self, silence_seconds: float, grace_seconds: float) -> None:
        self.members: dict[str, Worker] = {}
        self.volumes: dict[str, VolumeStatus] = {}
        self.left: set[str] = set()
        self.restored: set[str] = set()
        self.has_earlier_work = False
        self._away: set[str] = set()
        self._inherited: dict[int, SentWork] = {}
        self.silence_seconds = silence_seconds
        self._grace = grace_seconds

    def see(self, pulse: Pulse, now: float) -> list[VolumeStatus]:
        """Take a pulse; return the volumes that are new, have moved, or have changed their state."""
        pulse.volumes = [self._with_warning(volume) for volume in pulse.volumes]
        member = self.members.get(pulse.machine)
        self.left.discard(pulse.machine)
        self._away.discard(pulse.machine)
        if member is None:
            self.members[pulse.machine] = Worker(pulse, now)
            self.has_earlier_work = self.has_earlier_work or pulse.objects > 0
            self._adopt(pulse.machine, now)
        else:
            if member.pulse.incarnation != pulse.incarnation:
                member.share, member.told_down = None, []
            member.pulse = pulse
            member.seen = now
            member.note_held(pulse.holds, now)
        news = [volume for volume in pulse.volumes if _place(volume) != _place(self.volumes.get(volume.id))]
        for volume in pulse.volumes:
            self.volumes[volume.id] = volume
        return news

    def _with_warning(self, volume: VolumeStatus) -> VolumeStatus:
        if volume.id not in self.restored:
            return volume
        return replace(volume, warning="; ".join(filter(None, (RESTORED, volume.warning))))

    def arrived(self, pulse: Pulse) -> list[VolumeStatus]:
        """Return the volumes of a pulse that are there now and, as far as is known, were not before."""
        there = [volume for volume in pulse.volumes if volume.state in IN_PLACE]
        if self.is_new(pulse):
            return there
        known = {volume.id for volume in self.volumes.values() if volume.state in IN_PLACE}
        return [volume for volume in there if volume.id not in known]

    def is_new(self, pulse: Pulse) -> bool:
        """Whether this is the first pulse of a worker, or the first since its restart."""
        member = self.members.get(pulse.machine)
        return member is None or member.pulse.incarnation != pulse.incarnation

    def restart_timers(self, now: float) -> None:
        """Restart all silence timers: until now no pulse could arrive."""
        for member in self.members.values():
            member.excused = now

    def inherit(self, sent: list[SentWork]) -> None:
        """Note work that an earlier coordinator of the job sent: workers may still have it."""
        self._inherited = {work.id: work for work in sent}

    def _adopt(self, machine: str, now: float) -> None:
        for work in [work for work in self._inherited.values() if work.machine == machine]:
            self.members[machine].sent[work.kind][work.id] = now
            del self._inherited[work.id]

    def abandoned(self) -> list[int]:
        """Return (and forget) inherited work whose machines have not come back."""
        works = list(self._inherited)
        self._inherited = {}
        return works

    def batches(self) -> set[int]:
        """Return the batches that machines have, or may have."""
        inherited = {work.id for work in self._inherited.values() if work.kind is WorkKind.BATCH}
        return inherited.union(*(member.sent[WorkKind.BATCH] for member in self.members.values()))

    def note_sent(self, machine: str, kind: WorkKind, works: Sequence[Work], now: float) -> None:
        """Note that work went to a machine: it waits for nobody else any more."""
        for work in works:
            self._inherited.pop(work.id, None)
        self.members[machine].note_sent(kind, works, now)

    def note_kept(self, machine: str, work: int, now: float) -> bool:
        """Note that the remainder of a batch stays with this machine alone; return False if the machine is gone.

        One that has inherited work may have said so before it is heard for the first time.
        """
        for other in self.members.values():
            other.sent[WorkKind.BATCH].pop(work, None)
        inherited = self._inherited.pop(work, None)
        member = self.members.get(machine)
        if member is not None:
            member.sent[WorkKind.BATCH][work] = now
        elif inherited is not None and inherited.machine == machine:
            self._inherited[work] = inherited
        return member is not None or work in self._inherited

    def note_ended(self, machine: str, work: int) -> None:
        """Note that a machine has ended a piece of work, whatever came of it."""
        inherited = self._inherited.get(work)
        if inherited is not None and inherited.machine == machine:
            del self._inherited[work]
        member = self.members.get(machine)
        if member is not None:
            for sent in member.sent.values():
                sent.pop(work, None)

    def leave(self, machine: str, *, at_end: bool = False) -> list[int]:
        """Forget a machine; return the work it was sent and has not answered. Its volumes are away, unless all leave `at_end` of the session."""
        if not at_end:
            self._away.add(machine)
        member = self.members.pop(machine, None)
        return [] if member is None else [work for sent in member.sent.values() for work in sent]

    def declare_dead(self, machine: str) -> list[int]:
        """Forget a machine that is taken for dead, as `leave`; its volumes are away."""
        # Copies: an agent in this process still uses the originals.
        self.volumes |= {
            id_: replace(volume, state=VolumeState.AWAY)
            for id_, volume in self.volumes.items()
            if volume.machine == machine
        }
        return self.leave(machine)

    def silent(self, now: float) -> list[str]:
        """Return the machines that are taken for dead."""
        return [
            machine for machine, member in self.members.items() if member.silence(now) > self.silence_seconds
        ]

    def pulses(self, now: float, *, all_listed: bool = False, has_rate: bool = True) -> list[Pulse]:
        """Return the last pulse of each worker, by name.

        Without recent pulses, a worker shows nothing in motion; when everything is listed, none is shown to wait for work. Where
        the user limits no rate (`has_rate`), a worker's share is one of what the source bears.
        """
        heard = self.heard(now)
        found = [
            member.pulse if machine in heard else _still(member.pulse)
            for machine, member in sorted(self.members.items())
        ]
        meant = ({"work": ""} if all_listed else {}) | ({} if has_rate else {"rate": "source"})
        return [
            replace(pulse, limited_by=meant[pulse.limited_by]) if pulse.limited_by in meant else pulse
            for pulse in found
        ]

    def volume_statuses(self, now: float) -> list[VolumeStatus]:
        """Return the last status of each volume, by machine and path.

        Without recent pulses of its machine, nothing is shown as being written. If its machine has left before the end, a volume is away.
        """
        heard = self.heard(now)
        told = [
            replace(volume, state=VolumeState.AWAY)
            if volume.machine in self._away and volume.state in IN_PLACE
            else volume
            for volume in sorted(self.volumes.values(), key=lambda volume: (volume.machine, volume.path))
        ]
        return [
            volume if volume.machine in heard else replace(volume, queued_bytes=0, written_per_second=0.0)
            for volume in told
        ]

    def lost(self) -> list[int]:
        """Return (and forget) work of which no receipt has come, and which its worker has not held for a while."""
        found: list[int] = []
        for member in self.members.values():
            holds = set(member.pulse.holds)
            for sent in member.sent.values():
                gone = [
                    work for work, at in sent.items() if member.seen - at > self._grace and work not in holds
                ]
                for work in gone:
                    del sent[work]
                found += gone
        return found

    def heard(self, now: float) -> set[str]:
        """Return the machines that are there now."""
        return {machine for machine, member in self.members.items() if now - member.seen < HEARD_SECONDS}

    def present(self, now: float) -> set[str]:
        """Return the machines that are there now, hold nothing, and have all their files confirmed."""
        return self.heard(now) - {pulse.machine for pulse in self.unsettled(self.members, now)}

    def unsettled(self, machines: Collection[str], now: float) -> list[Pulse]:
        """Return the last pulses of those of some machines that are there now and have work in hand, or files that are not confirmed to count."""
        pulses = [self.members[machine].pulse for machine in self.heard(now).intersection(machines)]
        return [pulse for pulse in pulses if pulse.holds or pulse.clears]

    @property
    def with_volumes(self) -> int:
        """How many workers have a disk: a lister alone has none."""
        return sum(1 for member in self.members.values() if member.pulse.volumes)

    @property
    def takers(self) -> int:
        """How many of them have a batch, or would take one. Machines whose volumes are all full would not."""
        return sum(
            1
            for member in self.members.values()
            if member.pulse.volumes and (member.pulse.window or member.sent[WorkKind.BATCH])
        )

    def is_lister(self, machine: str) -> bool:
        """Whether a worker only lists, for others that have volumes."""
        member = self.members.get(machine)
        return member is not None and not member.pulse.volumes and self.with_volumes > 0


def _still(pulse: Pulse) -> Pulse:
    """Return a pulse without its transfers in flight."""
    endpoints = {name: replace(status, in_flight=0, level=0.0) for name, status in pulse.endpoints.items()}
    return replace(pulse, endpoints=endpoints, limited_by="", waiting_for="", still_seconds=0.0)


def _place(volume: VolumeStatus | None) -> tuple[str, str, str] | None:
    return None if volume is None else (volume.machine, volume.path, volume.state)


class RequestedStates(dict[str, VolumeState]):
    """The states that the operator requested for volumes (draining, or given up as lost), by volume id. Machines are told until they do as asked: one may have started since."""

    def applied(self, pulse: Pulse) -> list[str]:
        """Give the volumes of a pulse their requested states; return those whose machine has not followed yet."""
        pending = [each.id for each in pulse.volumes if each.id in self and each.state is VolumeState.OPEN]
        pulse.volumes = [self._as_wanted(volume) for volume in pulse.volumes]
        return pending

    def _as_wanted(self, volume: VolumeStatus) -> VolumeStatus:
        wanted = self.get(volume.id)
        if wanted is VolumeState.LOST or (wanted is not None and volume.state is VolumeState.OPEN):
            detail = GIVEN_UP if wanted is VolumeState.LOST else volume.detail
            return replace(volume, state=wanted, detail=detail)
        return volume


def told_of_outages(fleet: Fleet, now: float) -> Iterator[tuple[str, list[str]]]:
    """Give each machine with volumes that is to be told now, and the endpoints that are down for all others.

    It then tries one request there before it sends a thousand.

    `now` is monotonic seconds.
    """
    for machine, member in list(fleet.members.items()):
        down = _down_for_others(machine, fleet, now) if member.pulse.volumes else member.told_down
        if down != member.told_down:
            member.told_down = down
            yield machine, down


def _down_for_others(machine: str, fleet: Fleet, now: float) -> list[str]:
    """Return the endpoints that are down for every other machine which is heard and has asked there."""
    seen: dict[str, set[State]] = {}
    for other in fleet.heard(now) - {machine}:
        for name, status in fleet.members[other].pulse.endpoints.items():
            if status.requests:
                seen.setdefault(name, set()).add(status.state)
    return sorted(name for name, states in seen.items() if states == {State.DOWN})
