"""The bookkeeper of a job: gives out work, books receipts, decides when the job has ended. Pure.

One loop: receive messages of workers, book them in one transaction, acknowledge them, give out new work.
Nothing is decided from empty queues: the job has ended when the journal has no outstanding work.

Each method that uses the journal or sends a message is a generator, a routine: it yields effects, and is sent the result of each.
There is no clock, no thread and no loop here: whoever carries out the effects sets `at` before each step.
"""

import math
from collections.abc import Sequence

import msgspec

from bucketpull import kill_points
from bucketpull.coordinator.budget_watch import BudgetWatch
from bucketpull.coordinator.dispatch import Dispatch
from bucketpull.coordinator.effects import (
    Acknowledge,
    Entry,
    Forget,
    Hear,
    Heard,
    Moment,
    Routine,
    SendControl,
    UseJournal,
    once_each,
)
from bucketpull.coordinator.ending import (
    Headway,
    check_volumes,
    final_state,
    working_state,
)
from bucketpull.coordinator.fleet import Fleet, RequestedStates, told_of_outages
from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.coordinator.rate_sharing import Sharing
from bucketpull.coordinator.reconcile import FormerCopies, booked, judge
from bucketpull.domain import budget
from bucketpull.domain.errors import JournalError, SourceRefused
from bucketpull.domain.messages import (
    BatchReceipt,
    Control,
    Fatal,
    FromWorker,
    Goodbye,
    Handback,
    Poison,
    Pulse,
    Removed,
    ScanReceipt,
)
from bucketpull.domain.model import Counters, Outstanding, Position
from bucketpull.domain.progress import CUT_SHORT, JobState
from bucketpull.domain.user_limits import Limits


class Coordinator:
    """Drives one job from its journal. `run` returns when the job has ended or was stopped.

    `refusal` is set when the source refused us as a whole, `trouble` when the journal's disk was nearly full.
    `began` is when this session began to work (monotonic seconds), with the books of that moment.
    `missing` is how many objects are in the books and in no ledger, by what the volumes reported at the end; `lost` of them cannot be
    objects of two pages, which the books count twice.
    `asked` are the volumes, by id, that the operator wants drained or gave up as lost. `local_machine` is the one whose agent runs in this process.
    """

    def __init__(self, parameters: CoordinatorParameters, at: Moment) -> None:
        self.at = at
        self.state = JobState.STARTING
        self.refusal: Fatal | None = None
        self._parting, self._hears = False, True
        self.counters = Counters()
        self.outstanding = Outstanding()
        self.began: tuple[float, Counters, Outstanding] | None = None
        self.fleet = Fleet(parameters.silence_seconds, parameters.grace_seconds)
        self.limits = Limits()
        self.asked = RequestedStates()
        self.local_machine = parameters.local_machine
        self._parameters = parameters
        self._stop_at: float | None = None
        self._sharing = Sharing()
        self._since = self._roomy_at = self._met_at = at.monotonic
        self._room_at = -math.inf
        self._refused_elsewhere: tuple[Fatal, float] | None = None
        self.trouble: JournalError | None = None
        self.missing = self.lost = 0
        self.budget = BudgetWatch(parameters.budget, lambda: self.at.today)
        self._former = FormerCopies()
        self._dispatch = Dispatch(parameters, self.fleet, self.budget, lambda: self.at)

    def run(self, root: Position) -> Routine[None]:
        """Work until nothing is outstanding, the source refuses us, no volume has room (where the parameters say so), or `stop`."""
        yield UseJournal(lambda journal: journal.begin(root, self.at.unix, self._parameters.selection))
        yield from self._dispatch.reclaim()
        self._met_at += self._parameters.meet_seconds if self._dispatch.gave_batches else 0.0
        self.budget.spent = yield UseJournal(lambda journal: journal.spending())
        yield from self.count()
        self.began = self.at.monotonic, self.counters, self.outstanding
        self.state = self.state if self._stop_at is not None else JobState.LISTING
        while not self._ended():
            yield from self._turn()
        yield self._note_spending()
        if self.state is JobState.BUDGET_SPENT and not self.outstanding.is_some:
            self._stop_at, self.state = None, JobState.FINISHING  # what was in hand was all that was left
        if self.refusal is None and self._stop_at is None:
            yield from self._clear()
            yield from self._await_cleanup()
            self._parting = True
            yield from self._dismiss_all()
            yield self._note_spending()  # the last pulses came meanwhile
            self.missing, self.lost = yield from check_volumes(self.counters, self.fleet)

    def _note_spending(self) -> UseJournal:
        return UseJournal(lambda journal: journal.note_spending(self.budget.spent))

    def stop(self) -> Routine[None]:
        """Ask the local workers to hand back what they hold; `run` returns when they have, or after ten seconds."""
        if self._stop_at is None:
            self._stop_at = self.at.monotonic + self._parameters.stop_seconds
            self.state = JobState.INTERRUPTED
            yield from self._dismiss({self.local_machine})  # it may not have said a word yet

    def set_limits(self, limits: Limits) -> Routine[None]:
        """Change the limits of the whole job; each worker gets its share."""
        self.limits = limits
        yield from self._share_limits()

    def add_volume(self, path: str, machine: str) -> Routine[None]:
        """Have a machine use another volume, or one again that was drained."""
        yield SendControl(Control(add_volumes=[path]), machine)

    def _turn(self) -> Routine[None]:
        yield from self._watch_room()
        yield from self._listen()
        yield from self._recover()
        self.budget.forget_gone(self.fleet)
        if self._stop_at is None:
            yield from self._watch_refusals()
        if self._stop_at is None and self.refusal is None:
            yield from self._watch_budget()
        if self._stop_at is None and self.refusal is None:
            yield from self._share_limits()
            yield from self._share_outages()
            yield from self._give_out()
        self._name_state()

    def _watch_room(self) -> Routine[None]:
        """Stop in order before the journal's disk is full, rather than fail in a transaction."""
        if self.at.monotonic - self._room_at < self._parameters.room_seconds:
            return
        self._room_at = self.at.monotonic
        try:
            yield UseJournal(lambda journal: journal.check_room())
        except JournalError as error:
            self.trouble = error
            yield from self.stop()

    def _watch_budget(self) -> Routine[None]:
        """Write down what was used, and end the job when the budget is spent; machines of an earlier coordinator have time to report first."""
        now = self.at.monotonic
        if self.budget.is_to_be_written(now):
            yield self._note_spending()
        is_left = self.outstanding.is_some and not self.outstanding.batches_sent
        has_all = is_left and self.budget.has_given_all
        if now >= self._met_at and (has_all or self.budget.verdict is budget.BudgetState.END):
            yield from self._cut_short(JobState.BUDGET_SPENT)

    def _listen(self) -> Routine[None]:
        heard: Heard = yield Hear(self._parameters.tick_seconds)
        self._hears = heard.hears
        if heard.messages:
            yield from self._book(heard.messages)

    def _book(self, messages: Sequence[FromWorker]) -> Routine[None]:
        entries = [
            message for message in messages if isinstance(message, ScanReceipt | BatchReceipt | Handback)
        ]
        # First: what a volume has appended since it told of its ledger is not booked yet.
        for message in messages:
            if isinstance(message, Pulse):
                yield from self._doubt_restored(message)
        if entries:
            kill_points.at("received")
        for group in once_each(entries):
            yield from self._commit(group)
        poison = [message.detail for message in messages if isinstance(message, Poison)]
        if poison:
            yield UseJournal(lambda journal: journal.note_poison(poison))
            yield from self.count()
        for message in messages:
            yield from self._hear(message)
        yield Acknowledge(messages)
        if entries:
            kill_points.at("acknowledged")

    def _doubt_restored(self, pulse: Pulse) -> Routine[None]:
        """Have objects fetched again that a volume lacks because it was restored from an older copy."""
        arrived = self.fleet.arrived(pulse)
        if not arrived:
            return
        restored = yield UseJournal(lambda journal: journal.doubt_restored(arrived))
        if restored:
            self.fleet.restored.update(restored)
            yield from self.count()

    def _commit(self, entries: Sequence[Entry]) -> Routine[None]:
        unix = self.at.unix
        dropped, self.counters, self.outstanding, noted = yield UseJournal(
            lambda journal: (
                set(journal.commit(entries, unix)),
                journal.counters(),
                journal.outstanding(),
                journal.noted_former(),
            )
        )
        kill_points.at("committed")
        self.budget.booked(entries, dropped, self.at.monotonic)
        yield from self._answered(entries, dropped)
        self._former.see(noted, self.at.monotonic)
        # Workers ask in their pulses about batches of which they are not told that they are booked.
        for machine, works in booked(entries, dropped).items():
            yield SendControl(Control(booked=works), machine)

    def _answered(self, entries: Sequence[FromWorker], dropped: set[int]) -> Routine[None]:
        """Note which work is done. The remainder of a batch stays with the machine that reported it, whoever had the batch meanwhile."""
        now = self.at.monotonic
        unowned: list[int] = []
        for entry in entries:
            if isinstance(entry, BatchReceipt) and entry.remainder is not None:
                if entry.work not in dropped and not self.fleet.note_kept(entry.machine, entry.work, now):
                    unowned.append(entry.work)
            elif isinstance(entry, ScanReceipt | BatchReceipt):
                self.fleet.note_ended(entry.machine, entry.work)
            elif isinstance(entry, Handback):
                for work in entry.works:
                    self.fleet.note_ended(entry.machine, work)
        yield from self._release(unowned)

    def _hear(self, message: FromWorker) -> Routine[None]:
        if isinstance(message, Pulse):
            yield from self._hear_pulse(message)
        elif isinstance(message, Goodbye):
            at_end = self._parting or self._stop_at is not None
            yield from self._release(self.fleet.leave(message.machine, at_end=at_end))
            self.fleet.left.add(message.machine)
            yield Forget(message.machine)
        elif isinstance(message, Removed):
            yield UseJournal(lambda journal: journal.forget_former(message.ids))
            self._former.removed(message, self.at.monotonic)
        elif isinstance(message, Fatal) and self.refusal is None:
            yield from self._hear_fatal(message)

    def _hear_pulse(self, pulse: Pulse) -> Routine[None]:
        yield from self._repeat_requests(pulse)
        now = self.at.monotonic
        news = self.fleet.see(pulse, now)
        self._sharing.see(pulse, self.fleet.with_volumes, now)
        self.budget.see(pulse, now)
        if news:
            yield UseJournal(lambda journal: journal.see_volumes(news))
            yield from self.count()
        if pulse.begun:
            answer = yield UseJournal(lambda journal: judge(journal, pulse.begun))
            if answer.verdicts:
                yield SendControl(Control(verdicts=answer.verdicts), pulse.machine)
            if answer.again and self._stop_at is None:
                yield from self._dispatch.give_again(answer.again, pulse.machine)
        copies = yield from self._former.due(pulse, now)
        if copies:
            yield SendControl(Control(remove=copies), pulse.machine)

    def _hear_fatal(self, fatal: Fatal) -> Routine[None]:
        """End the job. A refusal on another machine ends it only if no machine goes on: each has its own credentials."""
        if self.local_machine not in {"", fatal.machine}:
            self._refused_elsewhere = self._refused_elsewhere or (fatal, self.at.monotonic)
            yield from self._dismiss({fatal.machine})
            return
        yield from self._refuse(fatal)

    def _watch_refusals(self) -> Routine[None]:
        """Forget a refusal on another machine while others go on; it ends the job when none has for a while."""
        if self._refused_elsewhere is None:
            return
        fatal, since = self._refused_elsewhere
        working = self.fleet.with_volumes
        if working > 1 or (working and fatal.machine not in self.fleet.members):
            self._refused_elsewhere = None
        elif not working and self.at.monotonic - since > self._parameters.refusal_seconds:
            yield from self._refuse(fatal)

    def _refuse(self, fatal: Fatal) -> Routine[None]:
        self.refusal = fatal
        yield from self._cut_short(JobState.REFUSED)

    def _cut_short(self, state: JobState) -> Routine[None]:
        """Have all workers hand back what they hold."""
        self.state = state
        self._stop_at = self.at.monotonic + self._parameters.stop_seconds
        yield from self._dismiss(set(self.fleet.members))

    def _repeat_requests(self, pulse: Pulse) -> Routine[None]:
        pending = self.asked.applied(pulse)
        if pending:
            yield SendControl(Control(drain_volumes=pending), pulse.machine)

    def _recover(self) -> Routine[None]:
        """Make work ready again that was with dead machines, or was lost on its way."""
        now = self.at.monotonic
        if not self._hears:
            self.fleet.restart_timers(now)
            self._since = now
            return
        for machine in self.fleet.silent(now):
            yield from self._release(self.fleet.declare_dead(machine))
            yield Forget(machine)
        yield from self._release(self.fleet.lost())
        if now - self._since > self._parameters.silence_seconds:
            yield from self._release(self.fleet.abandoned())

    def _release(self, works: Sequence[int]) -> Routine[None]:
        if works:
            yield UseJournal(lambda journal: journal.release(works))
            yield from self.count()

    def _share_limits(self) -> Routine[None]:
        remind_seconds = self._parameters.remind_seconds
        for machine, share in self._sharing.due(
            self._limits(), self.fleet, remind_seconds, self.at.monotonic
        ):
            yield SendControl(Control(share), machine)

    def _share_outages(self) -> Routine[None]:
        """Tell machines which endpoints are down for all others, so that they begin there with one request."""
        for machine, down in told_of_outages(self.fleet, self.at.monotonic):
            yield SendControl(Control(down=down), machine)

    def _limits(self) -> Limits:
        waits = self.budget.verdict is budget.BudgetState.WAIT_FOR_TOMORROW
        return msgspec.structs.replace(self.limits, paused=True) if waits else self.limits

    def _give_out(self) -> Routine[None]:
        if self.limits.paused or self.budget.verdict is not budget.BudgetState.GO_ON:
            return
        if (yield from self._dispatch.give_out(self.outstanding)):
            yield from self.count()

    def count(self) -> Routine[None]:
        """Read the books again after a change."""
        self.counters, self.outstanding = yield UseJournal(
            lambda journal: (journal.counters(), journal.outstanding())
        )

    def _ended(self) -> bool:
        if self._stop_at is not None:
            return self.local_machine not in self.fleet.members or self.at.monotonic > self._stop_at
        if self.state is JobState.NO_ROOM and self._parameters.exits_when_full:
            return self.at.monotonic >= self._met_at
        return not self.outstanding.is_some

    def _name_state(self) -> None:
        if self._stop_at is not None:
            return
        now = self.at.monotonic
        if self.fleet.takers:
            self._roomy_at = now
        # A receipt comes before the pulse that reports the room it made.
        had_room = now - self._roomy_at < self._parameters.roomless_seconds
        is_spent = self.budget.verdict is not budget.BudgetState.GO_ON
        self.state = working_state(self.outstanding, self.fleet, self.limits.paused, is_spent, had_room)

    def _clear(self) -> Routine[None]:
        """Have stale copies removed before the workers leave."""
        members = self.fleet.members
        while self._stop_at is None and self._former.is_busy(
            [member.pulse for member in members.values()], self.at.monotonic
        ):
            yield from self._listen()

    def _await_cleanup(self) -> Routine[None]:
        """Wait until all files on the machines' volumes are confirmed.

        A machine that is there may take as long as it makes progress, and longer while a disk removes files or the broker is away; one that
        is away, a short time.
        """
        parameters = self._parameters
        if not parameters.local_machine:
            return
        of_the_job = yield UseJournal(lambda journal: journal.machines())
        patience = parameters.linger_seconds if self._dispatch.gave_batches else parameters.meet_seconds
        headway = Headway(self.at.monotonic)
        while waited := of_the_job - self.fleet.left - self.fleet.present(self.at.monotonic):
            here = self.fleet.unsettled(waited, self.at.monotonic)
            headway.see(here, self.at.monotonic, hears=self._hears)
            slow = not self._hears or any(pulse.removes for pulse in here)
            usual = parameters.linger_seconds if here else patience
            bound = parameters.removal_seconds if slow else usual
            if self._stop_at is not None or self.at.monotonic - headway.at > bound:
                break
            self.state = JobState.NO_ROOM if self.state is JobState.NO_ROOM else JobState.FINISHING
            yield from self._listen()

    def _dismiss_all(self) -> Routine[None]:
        """Have all workers leave in order, so that none is interrupted."""
        deadline = self.at.monotonic + self._parameters.stop_seconds
        told: set[str] = set()
        while self.fleet.members and self.at.monotonic < deadline and self._stop_at is None:
            new = {member.pulse.incarnation: machine for machine, member in self.fleet.members.items()}
            yield from self._dismiss(
                {machine for incarnation, machine in new.items() if incarnation not in told}
            )
            told |= new.keys()
            yield from self._listen()

    def _dismiss(self, machines: set[str]) -> Routine[None]:
        for machine in machines:
            yield SendControl(Control(stop=True), machine)

    def conclude(self) -> None:
        """Set the final state from the books. Nobody interrupted a job that a journal without room cut short: it is incomplete."""
        if self.trouble or self.state not in CUT_SHORT:
            is_short = bool(self.trouble or self.lost)
            self.state = final_state(self.counters, self.outstanding, is_short=is_short)

    def raise_refusal(self) -> None:
        """Raise what ended the job before its end: the source refused us, or the journal has no room."""
        if self.trouble is not None:
            raise self.trouble
        if self.refusal is not None:
            raise SourceRefused(self.refusal.reason, self.refusal.detail)
