"""A worker's processes and volumes as its agent sees them: which gets the next task, how much work to ask for, what holds it back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from operator import sub

import msgspec

from bucketpull.agent.actions import DiskRequest, Verb
from bucketpull.agent.bandwidth_sharing import BandwidthSharing
from bucketpull.agent.managed_volume import ManagedVolume
from bucketpull.agent.parameters import AgentParameters
from bucketpull.domain import batching
from bucketpull.domain.batching import MAX_OBJECTS, UNKNOWN_BYTES, Batch, batch_of
from bucketpull.domain.counting import summed_counts
from bucketpull.domain.endpoints import Standing, State
from bucketpull.domain.errors import Reason, VolumeError
from bucketpull.domain.messages import Pulse, Tick, Tune
from bucketpull.domain.model import Part
from bucketpull.domain.placement import choose, split
from bucketpull.domain.status import EndpointStatus
from bucketpull.domain.user_limits import NEAR, Limits, near

# A process should have work for a few seconds in store, so that neither a slow commit nor a slow answer leaves it idle.
STOCK_SECONDS = 3.0
STOCK_MIN, STOCK_MAX = 2_000, 20_000
# Most of what is in hand at full speed waits to be booked: a kill has it listed again (of small folders some 40 pages, 0.1 s).
# Fewer would make smaller transactions: with 3, a page of a small folder costs 1.5 times the CPU.
SCANS_PER_PROCESS = 8
BATCHES_MOST = 400  # in hand, however small they are; beyond it only as many as would do if they were large
HELD_MOST = 500  # in hand in all: a queue at the broker delivers 512 unanswered, and behind those no word comes through
SPEED_SECONDS = 0.4  # between two ticks that are compared; they come twice a second
COMPARE_SECONDS = 0.5
SILENT_SECONDS = 5.0  # a disk that has not answered for so long gets nothing new where another can take it
TOLD_SECONDS = 10.0  # a disk that has not answered for so long is named in the pulse as what is waited for
FROZEN_SECONDS = 120.0  # a process that has sent no tick for so long is replaced
ASLEEP_SECONDS = 30.0  # between two looks: for so long this process itself did not run
STOPPING_SECONDS = 4.0  # a disk that does not answer holds up a worker that stops no longer than that
DEATHS_SECONDS = 10.0  # in which deaths of processes are counted, see `Deaths`
UNTOLD_SECONDS = 1.0  # that a process may have worked on after its last tick

BUSY = 0.85  # of a core, for one process: above it, more transfers would only wait for it
QUEUED_BYTES = 8 << 20  # waiting for one volume, per process: half of what a process lets wait

ASKED_OF_SICK: frozenset[Verb] = frozenset({"close", "reopen", "wait"})


class Load(msgspec.Struct, frozen=True):
    """The counters of one moment: monotonic seconds, the endpoints, CPU seconds by process."""

    at: float
    endpoints: Mapping[str, EndpointStatus]
    cpu: Sequence[float] = ()

    @property
    def received(self) -> int:
        """Bytes so far, those of what is not done too."""
        return sum(endpoint.received for endpoint in self.endpoints.values())


class Use(msgspec.Struct, frozen=True):
    """What a process uses of an endpoint in a second: requests, and bytes that come."""

    requests: float = 0.0
    size: float = 0.0
    is_origin: bool = True


class Scheduler:
    """Counters and choices of one worker. The counters of processes that ended are kept."""

    def __init__(self, machine: str, processes: int) -> None:
        self.volumes: dict[str, ManagedVolume] = {}
        self.limits = Limits()
        self.unstarted = [0] * processes
        self.inspected = 0
        """Objects that are being looked for among files of others; meanwhile they count as work in store."""
        self.held_off_until = 0.0
        self.standings: dict[str, Standing] = {}
        self.away: dict[str, dict[str, str]] = {}
        self.rests: dict[str, float] = {}
        self.placed = self.written = self.settled = 0  # objects since the start
        self._bandwidth = BandwidthSharing(processes)
        self._spare: dict[tuple[str, str], int] = {}
        self._load = Load(0.0, {})
        self._limit = ""
        self._machine = machine
        self._ticks: list[Tick | None] = [None] * processes
        self._dead_ticks: list[Tick] = []
        self._deaths = 0
        self._speed = [0.0] * processes
        self._use = [dict[str, Use]()] * processes
        self._compared: list[tuple[float, Tick | None]] = [(0.0, None)] * processes
        self._tick_at = [0.0] * processes
        self._awake_at = 0.0
        self._batch = float(MAX_OBJECTS)  # until batches came: many small directories make smaller ones

    def tick(self, process: int, tick: Tick, now: float) -> None:
        """Note a process's counters."""
        self._measure(process, tick, now)
        self._ticks[process] = tick
        self._tick_at[process] = now
        self.unstarted[process] = tick.unstarted
        for name, queued in tick.queued.items():
            self.volumes[name].queued[process] = queued
        for name, written in tick.written.items():
            self.volumes[name].wrote(process, written, now)

    def _measure(self, process: int, tick: Tick, now: float) -> None:
        """Measure speed over at least `SPEED_SECONDS`: after a delay several ticks arrive together."""
        since, before = self._compared[process]
        if before is None or now - since >= SPEED_SECONDS:
            if before is not None:
                self._speed[process] = (tick.objects - before.objects) / (now - since)
                self._use[process] = _use_between(before.endpoints, tick.endpoints, now - since)
            self._compared[process] = now, tick

    def hung_volumes(self, seconds: float, now: float, *, stopping: bool) -> list[ManagedVolume]:
        """Return the volumes that have not answered for so long, if there are others that do; sooner when stopping."""
        if stopping:
            seconds = min(seconds, STOPPING_SECONDS)
        elif not any(
            each.is_open and each.silent_seconds(now) < SILENT_SECONDS for each in self.volumes.values()
        ):
            return []
        return [volume for volume in self.working() if volume.silent_seconds(now) > seconds]

    def frozen_processes(self, now: float) -> list[int]:
        """Return the processes that have sent nothing for two minutes, although no disk holds them up. To be called every few seconds.

        After a time in which this process itself did not run, as when the machine slept, none is returned.
        """
        slept, self._awake_at = now - self._awake_at > ASLEEP_SECONDS, now
        kept = any(volume.silent_seconds(now) > SILENT_SECONDS for volume in self.working())
        if slept or kept:
            self._tick_at = [now] * len(self._tick_at)
        return [process for process, at in enumerate(self._tick_at) if now - at > FROZEN_SECONDS]

    def working(self) -> list[ManagedVolume]:
        """Return the volumes that are not sick."""
        return [volume for volume in self.volumes.values() if not volume.is_sick]

    def refused(self, ask: DiskRequest) -> VolumeError | None:
        """Return why a volume that is sick is not asked something; what brings it back is."""
        volume = self.volumes[ask.volume]
        return volume.error if volume.is_sick and ask.verb not in ASKED_OF_SICK else None

    def hold_off(self, until: float) -> None:
        """Ask for no work until then (monotonic seconds), or until there is more room: the last objects fitted nowhere."""
        self.held_off_until = until
        self._spare = self._spare_now()

    def look_again(self) -> None:
        """Ask for work again if there is more room than when something fitted nowhere."""
        now = self._spare_now()
        if any(spare > self._spare.get(kind, 0) for kind, spare in now.items()):
            self.held_off_until = 0.0

    def _spare_now(self) -> dict[tuple[str, str], int]:
        spare: dict[tuple[str, str], int] = {}
        for name, volume in self.volumes.items():
            if volume.is_open:
                spare[name, "bytes"] = volume.room.spare_bytes
                spare[name, "inodes"] = volume.room.spare_objects or 0
        return spare

    def note_batch(self, objects: int) -> None:
        """Note how many objects a batch has: the mean decides how many batches to ask for."""
        self._batch += (objects - self._batch) / 8

    def forget(self, process: int, now: float) -> None:
        """Note that a process was replaced. The counters of the old one are kept, with an estimate of what it used after its last tick."""
        self._deaths += 1
        last = self._ticks[process]
        if last is not None:
            last.waiting_for, last.still_seconds = "", 0.0
            last.endpoints = self._used(process, last, min(now - self._tick_at[process], UNTOLD_SECONDS))
            last.wasted = summed_counts(
                [last.wasted, {Reason.INTERRUPTED: last.arriving} if last.arriving else {}]
            )
            self._dead_ticks.append(last)
        self._ticks[process], self._compared[process] = None, (now, None)
        self._tick_at[process] = now
        self.unstarted[process] = 0
        for volume in self.volumes.values():
            volume.queued.pop(process, None)

    def _used(self, process: int, last: Tick, seconds: float) -> dict[str, EndpointStatus]:
        """Estimate what a process that died had used so many seconds after its last tick: by its own speed, else by that of its predecessor."""
        found: dict[str, EndpointStatus] = {}
        for name in last.endpoints.keys() | self._use[process].keys():
            use = self._use[process].get(name, Use())
            told = last.endpoints.get(name) or EndpointStatus(0, 0.0, 0, 0, 0.0, use.is_origin)
            found[name] = msgspec.structs.replace(
                told,
                in_flight=0,
                level=0.0,
                requests=told.requests + round(use.requests * seconds),
                received=told.received + round(use.size * seconds),
            )
        return found

    def least_busy(self) -> int:
        """Return the process with the fewest objects waiting."""
        return min(range(len(self.unstarted)), key=self.unstarted.__getitem__)

    def least_busy_lister(self, busy: Sequence[int]) -> int:
        """Return the process with the fewest scans, given the process of each scan in hand."""
        return min(range(len(self.unstarted)), key=busy.count)

    def share_out(self, batch: Batch, preferred: str, now: float) -> list[tuple[ManagedVolume | None, Batch]]:
        """Choose volumes for objects and promise them the room: the preferred one if it can take all, else the best.

        None stands for objects that fit nowhere now.
        """
        volume = self.volumes.get(preferred)
        objects, size = batch.objects, batch.expected_bytes
        answers = volume is not None and volume.silent_seconds(now) < SILENT_SECONDS
        if volume is not None and volume.is_open and answers and volume.room.fits(objects, size):
            volume.room.promise(objects, size)
            return [(volume, batch)]
        open_ones = [volume for volume in self.volumes.values() if volume.is_open]
        answering = [volume for volume in open_ones if volume.silent_seconds(now) < SILENT_SECONDS]
        rooms = [volume.room for volume in answering or open_ones]
        if (room := choose(rooms, objects, size)) is not None:
            room.promise(objects, size)
            return [(self.volumes[room.volume], batch)]
        sizes = [UNKNOWN_BYTES if size < 0 else size for part in batch.parts for size in part.sizes]
        return [
            (self.volumes.get(name or ""), piece) for name, piece in _pieces(split(rooms, sizes), batch.parts)
        ]

    def largest_bytes(self) -> int:
        """Return how many bytes the largest volume has in all; 0 while that is not known of each."""
        sizes = [volume.status.total_bytes for volume in self.volumes.values()]
        return max(sizes, default=0) if all(sizes) else 0

    def shared_anew(self, now: float) -> list[Tune]:
        """Share out the cap on bandwidth by need; return the shares of all processes if they have changed."""
        cap = self.limits.bytes_per_second
        if cap is None:
            return []
        received = [sum(use.size for use in used.values()) for used in self._use]
        is_capped = [tick is not None and tick.is_capped for tick in self._ticks]
        has_changed = self._bandwidth.look(cap, received, is_capped, now)
        return [self.tune(process) for process in range(len(self._ticks))] if has_changed else []

    def tune(self, process: int) -> Tune:
        """Return a process's share of the limits."""
        parts = len(self.unstarted)
        limits, part = self.limits, self._bandwidth.parts[process]
        return Tune(
            Limits(
                None if limits.concurrency is None else max(1, limits.concurrency // parts),
                None if limits.requests_per_second is None else limits.requests_per_second / parts,
                None if limits.bytes_per_second is None else limits.bytes_per_second * part,
                limits.paused,
            )
        )

    def pulse(self, parameters: AgentParameters, holds: list[int], batch: int, now: float) -> Pulse:
        """Return a pulse; `batch` is how many batches are in hand."""
        ticks = [tick for tick in self._ticks if tick is not None] + self._dead_ticks
        load = Load(
            now,
            _endpoints_of_all(ticks),
            [tick.cpu_seconds if tick else 0.0 for tick in self._ticks],
        )
        slowest = max(ticks, key=lambda tick: tick.still_seconds, default=None)
        waiting_for = slowest.waiting_for if slowest else ""
        still = slowest.still_seconds if slowest else 0.0
        most_silent = max(self.working(), key=lambda volume: volume.silent_seconds(now), default=None)
        if most_silent is not None and most_silent.silent_seconds(now) > TOLD_SECONDS:
            waiting_for, still = f"volume {most_silent.path}", most_silent.silent_seconds(now)
        return Pulse(
            machine=self._machine,
            incarnation=parameters.incarnation,
            version=parameters.version,
            processes=len(self.unstarted),
            objects=sum(tick.objects for tick in ticks),
            bytes=sum(tick.bytes for tick in ticks),
            window=self._window(batch, now),
            scan_window=SCANS_PER_PROCESS * len(self.unstarted),
            holds=holds,
            retries=summed_counts(tick.retries for tick in ticks),
            failures=summed_counts(tick.failures for tick in ticks),
            wasted=summed_counts(tick.wasted for tick in ticks),
            endpoints=self._judged(load.endpoints, now),
            volumes=[volume.status for volume in self.volumes.values()],
            job_digest=parameters.job_digest,
            limited_by=self._limited_by(load) if batch or self._is_at_rate else "",
            waiting_for=waiting_for,
            still_seconds=still,
            placed=self.placed,
            written=self.written,
            settled=self.settled,
            deaths=self._deaths,
            arriving=sum(tick.arriving + tick.partial for tick in self._ticks if tick is not None),
        )

    def _judged(self, endpoints: Mapping[str, EndpointStatus], now: float) -> dict[str, EndpointStatus]:
        """Add the machine's judgement of each endpoint to its counters."""
        found = dict(endpoints)
        for name, standing in self.standings.items():
            if standing.state is not State.UP:
                status = found.get(name, EndpointStatus(0, 0.0, 0, 0, 0.0))
                why = ": ".join(filter(None, (standing.reason, standing.detail)))
                found[name] = msgspec.structs.replace(
                    status,
                    state=standing.state,
                    state_seconds=now - standing.since,
                    detail=why,
                    most_seconds=standing.most_seconds,
                )
        for name in self.away.keys() | self.rests.keys():
            status = found.get(name, EndpointStatus(0, 0.0, 0, 0, 0.0))
            away, rest = self.away.get(name, {}), self.rests.get(name, 0.0)
            found[name] = msgspec.structs.replace(status, away=away, rest_seconds=rest)
        return found

    @property
    def _is_at_rate(self) -> bool:
        return any(tick is not None and tick.is_at_rate for tick in self._ticks)

    def _limited_by(self, load: Load) -> str:
        """Name the bottleneck since at least half a second ago, so that single answers do not decide."""
        if load.at - self._load.at >= COMPARE_SECONDS:
            queued = [waiting for volume in self.volumes.values() for waiting in volume.queued.values()]
            self._limit = limited_by(
                self._load,
                load,
                self.limits,
                queued,
                sum(self.unstarted),
                is_capped=any(tick is not None and tick.is_capped for tick in self._ticks),
                is_at_rate=self._is_at_rate,
            )
            self._load = load
        return self._limit

    def _window(self, batch: int, now: float) -> int:
        if now < self.held_off_until or not any(volume.is_open for volume in self.volumes.values()):
            return 0
        wanted = sum(min(STOCK_MAX, max(STOCK_MIN, int(speed * STOCK_SECONDS))) for speed in self._speed)
        missing = max(0, wanted - sum(self.unstarted) - self.inspected)
        # A few that are small, such as what other machines handed back, do not say that the next ones are.
        mean = max(1.0, self._batch, sum(self.unstarted) / max(1, batch))
        usual, more = -(-missing // MAX_OBJECTS), math.ceil(missing / mean)
        return min(batch + max(usual, min(more, BATCHES_MOST - batch)), max(batch, HELD_MOST))


def _pieces(
    shares: Sequence[tuple[str | None, int]], parts: Sequence[Part]
) -> Iterator[tuple[str | None, Batch]]:
    """Cut parts into consecutive pieces of so many objects each."""
    for volume, count in shares:
        piece, parts = batching.split(parts, count)
        yield volume, batch_of(piece)


def _endpoints_of_all(ticks: Sequence[Tick]) -> dict[str, EndpointStatus]:
    total: dict[str, EndpointStatus] = {}
    for tick in ticks:
        for name, endpoint in tick.endpoints.items():
            total.setdefault(name, EndpointStatus(0, 0.0, 0, 0, 0.0, endpoint.is_origin)).add(endpoint)
    return total


def _use_between(
    before: Mapping[str, EndpointStatus], now: Mapping[str, EndpointStatus], seconds: float
) -> dict[str, Use]:
    used: dict[str, Use] = {}
    for name, status in now.items():
        requests, size = status.requests, status.received
        if name in before:
            requests, size = requests - before[name].requests, max(0, size - before[name].received)
        used[name] = Use(requests / seconds, size / seconds, status.is_origin)
    return used


def limited_by(
    before: Load,
    now: Load,
    limits: Limits,
    queued: Sequence[int],
    unstarted: int,
    *,
    is_capped: bool = False,
    is_at_rate: bool = False,
) -> str:
    """Name what holds a worker back since the pulse before, as `Pulse.limited_by`; `queued` are bytes waiting for each volume, per process.

    A process begins no more because of the cap on bandwidth (`is_capped`), or on requests (`is_at_rate`).
    """
    seconds = max(now.at - before.at, 0.001)
    for name, endpoint in now.endpoints.items():
        earlier = before.endpoints.get(name)
        if endpoint.throttled > (earlier.throttled if earlier is not None else 0):
            return _word(name, endpoint)
    if any(waiting > QUEUED_BYTES for waiting in queued):
        return "disk"
    for limit, reached in (
        ("bandwidth", is_capped or near(limits.bytes_per_second, (now.received - before.received) / seconds)),
        ("rate", is_at_rate),
        ("cpu", max(map(sub, now.cpu, before.cpu), default=0.0) > BUSY * seconds),
        ("work", unstarted == 0),
    ):
        if reached:
            return limit
    return next(
        (
            _word(name, endpoint)
            for name, endpoint in now.endpoints.items()
            if endpoint.level and endpoint.in_flight >= NEAR * endpoint.level
        ),
        "",
    )


def _word(name: str, endpoint: EndpointStatus) -> str:
    return "source" if endpoint.is_origin else name


class Deaths:
    """Deaths of processes. A few are the fault of an object; more than `most` in `DEATHS_SECONDS` are a bug."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._at: list[float] = []

    def add(self, now: float) -> None:
        """Note one. Raises RuntimeError where there are too many."""
        self._at = [at for at in self._at if now - at < DEATHS_SECONDS]
        self._at.append(now)
        if len(self._at) > self._most:
            raise RuntimeError("worker processes end as soon as they are made")
