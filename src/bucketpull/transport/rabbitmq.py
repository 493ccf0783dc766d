"""Coordinator and workers on several machines, joined by RabbitMQ.

Queues of a job: one per machine (work and control messages to it), one of receipts, one of dead letters, and the
coordinator's own, which is exclusive: it carries pulses, and its existence refuses a second coordinator. The broker holds what
the workers' windows allow and no more; the frontier is in the journal. Work that is purged, or stuck with a dead machine, is
missing from the pulses of the living, and the coordinator gives it again.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Literal

import aiormq
import msgspec
from aiormq.abc import AbstractChannel

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.domain.model import (
    BatchReceipt,
    Control,
    FromWorker,
    Goodbye,
    Handback,
    Poison,
    Pulse,
    Refusal,
    ScanReceipt,
    Value,
    Welcome,
    Work,
)
from bucketpull.transport.amqp import Delivery, Link

QueueType = Literal["quorum", "classic"]
ToWorker = Work | Control | Welcome | Refusal

# A quorum queue that is killed within a second of its declaration comes back empty or leaderless (3.10, 4.0, 4.3, one node).
SETTLE_SECONDS = 2.0
# Never -1: 3.10 then drops a message at its first return. Attempts are counted in the journal.
DELIVERY_LIMIT = 1_000_000
WORK_PREFETCH = 512  # above any window: what a worker may hold is the coordinator's decision
RECEIPT_PREFETCH = 256
LOCK_SECONDS = 5.0


class _Sealed(Value, tag="work"):
    """Work on the wire, with a tag to tell it from control messages."""

    work: Work


_encode = msgspec.msgpack.Encoder().encode
_decode_up = msgspec.msgpack.Decoder(FromWorker).decode
_decode_down = msgspec.msgpack.Decoder(_Sealed | Control | Welcome | Refusal).decode


class Names:
    """The queues of a job. Queue names allow few characters; others become their code points."""

    def __init__(self, job: str) -> None:
        self._base = f"bucketpull.{_plain(job)}"
        self.receipts = f"{self._base}.receipts"
        self.dead = f"{self._base}.dead"
        self.coordinator = f"{self._base}.coordinator"

    def machine(self, machine: str) -> str:
        """Return the queue of one machine."""
        return f"{self._base}.machine.{_plain(machine)}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_.-]", lambda match: f"@{ord(match[0]):x}", name)[:120]


async def _declare_durable(channel: AbstractChannel, names: Names, queue: str, kind: QueueType) -> None:
    arguments: dict[str, object] = {"x-queue-type": kind}
    if queue != names.dead:
        arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": names.dead}
        if kind == "quorum":
            arguments["x-delivery-limit"] = DELIVERY_LIMIT
    await channel.queue_declare(queue, durable=True, arguments=arguments)  # type: ignore[arg-type]


class RabbitTransport:
    """The coordinator's end; see `ports.Transport`. Call `start` first.

    Args:
        welcome: What a worker is told of the job when it is heard for the first time.
        protocol: Workers of another protocol are refused.

    """

    def __init__(self, url: str, job: str, kind: QueueType, welcome: Welcome, protocol: str) -> None:
        self._names = Names(job)
        self._kind = kind
        self._welcome = welcome
        self._protocol = protocol
        self._known: dict[str, str] = {}
        self._declared: set[str] = set()
        self._unsettled: dict[int, Delivery] = {}
        self._poison: list[FromWorker] = []
        self._refused_as_second = asyncio.Event()
        names = self._names
        self.link = Link(
            url,
            self._declare,
            {names.coordinator: RECEIPT_PREFETCH, names.receipts: RECEIPT_PREFETCH, names.dead: 8},
            self._own,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and make sure that no other coordinator has the job.

        Raises:
            ConfigError: Another coordinator has it.
            TransportError: The broker cannot be reached in ten seconds.

        """
        reasons: list[str] = []
        self.link.lost = reasons.append
        self._task = asyncio.create_task(self.link.run(), name="broker")
        try:
            async with asyncio.timeout(2 * LOCK_SECONDS):
                await self.link.connected()
        except TimeoutError:
            await self.close()
            if self._refused_as_second.is_set():
                raise TransportError(
                    "another coordinator has this job; stop it first, or use another --job"
                ) from None
            raise TransportError(reasons[-1] if reasons else "the broker does not answer") from None
        await asyncio.sleep(SETTLE_SECONDS)

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """See `ports.Transport`."""
        queue = self._names.machine(machine)
        await asyncio.gather(*(self.link.publish(queue, _encode(_Sealed(work))) for work in works))

    async def receive(self) -> Sequence[FromWorker]:
        """See `ports.Transport`; the members that are heard first are welcomed here."""
        messages: list[FromWorker] = []
        for delivery in await self.link.receive():
            message = await self._read(delivery)
            if message is not None:
                self._unsettled[id(message)] = delivery
                messages.append(message)
        return messages

    async def settle(self, messages: Sequence[FromWorker]) -> None:
        """See `ports.Transport`."""
        for message in messages:
            delivery = self._unsettled.pop(id(message), None)
            if delivery is not None:
                await self.link.acknowledge(delivery)

    async def control(self, control: Control, machine: str) -> None:
        """See `ports.Transport`."""
        await self.link.publish(self._names.machine(machine), _encode(control))

    async def forget(self, machine: str) -> None:
        """Drop what waits for a machine that is taken for dead: it is given to others."""
        self._known.pop(machine, None)
        await self.link.purge(self._names.machine(machine))

    async def close(self) -> None:
        """See `ports.Transport`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _declare(self, channel: AbstractChannel) -> None:
        for queue in (self._names.dead, self._names.receipts):
            await _declare_durable(channel, self._names, queue, self._kind)

    async def _own(self, channel: AbstractChannel) -> None:
        try:
            await channel.queue_declare(self._names.coordinator, exclusive=True, durable=False)
        except aiormq.exceptions.ChannelLockedResource:
            self._refused_as_second.set()
            raise

    async def _read(self, delivery: Delivery) -> FromWorker | None:
        if delivery.queue == self._names.dead:
            return Poison("", delivery.body[:100].hex())
        try:
            message: FromWorker = _decode_up(delivery.body)
        except msgspec.DecodeError:
            await self.link.reject(delivery)
            return None
        if isinstance(message, Pulse) and not await self._admit(message):
            await self.link.acknowledge(delivery)
            return None
        return message

    async def _admit(self, pulse: Pulse) -> bool:
        """Welcome a worker that is new, or refuse it; only welcomed workers count."""
        queue = self._names.machine(pulse.machine)
        if pulse.version != self._protocol:
            reason = f"its version is {pulse.version}, the coordinator's {self._protocol}: install the same on both"
            await self.link.publish(queue, _encode(Refusal(reason)))
            return False
        if (
            self._known.get(pulse.machine) != pulse.incarnation
            or pulse.job_digest != self._welcome.job_digest
        ):
            self._known[pulse.machine] = pulse.incarnation
            if not pulse.job_digest:
                await self.link.publish(queue, _encode(self._welcome))
                return False
        if pulse.job_digest != self._welcome.job_digest:
            await self.link.publish(
                queue, _encode(Refusal("its configuration is not that of the job: restart it"))
            )
            return False
        return True


class RabbitInbox:
    """A worker's end; see `ports.Inbox`. Call `start` first, then `join` if the job is not known yet."""

    def __init__(self, url: str, job: str, machine: str, kind: QueueType) -> None:
        self._names = Names(job)
        self._queue = self._names.machine(machine)
        self._kind = kind
        self._held: dict[int, Delivery] = {}
        self.link = Link(url, self._declare, {self._queue: WORK_PREFETCH})
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and stay connected, in the background."""
        self._task = asyncio.create_task(self.link.run(), name="broker")

    async def join(self, hello: Pulse, seconds: float = 1.0) -> Welcome:
        """Ask to take part, and ask again every so many seconds until the coordinator answers. May wait for ever.

        Raises:
            ConfigError: The coordinator refuses this worker; says why.

        """
        while True:
            await self.link.tell(self._names.coordinator, _encode(hello))
            try:
                async with asyncio.timeout(seconds):
                    welcome = await self._answer()
            except TimeoutError:
                continue
            if isinstance(welcome, Refusal):
                raise ConfigError(f"refused by the coordinator: {welcome.reason}")
            return welcome

    async def receive(self) -> Sequence[Work | Control]:
        """See `ports.Inbox`. Of a batch delivered twice only the acknowledgement is renewed, by its id."""
        found: list[Work | Control] = []
        for delivery in await self.link.receive():
            message = await self._read(delivery)
            if isinstance(message, _Sealed):
                self._held[message.work.id] = delivery
                found.append(message.work)
            elif message is not None:
                await self.link.acknowledge(delivery)
                if isinstance(message, Control):
                    found.append(message)
                elif isinstance(message, Refusal):
                    raise ConfigError(f"refused by the coordinator: {message.reason}")
        return found

    async def reply(self, message: FromWorker) -> None:
        """See `ports.Inbox`: what must not be lost waits for the broker's confirmation, then its work is acknowledged."""
        body = _encode(message)
        if isinstance(message, Pulse | Goodbye):
            await self.link.tell(self._names.coordinator, body)
            return
        await self.link.publish(self._names.receipts, body)
        for work in _works(message):
            delivery = self._held.pop(work, None)
            if delivery is not None:
                await self.link.acknowledge(delivery)

    async def pause(self, paused: bool) -> None:
        """Nothing to do: the window in the pulses is the pause."""

    async def close(self) -> None:
        """See `ports.Inbox`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _answer(self) -> Welcome | Refusal:
        while True:
            for delivery in await self.link.receive():
                message = await self._read(delivery)
                if isinstance(message, Welcome | Refusal):
                    await self.link.acknowledge(delivery)
                    return message
                if isinstance(message, Control):
                    await self.link.acknowledge(delivery)

    async def _read(self, delivery: Delivery) -> _Sealed | Control | Welcome | Refusal | None:
        try:
            message: _Sealed | Control | Welcome | Refusal = _decode_down(delivery.body)
        except msgspec.DecodeError:
            await self.link.reject(delivery)
            return None
        return message

    async def _declare(self, channel: AbstractChannel) -> None:
        await _declare_durable(channel, self._names, self._names.dead, self._kind)
        await _declare_durable(channel, self._names, self._names.receipts, self._kind)
        await _declare_durable(channel, self._names, self._queue, self._kind)


def _works(message: FromWorker) -> Sequence[int]:
    if isinstance(message, Handback):
        return message.works
    return [message.work] if isinstance(message, ScanReceipt | BatchReceipt) else []
