"""How much of the ready work goes to which machine, when listing waits for transferring, and which machines give some back. Pure."""

import math
from collections.abc import Callable, Sequence

from bucketpull import kill_points
from bucketpull.coordinator.budget_watch import BudgetWatch
from bucketpull.coordinator.effects import Moment, Routine, SendControl, SendWork, UseJournal
from bucketpull.coordinator.fleet import Fleet, Worker
from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.domain.budget import ANY_ROOM
from bucketpull.domain.messages import Control, Work
from bucketpull.domain.model import Outstanding, SentWork, WorkKind

IDLE_SECONDS = 10.0  # until what a machine has ended is told and booked


class Dispatch:
    """Sends machines work that is ready in the journal. `gave_batches` is whether some machine may have begun a batch.

    Args:
        parameters: What holds for the whole job.
        fleet: The machines; it is told what they are sent.
        budget: What may still be given out; it is told what was.
        now: Returns the time.

    """

    def __init__(
        self, parameters: CoordinatorParameters, fleet: Fleet, budget: BudgetWatch, now: Callable[[], Moment]
    ) -> None:
        self.gave_batches = False
        self._parameters = parameters
        self._fleet = fleet
        self._budget = budget
        self._now = now
        self._lists = True
        self._relief = Relief()

    def reclaim(self) -> Routine[None]:
        """Make work ready again that was with workers in the former coordinator's process. Other workers may still have theirs."""
        sent: list[SentWork] = yield UseJournal(lambda journal: journal.sent())
        ended = [
            work.id
            for work in sent
            if work.kind is WorkKind.SCAN or work.machine == self._parameters.local_machine
        ]
        yield UseJournal(lambda journal: journal.release(ended))
        gone = set(ended)
        held = [work for work in sent if work.id not in gone]
        self.gave_batches = bool(held)
        self._fleet.inherit(held)
        self._budget.inherit(held)

    def give_out(self, outstanding: Outstanding) -> Routine[bool]:
        """Send each machine as much as it wants to hold; return whether the books may have changed."""
        self._lists = outstanding.objects < self._parameters.high_water // (1 if self._lists else 2)
        asked, lists = False, self._lists and not self._budget.has_given_all
        for machine, member in self._relief.in_order(self._fleet):
            if lists and outstanding.scans > outstanding.scans_sent:
                asked |= yield from self._give(WorkKind.SCAN, machine, member.allowance(WorkKind.SCAN))
            if outstanding.batches > outstanding.batches_sent:
                asked |= yield from self._give(WorkKind.BATCH, machine, member.allowance(WorkKind.BATCH))
        for machine in self._relief.due(self._fleet, self._now().monotonic):
            yield SendControl(Control(release=True), machine)
        return asked

    def give_again(self, batches: list[int], machine: str) -> Routine[None]:
        """Send a machine batches again that it began, and that no other machine has."""
        works = yield UseJournal(lambda journal: journal.reclaim(batches, machine))
        yield from self._send(WorkKind.BATCH, works, machine)

    def _give(self, kind: WorkKind, machine: str, limit: int) -> Routine[bool]:
        room = self._budget.room() if kind is WorkKind.BATCH else ANY_ROOM
        if limit == 0 or not room:
            return False
        late = self._fleet.members[machine].late_allowance(limit) if kind is WorkKind.BATCH else limit
        unix = self._now().unix
        takers = [name for name, member in self._fleet.members.items() if member.pulse.window]
        # While listing waits for transferring, what comes later in the order is given out all the same.
        in_order = kind is WorkKind.BATCH and self._lists and self._budget.is_trial
        works = yield UseJournal(
            lambda journal: journal.claim(kind, limit, machine, unix, late, room, takers, in_order=in_order)
        )
        yield from self._send(kind, works, machine)
        return True  # also without works: damaged batches were replaced

    def _send(self, kind: WorkKind, works: Sequence[Work], machine: str) -> Routine[None]:
        if not works:
            return
        kill_points.at("claimed")
        self.gave_batches = self.gave_batches or kind is WorkKind.BATCH
        self._budget.gave(works)
        self._fleet.note_sent(machine, kind, works, self._now().monotonic)
        yield SendWork(works, machine)


class Relief:
    """Which machines hand back half of what they have not begun, because others have nothing to do: no slow one holds up the end.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._idle_since: float | None = None
        self._asked_at: dict[str, float] = {}

    def due(self, fleet: Fleet, now: float) -> list[str]:
        """Return the machines to ask now; to be called when all that is ready was given out."""
        heard = {machine: fleet.members[machine] for machine in sorted(fleet.heard(now))}
        busy = [machine for machine, member in heard.items() if member.sent[WorkKind.BATCH]]
        has_idle = any(member.pulse.window and not member.sent[WorkKind.BATCH] for member in heard.values())
        if not (busy and has_idle):
            self._idle_since = None
            return []
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since < IDLE_SECONDS:
            return []
        self._idle_since = now
        self._asked_at.update(dict.fromkeys(busy, now))
        return busy

    def in_order(self, fleet: Fleet) -> list[tuple[str, Worker]]:
        """Return all machines in the order in which they get work: those first that were not asked, or longest ago."""
        return sorted(fleet.members.items(), key=lambda member: self._asked_at.get(member[0], -math.inf))
