"""When a volume is settled: synced, and its ledger appended, for all outcomes that came in since the last time. Pure.

The price of a sync is shared by as many batches as the disk is slow. Times are monotonic seconds.
"""

import math
from collections.abc import Callable

from bucketpull.agent.actions import Calls, DiskRoutine, Verb
from bucketpull.agent.active_batch import Settling
from bucketpull.agent.volume_state import ManagedVolume
from bucketpull.domain.errors import MachineShort, VolumeError, VolumeFull
from bucketpull.domain.messages import Begun
from bucketpull.domain.model import Extent

PATIENCE_SECONDS = 5.0

Settled = Callable[[list[tuple[Settling, Extent | None]]], None]


class Settler:
    """Settles one volume whenever something waits: at once when no process writes there, else once an interval.

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
            blocks = [volume.doubled(block, settling.task.batch.spans) for settling, block in group]
            extents = yield volume.ask(Verb.SETTLE, blocks)
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
            begun = Begun(block.work, volume.id, extent.offset, settling.task.batch.spans)
            volume.known.setdefault(block.work, []).append(begun)
        self._done([(settling, extent) for (settling, _), extent in zip(group, extents, strict=True)])
        self.settle_if_due()

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
