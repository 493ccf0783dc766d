"""The worker: takes work, places it on volumes, has its processes do it, makes it durable, sends receipts.

It runs in the worker's main process. What costs per object happens in the processes; here everything costs per batch.
"""

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Sequence
from functools import partial
from itertools import count
from typing import Any

import msgspec

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
from bucketpull.agent.already_stored import recognise
from bucketpull.agent.former_copies import remove
from bucketpull.agent.outbox import Replies
from bucketpull.agent.scheduler import Desk
from bucketpull.agent.threads import in_thread
from bucketpull.agent.unconfirmed import Unbooked
from bucketpull.agent.volume import STATE_OF_TROUBLE, Opener, Return, Settler, Slot, opened_anew
from bucketpull.domain.errors import ConfigError, MachineShort, Reason, VolumeError
from bucketpull.domain.model import (
    BatchReceipt,
    Control,
    Extent,
    Fatal,
    Former,
    Goodbye,
    Handback,
    Part,
    Removed,
    ScanReceipt,
    VolumeState,
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
    Unmount,
)
from bucketpull.ports import Clock, Crew, Inbox, Volume

# A volume of packs seals those that are full; what it does not come to now is done when it is opened next.
CLOSE_SECONDS = 30.0


class Agent:
    """One machine's part of a job. `run` returns after a stop, when everything is handed back.

    `dismissed` is true when the coordinator said stop: the job has ended. `refusal` is set when the source refused this machine.

    Args:
        open_volume: Opens a volume by path, for volumes added while the job runs, and one of that id again that was sick.

    """

    def __init__(
        self,
        policy: WorkerPolicy,
        inbox: Inbox,
        crew: Crew,
        volumes: Sequence[Volume],
        clock: Clock,
        open_volume: Opener,
    ) -> None:
        self._policy = policy
        self._inbox = inbox
        self._crew = crew
        self._clock = clock
        self._open = open_volume
        self._desk = Desk(policy.machine, crew.size)
        self._volumes = volumes
        self._held: dict[int, Held] = {}
        self._scans: dict[int, tuple[int, Work]] = {}
        self._tasks: dict[int, Task] = {}
        self._ids = count(1)
        self._replies = Replies(inbox, clock, policy.pulse_seconds / 2, self._reported)
        self._stopping = False
        self._deaths: list[float] = []
        self.dismissed = False
        self.refusal: Fatal | None = None
        self._unbooked = Unbooked(policy.journal, asks=policy.asks, now=clock.monotonic())
        self._empty = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._background: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Work until told to stop; then finish or hand back what is held, and leave."""
        async with asyncio.TaskGroup() as self._group:
            for volume in self._volumes:
                await self._shelve(volume)
            for name, part in (
                ("replies", self._send_replies),
                ("crew", self._hear_crew),
                ("inbox", self._hear_inbox),
                ("pulse", self._beat),
            ):
                self._spawn(name, part())
            await self._empty.wait()
            await self._leave()
            for task in self._background:
                task.cancel()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        self._background.append(self._group.create_task(work, name=name))

    # --- volumes

    async def _shelve(self, volume: Volume) -> None:
        reopen = partial(opened_anew, opener=self._open, journal=self._policy.journal)
        come_back = Return(self._leave_alone, reopen, self._use)
        slot = Slot(volume, await in_thread(volume.status), self._policy.machine, come_back)
        self._desk.slots[volume.id] = slot
        self._use(slot)
        settler = Settler(slot, self._clock, self._policy.settle_seconds, self._settled)
        self._spawn(f"settle {volume.id}", settler.run())

    def _use(self, slot: Slot) -> None:
        """Make a volume known to all who deal with it: a new one, or one opened anew."""
        self._unbooked.find(slot.volume)
        self._tell(self._mount(slot.volume))

    def _leave_alone(self, slot: Slot) -> None:
        """Have all processes let go of a sick volume."""
        self._tell(Unmount(slot.volume.id))

    def _tell(self, message: Mount | Unmount) -> None:
        for process in range(0 if self._stopping else self._crew.size):
            self._crew.send(process, message)

    def _mount(self, volume: Volume) -> Mount:
        policy = self._policy
        return Mount(volume.id, volume.path, policy.layout, policy.durability, policy.verify)

    # --- work

    async def _hear_inbox(self) -> None:
        while True:
            for message in await self._inbox.receive():
                if isinstance(message, Control):
                    await self._obey(message)
                elif message.id not in self._holds():
                    self._take(message)
            await self._begin()

    def _take(self, work: Work) -> None:
        if self._stopping:
            self._hand_back([work.id])
        elif work.kind is WorkKind.SCAN:
            self._survey(work)
        else:
            self._unbooked.take(work)

    def _holds(self) -> set[int]:
        return {*self._held, *self._scans, *self._unbooked.waiting, *self._unbooked.reporting}

    async def _begin(self) -> None:
        for work in self._unbooked.begin(self._clock.monotonic()):
            await self._accept(work)

    def _survey(self, work: Work) -> None:
        process = self._desk.least_busy_lister([process for process, _ in self._scans.values()])
        self._scans[work.id] = (process, work)
        self._crew.send(process, Survey(work.id, work.body))

    async def _accept(self, work: Work) -> None:
        held = Held(work, self._policy.machine, self._clock.monotonic())
        self._held[work.id] = held
        self._desk.accept(sum(len(part.names) for part in held.parts))
        here = self._unbooked.recall(self._desk.volumes(), work.id)
        if work.candidates or work.elsewhere or here:
            found = await recognise(held, here, self._desk.slots, self._policy.journal)
            rest = found.fresh
            for volume, records in found.whole.items():
                self._take_over(held, records, self._desk.slots[volume])
            for volume, parts in found.changed.items():
                self._place(held, parts, volume, {volume})
        else:
            rest = held.parts
        if rest:
            self._place(held, rest, next((extent.volume for extent in here), ""))
        self._close_if_done(held)

    def _take_over(self, held: Held, records: list[Record], slot: Slot) -> None:
        """Settle files that were written before a crash, as if a process had just written them."""
        task = Task(
            next(self._ids),
            held,
            as_listed(held.parts, records),
            {extent.volume for extent in held.work.candidates},
        )
        slot.room.promise(task.objects, task.size)
        self._take_up(task, slot)
        encoded = msgspec.msgpack.encode(records)
        self._outcome(Outcome(task.id, task.objects, task.size, encoded, [], [], []))

    def _place(
        self, held: Held, parts: list[Part], preferred: str = "", former: Collection[str] = ()
    ) -> None:
        for slot, piece in self._desk.share_out(parts, preferred):
            if slot is None:
                held.give_back(piece)
                self._desk.hold_off(self._clock.monotonic() + self._policy.full_seconds)
            else:
                task = Task(next(self._ids), held, piece, former)
                self._take_up(task, slot)
                held.unsettled += 1
                assert self._group is not None
                self._group.create_task(self._intend(task, slot), name="intend")

    async def _intend(self, task: Task, slot: Slot) -> None:
        """Note on its volume that a task is about to be written, then have that done; it goes elsewhere if that fails."""
        work = task.held.work
        # Its candidates may be here already: what is there of such a batch is never removed by name.
        body = work.body if self._policy.asks and not work.candidates else b""
        is_noted = is_refused = False
        while not is_noted and not is_refused and not self._stopping:
            try:
                await slot.call(slot.volume.intend, self._policy.journal, work.id, body)
                is_noted = True
            except MachineShort:
                await asyncio.sleep(self._policy.pulse_seconds)
            except VolumeError as error:
                slot.trouble(error)
                is_refused = True
        task.held.unsettled -= 1
        self._assign(task) if is_noted and not self._stopping else self._displace(task)

    def _displace(self, task: Task) -> None:
        self._outcome(Outcome(task.id, 0, 0, b"", [], [], task.parts))

    def _take_up(self, task: Task, slot: Slot) -> None:
        task.volume = slot.volume.id
        slot.running += 1
        task.held.tasks[task.id] = task
        self._tasks[task.id] = task

    def _assign(self, task: Task) -> None:
        task.process = self._desk.least_busy()
        self._desk.unstarted[task.process] += task.objects
        message = Assignment(task.id, task.volume, task.held.work.attempt, task.body())
        self._crew.send(task.process, message)

    # --- what processes say

    async def _hear_crew(self) -> None:
        while True:
            for process, message in await self._crew.receive():
                self._hear_process(process, message)

    def _hear_process(self, process: int, message: FromProcess) -> None:
        if isinstance(message, Outcome):
            self._outcome(message)
        elif isinstance(message, Tick):
            self._desk.tick(process, message)
        elif isinstance(message, ScanReceipt):
            if self._scans.pop(message.work, None) is not None:
                message.machine = self._policy.machine
                self._replies.put(message)
                self._check_empty()
        elif isinstance(message, Fatal):
            message.machine = self._policy.machine
            self.refusal = message
            self._replies.put(message)
        else:
            self._bury(process, message)

    def _outcome(self, outcome: Outcome) -> None:
        task = self._tasks.get(outcome.id)
        if task is None or task.ended:
            return
        slot = self._desk.slots[task.volume]
        settling = task.told(outcome)
        slot.running -= task.ended
        if outcome.trouble in STATE_OF_TROUBLE:
            slot.stop(STATE_OF_TROUBLE[outcome.trouble], outcome.detail)
        if outcome.unplaced:
            self._move(task, outcome.unplaced)
        if outcome.stored:
            slot.waiting.append((settling, Block(self._policy.journal, task.held.work.id, outcome.records)))
        else:
            self._settled([(settling, None)])
        slot.wake.set()

    def _move(self, task: Task, parts: list[Part]) -> None:
        if self._stopping:
            task.held.give_back(parts)
        else:
            self._place(task.held, parts, former=task.former)

    def _settled(self, group: Sequence[tuple[Settling, Extent | None]]) -> None:
        for settling, extent in group:
            task, outcome = settling.task, settling.outcome
            task.unsettled -= 1
            task.held.unsettled -= 1
            self._desk.slots[task.volume].release(settling)
            if task.ended and not task.unsettled:
                del self._tasks[task.id], task.held.tasks[task.id]
            if outcome.stored and extent is None:
                self._move(task, as_listed(task.held.parts, stored_in(outcome)))
                outcome = msgspec.structs.replace(outcome, stored=0, stored_bytes=0)
            task.held.add(outcome, extent)
            if extent is not None and (task.former or task.held.unread):
                task.held.replace(task.volume, parts_of(stored_in(outcome)), task.former or task.held.unread)
            self._close_if_done(task.held)

    def _close_if_done(self, held: Held) -> None:
        """Send the receipt of a batch that is through, or of what is settled of one that takes long; one at a time, so in order."""
        work, now = held.work.id, self._clock.monotonic()
        if held.unsettled or work not in self._held or work in self._unbooked.reporting:
            return
        if not held.tasks:
            del self._held[work]
        elif not held.is_due(now):
            return
        self._unbooked.done(work)
        self._replies.put(held.receipt(now))
        self._check_empty()

    def _bury(self, process: int, died: Died) -> None:
        """A process ended unasked: its work is given again; a batch that kills again and again is taken apart."""
        self._mourn(died)
        self._desk.forget(process)
        for volume in self._desk.volumes():
            self._crew.send(process, self._mount(volume))
        for work in [work for owner, work in self._scans.values() if owner == process]:
            self._survey(work)
        for task in [task for task in self._tasks.values() if task.process == process and not task.ended]:
            task.deaths += 1
            if self._desk.slots[task.volume].status.state is VolumeState.SICK:
                self._displace(task)
            elif task.deaths < self._policy.deaths:
                self._assign(task)
            else:
                self._take_apart(task)

    def _mourn(self, died: Died) -> None:
        """Give up when processes only die: that is no batch's fault."""
        now = self._clock.monotonic()
        self._deaths = [at for at in self._deaths if now - at < self._policy.mourning_seconds]
        self._deaths.append(now)
        if len(self._deaths) > self._policy.mourned * self._crew.size:
            raise RuntimeError(f"worker processes end as soon as they are made, with status {died.status}")

    def _take_apart(self, task: Task) -> None:
        if task.objects == 1:
            failures = poisoned(task.parts, task.deaths)
            self._outcome(Outcome(task.id, 0, 0, b"", failures, [], []))
            return
        slot = self._desk.slots[task.volume]
        for parts in halves(task.parts):
            half = Task(next(self._ids), task.held, parts, task.former)
            # A process takes everything that it holds along: an object alone must be there each of several times.
            half.deaths = 0 if half.objects > 1 else -self._policy.deaths_alone
            slot.room.promise(half.objects, half.size)
            self._take_up(half, slot)
            self._assign(half)
        self._outcome(Outcome(task.id, 0, 0, b"", [], [], []))

    # --- the coordinator's word, and ours to it

    async def _obey(self, control: Control) -> None:
        if control.limits != self._desk.limits:
            self._desk.limits = control.limits
            for process in range(self._crew.size):
                self._crew.send(process, self._desk.tune())
        for path in control.add_volumes:
            await self._add_volume(path)
        for path in control.drain_volumes:
            for slot in self._desk.slots.values():
                if path in {slot.volume.path, slot.volume.id} and slot.is_open:
                    slot.stop(VolumeState.DRAINING, "takes no new objects, as asked")
        # Of a batch whose parts came second, but which is still in hand, the last receipt will be answered again.
        control.booked = [work for work in control.booked if work not in self._held]
        control.discard = [work for work in control.discard if work not in self._held]
        await self._unbooked.tidy(self._desk.working(), control, idle=not self._held)
        if control.remove:
            self._spawn("remove", self._remove(control.remove))
        if control.stop:
            self.dismissed = True
            await self.stop()

    async def _remove(self, copies: Sequence[Former]) -> None:
        removed = await remove(self._desk.slots, self._tasks.values(), self._policy.journal, copies)
        self._replies.put(Removed(self._policy.machine, removed))

    async def _add_volume(self, path: str) -> None:
        """Use a volume more, or one again that was drained. One that cannot be used is left: who asked has tried it first."""
        for slot in self._desk.slots.values():
            if slot.volume.path == path:
                slot.reopen()
                return
        with contextlib.suppress(VolumeError, ConfigError):
            await self._shelve(await asyncio.to_thread(self._open, path, None))

    async def stop(self) -> None:
        """Finish or hand back what is held; `run` returns when that is done."""
        if self._stopping:
            return
        self._stopping = True
        await self._inbox.pause(True)
        for process in range(self._crew.size):
            self._crew.send(process, Stop(self._policy.stop_seconds))
        self._hand_back([*self._scans, *self._unbooked.waiting])
        self._scans, self._unbooked.waiting = {}, {}
        self._check_empty()

    def _hand_back(self, works: list[int]) -> None:
        if works:
            self._replies.put(Handback(works, self._policy.machine, Reason.INTERRUPTED))

    def _check_empty(self) -> None:
        if self._stopping and not self._held and not self._scans:
            self._empty.set()

    async def _leave(self) -> None:
        await self._crew.close(1.0)
        # A transport that is cut off must not hold us: what is not said now, the volumes say at the next start.
        await asyncio.wait(
            {asyncio.ensure_future(self._until_answered())}, timeout=self._policy.leave_seconds
        )
        for slot in self._desk.slots.values():
            await slot.measure()
        await self._say_pulse()
        await self._inbox.reply(Goodbye(self._policy.machine, self._policy.incarnation))
        await self._inbox.close()
        for slot in self._desk.slots.values():
            if not slot.silent_seconds:
                await asyncio.wait(
                    {asyncio.ensure_future(in_thread(slot.volume.close))}, timeout=CLOSE_SECONDS
                )

    async def _until_answered(self) -> None:
        await self._replies.said()
        while not self._unbooked.is_quiet:  # noqa: ASYNC110 - at the end only, and said by several parts
            await asyncio.sleep(0.02)

    async def _send_replies(self) -> None:
        while True:
            if await self._replies.say_group() or not self._holds():
                await self._say_pulse()

    def _reported(self, receipt: BatchReceipt) -> None:
        self._unbooked.reported(receipt.work, self._clock.monotonic(), is_last=receipt.remainder is None)
        held = self._held.get(receipt.work)
        if held is not None:
            self._close_if_done(held)

    async def _beat(self) -> None:
        while True:
            for slot in self._desk.slots.values():
                await slot.measure()
            self._desk.look_again()
            for slot in self._desk.hung(self._policy.hang_seconds, stopping=self._stopping):
                self._give_up(slot)
            for held in list(self._held.values()):
                self._close_if_done(held)
            await self._say_pulse()
            await self._begin()
            await asyncio.sleep(self._policy.pulse_seconds)

    def _give_up(self, slot: Slot) -> None:
        """Go on without a disk that does not answer: whoever waits for it is replaced."""
        slot.stop(VolumeState.SICK, f"has not answered for {slot.silent_seconds:.0f} s")
        waiting = {
            task.process
            for task in self._tasks.values()
            if task.volume == slot.volume.id and not task.ended and task.process >= 0
        }
        for process in waiting:
            self._crew.replace(process)

    async def _say_pulse(self) -> None:
        policy = self._policy
        holds = list(self._holds())
        pulse = self._desk.pulse(
            policy.incarnation, policy.version, policy.job_digest, holds, len(self._held)
        )
        if not policy.scans or self._stopping:
            pulse.scan_window = 0
        if self._stopping:
            pulse.window = 0
        pulse.begun = self._unbooked.questions(self._desk.volumes(), self._clock.monotonic())
        await self._replies.say_pulse(pulse)
