"""Carries out the coordinator's effects: uses the journal in its thread and the transport, and reads the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.coordinator.effects import (
    Acknowledge,
    Effect,
    Forget,
    Hear,
    Heard,
    Moment,
    Routine,
    SendControl,
    SendWork,
    UseJournal,
)
from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.domain.errors import JournalError
from bucketpull.domain.model import Position
from bucketpull.domain.user_limits import Limits

if TYPE_CHECKING:
    from bucketpull.ports import Clock, Journal, Transport

T = TypeVar("T")


class CoordinatorShell:
    """Drives one job from its journal. Several of its methods may be under way at once: their effects take turns."""

    def __init__(
        self, journal: Journal, transport: Transport, clock: Clock, parameters: CoordinatorParameters
    ) -> None:
        self._journal = journal
        self._transport = transport
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self.coordinator = Coordinator(parameters, self._moment())

    async def run(self, root: Position) -> None:
        """See `Coordinator.run`."""
        await self._follow(self.coordinator.run(root))

    async def stop(self) -> None:
        """See `Coordinator.stop`."""
        await self._follow(self.coordinator.stop())

    async def set_limits(self, limits: Limits) -> None:
        """See `Coordinator.set_limits`."""
        await self._follow(self.coordinator.set_limits(limits))

    async def add_volume(self, path: str, machine: str) -> None:
        """See `Coordinator.add_volume`."""
        await self._follow(self.coordinator.add_volume(path, machine))

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Use the journal, in its own thread, one call at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def change(self, function: Callable[..., T], *arguments: object) -> T:
        """Change the journal, such as by its `retry` or `lose`, and go on with the work that this makes."""
        result = await self.call(function, *arguments)
        await self._follow(self.coordinator.count())
        return result

    async def close(self) -> None:
        """End the journal's thread."""
        await self.call(int)  # what is under way ends first, and without another thread, which may not be had
        self._thread.shutdown()

    async def _follow(self, routine: Routine[T]) -> T:
        answer: object = None
        error: JournalError | None = None
        try:
            while True:
                self.coordinator.at = self._moment()
                try:
                    effect = routine.send(answer) if error is None else routine.throw(error)
                except StopIteration as end:
                    result: T = end.value
                    return result
                error = None
                try:
                    answer = await self._carry_out(effect)
                except JournalError as raised:
                    error = raised
        finally:
            routine.close()

    async def _carry_out(self, effect: Effect) -> object:
        match effect:
            case UseJournal(function):
                return await self.call(function, self._journal)
            case Hear(seconds):
                return await self._hear(seconds)
            case SendControl(control, machine):
                await self._transport.control(control, machine)
            case SendWork(works, machine):
                await self._transport.send(works, machine)
            case Acknowledge(messages):
                await self._transport.acknowledge(messages)
            case Forget(machine):
                await self._transport.forget(machine)
        return None

    async def _hear(self, seconds: float) -> Heard:
        try:
            async with asyncio.timeout(seconds):
                messages = await self._transport.receive()
        except TimeoutError:
            messages = ()
        return Heard(messages, self._transport.hears)

    def _moment(self) -> Moment:
        clock = self._clock
        return Moment(clock.monotonic(), clock.now(), clock.today())
