"""Coordinator and worker in one process: two queues in memory. What is lost with the process, the journal gives out again."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from bucketpull.domain.messages import Control, FromWorker
from bucketpull.domain.model import Work

T = TypeVar("T")


async def _take(queue: "asyncio.Queue[T]") -> list[T]:
    """Wait for one message and take all that are there."""
    messages = [await queue.get()]
    while not queue.empty():
        messages.append(queue.get_nowait())
    return messages


class DirectTransport:
    """The coordinator's end; `inbox` is the end of its one worker."""

    def __init__(self) -> None:
        self._down: asyncio.Queue[Work | Control] = asyncio.Queue()
        self._up: asyncio.Queue[FromWorker] = asyncio.Queue()
        self.inbox = DirectInbox(self._down, self._up)

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """See `ports.Transport`; there is one machine."""
        del machine
        for work in works:
            self._down.put_nowait(work)

    async def receive(self) -> Sequence[FromWorker]:
        """See `ports.Transport`."""
        return await _take(self._up)

    async def acknowledge(self, messages: Sequence[FromWorker]) -> None:
        """Do nothing: a receipt that is not booked is lost with the process."""

    @property
    def hears(self) -> bool:
        """Always."""
        return True

    async def control(self, control: Control, machine: str) -> None:
        """See `ports.Transport`."""
        del machine
        self._down.put_nowait(control)

    async def forget(self, machine: str) -> None:
        """Do nothing: the worker ends with its coordinator."""

    async def close(self) -> None:
        """Nothing to leave."""


class DirectInbox:
    """The worker's end of a `DirectTransport`."""

    def __init__(self, down: "asyncio.Queue[Work | Control]", up: "asyncio.Queue[FromWorker]") -> None:
        self._down = down
        self._up = up

    async def receive(self) -> Sequence[Work | Control]:
        """See `ports.Inbox`."""
        return await _take(self._down)

    async def reply(self, message: FromWorker) -> None:
        """See `ports.Inbox`."""
        self._up.put_nowait(message)

    async def close(self) -> None:
        """Nothing to leave."""
