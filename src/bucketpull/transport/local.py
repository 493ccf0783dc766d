"""Coordinator and worker in one process: two queues in memory, alone or beside another transport. What is lost with the process, the journal gives out again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bucketpull.domain.messages import Control, FromWorker, Work
from bucketpull.transport.mailbox import Mailbox

if TYPE_CHECKING:
    from bucketpull.ports import Transport


class DirectTransport:
    """The coordinator's end; `inbox` is the end of its one worker."""

    def __init__(self) -> None:
        self._down: Mailbox[Work | Control] = Mailbox()
        self._up: Mailbox[FromWorker] = Mailbox()
        self.inbox = DirectInbox(self._down, self._up)
        self.hears = True

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """See `ports.Transport`; there is one machine."""
        del machine
        for work in works:
            self._down.put(work)

    async def receive(self) -> Sequence[FromWorker]:
        """See `ports.Transport`."""
        return await self._up.take_all()

    async def acknowledge(self, messages: Sequence[FromWorker]) -> None:
        """Do nothing: a receipt that is not booked is lost with the process."""

    async def control(self, control: Control, machine: str) -> None:
        """See `ports.Transport`."""
        del machine
        self._down.put(control)

    async def forget(self, machine: str) -> None:
        """Do nothing: the worker ends with its coordinator."""

    async def close(self) -> None:
        """Nothing to leave."""


class DirectInbox:
    """The worker's end of a `DirectTransport`."""

    def __init__(self, down: Mailbox[Work | Control], up: Mailbox[FromWorker]) -> None:
        self._down = down
        self._up = up

    async def receive(self) -> Sequence[Work | Control]:
        """See `ports.Inbox`."""
        return await self._down.take_all()

    async def reply(self, message: FromWorker) -> None:
        """See `ports.Inbox`."""
        self._up.put(message)

    async def close(self) -> None:
        """Nothing to leave."""


class JoinedTransport:
    """One transport for a coordinator's own lister and the workers on other machines: `near` leads to the machines named, `far` to all others."""

    def __init__(self, near: Transport, far: Transport, near_machines: frozenset[str]) -> None:
        self._near, self._far = near, far
        self._near_machines = near_machines
        self._receiving: dict[Transport, asyncio.Task[Sequence[FromWorker]]] = {}

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """See `ports.Transport`."""
        await self._way(machine).send(works, machine)

    async def receive(self) -> Sequence[FromWorker]:
        """See `ports.Transport`. When it is cancelled, receiving goes on in the background, so nothing is lost."""
        for way in (self._near, self._far):
            if way not in self._receiving:
                self._receiving[way] = asyncio.ensure_future(way.receive())
        await asyncio.wait(self._receiving.values(), return_when=asyncio.FIRST_COMPLETED)
        messages: list[FromWorker] = []
        for way, task in list(self._receiving.items()):
            if task.done():
                del self._receiving[way]
                messages += task.result()
        return messages

    async def acknowledge(self, messages: Sequence[FromWorker]) -> None:
        """See `ports.Transport`."""
        await self._near.acknowledge(messages)
        await self._far.acknowledge(messages)

    @property
    def hears(self) -> bool:
        """See `ports.Transport`."""
        return self._near.hears and self._far.hears

    async def control(self, control: Control, machine: str) -> None:
        """See `ports.Transport`."""
        await self._way(machine).control(control, machine)

    async def forget(self, machine: str) -> None:
        """See `ports.Transport`."""
        await self._way(machine).forget(machine)

    async def close(self) -> None:
        """See `ports.Transport`."""
        for task in self._receiving.values():
            task.cancel()
        await asyncio.gather(*self._receiving.values(), return_exceptions=True)
        await self._near.close()
        await self._far.close()

    def _way(self, machine: str) -> Transport:
        return self._near if machine in self._near_machines else self._far
