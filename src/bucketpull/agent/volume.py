"""A worker's volumes: where the next objects go, which volumes take some, and the grouped settling of each.

A volume is settled (synced, and its ledger appended) for all outcomes that came in since the last time: the price of a
sync is shared by as many batches as the disk is slow.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from bucketpull.agent.active_batch import Settling
from bucketpull.agent.threads import in_thread
from bucketpull.domain.errors import ConfigError, MachineShort, Reason, VolumeError, VolumeFull, VolumeSick
from bucketpull.domain.model import Extent, VolumeState, VolumeStatus
from bucketpull.domain.placing import BLOCK_BYTES, Room
from bucketpull.domain.record import Block
from bucketpull.ports import Clock, Volume

T = TypeVar("T")

MEASURE_SECONDS = 0.5
ANSWER_SECONDS = 0.25
SMOOTHING = 0.3
# Longer than a process leaves a full volume alone, so that what is placed after a good probe is tried.
PROBE_SECONDS = 2.5
PATIENCE_SECONDS = 5.0
# A sick volume is opened anew after so long, then after twice as long each time, unless it was well for a while.
REOPEN_SECONDS = 5.0
REOPEN_MOST_SECONDS = 300.0
WELL_SECONDS = 60.0

Opener = Callable[[str, str | None], Volume]
Settled = Callable[[list[tuple[Settling, Extent | None]]], None]


class Return(NamedTuple):
    """The way of a sick volume: all `leave` it, so that it can be unmounted and mended; it is opened anew; all `use` it again."""

    leave: Callable[["Slot"], None]
    reopen: Callable[[Volume], Volume]
    use: Callable[["Slot"], None]


class Slot:
    """One volume of a worker, and the outcomes that wait for its next settling. `running` counts tasks in processes."""

    def __init__(self, volume: Volume, status: VolumeStatus, machine: str, come_back: Return) -> None:
        self.volume = volume
        self.machine = machine
        self._return = come_back
        self._is_left = False
        self._rest_seconds = REOPEN_SECONDS
        self._well_since = time.monotonic()
        self._reopen_at = 0.0
        self.status = status
        self._measured_at = time.monotonic()
        self._written_before = 0
        self._smoothed = 0.0
        self._refused_at: float | None = None
        self.running = 0
        self.room = Room(volume.id, 0)
        self.queued: dict[int, int] = {}
        self.written: dict[int, int] = {}
        self.waiting: list[tuple[Settling, Block]] = []
        self.wake = asyncio.Event()
        self.settled_at = 0.0
        self._measuring: asyncio.Task[None] | None = None
        self._asked_at = self._alive_at = 0.0
        self._sickened = asyncio.Event()
        self.measured(status)

    @property
    def is_open(self) -> bool:
        """Whether new objects may go there."""
        return self.status.state is VolumeState.OPEN

    @property
    def silent_seconds(self) -> float:
        """For how long the disk has not answered the question that is open, nor taken a byte; 0 where none is open."""
        return 0.0 if self._measuring is None else time.monotonic() - max(self._asked_at, self._alive_at)

    def wrote(self, process: int, written: int) -> None:
        """Note how many bytes a process has written there so far."""
        if written != self.written.get(process):
            self.written[process] = written
            self.answered()

    def answered(self) -> None:
        """Note a sign of life."""
        self._alive_at = time.monotonic()

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a blocking function of the volume.

        Raises:
            VolumeSick: The volume was found sick meanwhile, perhaps because this call never ends.

        """
        calling = asyncio.ensure_future(in_thread(function, *arguments))
        sick = asyncio.ensure_future(self._sickened.wait())
        try:
            await asyncio.wait({calling, sick}, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                return calling.result()
        finally:
            calling.cancel()
            sick.cancel()
        raise VolumeSick(self.volume.path, self.status.detail)

    async def measure(self) -> None:
        """Look at the disk: how much is free, and whether it is well. One that does not answer at once is not waited for."""
        if self._measuring is None:
            self._asked_at = time.monotonic()
            self._measuring = asyncio.ensure_future(self._look())
        measuring = self._measuring
        await asyncio.wait({measuring}, timeout=ANSWER_SECONDS)
        if measuring.done():
            self._measuring = None
            measuring.result()

    async def _look(self) -> None:
        if self.status.state is not VolumeState.SICK:
            await self._measure()
        elif self.running or self.waiting:
            return
        elif not self._is_left:
            self._is_left = True
            self._return.leave(self)
            await in_thread(self.volume.close)
        elif time.monotonic() >= self._reopen_at:
            await self._come_back()

    async def _come_back(self) -> None:
        """Open a sick volume anew."""
        try:
            self.volume = await in_thread(self._return.reopen, self.volume)
            status = await in_thread(self.volume.status)
        except VolumeError:
            self._rest_seconds = min(2 * self._rest_seconds, REOPEN_MOST_SECONDS)
            self._reopen_at = time.monotonic() + self._rest_seconds
            return
        self._is_left = False
        self._sickened = asyncio.Event()
        self._refused_at = None
        self._well_since = time.monotonic()
        self.status = status
        self.measured(status)
        self._return.use(self)

    async def _measure(self) -> None:
        try:
            status = await self.call(self.volume.status)
            if self._refused_at is not None and time.monotonic() - self._refused_at > PROBE_SECONDS:
                await self._probe()
        except VolumeError as error:
            self.trouble(error)
        else:
            self.measured(status)

    async def _probe(self) -> None:
        """Find out whether a disk that refused bytes takes some again: a quota shows in no measurement."""
        try:
            await self.call(self.volume.probe)
            self._refused_at = None
        except VolumeFull:
            self._refused_at = time.monotonic()

    def measured(self, status: VolumeStatus) -> None:
        """Take over a new measurement; what was found or asked meanwhile stands."""
        now = self.status
        if now.state is VolumeState.SICK:
            return
        if now.state is VolumeState.DRAINING or (self._refused_at is not None and not status.detail):
            status.state, status.detail = now.state, now.detail
        status.machine = self.machine
        status.written_per_second = self._speed()
        self.status = status
        self.room.free_bytes = status.free_bytes
        self.room.free_inodes = status.free_inodes if status.total_inodes else None
        self.room.queued_bytes = status.queued_bytes = sum(self.queued.values())
        self.room.bytes_per_second = status.written_per_second
        status.reserved_bytes = self.room.promised_bytes

    def release(self, settled: Settling) -> None:
        """Give back the room of objects that have ended; what they took counts as used until it is measured."""
        outcome = settled.outcome
        self.room.release(settled.objects, settled.size)
        if outcome.stored:
            self.room.free_bytes -= outcome.stored_bytes + outcome.stored * BLOCK_BYTES
            if self.room.free_inodes is not None:
                self.room.free_inodes -= outcome.stored

    def _speed(self) -> float:
        """Return the bytes a second written since about the last measurement, smoothed over a few."""
        now, written = time.monotonic(), sum(self.written.values())
        seconds = now - self._measured_at
        if seconds >= MEASURE_SECONDS:
            speed = max(0, written - self._written_before) / seconds
            self._smoothed += (speed - self._smoothed) * SMOOTHING
            self._measured_at, self._written_before = now, written
        return self._smoothed

    def stop(self, state: VolumeState, detail: str) -> None:
        """Take no more objects, for this reason. Sick it stays until it is opened anew."""
        status = self.status
        if status.state is VolumeState.SICK:
            return
        if state is VolumeState.FULL:
            self._refused_at = time.monotonic()
            if status.state is VolumeState.DRAINING:
                return
        # A new one: pulses that were given away keep saying what was so.
        self.status = replace(status, state=state, detail=detail)
        if state is VolumeState.SICK:
            self.status.queued_bytes, self.status.written_per_second = 0, 0.0
            now = time.monotonic()
            if now - self._well_since > WELL_SECONDS:
                self._rest_seconds = REOPEN_SECONDS
            self._reopen_at = now + self._rest_seconds
            self._sickened.set()
            self.wake.set()

    def trouble(self, error: VolumeError) -> None:
        """Take no more objects, because of this error, unless it is no fault of the volume's."""
        if isinstance(error, MachineShort):
            return
        self.stop(VolumeState.FULL if isinstance(error, VolumeFull) else VolumeState.SICK, error.detail)

    def reopen(self) -> None:
        """Take objects again after a drain."""
        if self.status.state is VolumeState.DRAINING:
            self.status = replace(self.status, state=VolumeState.OPEN, detail="")


class Settler:
    """Settles one volume whenever something waits: at once when the volume is idle, else once an interval.

    `done` is told each outcome and its extent; None where the volume could not settle it.
    """

    def __init__(self, slot: Slot, clock: Clock, interval_seconds: float, done: Settled) -> None:
        self._slot = slot
        self._clock = clock
        self._interval = interval_seconds
        self._done = done
        self._full_since: float | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        slot = self._slot
        while True:
            await slot.wake.wait()
            slot.wake.clear()
            while slot.waiting and slot.status.state is not VolumeState.SICK:
                await self._until_due()
                await self._settle()
            if slot.waiting:
                self._give_up()

    async def _until_due(self) -> None:
        slot = self._slot
        while slot.running and (rest := slot.settled_at + self._interval - self._clock.monotonic()) > 0:
            slot.wake.clear()
            try:
                async with asyncio.timeout(rest):
                    await slot.wake.wait()
            except TimeoutError:
                return

    async def _settle(self) -> None:
        slot = self._slot
        group, slot.waiting = slot.waiting, []
        try:
            extents = await slot.call(slot.volume.settle, [block for _, block in group])
        except (VolumeFull, MachineShort) as error:
            slot.trouble(error)
            slot.waiting = group + slot.waiting
            await self._wait_for_room()
            return
        except VolumeError as error:
            slot.trouble(error)
            slot.waiting = group + slot.waiting
            return
        self._full_since = None
        slot.settled_at = self._clock.monotonic()
        slot.answered()
        self._done([(settling, extent) for (settling, _), extent in zip(group, extents, strict=True)])

    async def _wait_for_room(self) -> None:
        """Try again for some seconds; then the job must know that what is written here does not count."""
        now = self._clock.monotonic()
        if self._full_since is None:
            self._full_since = now
        if now - self._full_since > PATIENCE_SECONDS:
            self._full_since = None
            self._give_up()
        else:
            await asyncio.sleep(self._interval)

    def _give_up(self) -> None:
        group, self._slot.waiting = self._slot.waiting, []
        self._done([(settling, None) for settling, _ in group])


STATE_OF_TROUBLE = {Reason.VOLUME_FULL: VolumeState.FULL, Reason.VOLUME_SICK: VolumeState.SICK}


def opened_anew(volume: Volume, opener: Opener, journal: str) -> Volume:
    """Open a sick volume again, while nothing is being written to it, and see whether it takes files. Blocks.

    What was begun there for this journal and not settled is removed: it was given to others.

    Raises:
        VolumeError: It is not there, or still sick.

    """
    volume.close()
    try:
        opened = opener(volume.path, volume.id)
    except ConfigError as error:
        raise VolumeSick(volume.path, str(error)) from error
    try:
        with suppress(VolumeFull):
            opened.probe()
        for work, offset in opened.pending(journal):
            if offset < 0:
                opened.abandon(journal, work)
    except BaseException:
        opened.close()
        raise
    return opened
