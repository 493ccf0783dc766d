"""A worker's end of RabbitMQ, and the question where a job stands."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.model import (
    BatchReceipt,
    Control,
    FromWorker,
    Goodbye,
    Handback,
    Pulse,
    Refusal,
    ScanReceipt,
    Welcome,
    Work,
)
from bucketpull.transport.amqp import SETTLE_SECONDS, Delivery, Envelope, Link
from bucketpull.transport.wire import Names, QueueType, Sealed, ToWorker, decode_down, encode

# Above any window: what a worker may hold is the coordinator's decision, and what waits in the queue would look lost.
PREFETCH: Final = 512
HELLO_SECONDS: Final = 1.0
REMEMBERED: Final = 10_000
# A broker may need this long to notice that the connection of a worker that was cut off is dead.
TAKEN_SECONDS: Final = 45.0


class RabbitInbox:
    """See `ports.Inbox`. Call `start` first, then `join` if the job is not known yet.

    Args:
        journal: The journal of the job; work of another one is left alone. "" before `join`.
        settle_seconds: How long new queues rest before they are used.

    """

    def __init__(
        self,
        url: str,
        job: str,
        machine: str,
        kind: QueueType,
        version: str,
        incarnation: str,
        journal: str = "",
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        names = Names(job, kind)
        self._names = names
        self._machine = machine
        self._queue = names.machine(machine)
        self._journal = journal
        self._incarnation = incarnation
        self._envelope = Envelope(version, journal, incarnation, self._queue)
        self._held: dict[int, Delivery] = {}
        self._done: dict[int, None] = {}
        queues = (names.dead, names.receipts, self._queue)
        self.link = Link(
            url,
            {queue: names.arguments(queue) for queue in queues},
            {names.lock(machine): {}},
            {self._queue: PREFETCH},
            settle_seconds=settle_seconds,
        )

    async def start(self) -> None:
        """Connect, and stay connected, in the background."""
        self.link.start()

    async def join(self, hello: Pulse, told: Callable[[str], None] = lambda _: None) -> Welcome:
        """Ask to take part, and ask again every second until the coordinator answers. May wait for ever.

        Args:
            hello: Names the worker; without a job digest.
            told: Called with a reason for waiting, whenever it is another one.

        Raises:
            ConfigError: The coordinator or the broker refuses this worker; says why.

        """
        taken_since: float | None = None
        self.link.lost = _changes(told)
        while True:
            await self.link.tell(self._names.coordinator, encode(hello), self._envelope)
            try:
                async with asyncio.timeout(HELLO_SECONDS):
                    return await self._answer()
            except TimeoutError:
                now = asyncio.get_running_loop().time()
                taken_since = (taken_since or now) if self.link.taken else None
                self._check_refused(taken_since is not None and now - taken_since > TAKEN_SECONDS)

    async def receive(self) -> Sequence[Work | Control]:
        """See `ports.Inbox`. Work that comes again after its receipt is acknowledged and not given twice."""
        found: list[Work | Control] = []
        for delivery in await self.link.receive():
            message = await self._read(delivery)
            if isinstance(message, Sealed):
                if await self._is_new(message.work, delivery):
                    found.append(message.work)
            elif message is not None:
                await self.link.acknowledge(delivery)
                if isinstance(message, Control):
                    found.append(self._ours(message, delivery))
                elif isinstance(message, Refusal) and delivery.envelope.incarnation == self._incarnation:
                    raise ConfigError(f"refused by the coordinator: {message.reason}")
        return found

    async def reply(self, message: FromWorker) -> None:
        """See `ports.Inbox`: what must not be lost waits for the broker's confirmation, then its work is acknowledged."""
        body = encode(message)
        if isinstance(message, Pulse | Goodbye):
            await self.link.tell(self._names.coordinator, body, self._envelope)
            return
        await self.link.publish(self._names.receipts, body, self._envelope)
        is_last = not isinstance(message, Handback) and not (
            isinstance(message, BatchReceipt) and message.remainder is not None
        )
        for work in _works(message):
            delivery = self._held.pop(work, None)
            if is_last:
                self._remember(work)
            if delivery is not None:
                await self.link.acknowledge(delivery)

    async def pause(self, paused: bool) -> None:
        """Nothing to do: the window in the pulses is the pause."""

    async def close(self) -> None:
        """See `ports.Inbox`."""
        await self.link.close()

    def _check_refused(self, taken: bool) -> None:
        if self.link.refused:
            raise ConfigError(f"--broker: it does not let us in: {self.link.refused}")
        if taken:
            raise ConfigError(
                f"another worker of this job is machine {self._machine}: give another --machine"
            )

    def _remember(self, work: int) -> None:
        self._done[work] = None
        if len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]

    async def _is_new(self, work: Work, delivery: Delivery) -> bool:
        if delivery.envelope.journal != self._journal or (delivery.redelivered and work.id in self._done):
            await self.link.acknowledge(delivery)
            return False
        self._held[work.id] = delivery
        return True

    def _ours(self, control: Control, delivery: Delivery) -> Control:
        """Leave out what was said to a worker that was here before this one."""
        outside = delivery.envelope
        if outside.journal != self._journal:
            return Control(control.limits)
        if outside.incarnation != self._incarnation:
            return Control(control.limits, booked=control.booked, discard=control.discard)
        return control

    async def _answer(self) -> Welcome:
        while True:
            for delivery in await self.link.receive():
                message = await self._read(delivery)
                if not isinstance(message, Welcome | Refusal):
                    continue  # not acknowledged: it comes again when the work begins
                await self.link.acknowledge(delivery)
                if delivery.envelope.incarnation != self._incarnation:
                    continue
                if isinstance(message, Refusal):
                    raise ConfigError(f"refused by the coordinator: {message.reason}")
                return message

    async def _read(self, delivery: Delivery) -> ToWorker | None:
        try:
            message: ToWorker = decode_down(delivery.body)
        except msgspec.DecodeError:
            await self.link.reject(delivery)
            return None
        return message


def _changes(told: Callable[[str], None]) -> Callable[[str], None]:
    """Tell a reason only where it differs from the one before."""
    last = ""

    def tell(reason: str) -> None:
        nonlocal last
        if reason != last:
            last = reason
            told(reason)

    return tell


def _works(message: FromWorker) -> Sequence[int]:
    if isinstance(message, Handback):
        return message.works
    return [message.work] if isinstance(message, ScanReceipt | BatchReceipt) else []
