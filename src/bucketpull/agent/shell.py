"""Runs an agent: the loop, the threads, the clock, the transport and the processes. It decides nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bucketpull.agent.actions import (
    Action,
    Call,
    DiskRequest,
    KillProcess,
    OpenVolume,
    StartProcess,
    TellProcess,
)
from bucketpull.agent.agent import PULSE_SECONDS, Agent
from bucketpull.agent.parameters import AgentParameters
from bucketpull.daemon_thread import in_thread
from bucketpull.domain.batching import spans_of
from bucketpull.domain.errors import BucketpullError, ConfigError, VolumeError, VolumeFull, VolumeSick
from bucketpull.domain.messages import BatchReceipt, Begun, Fatal, FromWorker, Goodbye, Pulse
from bucketpull.domain.record import Conclusion
from bucketpull.domain.status import VolumeStatus

if TYPE_CHECKING:
    from bucketpull.ports import Clock, Inbox, ProcessPool, Volume

# A volume of packs seals those that are full; what it does not come to now is done when it is opened next.
CLOSE_SECONDS = 30.0
LAST_WORDS_SECONDS = 5.0
"""How long processes have to send their last counters."""
LEAVE_SECONDS = 4.0
LAST_LOOK_SECONDS = 0.25
SICK_CLOSE_SECONDS = 1.0
REPLIES_AT_ONCE = 32


Known = dict[int, list[Begun]]
Opener = Callable[[str, str | None], "Volume"]


class AgentShell:
    """One machine's part of a job. `run` returns after a stop, when everything is handed back.

    `heard_at` is when the coordinator was heard last (monotonic seconds), `latest` the last pulse.

    Args:
        open_volume: Opens a volume by path, for volumes added while the job runs, and one of that id again that was sick.

    """

    def __init__(
        self,
        parameters: AgentParameters,
        inbox: Inbox,
        pool: ProcessPool,
        volumes: Sequence[Volume],
        clock: Clock,
        open_volume: Opener,
    ) -> None:
        self._parameters = parameters
        self._inbox = inbox
        self._pool = pool
        self._first = volumes
        self._clock = clock
        self._open = open_volume
        self._volumes: dict[str, Volume] = {}
        self._agent = Agent(parameters, pool.size, clock.monotonic())
        self._outbox = Outbox(inbox, clock, PULSE_SECONDS / 2, self._delivered)
        self._pulses: asyncio.Queue[Pulse] = asyncio.Queue()
        self._wakes_at = -math.inf
        self._sooner = asyncio.Event()
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self.heard_at = clock.monotonic()
        self.latest: Pulse | None = None

    @property
    def dismissed(self) -> bool:
        """Whether the coordinator has ended the job."""
        return self._agent.dismissed

    @property
    def refusal(self) -> Fatal | None:
        """Why the source refused this machine, if it did."""
        return self._agent.refusal

    async def run(self) -> None:
        """Work until told to stop; then finish or hand back what is held, and leave. Raises TransportError where no process can be made any more."""
        try:
            await self._run()
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            for volume in self._first:
                await self._use_volume(volume)
            for part in (
                self._hear_inbox(),
                self._hear_pool(),
                self._keep_time(),
                self._send_replies(),
                self._send_pulses(),
            ):
                self._spawn(part)
            await self._empty.wait()
            await self._leave()
            for task in self._tasks:
                task.cancel()

    async def stop(self) -> None:
        """Finish or hand back what is held; `run` returns when that is done."""
        self._agent.stop(self._clock.monotonic())
        self._carry_out()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- events

    async def _hear_inbox(self) -> None:
        while True:
            messages = await self._inbox.receive()
            self.heard_at = self._clock.monotonic()
            self._agent.received(messages, self._clock.monotonic())
            self._carry_out()

    async def _hear_pool(self) -> None:
        while True:
            for process, message in await self._pool.receive():
                self._agent.process_sent(process, message, self._clock.monotonic())
            self._carry_out()

    async def _keep_time(self) -> None:
        while True:
            self._sooner.clear()
            self._wakes_at = self._agent.wake_at()
            rest = self._wakes_at - self._clock.monotonic()
            if rest > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest):
                        await self._sooner.wait()
                continue
            self._agent.wake(self._clock.monotonic())
            self._carry_out()
            await asyncio.sleep(0)

    def _delivered(self, receipt: BatchReceipt) -> None:
        self._agent.delivered(receipt, self._clock.monotonic())
        self._carry_out()

    # --- actions

    def _carry_out(self) -> None:
        for action in self._agent.actions():
            self._do(action)
        if self._agent.wake_at() < self._wakes_at:
            self._sooner.set()
        if self._agent.is_empty:
            self._empty.set()

    def _do(self, action: Action) -> None:
        if isinstance(action, TellProcess):
            self._pool.send(action.process, action.message)
        elif isinstance(action, Call):
            self._spawn(self._call(action))
        elif isinstance(action, KillProcess):
            self._pool.kill(action.process)
        elif isinstance(action, StartProcess):
            self._pool.start(action.process)
        elif isinstance(action, OpenVolume):
            self._spawn(self._add_volume(action.path))
        else:
            self._tell_coordinator(action.message)

    def _tell_coordinator(self, message: FromWorker) -> None:
        if isinstance(message, Pulse):
            self.latest = message
            self._pulses.put_nowait(message)
        else:
            self._outbox.put(message)

    async def _call(self, call: Call) -> None:
        answer: object
        try:
            answer = await self._answer(call.ask)
        except VolumeError as error:
            answer = error
        except OSError as error:  # whatever a disk says, it costs that disk
            answer = VolumeSick(self._volumes[call.ask.volume].path, f"{call.ask.verb}: {error}")
        self._agent.disk_answered(call.id, answer, self._clock.monotonic())
        self._carry_out()

    async def _answer(self, ask: DiskRequest) -> object:
        volume = self._volumes[ask.volume]
        if ask.verb == "wait":
            await asyncio.sleep(PULSE_SECONDS)
            return None
        if ask.verb == "reopen":
            opened = await in_thread(opened_anew, volume, self._open, self._parameters.journal)
            self._volumes[volume.id] = opened
            return await in_thread(_look_at, opened, self._parameters.journal)
        return await in_thread(getattr(volume, ask.verb), *ask.arguments)

    async def _add_volume(self, path: str) -> None:
        """Open another volume; ignore one that cannot be used: whoever asked for it has tried it before."""
        with suppress(VolumeError, ConfigError, OSError):
            volume = await in_thread(self._open, path, None)
            try:
                await self._use_volume(volume)
            except (VolumeError, OSError):
                await in_thread(volume.close)

    async def _use_volume(self, volume: Volume) -> None:
        status, known = await in_thread(_look_at, volume, self._parameters.journal)
        self._volumes[volume.id] = volume
        self._agent.volume_opened(status, known, self._clock.monotonic())
        self._carry_out()

    async def _send_replies(self) -> None:
        while True:
            if await self._outbox.say_group() or not self._agent.holds():
                await self._outbox.say_pulse(self._agent.pulse())

    async def _send_pulses(self) -> None:
        while True:
            await self._outbox.say_pulse(await self._pulses.get())

    # --- the end

    async def _leave(self) -> None:
        await self._pool.close(LAST_WORDS_SECONDS)
        # A transport that is cut off must not hold us: what is not said now, the volumes say at the next start.
        await asyncio.wait({asyncio.ensure_future(self._until_answered())}, timeout=LEAVE_SECONDS)
        await self._measure_all()
        await self._outbox.say_pulse(self._agent.pulse())
        await self._inbox.reply(Goodbye(self._parameters.machine, self._parameters.incarnation))
        await self._inbox.close()
        for volume in self._agent.scheduler.volumes.values():
            patience = SICK_CLOSE_SECONDS if volume.is_sick or volume.is_measuring else CLOSE_SECONDS
            closing = asyncio.ensure_future(in_thread(self._volumes[volume.id].close))
            await asyncio.wait({closing}, timeout=patience)

    async def _measure_all(self) -> None:
        """Measure the volumes once more, for the last pulse."""
        for volume in self._agent.scheduler.working():
            asked = asyncio.ensure_future(in_thread(self._volumes[volume.id].status))
            await asyncio.wait({asked}, timeout=LAST_LOOK_SECONDS)
            if asked.done():
                with suppress(VolumeError):
                    volume.measured(asked.result(), self._clock.monotonic())

    async def _until_answered(self) -> None:
        await self._outbox.emptied()
        while not self._agent.is_quiet:  # noqa: ASYNC110 - at the end only, and said by several parts
            await asyncio.sleep(0.02)


class Outbox:
    """What a worker sends its coordinator: messages that were `put`, in groups, and pulses between them.

    Through a broker a pulse costs half as much as a batch, and receipts alone make the coordinator give new work: so a group is
    followed by a pulse only if the last one is `rest_seconds` old. `sent` is called with each receipt that is safe with the transport.
    """

    def __init__(
        self, inbox: Inbox, clock: Clock, rest_seconds: float, sent: Callable[[BatchReceipt], None]
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._rest = rest_seconds
        self._sent = sent
        self._queue: asyncio.Queue[FromWorker] = asyncio.Queue()
        self._pulse_at = -math.inf

    def put(self, message: FromWorker) -> None:
        """Queue a message."""
        self._queue.put_nowait(message)

    async def emptied(self) -> None:
        """Wait until everything is sent."""
        await self._queue.join()

    async def say_pulse(self, pulse: Pulse) -> None:
        """Send it at once."""
        self._pulse_at = self._clock.monotonic()
        await self._inbox.reply(pulse)

    async def say_group(self) -> bool:
        """Wait for messages, and send them; return whether a pulse should follow."""
        messages = [await self._queue.get()]
        while not self._queue.empty() and len(messages) < REPLIES_AT_ONCE:
            messages.append(self._queue.get_nowait())
        # Side by side: a broker confirms ten for half the price of ten singly, and they are booked together.
        await asyncio.gather(*map(self._say, messages))
        return self._queue.empty() and self._clock.monotonic() - self._pulse_at > self._rest

    async def _say(self, message: FromWorker) -> None:
        await self._inbox.reply(message)
        if isinstance(message, BatchReceipt):
            self._sent(message)
        self._queue.task_done()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return why a group of tasks ended: an error with a message for the user, if there is one."""
    error: BaseException = group.subgroup(BucketpullError) or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _look_at(volume: Volume, journal: str) -> tuple[VolumeStatus, Known]:
    """Measure a volume, and find out which batches are noted there, with the pages of each of their blocks."""
    known = {
        work: [Begun(work, volume.id, offset, spans_of(volume.read(offset))) for offset in offsets]
        for work, offsets in volume.pending(journal)
    }
    return volume.status(), known


def opened_anew(volume: Volume, opener: Opener, journal: str) -> Volume:
    """Open a sick volume again, while nothing is being written to it, and see whether it takes files. Blocks.

    What was begun there for this journal and not settled is removed: it was given to others.

    Raises VolumeError where it is not there, or still sick.
    """
    volume.close()
    try:
        opened = opener(volume.path, volume.id)
    except ConfigError as error:
        raise VolumeSick(volume.path, str(error)) from error
    try:
        with suppress(VolumeFull):
            opened.probe()
        begun = [Conclusion(work) for work, offsets in opened.pending(journal) if not offsets]
        opened.conclude(journal, begun)
    except BaseException:
        opened.close()
        raise
    return opened
