"""The tasks of the batches in hand: placed on volumes, given to processes, moved when a disk fails, settled when they end. Pure."""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import count

import msgspec

from bucketpull.agent.actions import Calls, DiskRequest, DiskRoutine
from bucketpull.agent.active_batch import (
    ActiveBatch,
    Settling,
    Task,
    as_listed,
    by_size,
    outcome_of,
    parts_of,
    pieces,
    poisoned,
    stored_in,
)
from bucketpull.agent.managed_volume import STATE_OF_TROUBLE, ManagedVolume
from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.scheduler import Scheduler
from bucketpull.domain.batching import Batch, among, are_apart, batch_of, ids_of, without
from bucketpull.domain.errors import MachineShort, Reason, VolumeError, VolumeFull
from bucketpull.domain.messages import Assignment, Begun, Outcome, ToProcess
from bucketpull.domain.model import Extent, Part
from bucketpull.domain.record import Block, Claim, Record

FULL_SECONDS = 5.0  # for so long no work is asked for after something fitted nowhere
DEATHS = 6  # so many processes may a single object cost
PATIENCE_SECONDS = 5.0  # with a volume that has no room for its ledger

Settled = Callable[[list[tuple[Settling, Extent | None]]], None]


class Tasks:
    """All tasks of one worker. `is_closed`: no more are begun, and what would have to be moved is handed back.

    `tell` sends a message to a process, `went_on` is called with each batch of which something has ended, and `doubt` with the id of
    each that may have left files which are not settled.
    """

    def __init__(
        self,
        parameters: AgentParameters,
        scheduler: Scheduler,
        calls: Calls,
        now: Callable[[], float],
        tell: Callable[[int, ToProcess], None],
        went_on: Callable[[ActiveBatch], None],
        doubt: Callable[[int], None],
    ) -> None:
        self.is_closed = False
        self._parameters = parameters
        self._scheduler = scheduler
        self._calls = calls
        self._now = now
        self._tell = tell
        self._went_on = went_on
        self._doubt = doubt
        self._ids = count(1)
        self._tasks: dict[int, Task] = {}
        self._settlers: dict[str, Settler] = {}

    # --- settling: when it is due

    def use(self, volume: ManagedVolume) -> None:
        """Settle what is stored on a volume, from now on."""
        self._settlers[volume.id] = Settler(
            volume, self._calls, self._now, self._parameters.settle_seconds, self._settled
        )

    def due_at(self) -> float:
        """Return when a volume is to be settled next (monotonic seconds); infinity where nothing waits."""
        return min((settler.due_at() for settler in self._settlers.values()), default=math.inf)

    def settle_if_due(self) -> None:
        """Begin to settle each volume that is due; what waits on a sick one is stored elsewhere."""
        for settler in self._settlers.values():
            settler.settle_if_due()

    # --- from a batch to its processes

    def place(
        self, batch: ActiveBatch, objects: Batch, preferred: str = "", former: Collection[str] = ()
    ) -> None:
        """Have objects of a batch stored: on the preferred volume if it can take all of them, else where there is room.

        `former` are volumes that may have other versions of them. What fits nowhere is handed back.
        """
        for volume, piece in self._scheduler.share_out(objects, preferred, self._now()):
            if volume is None:
                self._turn_away(batch, piece.parts)
            else:
                task = Task(next(self._ids), batch, piece, former)
                self._take_up(task, volume)
                batch.unsettled += 1
                self._calls.run(self._intend(task, volume))

    def _turn_away(self, batch: ActiveBatch, parts: list[Part]) -> None:
        """Hand back what fits nowhere now; what never will fails."""
        largest = self._scheduler.largest_bytes()
        if self._parameters.is_last_resort and largest:
            parts, oversized = by_size(parts, largest)
            detail = f"it has more bytes than the largest volume ({largest:,})"
            batch.fail(each for part in oversized for each in part.failures(Reason.UNSTORABLE, 0, detail))
        if parts:
            batch.give_back(parts)
            self._scheduler.hold_off(self._now() + FULL_SECONDS)

    def take_over(
        self,
        batch: ActiveBatch,
        parts: list[Part],
        records: list[Record],
        volume: ManagedVolume,
        *,
        is_ours: bool,
    ) -> None:
        """Settle objects whose files lie on a volume, as if a process had just written them.

        They were written before a crash (`is_ours`), or are files of others.
        """
        self.take(outcome_of(self._found(batch, parts, volume), records, [], is_ours=is_ours))

    def check(
        self, batch: ActiveBatch, parts: list[Part], claims: list[Claim], volume: ManagedVolume
    ) -> None:
        """Have a process find out whether files of others on a volume are these objects."""
        task = self._found(batch, parts, volume)
        task.claims = claims
        self._displace(task) if volume.is_sick or self.is_closed else self._assign(task)

    def note(self, batch: ActiveBatch, volume: ManagedVolume) -> DiskRequest:
        """Ask a volume to note that a batch is begun there."""
        return volume.ask("intend", self._parameters.journal, batch.work.id, batch.whole.body)

    def _found(self, batch: ActiveBatch, parts: list[Part], volume: ManagedVolume) -> Task:
        """Make a task of objects whose files lie on a volume."""
        former = {extent.volume for extent in batch.work.candidates}
        return self._new_task(batch, parts, former, volume)

    def _new_task(
        self, batch: ActiveBatch, parts: list[Part], former: Collection[str], volume: ManagedVolume
    ) -> Task:
        """Make a task on a volume that promises it the room."""
        task = Task(next(self._ids), batch, batch_of(parts), former)
        volume.room.promise(task.left.objects, task.left.expected_bytes)
        self._take_up(task, volume)
        return task

    def _intend(self, task: Task, volume: ManagedVolume) -> DiskRoutine:
        """Note on its volume that a task is about to be written, then have it written; place it elsewhere if the note fails."""
        is_noted = is_refused = False
        while not is_noted and not is_refused and not self.is_closed:
            try:
                yield self.note(task.batch, volume)
                volume.known.setdefault(task.batch.work.id, [])
                if self._parameters.keeps_foreign:
                    older = task.batch.older_blocks(volume.id, task.former)
                    yield volume.ask("clear", task.left, older)
                is_noted = True
            except MachineShort:
                with suppress(VolumeError):
                    yield volume.ask("wait")
            except VolumeError as error:
                volume.trouble(error, self._now())
                is_refused = True
        task.batch.unsettled -= 1
        self._assign(task) if is_noted and not self.is_closed else self._displace(task)

    def _take_up(self, task: Task, volume: ManagedVolume) -> None:
        task.volume = volume.id
        volume.running += 1
        task.batch.tasks[task.id] = task
        self._tasks[task.id] = task

    def _assign(self, task: Task) -> None:
        scheduler = self._scheduler
        task.process = scheduler.least_busy()
        scheduler.unstarted[task.process] += task.left.objects
        scheduler.placed += task.left.objects
        passes = task.batch.work.passes
        self._tell(task.process, Assignment(task.id, task.volume, passes, task.left.body, task.claims))

    # --- outcomes

    def take(self, outcome: Outcome) -> None:
        """Take an outcome of a task."""
        task = self._tasks.get(outcome.id)
        if task is None or task.ended:
            return
        volume = self._scheduler.volumes[task.volume]
        settling = task.apply(outcome)
        volume.running -= task.ended
        if outcome.trouble in STATE_OF_TROUBLE:
            volume.stop(STATE_OF_TROUBLE[outcome.trouble], outcome.detail, self._now())
        if outcome.unplaced:
            self._move(task, outcome.unplaced, is_released=outcome.trouble is Reason.INTERRUPTED)
        self._scheduler.written += outcome.stored
        if outcome.stored:
            older = task.batch.older_blocks(volume.id, task.former)
            block = Block(self._parameters.journal, task.batch.work.id, outcome.records, older)
            volume.waiting.append((settling, block))
        else:
            self._settled([(settling, None)])
        self._settlers[volume.id].settle_if_due()

    def _displace(self, task: Task) -> None:
        """Place a task's objects anew."""
        self.take(Outcome(task.id, unplaced=task.parts))

    def _move(self, task: Task, parts: list[Part], *, is_released: bool = False) -> None:
        if self.is_closed or is_released:
            task.batch.give_back(parts)
        else:
            self.place(task.batch, batch_of(parts), former=task.former)

    def _settled(self, group: Sequence[tuple[Settling, Extent | None]]) -> None:
        for settling, extent in group:
            task, outcome = settling.task, settling.outcome
            task.unsettled -= 1
            task.batch.unsettled -= 1
            self._scheduler.volumes[task.volume].release(settling)
            if task.ended and not task.unsettled:
                del self._tasks[task.id], task.batch.tasks[task.id]
            if outcome.stored and extent is None:
                self._doubt(task.batch.work.id)
                self._move(task, as_listed(task.batch.parts, stored_in(outcome)))
                outcome = msgspec.structs.replace(
                    outcome, stored=0, stored_bytes=0, claimed=0, claimed_bytes=0
                )
            self._scheduler.settled += outcome.stored
            task.batch.add(outcome, extent)
            if extent is not None and (task.former or task.batch.unread):
                task.batch.note_stale_copies(
                    task.volume, parts_of(stored_in(outcome)), task.former or task.batch.unread
                )
            self._went_on(task.batch)

    # --- processes that die, or wait for a disk in vain

    def reassign_tasks_of(self, process: int) -> None:
        """Give the tasks of a dead process again: what it left whole is taken over, the rest comes in pieces, until the object that it died of is alone.

        A process that dies fails all its tasks: an object is blamed only if it was there each of several times, alone.
        """
        found: dict[tuple[int, str], list[Task]] = {}
        for task in self._tasks.values():
            if task.process == process and not task.ended:
                task.deaths += task.left.objects == 1
                task.process = -1
                self._doubt(task.batch.work.id)
                found.setdefault((task.batch.work.id, task.volume), []).append(task)
        for tasks in found.values():
            self._calls.run(self._resume(tasks))

    def _resume(self, tasks: Sequence[Task]) -> DiskRoutine:
        """Ask their volume once about tasks of one batch, and go on with each."""
        batch, volume = tasks[0].batch, self._scheduler.volumes[tasks[0].volume]
        left = among(batch.parts, {each for task in tasks for each in ids_of(task.parts)})
        records: list[Record] = []
        with suppress(VolumeError):
            records = yield volume.ask("recover", self._parameters.journal, batch.work.id, left)
        for task in tasks:
            mine = ids_of(task.parts)
            whole = [each.take(indexes) for each in records if (indexes := each.matching(mine))]
            if whole:
                self.take(outcome_of(task, whole, without(task.parts, whole), is_ours=True))
            if not task.ended:
                self._give_again(task, volume)

    def _give_again(self, task: Task, volume: ManagedVolume) -> None:
        if volume.is_sick or self.is_closed:
            self._displace(task)
        elif task.left.objects > 1:
            self._take_apart(task)
        elif task.deaths < DEATHS:
            self._assign(task)
        else:
            self.take(Outcome(task.id, failures=poisoned(task.parts, task.deaths)))

    def processes_on(self, volume: ManagedVolume) -> set[int]:
        """Return the processes that have tasks on a volume."""
        return {
            task.process
            for task in self._tasks.values()
            if task.volume == volume.id and not task.ended and task.process >= 0
        }

    def _take_apart(self, task: Task) -> None:
        volume = self._scheduler.volumes[task.volume]
        for parts in pieces(task.parts):
            piece = self._new_task(task.batch, parts, task.former, volume)
            piece.claims = task.claims
            self._assign(piece)
        self.take(Outcome(task.id))


class Settler:
    """Settles one volume whenever something waits: at once when no process writes there, else once an interval.

    It is synced, and its ledger appended, for all outcomes that came in since the last time: the price of a sync is shared by as
    many batches as the disk is slow. Times are monotonic seconds.
    `done` is called with each outcome and its extent, None if the volume could not settle it.
    """

    def __init__(
        self,
        volume: ManagedVolume,
        calls: Calls,
        now: Callable[[], float],
        interval_seconds: float,
        done: Settled,
    ) -> None:
        self._volume = volume
        self._calls = calls
        self._now = now
        self._interval = interval_seconds
        self._done = done
        self._full_since: float | None = None
        self._retry_at = -math.inf
        self._is_busy = False

    def due_at(self) -> float:
        """Return when the next settling is due; infinity where nothing waits, or one is under way."""
        volume = self._volume
        if self._is_busy or not volume.waiting:
            return math.inf
        return max(self._retry_at, volume.settled_at + self._interval if volume.running else -math.inf)

    def settle_if_due(self) -> None:
        """Begin to settle what waits, or give it up if the volume is sick."""
        if self.due_at() > self._now():
            return
        if self._volume.is_sick:
            self._give_up()
        else:
            self._is_busy = True
            self._calls.run(self._settle())

    def _settle(self) -> DiskRoutine:
        volume = self._volume
        group, volume.waiting = volume.waiting, []
        try:
            blocks = [
                volume.with_overlapping(block, settling.task.batch.whole.spans) for settling, block in group
            ]
            extents = yield volume.ask("settle", blocks, self._are_new(group, blocks))
        except VolumeError as error:
            self._is_busy = False
            volume.waiting = group + volume.waiting
            volume.trouble(error, self._now())
            is_passing = isinstance(error, VolumeFull | MachineShort)
            self._wait_for_room() if is_passing else self.settle_if_due()
            return
        self._is_busy = False
        self._full_since = None
        volume.settled_at = self._now()
        volume.answered(self._now())
        volume.appended(extents)
        for (settling, block), extent in zip(group, extents, strict=True):
            begun = Begun(block.work, volume.id, extent.offset, settling.task.batch.whole.spans)
            volume.known.setdefault(block.work, []).append(begun)
        self._done([(settling, extent) for (settling, _), extent in zip(group, extents, strict=True)])
        self.settle_if_due()

    def _are_new(self, group: Sequence[tuple[Settling, Block]], blocks: Sequence[Block]) -> bool:
        """Whether no object is in two of the blocks, in one of their `former` ones, or in one of a batch that is noted on the volume."""
        if any(block.former or self._volume.known.get(block.work) for block in blocks):
            return False
        return are_apart(span for settling, _ in group for span in settling.task.batch.whole.spans)

    def _wait_for_room(self) -> None:
        """Try again for some seconds; then give up, so that what was written here is stored elsewhere."""
        now = self._now()
        if self._full_since is None:
            self._full_since = now
        if now - self._full_since > PATIENCE_SECONDS:
            self._full_since = None
            self._give_up()
        else:
            self._retry_at = now + self._interval

    def _give_up(self) -> None:
        group, self._volume.waiting = self._volume.waiting, []
        self._done([(settling, None) for settling, _ in group])
