"""A coordinator without machines: the test hears what it tells, says what machines say, and moves the time."""

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.coordinator.effects import (
    Acknowledge,
    Forget,
    Hear,
    Heard,
    Moment,
    SendControl,
    SendWork,
    UseJournal,
)
from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.domain.errors import JournalError
from bucketpull.domain.model import Position

UNIX = 1_700_000_000.0


class Harness:
    """`told` and `sent` are what machines were told and sent, `settled` the messages that need not come again.

    `has_ended` is true when `run` has returned. The journal answers at once, or raises what `trouble` is.
    """

    def __init__(self, journal, now=100.0, **parameters):
        self.journal = journal
        self.now = now
        self.trouble = None
        self.told, self.sent, self.settled, self.forgotten = [], [], [], []
        self.has_ended = False
        self.coordinator = Coordinator(CoordinatorParameters(**parameters), self._moment())
        self._routine = self.coordinator.run(Position(b""))
        self._go_on(self._routine, None)

    def hear(self, *messages, after=0.5, hears=True):
        """Let time pass, and then these messages come, or none."""
        assert not self.has_ended
        self.now += after
        self._go_on(self._routine, Heard(messages, hears))

    def also(self, routine):
        """Let an operator ask something meanwhile."""
        self._go_on(routine, None)

    def wait(self, seconds, *messages):
        """Let the same messages come twice a second for so long."""
        until = self.now + seconds
        while self.now < until and not self.has_ended:
            self.hear(*messages)

    def controls(self, machine):
        """Take what a machine was told."""
        found = [control for control, to in self.told if to == machine]
        self.told = [entry for entry in self.told if entry[1] != machine]
        return found

    def works(self, machine):
        """Take the work that a machine was sent."""
        found = [work for work, to in self.sent if to == machine]
        self.sent = [entry for entry in self.sent if entry[1] != machine]
        return found

    def _moment(self):
        return Moment(self.now, UNIX + self.now, "2026-05-01")

    def _go_on(self, routine, answer):
        error = None
        while True:
            self.coordinator.at = self._moment()
            try:
                effect = routine.send(answer) if error is None else routine.throw(error)
            except StopIteration:
                self.has_ended = self.has_ended or routine is self._routine
                return
            if isinstance(effect, Hear):
                return
            answer = error = None
            try:
                answer = self._carry_out(effect)
            except JournalError as raised:
                error = raised

    def _carry_out(self, effect):
        match effect:
            case UseJournal(function):
                if self.trouble is not None:
                    trouble, self.trouble = self.trouble, None
                    raise trouble
                return function(self.journal)
            case SendControl(control, machine):
                self.told.append((control, machine))
            case SendWork(works, machine):
                self.sent += [(work, machine) for work in works]
            case Acknowledge(messages):
                self.settled += messages
            case Forget(machine):
                self.forgotten.append(machine)
        return None
