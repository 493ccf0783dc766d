"""The agent: takes work, has its processes do it, sends receipts when it is durable, removes what does not count. Pure.

Events are method calls; what follows from them is taken with `actions`. It has no clock, no thread and no loop: each event brings
its time (monotonic seconds), and `wake_at` says when it wants to be woken. What costs per object happens in the processes; here
everything costs per batch.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import count

from bucketpull.agent.actions import (
    Action,
    Calls,
    DiskRoutine,
    KillProcess,
    OpenVolume,
    StartProcess,
    TellCoordinator,
    TellProcess,
)
from bucketpull.agent.active_batch import ActiveBatch
from bucketpull.agent.clearing import Clearing, Unconfirmed, forget
from bucketpull.agent.intake import Intake
from bucketpull.agent.managed_volume import ManagedVolume
from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.scheduler import Deaths, Scheduler
from bucketpull.agent.tasks import Tasks
from bucketpull.domain.endpoint_judge import EndpointJudge
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.machine_pace import MachinePace
from bucketpull.domain.messages import (
    BatchReceipt,
    Begun,
    Control,
    Fatal,
    FromProcess,
    FromWorker,
    Handback,
    Mount,
    Outcome,
    Pulse,
    Release,
    Removed,
    ScanAssignment,
    ScanReceipt,
    Stop,
    Tick,
    ToProcess,
    Unmount,
    Work,
)
from bucketpull.domain.model import WorkKind
from bucketpull.domain.status import VolumeState, VolumeStatus

PULSE_SECONDS = 0.5
ANSWER_SECONDS = 0.25
"""How long a pulse waits for the measurements of the disks."""


class Agent:
    """One machine's part of a job.

    `dismissed`: the coordinator has ended the job. `refusal` is set when the source refuses this machine.
    """

    def __init__(self, parameters: AgentParameters, processes: int, now: float) -> None:
        self.dismissed = False
        self.refusal: Fatal | None = None
        self.stopping = False
        self.scheduler = Scheduler(parameters.machine, processes)
        self._parameters = parameters
        self._now = self._beat_at = now
        self._judge = EndpointJudge(parameters.endpoints, processes)
        self._machine_pace = MachinePace(processes)
        self._pulse_by: float | None = None
        self._processes = range(processes)
        self._batches: dict[int, ActiveBatch] = {}
        self._scans: dict[int, tuple[int, Work]] = {}
        self._parts = count(1)
        self._deaths = Deaths(parameters.deaths_per_process * processes)
        self._unconfirmed = Unconfirmed()
        self._told_clears = 0
        self._clearing = Clearing(parameters.journal)
        self._actions: list[Action] = []
        self._calls = Calls(self._actions.append, self.scheduler.refused)
        self._tasks = Tasks(
            parameters,
            self.scheduler,
            self._calls,
            self._clock,
            self._tell,
            self._close_if_done,
            self._unconfirmed.doubt,
        )
        self._intake = Intake(parameters, self.scheduler, self._tasks, self._close_if_done)

    def actions(self) -> list[Action]:
        """Take what follows from the events so far, in order."""
        found = self._actions.copy()
        self._actions.clear()
        return found

    def wake_at(self) -> float:
        """Return when `wake` is due."""
        beat = self._beat_at if self._pulse_by is None else self._pulse_by
        return min(beat, self._tasks.due_at())

    @property
    def is_empty(self) -> bool:
        """Whether it was told to stop, and holds no work any more."""
        return self.stopping and not self._batches and not self._scans

    @property
    def is_quiet(self) -> bool:
        """Whether all files on its volumes are confirmed to count."""
        return not self._unconfirmed.number and self._clearing.is_empty

    # --- events

    def volume_opened(self, status: VolumeStatus, known: Mapping[int, Sequence[Begun]], now: float) -> None:
        """Use a volume; `known` are the batches that it has noted, with their ledger blocks."""
        self._now = now
        volume = self.scheduler.volumes[status.id] = ManagedVolume(
            status, known, self._parameters.machine, now, self
        )
        volume.room.packs = self._parameters.packs
        self._tasks.use(volume)
        self.volume_returned(volume)

    def received(self, messages: Sequence[Work | Control], now: float) -> None:
        """Take work or orders from the coordinator."""
        self._now = now
        for message in messages:
            if isinstance(message, Control):
                self._apply(message)
            elif message.id not in self.holds():
                self._take(message)
        self._begin()

    def process_sent(self, process: int, message: FromProcess, now: float) -> None:
        """Take a message of a process."""
        self._now = now
        if isinstance(message, Outcome):
            self._tasks.take(message)
        elif isinstance(message, Tick):
            self.scheduler.tick(process, message, now)
            self._judge_endpoints(process, message)
            for each, share in enumerate(self.scheduler.shared_anew(now)):
                self._tell(each, share)
        elif isinstance(message, ScanReceipt):
            if self._scans.pop(message.work, None) is not None:
                message.machine = self._parameters.machine
                self._tell_coordinator(message)
        elif isinstance(message, Fatal):
            message.machine = self._parameters.machine
            self.refusal = message
            self._tell_coordinator(message)
        else:
            self._process_died(process)

    def disk_answered(self, call: int, answer: object, now: float) -> None:
        """Take the result of a call of a volume, or the `VolumeError` that it raised."""
        self._now = now
        self._calls.answer(call, answer)

    def delivered(self, message: FromWorker, now: float) -> None:
        """Note that a message is safe with the transport."""
        self._now = now
        if isinstance(message, BatchReceipt):
            self._unconfirmed.receipt_sent(message.work, now, is_last=message.remainder is None)
            batch = self._batches.get(message.work)
            if batch is not None:
                self._close_if_done(batch)

    def wake(self, now: float) -> None:
        """Do what is due at this time."""
        self._now = now
        self._tasks.settle_if_due()
        if self._pulse_by is None and now >= self._beat_at:
            self._pulse_by = now + ANSWER_SECONDS
            self._actions += map(KillProcess, self.scheduler.frozen_processes(now))
            for volume in self.scheduler.volumes.values():
                if not volume.is_measuring:
                    self._calls.run(self._look(volume))
        self._beat_if_measured()

    def stop(self, now: float) -> None:
        """Finish or hand back all work in hand; `is_empty` tells when that is done."""
        self._now = now
        if self.stopping:
            return
        self.stopping = self._tasks.is_closed = True
        for process in self._processes:
            self._tell(process, Stop(self._parameters.stop_seconds))
        self._hand_back([*self._scans, *self._unconfirmed.waiting])
        self._scans, self._unconfirmed.waiting = {}, {}

    # --- work

    def holds(self) -> set[int]:
        """Return the work in hand, by id."""
        return {*self._batches, *self._scans, *self._unconfirmed.waiting, *self._unconfirmed.reporting}

    def pulse(self) -> Pulse:
        """Return the next pulse."""
        pulse = self.scheduler.pulse(self._parameters, list(self.holds()), len(self._batches), self._now)
        if not self._parameters.scans or self.stopping:
            pulse.scan_window = 0
        if self.stopping:
            pulse.window = 0
        is_idle = not self._batches and not self._unconfirmed.waiting
        pulse.begun = self._unconfirmed.questions(self.scheduler.working(), self._now, is_idle=is_idle)
        pulse.clears = self._told_clears = max(self._unconfirmed.number, int(not self.is_quiet))
        pulse.removes = self._clearing.is_busy
        return pulse

    def _take(self, work: Work) -> None:
        if self.stopping:
            self._hand_back([work.id])
        elif work.kind is WorkKind.SCAN:
            self._assign_scan(work)
        else:
            self._unconfirmed.arrived(work, self.scheduler.volumes.values())

    def _begin(self) -> None:
        if self._clearing.is_busy:
            return
        for work in self._unconfirmed.take_waiting():
            batch = self._batches[work.id] = ActiveBatch(work, self._parameters.machine, self._now)
            self.scheduler.note_batch(batch.whole.objects)
            self._calls.run(self._intake.accept(batch))

    def _assign_scan(self, work: Work) -> None:
        process = self.scheduler.least_busy_lister([process for process, _ in self._scans.values()])
        self._scans[work.id] = (process, work)
        self._tell(process, ScanAssignment(work.id, work.body))

    # --- the source, and receipts

    def _judge_endpoints(self, process: int, tick: Tick) -> None:
        judge = self._judge
        for each, judged in judge.look(process, tick.symptoms, self._now):
            self._tell(each, judged)
        for each, paces in self._machine_pace.look(process, tick.symptoms, self._now):
            self._tell(each, paces)
        scheduler = self.scheduler
        scheduler.standings, scheduler.away = judge.standings(), judge.away()
        scheduler.rests = judge.rests(self._now)
        if judge.refusal is not None and self.refusal is None:
            self.refusal = Fatal(self._parameters.machine, *judge.refusal)
            self._tell_coordinator(self.refusal)

    def _close_if_done(self, batch: ActiveBatch) -> None:
        """Send the receipt of a finished batch, or of the settled part of one that takes long. Receipts of one batch go one after the other, so they arrive in order."""
        work = batch.work.id
        if batch.unsettled or work not in self._batches or work in self._unconfirmed.reporting:
            return
        if not batch.tasks:
            del self._batches[work]
        elif not batch.is_due(self._now):
            return
        self._unconfirmed.receipt_made(work)
        receipt = batch.receipt(self._now, self._next_part())
        self._tell_coordinator(receipt)
        self._clear_if_idle()

    def _next_part(self) -> int:
        """Return a number for the rest of a batch that no other machine, and no earlier start of this one, has used."""
        told = f"{self._parameters.machine} {self._parameters.incarnation} {next(self._parts)}"
        return int.from_bytes(blake2b(told.encode(), digest_size=7).digest())

    # --- processes and disks that fail

    def _process_died(self, process: int) -> None:
        """Replace a process that died, and give its work again; a batch whose processes die repeatedly is split.

        While the agent stops, the work is handed back instead.
        """
        self._deaths.add(self._now)
        self.scheduler.forget(process, self._now)
        if not self.stopping:
            self._actions.append(StartProcess(process))
        self._tell(process, self.scheduler.tune(process))
        judged = self._judge.process_started(process, self._now)
        if judged.states or judged.rests:
            self._tell(process, judged)
        for volume in self.scheduler.working():
            self._tell(process, self._mount(volume))
        for work in [work for owner, work in self._scans.values() if owner == process]:
            self._assign_scan(work)
        self._tasks.reassign_tasks_of(process)

    def volume_returned(self, volume: ManagedVolume) -> None:
        """Have all processes use a volume that is new, or was reopened."""
        self._unconfirmed.add_volume(volume)
        self._tell_all(self._mount(volume))

    def volume_to_close(self, volume: ManagedVolume) -> None:
        """Have all processes close a sick volume."""
        self._tell_all(Unmount(volume.id))

    def volume_failed(self, volume: ManagedVolume) -> None:
        """Go on without a disk: begin nothing more there, and stop waiting for requests and settlings."""
        self._tell_all(Unmount(volume.id))
        self._calls.give_up(volume.id, volume.error)
        self._tasks.settle_if_due()

    def _give_up(self, volume: ManagedVolume) -> None:
        """Go on without a disk that does not answer, and replace the processes that wait for it."""
        volume.stop(
            VolumeState.SICK, f"has not answered for {volume.silent_seconds(self._now):.0f} s", self._now
        )
        self._actions += map(KillProcess, sorted(self._tasks.processes_on(volume)))

    # --- orders of the coordinator, and pulses

    def _apply(self, control: Control) -> None:
        if control.limits is not None and control.limits != self.scheduler.limits:
            self.scheduler.limits = control.limits
            for process in self._processes:
                self._tell(process, self.scheduler.tune(process))
        if control.down is not None:
            for each, judged in self._judge.hear(control.down, self._now):
                self._tell(each, judged)
            self.scheduler.standings = self._judge.standings()
        for path in control.add_volumes:
            self._add_volume(path)
        for path in control.drain_volumes:
            for volume in self.scheduler.volumes.values():
                if path in {volume.path, volume.id} and volume.is_open:
                    volume.stop(VolumeState.DRAINING, "takes no new objects, as asked", self._now)
        self._clearing.take(control, self.scheduler.volumes)
        self._calls.run(self._forget(control.booked))
        self._clear_if_idle()
        if control.release and not self.stopping:
            for process in self._processes:
                self._tell(process, Release())
        if control.stop:
            self.dismissed = True
            self.stop(self._now)

    def _forget(self, booked: Sequence[int]) -> DiskRoutine:
        """Forget batches that are booked, but none in hand: its last receipt will be confirmed too. The machine is quiet when their notes are gone."""
        works = self._unconfirmed.receipts_booked(set(booked) - self.holds())
        for volume in self.scheduler.working():
            try:
                yield from forget(volume, self._parameters.journal, works)
            except VolumeError as error:
                volume.trouble(error, self._now)
        self._unconfirmed.forget(works - self.holds())
        self._tell_if_quiet()

    def _clear_if_idle(self) -> None:
        if not self._batches and not self._clearing.is_busy and self._clearing.is_due:
            self._calls.run(self._clear())

    def _clear(self) -> DiskRoutine:
        works, removed = yield from self._clearing.run(self.scheduler.working(), self._clock)
        self._unconfirmed.forget(works)
        if removed:
            self._tell_coordinator(Removed(self._parameters.machine, removed))
        self._begin()
        self._clear_if_idle()
        self._tell_if_quiet()

    def _tell_if_quiet(self) -> None:
        """Send a pulse at once when all files are confirmed: the end of the job may wait for that."""
        if self._told_clears and self.is_quiet and not self.holds():
            self._tell_coordinator(self.pulse())

    def _add_volume(self, path: str) -> None:
        """Use another volume, or one again that was drained."""
        known = [volume for volume in self.scheduler.volumes.values() if volume.path == path]
        if known:
            known[0].undrain()
        else:
            self._actions.append(OpenVolume(path))

    def _look(self, volume: ManagedVolume) -> DiskRoutine:
        yield from volume.look(self._clock)
        self._beat_if_measured()

    def _beat_if_measured(self) -> None:
        """Send a pulse when the disks have been measured, or a moment later without."""
        if self._pulse_by is None:
            return
        if self._now < self._pulse_by and any(volume.is_measuring for volume in self.scheduler.working()):
            return
        self._pulse_by, self._beat_at = None, self._now + PULSE_SECONDS
        self.scheduler.look_again()
        for volume in self.scheduler.hung_volumes(
            self._parameters.hang_seconds, self._now, stopping=self.stopping
        ):
            self._give_up(volume)
        for batch in list(self._batches.values()):
            self._close_if_done(batch)
        self._tell_coordinator(self.pulse())
        self._begin()

    def _hand_back(self, works: list[int]) -> None:
        if works:
            self._tell_coordinator(Handback(works, self._parameters.machine))

    def _mount(self, volume: ManagedVolume) -> Mount:
        parameters = self._parameters
        return Mount(volume.id, volume.path, parameters.durability, parameters.verify)

    def _tell(self, process: int, message: ToProcess) -> None:
        self._actions.append(TellProcess(process, message))

    def _tell_all(self, message: Mount | Unmount) -> None:
        for process in () if self.stopping else self._processes:
            self._tell(process, message)

    def _tell_coordinator(self, message: FromWorker) -> None:
        self._actions.append(TellCoordinator(message))

    def _clock(self) -> float:
        return self._now
