"""Calls of volumes as values: the agent says what is to be asked of a disk, its shell asks in a thread, the answer is an event.

What takes several calls is written as a generator, a routine: it yields what it asks and is sent the answer.
"""

from collections.abc import Callable, Generator
from enum import StrEnum
from itertools import count
from typing import Any, NamedTuple

from bucketpull.domain.errors import VolumeError


class Verb(StrEnum):
    """The methods of `ports.Volume` that are called while a job runs, and two more.

    `reopen` opens a volume anew, and answers as a new one is told: its status and the batches that are noted there. `wait` answers
    after a moment.
    """

    STATUS = "status"
    PROBE = "probe"
    INTEND = "intend"
    RECOVER = "recover"
    INSPECT = "inspect"
    CLEAR = "clear"
    SETTLE = "settle"
    READ = "read"
    FORGET = "forget"
    DISCARD = "discard"
    ABANDON = "abandon"
    REMOVE = "remove"
    CLOSE = "close"
    REOPEN = "reopen"
    WAIT = "wait"


class DiskRequest(NamedTuple):
    """What a routine yields: a verb of a volume, by its id, with arguments."""

    volume: str
    verb: Verb
    arguments: tuple[object, ...] = ()


class Call(NamedTuple):
    """A `DiskRequest` to be carried out; its answer must name the id."""

    id: int
    ask: DiskRequest


DiskRoutine = Generator[DiskRequest, Any, None]


class Calls:
    """Runs routines. `start` is told each call that is to be carried out."""

    def __init__(self, start: Callable[[Call], None]) -> None:
        self._start = start
        self._ids = count(1)
        self._waiting: dict[int, tuple[str, DiskRoutine]] = {}

    def run(self, routine: DiskRoutine) -> None:
        """Begin a routine; it goes on with each answer."""
        self._go_on(routine, lambda: next(routine))

    def answer(self, call: int, value: object) -> None:
        """Go on with what a call returned. One that was given up before is ignored."""
        _, routine = self._waiting.pop(call, ("", None))
        if routine is not None:
            self._go_on(routine, lambda: routine.send(value))

    def fail(self, call: int, error: VolumeError) -> None:
        """Raise a call's error in its routine."""
        _, routine = self._waiting.pop(call, ("", None))
        if routine is not None:
            self._go_on(routine, lambda: routine.throw(error))

    def give_up(self, volume: str, error: VolumeError) -> None:
        """Raise an error in all routines that wait for a volume, which may never answer."""
        for call in [call for call, (name, _) in self._waiting.items() if name == volume]:
            self.fail(call, error)

    def _go_on(self, routine: DiskRoutine, resume: Callable[[], DiskRequest]) -> None:
        try:
            ask = resume()
        except StopIteration:
            return
        call = next(self._ids)
        self._waiting[call] = (ask.volume, routine)
        self._start(Call(call, ask))
