"""What is done with a batch that begins: what lies on this worker's volumes already is taken over, the rest is placed. Pure."""

from collections.abc import Callable, Generator
from typing import Any

from bucketpull.agent.active_batch import Held, as_listed
from bucketpull.agent.adoption import look_among_foreign
from bucketpull.agent.already_stored import recognise
from bucketpull.agent.disk_calls import Ask, Routine
from bucketpull.agent.scheduler import Desk
from bucketpull.agent.tasks import Tasks
from bucketpull.agent.unconfirmed import begun_on
from bucketpull.domain.model import Part
from bucketpull.domain.policy import WorkerPolicy


class Intake:
    """Makes tasks of batches.

    Args:
        policy: What holds for the whole machine.
        desk: Its volumes.
        tasks: Takes over what is here, and places the rest.
        went_on: Is told a batch when all of it is somewhere.

    """

    def __init__(
        self,
        policy: WorkerPolicy,
        desk: Desk,
        tasks: Tasks,
        went_on: Callable[[Held], None],
    ) -> None:
        self._policy = policy
        self._desk = desk
        self._tasks = tasks
        self._went_on = went_on

    def accept(self, held: Held) -> Routine:
        """Begin a batch."""
        work, rest = held.work, held.parts
        begun = begun_on(self._desk.working(), work.id)
        # Until all of it is somewhere: what is given up at once must not be reported without the rest.
        held.unsettled += 1
        if work.candidates or work.elsewhere or begun:
            found = yield from recognise(held, begun, self._desk.slots, self._policy.journal)
            rest = found.fresh
            for volume, records in found.whole.items():
                there, slot = as_listed(held.parts, records), self._desk.slots[volume]
                self._tasks.take_over(held, there, records, slot, is_ours=True)
            for volume, parts in found.changed.items():
                self._tasks.place(held, parts, volume, {volume})
        if rest and self._policy.adopts:
            held.unsettled += 1
            rest = yield from self._adopt(held, rest)
            held.unsettled -= 1
        if rest:
            self._tasks.place(held, rest, next(iter(begun), ""))
        held.unsettled -= 1
        self._went_on(held)

    def _adopt(self, held: Held, parts: list[Part]) -> Generator[Ask, Any, list[Part]]:
        """Take over what lies on our volumes in files of others; return the rest."""
        objects = sum(len(part.names) for part in parts)
        self._desk.inspected += objects
        slots, tasks = self._desk.working(), self._tasks
        found, rest = yield from look_among_foreign(
            parts, slots, self._policy.adopts, lambda slot: tasks.note(held, slot)
        )
        self._desk.inspected -= objects
        for slot, there, records, claimed, claims in found:
            slot.known.setdefault(held.work.id, [])
            if records:
                tasks.take_over(held, there, records, slot, is_ours=False)
            if claimed:
                tasks.check(held, claimed, claims, slot)
        return rest
