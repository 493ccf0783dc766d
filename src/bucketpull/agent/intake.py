"""How a batch begins: objects that are on this worker's volumes already are taken over, the rest is placed. Pure."""

from collections.abc import Callable, Generator
from typing import Any

from bucketpull.agent.active_batch import ActiveBatch, as_listed
from bucketpull.agent.adoption import look_among_foreign
from bucketpull.agent.already_stored import recognise
from bucketpull.agent.disk_calls import DiskRequest, DiskRoutine
from bucketpull.agent.scheduler import Scheduler
from bucketpull.agent.tasks import Tasks
from bucketpull.agent.unconfirmed import begun_on
from bucketpull.domain.batching import objects_in
from bucketpull.domain.model import Part
from bucketpull.domain.policy import WorkerPolicy


class Intake:
    """Makes tasks of batches.

    Args:
        policy: What holds for the whole machine.
        scheduler: Its volumes.
        tasks: Takes over what is here, and places the rest.
        went_on: Called with a batch when all its objects are placed.

    """

    def __init__(
        self,
        policy: WorkerPolicy,
        scheduler: Scheduler,
        tasks: Tasks,
        went_on: Callable[[ActiveBatch], None],
    ) -> None:
        self._policy = policy
        self._scheduler = scheduler
        self._tasks = tasks
        self._went_on = went_on

    def accept(self, batch: ActiveBatch) -> DiskRoutine:
        """Begin a batch."""
        work, rest = batch.work, batch.parts
        begun = begun_on(self._scheduler.working(), work.id)
        # Until all objects are placed: what is handed back at once must not be reported without the rest.
        batch.unsettled += 1
        if work.candidates or work.elsewhere or begun:
            found = yield from recognise(batch, begun, self._scheduler.volumes, self._policy.journal)
            rest = found.fresh
            for name, records in found.whole.items():
                there, volume = as_listed(batch.parts, records), self._scheduler.volumes[name]
                self._tasks.take_over(batch, there, records, volume, is_ours=True)
            for name, parts in found.changed.items():
                self._tasks.place(batch, parts, name, {name})
        if rest and self._policy.adopts:
            batch.unsettled += 1
            rest = yield from self._adopt(batch, rest)
            batch.unsettled -= 1
        if rest:
            self._tasks.place(batch, rest, next(iter(begun), ""))
        batch.unsettled -= 1
        self._went_on(batch)

    def _adopt(self, batch: ActiveBatch, parts: list[Part]) -> Generator[DiskRequest, Any, list[Part]]:
        """Take over files of others on our volumes that are these objects; return the other objects."""
        objects = objects_in(parts)
        self._scheduler.inspected += objects
        volumes, tasks = self._scheduler.working(), self._tasks
        found, rest = yield from look_among_foreign(
            parts, volumes, self._policy.adopts, lambda volume: tasks.note(batch, volume)
        )
        self._scheduler.inspected -= objects
        for volume, there, records, claimed, claims in found:
            volume.known.setdefault(batch.work.id, [])
            if records:
                tasks.take_over(batch, there, records, volume, is_ours=False)
            if claimed:
                tasks.check(batch, claimed, claims, volume)
        return rest
