"""A process's volumes: the writer of each, the assignments that wait for it, and its trouble, if any."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from bucketpull.domain.errors import Reason, VolumeError
from bucketpull.domain.messages import Assignment, Mount, Outcome
from bucketpull.domain.model import show
from bucketpull.downloader.batch_progress import BatchProgress, Item

if TYPE_CHECKING:
    from bucketpull.ports import Writer

# A full disk is tried again after so long: by then the agent knows, and sends assignments only if there is room again.
FULL_SECONDS = 2.0


class VolumeQueue:
    """One volume. `written` are the bytes that its writer wrote; `states_md5` tells whether the last answer stated an MD5.

    `writer` is None where the volume could not be opened; then `trouble` says why.
    """

    def __init__(self, mount: Mount, writer: Writer | None) -> None:
        self.mount = mount
        self.writer = writer
        self.trouble: Reason | None = None
        self.detail = ""
        self.hashes = mount.verify == "md5"
        self.compares = mount.verify != "none"
        self.states_md5 = False
        self.batches: deque[BatchProgress] = deque()
        self.written = 0
        self.is_flush_due = False
        self._troubled_at = 0.0

    def troubled(self, trouble: Reason, detail: str, now: float) -> None:
        """Note that the volume takes nothing."""
        self.trouble = trouble
        self.detail = detail
        self._troubled_at = now

    def revive(self, now: float) -> None:
        """Forget that the volume was full, if that was a while ago."""
        if self.trouble is Reason.VOLUME_FULL and now - self._troubled_at > FULL_SECONDS:
            self.trouble = None

    @property
    def is_unopened(self) -> bool:
        """Whether the disk was too full for its writer, and may have room by now."""
        return self.writer is None and self.trouble is Reason.VOLUME_FULL

    @property
    def queued(self) -> int:
        """Bytes handed to the writer and not written."""
        return 0 if self.writer is None else self.writer.queued_bytes


class VolumeQueues:
    """All volumes of a process and all its assignments.

    Args:
        mount: Opens a volume's writer; raises `VolumeError`.
        outcome: Called with each assignment's outcome, or several, of which the last has no rest.

    """

    def __init__(self, mount: Callable[[Mount], Writer], outcome: Callable[[Outcome], None]) -> None:
        self.queues: dict[str, VolumeQueue] = {}
        self._mount = mount
        self._outcome = outcome
        self._turns: deque[VolumeQueue] = deque()
        self._batches: set[BatchProgress] = set()

    def mount(self, mount: Mount, now: float) -> VolumeQueue | None:
        """Open a volume, and return it if that was done. A known one is reopened only if it was sick, or too full to be opened."""
        known = self.queues.get(mount.id)
        if known is not None and known.trouble is not Reason.VOLUME_SICK and not known.is_unopened:
            return None
        try:
            queue = VolumeQueue(mount, self._mount(mount))
        except VolumeError as error:
            queue = VolumeQueue(mount, None)
            full = error.reason is Reason.VOLUME_FULL
            queue.troubled(Reason.VOLUME_FULL if full else Reason.VOLUME_SICK, error.detail, now)
        if known is not None:
            self._turns.remove(known)
            queue.written = known.written
        self.queues[mount.id] = queue
        self._turns.append(queue)
        return None if queue.writer is None else queue

    def assign(self, assignment: Assignment, now: float, stopping: bool) -> None:
        """Take an assignment; one that cannot be done ends at once."""
        batch = BatchProgress(assignment)
        self._batches.add(batch)
        queue = self.queues.get(assignment.volume)
        if queue is not None:
            queue.revive(now)
        if stopping:
            batch.displace_untaken(Reason.INTERRUPTED, "")
        elif queue is None:
            batch.displace_untaken(Reason.VOLUME_SICK, "the volume was not made known to the process")
        elif queue.trouble is not None:
            batch.displace_untaken(queue.trouble, queue.detail)
        else:
            queue.batches.append(batch)
        self.report(batch)

    def take(self, count: int, most_queued: int) -> tuple[VolumeQueue, BatchProgress, list[Item]] | None:
        """Return at most so many next objects. Volumes take turns, except those with more than so many bytes queued."""
        turns = self._turns
        for _ in range(len(turns)):
            queue = turns[0]
            turns.rotate(-1)
            batches = queue.batches
            while batches and queue.queued <= most_queued:
                found = batches[0].take(count)
                if found:
                    return queue, batches[0], found
                batches.popleft()
        return None

    def report(self, batch: BatchProgress) -> None:
        """Send the outcome of an assignment if all its objects have ended."""
        if not batch.left and batch in self._batches:
            self._batches.remove(batch)
            self._outcome(batch.outcome())

    def report_parts(self, now: float) -> None:
        """Send what has ended of assignments that wait for their other objects."""
        for batch in self._batches:
            if batch.is_due(now):
                self._outcome(batch.outcome())

    def troubled(self, queue: VolumeQueue, trouble: Reason, detail: str, now: float) -> None:
        """Note that a volume takes nothing, and hand back what was not begun for it."""
        if queue.trouble is None:
            queue.troubled(trouble, detail, now)
            self._clear(queue, trouble, detail)

    def stop(self) -> None:
        """Hand back what was not begun."""
        for queue in self._turns:
            self._clear(queue, Reason.INTERRUPTED, "")

    def release(self) -> None:
        """Hand back half of what was not begun, the last of it. Files of others that may be the objects are looked at here."""
        for queue in self._turns:
            batches = [batch for batch in queue.batches if not batch.claims]
            most = (sum(batch.unstarted for batch in batches) + 1) // 2
            for batch in reversed(batches):
                most -= batch.release(most)
                self.report(batch)

    def hand_back_all(self) -> None:
        """Hand back everything that has not ended."""
        for batch in list(self._batches):
            batch.displace_open()
            self.report(batch)

    def _clear(self, queue: VolumeQueue, trouble: Reason, detail: str) -> None:
        batches = list(queue.batches)
        queue.batches.clear()
        for batch in batches:
            batch.displace_untaken(trouble, detail)
            self.report(batch)

    @property
    def idle(self) -> bool:
        """Whether no assignment is in hand."""
        return not self._batches

    def has_in_hand(self, volume: str) -> bool:
        """Whether objects are on their way to a volume."""
        return any(batch.volume == volume for batch in self._batches)

    def unstarted(self) -> int:
        """Return how many objects were not begun."""
        return sum(batch.unstarted for queue in self._turns for batch in queue.batches)

    def open_objects(self) -> int:
        """Return how many objects have not ended."""
        return sum(batch.left for batch in self._batches)

    def waited_for(self) -> str:
        """Return the key of an object that an assignment waits for, "" if none is in hand; for the display of a slow end."""
        for batch in self._batches:
            key = batch.first_open()
            if key is not None:
                return show(key)
        return ""
