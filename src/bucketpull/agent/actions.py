"""The actions of an agent as values, which its shell carries out; the answer of a call of a volume comes back as an event.

What takes several calls is a generator, a disk routine: it yields a request and is sent the answer.
"""

from collections.abc import Callable, Generator
from functools import partial
from itertools import count
from typing import Any, Literal

import msgspec

from bucketpull.domain.errors import VolumeError
from bucketpull.domain.messages import FromWorker, ToProcess


class TellProcess(msgspec.Struct, frozen=True):
    """Send a message to a process."""

    process: int
    message: ToProcess


class TellCoordinator(msgspec.Struct, frozen=True):
    """Send a message to the coordinator."""

    message: FromWorker


class KillProcess(msgspec.Struct, frozen=True):
    """End a process that hangs; its death is reported as any other."""

    process: int


class StartProcess(msgspec.Struct, frozen=True):
    """Start a process in place of one that died. Messages to the dead one are dropped."""

    process: int


class OpenVolume(msgspec.Struct, frozen=True):
    """Open another volume; if that fails, nothing follows."""

    path: str


Verb = Literal[
    "status",
    "probe",
    "intend",
    "recover",
    "inspect",
    "clear",
    "settle",
    "read",
    "forget",
    "conclude",
    "remove",
    "close",
    "reopen",
    "wait",
]
"""The methods of `ports.Volume` that are called while a job runs, and two more.

`reopen` opens a volume again, and answers its status and the batches that are noted there. `wait` answers after a moment.
"""


class DiskRequest(msgspec.Struct, frozen=True):
    """What a routine yields: a method of a volume (by id), with arguments."""

    volume: str
    verb: Verb
    arguments: tuple[object, ...] = ()


class Call(msgspec.Struct, frozen=True):
    """A `DiskRequest` with an id, which its answer names."""

    id: int
    ask: DiskRequest


Action = TellProcess | TellCoordinator | KillProcess | StartProcess | OpenVolume | Call
DiskRoutine = Generator[DiskRequest, Any, None]


class Calls:
    """Runs routines.

    `start` is called with each call that is to be made. `refused` returns the error with which a request is answered at once: a disk
    that is given up may never answer.
    """

    def __init__(
        self, start: Callable[[Call], None], refused: Callable[[DiskRequest], VolumeError | None]
    ) -> None:
        self._start = start
        self._refused = refused
        self._ids = count(1)
        self._waiting: dict[int, tuple[str, DiskRoutine]] = {}

    def run(self, routine: DiskRoutine) -> None:
        """Begin a routine; each answer makes it go on."""
        self._go_on(routine, partial(next, routine))

    def answer(self, call: int, answer: object) -> None:
        """Go on with what a call returned, or raise the `VolumeError` that it raised; ignore one that was given up."""
        _, routine = self._waiting.pop(call, ("", None))
        if routine is not None:
            resume: Callable[[Any], DiskRequest] = (
                routine.throw if isinstance(answer, VolumeError) else routine.send
            )
            self._go_on(routine, partial(resume, answer))

    def give_up(self, volume: str, error: VolumeError) -> None:
        """Raise an error in all routines that wait for a volume, which may never answer."""
        for call in [call for call, (name, _) in self._waiting.items() if name == volume]:
            self.answer(call, error)

    def _go_on(self, routine: DiskRoutine, resume: Callable[[], DiskRequest]) -> None:
        try:
            ask = resume()
            while (error := self._refused(ask)) is not None:
                ask = routine.throw(error)
        except StopIteration:
            return
        call = next(self._ids)
        self._waiting[call] = (ask.volume, routine)
        self._start(Call(call, ask))
