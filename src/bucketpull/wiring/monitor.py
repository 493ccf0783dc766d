"""Makes snapshots of what the coordinator knows, twice a second, and gives them to the reporters."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.domain.budget import NO_PRICES, BudgetState, Prices
from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.eta import Forecast
from bucketpull.domain.messages import Pulse
from bucketpull.domain.progress import ENDED, RUNNING, STANDING, JobState, Note, Snapshot, StageProgress
from bucketpull.domain.rates import SpeedMeter, StageMeter
from bucketpull.domain.retry import BOUNDS, Scope
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.report.events import (
    EndpointEvents,
    MachineEvents,
    ProcessEvents,
    RoomEvents,
    StallEvents,
    Told,
    VolumeEvents,
    WaitEvents,
)
from bucketpull.wiring.job_status import place

if TYPE_CHECKING:
    from bucketpull.ports import Clock, Reporter

NOTES_KEPT = 50
INTERVAL_SECONDS = 0.5
EARLIER_WORK_SECONDS = 5.0  # in which the broker hands over what machines did before this session
_OWN = {reason for reason, bound in BOUNDS.items() if bound.scope in {Scope.VOLUME, Scope.MACHINE}}
_WORKERS = "workers"  # what an invitation is about, and the first machine that joins after it
INVITE_SECONDS = 5.0  # machines that were there before a restart are heard within that


class Monitor:
    """Watches one job; `latest` is the snapshot that the dashboard serves.

    `known` are the volumes of the job as they are shown while no worker has them. `invitation` says, once, how machines join, where none has for a while; "" says nothing. `unheard` returns for how many seconds
    the broker has not been reached: what the coordinator then believes of its machines is old. `refusals_end` says, once, that no
    message has been refused for a while. `has_timetable` says whether the bandwidth will be another at another time of day.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        clock: Clock,
        job: str,
        source: str,
        usage_bytes: int | None,
        reporters: list[Reporter],
        endpoints: Sequence[EndpointSpec] = (),
        prices: Prices = NO_PRICES,
        known: Sequence[VolumeStatus] = (),
    ) -> None:
        self._coordinator = coordinator
        self._clock = clock
        self._known = known
        self._job, self._source, self._prices = job, source, prices
        self._started, self._began_at = clock.now(), clock.monotonic()
        self._meter = SpeedMeter()
        self._stage_meter = StageMeter()
        self._before: dict[str, int] = {}
        self._passed: dict[tuple[str, str], tuple[int, int, int, int]] = {}  # also by those who have left
        self._forecast = Forecast(usage_bytes)
        self._reporters = reporters
        self._notes: list[Note] = []
        self._endpoints = EndpointEvents(endpoints)
        sites = dict.fromkeys(site for spec in endpoints for site in spec.sites)
        self._stall_events = StallEvents(", ".join(sites) or "the listed URLs")
        self._machine_events = MachineEvents(coordinator.fleet.silence_seconds)
        self._room_events, self._volume_events = RoomEvents(), VolumeEvents()
        self._process_events, self._wait_events = ProcessEvents(), WaitEvents()
        self._begun = self._waits_for_tomorrow = False
        self.invitation, self._is_invited = "", False
        self.unheard: Callable[[], float] = lambda: 0.0
        self.refusals_end: Callable[[], str] = lambda: ""
        self.has_timetable: Callable[[], bool] = lambda: False
        self.latest = self.snapshot()

    async def run(self) -> None:
        """Show the job until cancelled."""
        while True:
            self.latest = self.snapshot()
            self._watch_volumes()
            self._watch_source()
            self._tell(self._endpoints.look(self.latest.machines, self._clock.monotonic()))
            self._watch_machines()
            self._watch_budget()
            ended = self.refusals_end()
            if ended:
                self.note("info", "message.quiet", ended, "messages")
            for reporter in self._reporters:
                reporter.show(self.latest)
            await asyncio.sleep(INTERVAL_SECONDS)

    def close(self, last: Snapshot) -> None:
        """Show the end."""
        self.latest = last
        self._watch_volumes(is_end=True)
        for reporter in self._reporters:
            reporter.close(self.latest)

    def note(self, level: str, event: str, text: str, about: str = "") -> None:
        """Tell one event to every reporter, and keep it for the dashboard. `about`: see `Note`."""
        self._notes = [*self._notes[1 - NOTES_KEPT :], Note(self._clock.now(), level, event, text, about)]
        for reporter in self._reporters:
            reporter.note(level, event, text)

    def shown(self) -> Snapshot:
        """Return the latest snapshot, with what an operator has just changed."""
        coordinator = self._coordinator
        return msgspec.structs.replace(
            self.latest, limits=coordinator.limits, volumes=self._volumes(), notes=self._notes
        )

    def snapshot(self) -> Snapshot:
        """Return where the job stands."""
        coordinator = self._coordinator
        counters, outstanding = coordinator.counters, coordinator.outstanding
        now = self._clock.monotonic()
        listing_done = outstanding.scans == 0 and coordinator.state != JobState.STARTING
        has_rate = coordinator.limits.requests_per_second is not None
        pulses = coordinator.fleet.pulses(now, all_listed=listing_done, has_rate=has_rate)
        self._begin()
        # What is in flight when a job is paused still arrives: that is work, and so is what passed until the end.
        moving = coordinator.state in RUNNING or any(
            endpoint.in_flight for pulse in pulses for endpoint in pulse.endpoints.values()
        )
        self._forecast.cap = None if self.has_timetable() else coordinator.limits.bytes_per_second
        is_earlier = self._is_earlier_work(now)
        self._sample(now, pulses, (moving and not is_earlier) or coordinator.state in ENDED)
        waits = max(0.0, outstanding.again_at - self._clock.now())
        unheard = 0.0 if coordinator.state in ENDED else self.unheard()
        return Snapshot(
            job=self._job,
            source=self._source,
            state=JobState.NO_BROKER if unheard else coordinator.state,
            at=self._clock.now(),
            started=self._started,
            seconds=now - self._began_at,
            listing_done=listing_done,
            counters=counters,
            outstanding=outstanding,
            rates=self._meter.rates(moving),
            estimate=self._forecast.estimate(counters, outstanding, listing_done, waits),
            machines=pulses,
            volumes=self._volumes(),
            retries=counters.retries,
            failures=counters.failures,
            limits=coordinator.limits,
            limited_by="" if unheard else _limited_by(pulses),
            notes=self._notes,
            stages=self._stages(now, pulses, is_earlier),
            spent=coordinator.budget.spent.copy(),
            prices=self._prices,
            unheard_seconds=unheard,
        )

    def _sample(self, now: float, pulses: Sequence[Pulse], active: bool) -> None:
        """Note what has been fetched until now, bytes as they arrive; time that is not `active` counts for no rate."""
        counters = self._coordinator.counters
        fetched, fetched_bytes = counters.fetched
        objects = max(fetched, sum(pulse.objects for pulse in pulses))
        size = max(fetched_bytes, sum(pulse.bytes for pulse in pulses))
        size += sum(pulse.arriving for pulse in pulses)
        self._meter.sample(now, objects, size, counters.listed, active)
        self._forecast.sample(now, counters, self._coordinator.outstanding, active)

    def _volumes(self) -> list[VolumeStatus]:
        """Return all volumes of the job, by machine and path."""
        had = self._coordinator.fleet.volume_statuses(self._clock.monotonic())
        ids = {volume.id for volume in had}
        others = [self._as_asked(volume) for volume in self._known if volume.id not in ids]
        return sorted(had + others, key=place)

    def _as_asked(self, volume: VolumeStatus) -> VolumeStatus:
        is_lost = self._coordinator.asked.get(volume.id) is VolumeState.LOST
        return msgspec.structs.replace(volume, state=VolumeState.LOST, detail="") if is_lost else volume

    def _is_earlier_work(self, now: float) -> bool:
        """Whether what is booked now was done before the session: machines were at work while there was no coordinator."""
        began = self._coordinator.began
        return self._coordinator.fleet.has_earlier_work and (
            began is None or now - began[0] < EARLIER_WORK_SECONDS
        )

    def _stages(self, now: float, pulses: Sequence[Pulse], is_earlier: bool) -> dict[str, StageProgress]:
        """Count what passed each stage of an object's way since the session began, without what machines did before it, which comes in while `is_earlier`."""
        books, began = self._coordinator.counters, self._coordinator.began
        before = began[1] if began is not None else books
        for pulse in pulses:
            passed = (pulse.placed, pulse.objects, pulse.written, pulse.settled)
            self._passed[pulse.machine, pulse.incarnation] = passed
        placed, fetched, written, settled = map(sum, zip(*self._passed.values(), (0, 0, 0, 0), strict=False))
        counters = {
            "listed": books.listed - before.listed,
            "placed": placed,
            "fetched": fetched,
            "written": written,
            "settled": settled,
            "booked": books.stored - before.stored,
        }
        for stage, next_one in (("settled", "booked"), ("written", "settled")):
            counters[stage] = max(counters[stage], counters[next_one])  # a receipt comes before the pulse
        if is_earlier:
            self._before = counters
        since = {name: number - self._before.get(name, 0) for name, number in counters.items()}
        return self._stage_meter.sample(now, since)

    def _begin(self) -> None:
        """Compute speeds from the beginning of the session, not from the first sample of it."""
        if self._coordinator.began is not None and not self._begun:
            self._begun = True
            at, books, left = self._coordinator.began
            self._meter.sample(at, *books.fetched, books.listed)
            self._forecast.sample(at, books, left)

    def _watch_volumes(self, *, is_end: bool = False) -> None:
        local, had = {self._coordinator.local_machine}, self._coordinator.fleet.volumes
        volumes = [volume for volume in self.latest.volumes if volume.id in had]
        now = self._clock.monotonic()
        self._tell(self._volume_events.look(volumes, local, now, is_end=is_end))

    def _tell(self, events: Iterable[Told]) -> None:
        for level, event, about, text in events:
            self.note(level, event, text, about)

    def _watch_machines(self) -> None:
        """Report which machines joined, left or are silent, and whether there is room; not at the end, when all leave."""
        fleet, state, now = self._coordinator.fleet, self.latest.state, self._clock.monotonic()
        if self.invitation and state == "waiting" and self.latest.seconds > INVITE_SECONDS:
            self.note("info", "job.waiting", self.invitation, _WORKERS)
            self.invitation, self._is_invited = "", True
        if state in ENDED or state == JobState.FINISHING:
            return
        local = self._coordinator.local_machine
        machines = {
            name: len(member.pulse.volumes) for name, member in fleet.members.items() if name != local
        }
        volumes = {volume.state for volume in self.latest.volumes}
        for level, event, about, text in self._machine_events.look(machines, fleet.left, now):
            self.note(level, event, text, _WORKERS if self._is_invited else about)
            self._is_invited = False
        self._tell(self._process_events.look(self.latest.machines))
        self._tell(self._room_events.look(state, volumes, now))
        self._tell(self._wait_events.look(self.latest.waits_for, now))

    def _watch_budget(self) -> None:
        """Report when the job goes on that waits for another day."""
        waits = self._coordinator.budget.verdict is BudgetState.WAIT_FOR_TOMORROW
        if waits and not self._waits_for_tomorrow:
            text = (
                "the budget of this day is used up: the job goes on after midnight, by this machine's clock"
            )
            self.note("info", "budget.spent", text, "budget")
        elif self._waits_for_tomorrow and not waits:
            self.note("info", "budget.renewed", "another day has begun: the job goes on", "budget")
        self._waits_for_tomorrow = waits

    def _watch_source(self) -> None:
        """Report why nothing is received, if nothing is: otherwise a wrong host name or a network that is down would show only as no progress."""
        books, pulses = self.latest.counters, self.latest.machines
        retries: Counter[str] = Counter()
        for pulse in pulses:
            retries.update({name: times for name, times in pulse.retries.items() if name not in _OWN})
        gain = books.pages + books.listed + sum(pulse.bytes + pulse.objects for pulse in pulses)
        arriving = sum(pulse.arriving for pulse in pulses)
        asks = self.latest.state not in STANDING and self.latest.outstanding.again_at <= self.latest.at
        self._tell(self._stall_events.look(self._clock.monotonic(), gain, retries, arriving, asks=asks))


def _limited_by(pulses: Sequence[Pulse]) -> str:
    """Return what holds back the first machine that is held back; "" for nothing."""
    return next((pulse.limited_by for pulse in pulses if pulse.limited_by), "")
