"""The agent: takes work, places it on volumes, has its processes do it, makes it durable, sends receipts. Pure.

Events are method calls; what follows from them is taken with `actions`. It has no clock, no thread and no loop: each event brings
its time (monotonic seconds), and `wake_at` says when it wants to be woken. What costs per object happens in the processes; here
everything costs per batch.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from typing import Any

import msgspec

from bucketpull.agent.actions import Action, Open, Replace, Say, Tell
from bucketpull.agent.active_batch import (
    Held,
    Settling,
    Task,
    as_listed,
    halves,
    parts_of,
    poisoned,
    stored_in,
)
from bucketpull.agent.adoption import look_among_foreign, outcome_of
from bucketpull.agent.already_stored import recognise
from bucketpull.agent.clearing import Clearing, forget
from bucketpull.agent.deaths import Deaths
from bucketpull.agent.disk_calls import Ask, Calls, Routine, Verb
from bucketpull.agent.former_copies import removable
from bucketpull.agent.scheduler import Desk
from bucketpull.agent.unconfirmed import Unbooked, begun_on
from bucketpull.agent.volume import STATE_OF_TROUBLE, Settler, Slot
from bucketpull.domain.errors import MachineShort, VolumeError
from bucketpull.domain.judging import Judge
from bucketpull.domain.model import (
    BatchReceipt,
    Begun,
    Control,
    Extent,
    Fatal,
    Former,
    FromWorker,
    Handback,
    Part,
    Pulse,
    Removed,
    ScanReceipt,
    VolumeState,
    VolumeStatus,
    Work,
    WorkKind,
)
from bucketpull.domain.policy import WorkerPolicy
from bucketpull.domain.record import (
    Assignment,
    Block,
    Died,
    FromProcess,
    Mount,
    Outcome,
    Record,
    Stop,
    Survey,
    Tick,
    ToProcess,
    Unmount,
)

ANSWER_SECONDS = 0.25
"""A pulse waits so long for the disks to be measured."""


class Agent:
    """One machine's part of a job.

    `dismissed` is true when the coordinator said stop: the job has ended. `refusal` is set when the source refused this machine.
    `is_empty` is true when it was told to stop and holds nothing any more.
    """

    def __init__(self, policy: WorkerPolicy, processes: int, now: float) -> None:
        self.dismissed = False
        self.refusal: Fatal | None = None
        self.stopping = False
        self.desk = Desk(policy.machine, processes)
        self._policy = policy
        self._now = self._beat_at = now
        self._judge = Judge(policy.endpoints, processes)
        self._pulse_by: float | None = None
        self._processes = range(processes)
        self._settlers: dict[str, Settler] = {}
        self._held: dict[int, Held] = {}
        self._scans: dict[int, tuple[int, Work]] = {}
        self._tasks: dict[int, Task] = {}
        self._ids = count(1)
        self._parts = count(1)
        self._deaths = Deaths(policy.mourned * processes, policy.mourning_seconds)
        self._unbooked = Unbooked(now)
        self._clearing = Clearing(policy.journal)
        self._actions: list[Action] = []
        self._calls = Calls(self._actions.append)

    def actions(self) -> list[Action]:
        """Take what follows from the events so far, in order."""
        found = self._actions.copy()
        self._actions.clear()
        return found

    def wake_at(self) -> float:
        """Return when `wake` is due."""
        beat = self._beat_at if self._pulse_by is None else self._pulse_by
        return min([beat, *(settler.due_at() for settler in self._settlers.values())])

    @property
    def is_empty(self) -> bool:
        """Whether it is stopping and holds nothing."""
        return self.stopping and not self._held and not self._scans

    @property
    def is_quiet(self) -> bool:
        """Whether every receipt is answered, and what does not count is removed."""
        return self._unbooked.is_quiet and self._clearing.is_empty

    # --- events

    def opened(self, status: VolumeStatus, known: Mapping[int, Sequence[Begun]], now: float) -> None:
        """Use a volume; `known` are the batches that it has noted, with their ledger blocks."""
        self._now = now
        slot = self.desk.slots[status.id] = Slot(status, known, self._policy.machine, now, self)
        slot.room.packs = self._policy.packs
        self._settlers[slot.id] = Settler(
            slot, self._calls, self._clock, self._policy.settle_seconds, self._settled
        )
        self.returned(slot)

    def given(self, messages: Sequence[Work | Control], now: float) -> None:
        """Take work, or a word from the coordinator."""
        self._now = now
        for message in messages:
            if isinstance(message, Control):
                self._obey(message)
            elif message.id not in self.holds():
                self._take(message)
        self._begin()

    def told(self, process: int, message: FromProcess, now: float) -> None:
        """Take what a process says."""
        self._now = now
        if isinstance(message, Outcome):
            self._outcome(message)
        elif isinstance(message, Tick):
            self.desk.tick(process, message, now)
            self._judge_endpoints(process, message)
        elif isinstance(message, ScanReceipt):
            if self._scans.pop(message.work, None) is not None:
                message.machine = self._policy.machine
                self._say(message)
        elif isinstance(message, Fatal):
            message.machine = self._policy.machine
            self.refusal = message
            self._say(message)
        else:
            self._bury(process, message)

    def answered(self, call: int, answer: object, now: float) -> None:
        """Take what a call of a volume returned, or the `VolumeError` that it raised."""
        self._now = now
        if isinstance(answer, VolumeError):
            self._calls.fail(call, answer)
        else:
            self._calls.answer(call, answer)

    def said(self, message: FromWorker, now: float) -> None:
        """Note that the transport has a message for good."""
        self._now = now
        if isinstance(message, BatchReceipt):
            self._unbooked.reported(message.work, now, is_last=message.remainder is None)
            held = self._held.get(message.work)
            if held is not None:
                self._close_if_done(held)

    def wake(self, now: float) -> None:
        """Do what is due by time."""
        self._now = now
        for settler in self._settlers.values():
            settler.settle_if_due()
        if self._pulse_by is None and now >= self._beat_at:
            self._pulse_by = now + ANSWER_SECONDS
            for slot in self.desk.slots.values():
                if not slot.is_measuring:
                    self._calls.run(self._look(slot))
        self._beat_if_measured()

    def stop(self, now: float) -> None:
        """Finish or hand back what is held; `is_empty` tells when that is done."""
        self._now = now
        if self.stopping:
            return
        self.stopping = True
        for process in self._processes:
            self._tell(process, Stop(self._policy.stop_seconds))
        self._hand_back([*self._scans, *self._unbooked.waiting])
        self._scans, self._unbooked.waiting = {}, {}

    # --- work

    def holds(self) -> set[int]:
        """Return the work in hand, by id."""
        return {*self._held, *self._scans, *self._unbooked.waiting, *self._unbooked.reporting}

    def pulse(self) -> Pulse:
        """Return the sign of life."""
        pulse = self.desk.pulse(self._policy, list(self.holds()), len(self._held), self._now)
        if not self._policy.scans or self.stopping:
            pulse.scan_window = 0
        if self.stopping:
            pulse.window = 0
        pulse.begun = self._unbooked.questions(self.desk.working(), self._now)
        pulse.clears = not self._clearing.is_empty
        return pulse

    def _take(self, work: Work) -> None:
        if self.stopping:
            self._hand_back([work.id])
        elif work.kind is WorkKind.SCAN:
            self._survey(work)
        else:
            self._unbooked.take(work)
            self._clearing.came_back(work.id)

    def _begin(self) -> None:
        if self._clearing.is_busy:
            return
        for work in self._unbooked.begin(self._now):
            held = self._held[work.id] = Held(work, self._policy.machine, self._now)
            self.desk.accept(sum(len(part.names) for part in held.parts))
            self._calls.run(self._accept(held))

    def _survey(self, work: Work) -> None:
        process = self.desk.least_busy_lister([process for process, _ in self._scans.values()])
        self._scans[work.id] = (process, work)
        self._tell(process, Survey(work.id, work.body))

    def _accept(self, held: Held) -> Routine:
        work, rest = held.work, held.parts
        begun = begun_on(self.desk.working(), work.id)
        for extents in begun.values():
            self._clearing.claim(work.id, extents, work.part)
        held.unsettled += (
            1  # until all of it is somewhere: what is given up at once must not be reported without the rest
        )
        if work.candidates or work.elsewhere or begun:
            found = yield from recognise(held, begun, self.desk.slots, self._policy.journal)
            rest = found.fresh
            for volume, records in found.whole.items():
                self._take_over(held, records, self.desk.slots[volume])
            for volume, parts in found.changed.items():
                self._place(held, parts, volume, {volume})
        if rest and self._policy.adopts:
            held.unsettled += 1
            rest = yield from self._adopt(held, rest)
            held.unsettled -= 1
        if rest:
            self._place(held, rest, next(iter(begun), ""))
        held.unsettled -= 1
        self._close_if_done(held)

    def _take_over(self, held: Held, records: list[Record], slot: Slot) -> None:
        """Settle files that were written before a crash, as if a process had just written them."""
        task = self._found_task(held, as_listed(held.parts, records), slot)
        self._outcome(outcome_of(task, records, is_ours=True))

    def _found_task(self, held: Held, parts: list[Part], slot: Slot) -> Task:
        """Make a task of objects whose files lie on a volume."""
        former = {extent.volume for extent in held.work.candidates}
        task = Task(next(self._ids), held, parts, former)
        slot.room.promise(task.objects, task.size)
        self._take_up(task, slot)
        return task

    def _adopt(self, held: Held, parts: list[Part]) -> Generator[Ask, Any, list[Part]]:
        """Take over what lies on our volumes in files of others; return the rest."""
        objects = sum(len(part.names) for part in parts)
        self.desk.inspected += objects
        slots = self.desk.working()
        found, rest = yield from look_among_foreign(
            parts, slots, self._policy.adopts, lambda slot: self._note(held, slot)
        )
        self.desk.inspected -= objects
        for slot, there, records, claimed, claims in found:
            slot.known.setdefault(held.work.id, [])
            if records:
                task = self._found_task(held, there, slot)
                self._outcome(outcome_of(task, records, is_ours=False))
            if claimed:
                task = self._found_task(held, claimed, slot)
                task.claims = claims
                self._displace(task) if slot.is_sick or self.stopping else self._assign(task)
        return rest

    def _place(
        self, held: Held, parts: list[Part], preferred: str = "", former: Collection[str] = ()
    ) -> None:
        for slot, piece in self.desk.share_out(parts, preferred, self._now):
            if slot is None:
                held.give_back(piece)
                self.desk.hold_off(self._now + self._policy.full_seconds)
            else:
                task = Task(next(self._ids), held, piece, former)
                self._take_up(task, slot)
                held.unsettled += 1
                self._calls.run(self._intend(task, slot))

    def _intend(self, task: Task, slot: Slot) -> Routine:
        """Note on its volume that a task is about to be written, then have that done; it goes elsewhere if that fails."""
        is_noted = is_refused = False
        while not is_noted and not is_refused and not self.stopping:
            try:
                yield self._note(task.held, slot)
                slot.known.setdefault(task.held.work.id, [])
                if self._policy.keeps_foreign and not task.former:
                    yield slot.ask(Verb.CLEAR, task.parts)
                is_noted = True
            except MachineShort:
                yield from self._rest(slot)
            except VolumeError as error:
                slot.trouble(error, self._now)
                is_refused = True
        task.held.unsettled -= 1
        self._assign(task) if is_noted and not self.stopping else self._displace(task)

    def _note(self, held: Held, slot: Slot) -> Ask:
        work = held.work
        # Its candidates may be here already: what is there of such a batch is never removed by name.
        body = b"" if work.candidates else work.body
        return slot.ask(Verb.INTEND, self._policy.journal, work.id, body)

    def _rest(self, slot: Slot) -> Routine:
        with suppress(VolumeError):
            yield slot.ask(Verb.WAIT)

    def _displace(self, task: Task) -> None:
        self._outcome(Outcome(task.id, 0, 0, b"", [], [], task.parts))

    def _take_up(self, task: Task, slot: Slot) -> None:
        task.volume = slot.id
        slot.running += 1
        task.held.tasks[task.id] = task
        self._tasks[task.id] = task

    def _assign(self, task: Task) -> None:
        task.process = self.desk.least_busy()
        self.desk.unstarted[task.process] += task.objects
        self.desk.placed += task.objects
        self._tell(
            task.process, Assignment(task.id, task.volume, task.held.work.attempt, task.body(), task.claims)
        )

    # --- what becomes of it

    def _judge_endpoints(self, process: int, tick: Tick) -> None:
        """Decide what is wrong with the source, if anything is, on what all processes see."""
        judge = self._judge
        for each, judged in judge.look(process, tick.symptoms, self._now):
            self._tell(each, judged)
        desk = self.desk
        desk.standings, desk.away, desk.rests = judge.standings(), judge.away(), judge.rests(self._now)
        if judge.refusal is not None and self.refusal is None:
            self.refusal = Fatal(self._policy.machine, *judge.refusal)
            self._say(self.refusal)

    def _outcome(self, outcome: Outcome) -> None:
        task = self._tasks.get(outcome.id)
        if task is None or task.ended:
            return
        slot = self.desk.slots[task.volume]
        settling = task.told(outcome)
        slot.running -= task.ended
        if outcome.trouble in STATE_OF_TROUBLE:
            slot.stop(STATE_OF_TROUBLE[outcome.trouble], outcome.detail, self._now)
        if outcome.unplaced:
            self._move(task, outcome.unplaced)
        self.desk.written += outcome.stored
        if outcome.stored:
            former = task.held.blocks_on(slot.id) if slot.id in task.former else []
            block = Block(self._policy.journal, task.held.work.id, outcome.records, former)
            slot.waiting.append((settling, block))
        else:
            self._settled([(settling, None)])
        self._settlers[slot.id].settle_if_due()

    def _move(self, task: Task, parts: list[Part]) -> None:
        if self.stopping:
            task.held.give_back(parts)
        else:
            self._place(task.held, parts, former=task.former)

    def _settled(self, group: Sequence[tuple[Settling, Extent | None]]) -> None:
        for settling, extent in group:
            task, outcome = settling.task, settling.outcome
            task.unsettled -= 1
            task.held.unsettled -= 1
            self.desk.slots[task.volume].release(settling)
            if task.ended and not task.unsettled:
                del self._tasks[task.id], task.held.tasks[task.id]
            if outcome.stored and extent is None:
                self._move(task, as_listed(task.held.parts, stored_in(outcome)))
                outcome = msgspec.structs.replace(
                    outcome, stored=0, stored_bytes=0, claimed=0, claimed_bytes=0
                )
            self.desk.settled += outcome.stored
            task.held.add(outcome, extent)
            if extent is not None and (task.former or task.held.unread):
                task.held.replace(task.volume, parts_of(stored_in(outcome)), task.former or task.held.unread)
            self._close_if_done(task.held)

    def _close_if_done(self, held: Held) -> None:
        """Send the receipt of a batch that is through, or of what is settled of one that takes long; one at a time, so in order."""
        work = held.work.id
        if held.unsettled or work not in self._held or work in self._unbooked.reporting:
            return
        if not held.tasks:
            del self._held[work]
        elif not held.is_due(self._now):
            return
        self._unbooked.done(work)
        receipt = held.receipt(self._now, self._next_part())
        self._clearing.claim(work, receipt.extents, receipt.part)
        self._say(receipt)
        self._clear_if_idle()

    def _next_part(self) -> int:
        """Return a number that no other machine, and no other start of this one, gives to what is left of a batch."""
        told = f"{self._policy.machine} {self._policy.incarnation} {next(self._parts)}"
        return int.from_bytes(blake2b(told.encode(), digest_size=7).digest())

    # --- processes and disks that fail

    def _bury(self, process: int, died: Died) -> None:
        """A process ended unasked: its work is given again; a batch that kills again and again is taken apart."""
        self._deaths.add(self._now, died.status)
        self.desk.forget(process)
        judged = self._judge.welcome(process, self._now)
        if judged.states or judged.rests:
            self._tell(process, judged)
        for slot in self.desk.working():
            self._tell(process, self._mount(slot))
        for work in [work for owner, work in self._scans.values() if owner == process]:
            self._survey(work)
        for task in [task for task in self._tasks.values() if task.process == process and not task.ended]:
            task.deaths += 1
            if self.desk.slots[task.volume].is_sick:
                self._displace(task)
            elif task.deaths < self._policy.deaths:
                self._assign(task)
            else:
                self._take_apart(task)

    def _take_apart(self, task: Task) -> None:
        if task.objects == 1:
            failures = poisoned(task.parts, task.deaths)
            self._outcome(Outcome(task.id, 0, 0, b"", failures, [], []))
            return
        slot = self.desk.slots[task.volume]
        for parts in halves(task.parts):
            half = Task(next(self._ids), task.held, parts, task.former)
            # A process takes everything that it holds along: an object alone must be there each of several times.
            half.deaths = 0 if half.objects > 1 else -self._policy.deaths_alone
            slot.room.promise(half.objects, half.size)
            self._take_up(half, slot)
            self._assign(half)
        self._outcome(Outcome(task.id, 0, 0, b"", [], [], []))

    def returned(self, slot: Slot) -> None:
        """Make a volume known to all who deal with it: a new one, or one opened anew."""
        self._unbooked.find(slot)
        self._clearing.left(slot.id)
        self._tell_all(self._mount(slot))

    def left(self, slot: Slot) -> None:
        """Have all processes let go of a sick volume."""
        self._tell_all(Unmount(slot.id))

    def sickened(self, slot: Slot) -> None:
        """Go on without a disk: nothing that was asked of it, or waits to be settled there, is waited for."""
        self._calls.give_up(slot.id, slot.error)
        if slot.id in self._settlers:
            self._settlers[slot.id].settle_if_due()

    def _give_up(self, slot: Slot) -> None:
        """Go on without a disk that does not answer: whoever waits for it is replaced."""
        slot.stop(VolumeState.SICK, f"has not answered for {slot.silent_seconds(self._now):.0f} s", self._now)
        waiting = {
            task.process
            for task in self._tasks.values()
            if task.volume == slot.id and not task.ended and task.process >= 0
        }
        self._actions += map(Replace, sorted(waiting))

    # --- the coordinator's word, and ours to it

    def _obey(self, control: Control) -> None:
        if control.limits != self.desk.limits:
            self.desk.limits = control.limits
            for process in self._processes:
                self._tell(process, self.desk.tune())
        for path in control.add_volumes:
            self._add_volume(path)
        for path in control.drain_volumes:
            for slot in self.desk.slots.values():
                if path in {slot.path, slot.id} and slot.is_open:
                    slot.stop(VolumeState.DRAINING, "takes no new objects, as asked", self._now)
        self._clearing.told(control, self.desk.slots)
        self._unbooked.answered((*control.abandon, *control.booked))
        booked = {work for work in control.booked if work not in self._held}
        left_over = self._unbooked.left_over(booked)
        self._clearing.abandon(left_over)
        self._calls.run(self._forget(booked - left_over))
        self._clear_if_idle()
        if control.remove:
            self._calls.run(self._remove(control.remove))
        if control.stop:
            self.dismissed = True
            self.stop(self._now)

    def _forget(self, booked: Collection[int]) -> Routine:
        """Forget batches that are booked; one that is in hand is not among them: its last receipt will be answered too."""
        works = self._clearing.forgettable(booked)
        for slot in self.desk.working():
            try:
                yield from forget(slot, self._policy.journal, works)
            except VolumeError as error:
                slot.trouble(error, self._now)

    def _clear_if_idle(self) -> None:
        if not self._held and not self._clearing.is_busy and not self._clearing.is_empty:
            self._calls.run(self._clear())

    def _clear(self) -> Routine:
        yield from self._clearing.run(self.desk.working(), lambda slot, error: slot.trouble(error, self._now))
        self._clear_if_idle()
        self._begin()

    def _remove(self, copies: Sequence[Former]) -> Routine:
        removed: list[int] = []
        for volume, group in removable(self.desk.slots, self._tasks.values(), copies).items():
            slot = self.desk.slots[volume]
            try:
                yield slot.ask(Verb.REMOVE, self._policy.journal, group)
            except VolumeError as error:
                slot.trouble(error, self._now)
            else:
                removed += [copy.id for copy in group]
        self._say(Removed(self._policy.machine, removed))

    def _add_volume(self, path: str) -> None:
        """Use a volume more, or one again that was drained."""
        known = [slot for slot in self.desk.slots.values() if slot.path == path]
        if known:
            known[0].reopen()
        else:
            self._actions.append(Open(path))

    def _look(self, slot: Slot) -> Routine:
        yield from slot.look(self._clock)
        self._beat_if_measured()

    def _beat_if_measured(self) -> None:
        """Say a pulse when the disks have been measured, or have not answered for a moment."""
        if self._pulse_by is None:
            return
        if self._now < self._pulse_by and any(slot.is_measuring for slot in self.desk.working()):
            return
        self._pulse_by, self._beat_at = None, self._now + self._policy.pulse_seconds
        self.desk.look_again()
        for slot in self.desk.hung(self._policy.hang_seconds, self._now, stopping=self.stopping):
            self._give_up(slot)
        for held in list(self._held.values()):
            self._close_if_done(held)
        self._say(self.pulse())
        self._begin()

    def _hand_back(self, works: list[int]) -> None:
        if works:
            self._say(Handback(works, self._policy.machine))

    def _mount(self, slot: Slot) -> Mount:
        policy = self._policy
        return Mount(slot.id, slot.path, policy.durability, policy.verify)

    def _tell(self, process: int, message: ToProcess) -> None:
        self._actions.append(Tell(process, message))

    def _tell_all(self, message: Mount | Unmount) -> None:
        for process in () if self.stopping else self._processes:
            self._tell(process, message)

    def _say(self, message: FromWorker) -> None:
        self._actions.append(Say(message))

    def _clock(self) -> float:
        return self._now
