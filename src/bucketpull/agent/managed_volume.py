"""One volume of a worker, as its agent sees it: measured now and then, left alone when it is sick, opened anew later. Pure.

Times are monotonic seconds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from bucketpull.agent.actions import DiskRequest, DiskRoutine, Verb
from bucketpull.agent.active_batch import Settling
from bucketpull.domain.errors import MachineShort, Reason, VolumeError, VolumeFull, VolumeSick
from bucketpull.domain.messages import Begun
from bucketpull.domain.model import Extent, Span
from bucketpull.domain.placement import VolumeRoom
from bucketpull.domain.record import Block
from bucketpull.domain.status import VolumeState, VolumeStatus

MEASURE_SECONDS = 0.5
SMOOTHING = 0.3
# Longer than a process leaves a full volume alone: after a good probe it tries what is placed there.
PROBE_SECONDS = 2.5
# After how long a sick volume is reopened; the wait doubles each time, unless the volume was well for `WELL_SECONDS`.
REOPEN_SECONDS = 5.0
REOPEN_MOST_SECONDS = 300.0
WELL_SECONDS = 60.0


class VolumeListener(Protocol):
    """Who is told when a volume fails, and when it is back."""

    def volume_failed(self, volume: "ManagedVolume") -> None:
        """It has failed: what was asked of it will not be answered."""

    def volume_to_close(self, volume: "ManagedVolume") -> None:
        """It is sick, and everybody is to close it, so that it can be unmounted and repaired."""

    def volume_returned(self, volume: "ManagedVolume") -> None:
        """It was reopened, and is used again."""


class ManagedVolume:
    """One volume of a worker, and the outcomes that wait for its next settling. `running` counts tasks in processes.

    `known` are the batches noted on it, each with the blocks that it has in the ledger. `listener` is told when it fails and when it is back.
    """

    def __init__(
        self,
        status: VolumeStatus,
        known: Mapping[int, Sequence[Begun]],
        machine: str,
        now: float,
        listener: VolumeListener,
    ) -> None:
        self.id = status.id
        self.path = status.path
        self.known = {work: list(blocks) for work, blocks in known.items()}
        self.machine = machine
        self.status = status
        self._listener = listener
        self._is_closed = False
        self._rest_seconds = REOPEN_SECONDS
        self._well_since = now
        self._reopen_at = 0.0
        self._measured_at = now
        self._written_before = 0
        self._smoothed = 0.0
        self._refused_at: float | None = None
        self.running = 0
        self.room = VolumeRoom(status.id, 0)
        self.queued: dict[int, int] = {}
        self.written: dict[int, int] = {}
        self.waiting: list[tuple[Settling, Block]] = []
        self.settled_at = -math.inf
        self._asked_at: float | None = None
        self._alive_at = now
        self.measured(status, now)

    @property
    def is_open(self) -> bool:
        """Whether new objects may go there."""
        return self.status.state is VolumeState.OPEN

    @property
    def is_sick(self) -> bool:
        """Whether it has failed, and takes no requests."""
        return self.status.state is VolumeState.SICK

    @property
    def is_measuring(self) -> bool:
        """Whether a measurement is under way."""
        return self._asked_at is not None

    def silent_seconds(self, now: float) -> float:
        """Return for how long the disk has neither answered the open request nor taken a byte; 0 if no request is open."""
        return 0.0 if self._asked_at is None else now - max(self._asked_at, self._alive_at)

    def wrote(self, process: int, written: int, now: float) -> None:
        """Note how many bytes a process has written there so far."""
        if written != self.written.get(process):
            self.written[process] = written
            self.answered(now)

    def answered(self, now: float) -> None:
        """Note that the disk answered."""
        self._alive_at = now

    def ask(self, verb: Verb, *arguments: object) -> DiskRequest:
        """Ask something of this volume."""
        return DiskRequest(self.id, verb, arguments)

    def look(self, now: Callable[[], float]) -> DiskRoutine:
        """Measure the disk. One that is sick is closed when no task needs it any more, and reopened from time to time."""
        self._asked_at = now()
        if not self.is_sick:
            yield from self._measure(now)
        elif not self.running and not self.waiting:
            if not self._is_closed:
                self._is_closed = True
                self._listener.volume_to_close(self)
                with suppress(VolumeError):  # as of a disk that was pulled out
                    yield self.ask("close")
            elif now() >= self._reopen_at:
                yield from self._come_back(now)
        self._asked_at = None

    def _come_back(self, now: Callable[[], float]) -> DiskRoutine:
        try:
            status, known = yield self.ask("reopen")
        except VolumeError:
            self._rest_seconds = min(2 * self._rest_seconds, REOPEN_MOST_SECONDS)
            self._reopen_at = now() + self._rest_seconds
            return
        self.known = {work: list(blocks) for work, blocks in known.items()}
        self._is_closed = False
        self._refused_at = None
        self._well_since = now()
        self.status = status
        self.measured(status, now())
        self._listener.volume_returned(self)

    def _measure(self, now: Callable[[], float]) -> DiskRoutine:
        """Measure free space and health, and find out whether a disk that refused bytes takes some again."""
        try:
            status = yield self.ask("status")
            if self._refused_at is not None and now() - self._refused_at > PROBE_SECONDS:
                yield from self._probe(now)
        except VolumeError as error:
            self.trouble(error, now())
        else:
            self.measured(status, now())

    def _probe(self, now: Callable[[], float]) -> DiskRoutine:
        """Find out by writing whether a disk that refused bytes takes some again: a quota does not show in free space."""
        try:
            yield self.ask("probe")
            self._refused_at = None
        except VolumeFull:
            self._refused_at = now()

    def measured(self, status: VolumeStatus, now: float) -> None:
        """Use a new measurement. It does not undo what was found or ordered since it was taken."""
        before = self.status
        if before.state is VolumeState.SICK:
            return
        if before.state is VolumeState.DRAINING or (self._refused_at is not None and not status.detail):
            status.state, status.detail = before.state, before.detail
        status.machine = self.machine
        status.ledger_end = max(status.ledger_end, before.ledger_end)
        status.written_per_second = self._speed(now)
        self.status = status
        self.room.free_bytes = status.free_bytes
        self.room.free_inodes = status.free_inodes if status.total_inodes else None
        self.room.queued_bytes = status.queued_bytes = sum(self.queued.values())
        self.room.bytes_per_second = status.written_per_second
        status.reserved_bytes = self.room.promised_bytes

    def with_overlapping(self, block: Block, spans: Sequence[Span]) -> Block:
        """Return a block of a batch with those blocks of other batches that may hold some of its objects, so that these count once.

        Only blocks of batches that are not known to count: a machine that was silent may be given the same objects again as another
        batch, and a folder that changes while it is listed may have an object on two pages.
        """
        mine: dict[bytes, list[Span]] = {}
        for span in spans:
            mine.setdefault(span.directory, []).append(span)
        others = [
            other.offset
            for work, blocks in self.known.items()
            if work != block.work
            for other in blocks
            if any(map(partial(_overlaps, mine), other.spans))
        ]
        return replace(block, former=[*block.former, *others]) if others else block

    def appended(self, extents: Sequence[Extent]) -> None:
        """Note that the ledger is longer by these blocks: no pulse may report a shorter one than a receipt before it."""
        beyond = max(extent.offset for extent in extents) + 1
        self.status = replace(self.status, ledger_end=max(self.status.ledger_end, beyond))

    def release(self, settled: Settling) -> None:
        """Give back the room promised to objects that have ended. What they took counts as used until the next measurement."""
        outcome = settled.outcome
        self.room.release(settled.objects, settled.size)
        if outcome.stored:
            new = outcome.stored - outcome.claimed
            self.room.free_bytes -= outcome.stored_bytes + new * self.room.overhead
            if self.room.free_inodes is not None and not self.room.packs:
                self.room.free_inodes -= new

    def _speed(self, now: float) -> float:
        """Return the bytes a second written since about the last measurement, smoothed over a few."""
        written, seconds = sum(self.written.values()), now - self._measured_at
        if seconds >= MEASURE_SECONDS:
            speed = max(0, written - self._written_before) / seconds
            self._smoothed += (speed - self._smoothed) * SMOOTHING
            self._measured_at, self._written_before = now, written
        return self._smoothed

    def stop(self, state: VolumeState, detail: str, now: float) -> None:
        """Take no more objects, for this reason. A sick volume stays sick until it is reopened."""
        status = self.status
        if status.state is VolumeState.SICK:
            return
        if state is VolumeState.FULL:
            self._refused_at = now
            if status.state is VolumeState.DRAINING:
                return
        # A copy: pulses that hold the old one do not change.
        self.status = replace(status, state=state, detail=detail)
        if state is VolumeState.SICK:
            self.status.queued_bytes, self.status.written_per_second = 0, 0.0
            if now - self._well_since > WELL_SECONDS:
                self._rest_seconds = REOPEN_SECONDS
            self._reopen_at = now + self._rest_seconds
            self._listener.volume_failed(self)

    def trouble(self, error: VolumeError, now: float) -> None:
        """Take no more objects because of this error, unless the machine is at fault and not the volume."""
        if isinstance(error, MachineShort):
            return
        self.stop(VolumeState.FULL if isinstance(error, VolumeFull) else VolumeState.SICK, error.detail, now)

    def undrain(self) -> None:
        """Take objects again after a drain."""
        if self.status.state is VolumeState.DRAINING:
            self.status = replace(self.status, state=VolumeState.OPEN, detail="")

    @property
    def error(self) -> VolumeSick:
        """The error for those who wait for this sick volume."""
        return VolumeSick(self.path, self.status.detail)


STATE_OF_TROUBLE = {Reason.VOLUME_FULL: VolumeState.FULL, Reason.VOLUME_SICK: VolumeState.SICK}


def _overlaps(spans: Mapping[bytes, Sequence[Span]], other: Span) -> bool:
    return any(
        span.first <= other.last and other.first <= span.last for span in spans.get(other.directory, ())
    )
