"""The coordinator's end of RabbitMQ.

The broker holds what the workers' windows allow and no more; the frontier is in the journal. Work that is purged, or stuck with
a dead machine, is missing from the pulses of the living, and the coordinator gives it again.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.domain.model import (
    Control,
    Failure,
    FromWorker,
    Goodbye,
    Poison,
    Pulse,
    Refusal,
    Value,
    Welcome,
    Work,
)
from bucketpull.domain.progress import Snapshot
from bucketpull.transport.amqp import SETTLE_SECONDS, Delivery, Envelope, Link
from bucketpull.transport.remote_query import taken
from bucketpull.transport.wire import Ask, AskFailures, Echo, Names, QueueType, Sealed, decode_up, encode

PREFETCH: Final = 256
START_SECONDS: Final = 10.0
ECHO_SECONDS: Final = 1.0
DEAF_SECONDS: Final = 5.0
REFUSE_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 3.0
SENT_AT_ONCE: Final = 32
GATHER_SECONDS: Final = (
    0.02  # what comes in so short a time is booked together: a transaction for each costs more
)
_SHOWN_BYTES: Final = 60


class RabbitTransport:
    """See `ports.Transport`. Call `start` first. Sending never waits for the broker: what is said is said in order, when it can be.

    `snapshot` is asked for where the job stands, `failures` for what failed, for whoever asks through the broker; `known` for the ids of the volumes that a
    machine has, by path.

    Args:
        welcome: What a worker is told of the job when it is heard for the first time.
        version: Workers of another version are refused.
        settle_seconds: How long new queues rest before they are used.

    """

    def __init__(
        self,
        url: str,
        job: str,
        kind: QueueType,
        welcome: Welcome,
        version: str,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._names = names = Names(job, kind)
        self._job = job
        self._welcome = welcome
        self._version = version
        self._known: dict[str, str] = {}
        self._refusals: dict[tuple[str, str], float] = {}
        self._unsettled: dict[int, Delivery] = {}
        self._outbox: asyncio.Queue[tuple[str, Value | None]] = asyncio.Queue()
        self._heard: asyncio.Queue[FromWorker] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._echoed_at = 0.0
        self.snapshot: Callable[[], Snapshot] | None = None
        self.failures: Callable[[AskFailures], Awaitable[list[Failure]]] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self.known: Callable[[str], Awaitable[dict[str, str]]] | None = None
        self.link = Link(
            url,
            {queue: names.arguments(queue) for queue in (names.dead, names.receipts)},
            {names.coordinator: names.dead_letters()},
            dict.fromkeys((names.coordinator, names.receipts, names.dead), PREFETCH),
            settle_seconds=settle_seconds,
        )

    async def start(self) -> None:
        """Connect, and make sure that no other coordinator has the job.

        Raises:
            ConfigError: Another coordinator has it, or the broker does not let us in.
            TransportError: The broker cannot be reached in ten seconds.

        """
        reasons: list[str] = []
        self.link.lost = reasons.append
        self.link.start()
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._connected():
                    if self.link.refused:
                        raise ConfigError(f"--broker: it does not let us in: {self.link.refused}")
        except TimeoutError:
            await self.close()
            if self.link.taken:
                raise ConfigError(taken(self._job)) from None
            raise TransportError(
                reasons[-1] if reasons else "the broker does not answer; check --broker, and whether it runs"
            ) from None
        except ConfigError:
            await self.close()
            raise
        self._echoed_at = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._send_all(), name="send"),
            asyncio.create_task(self._read_all(), name="read"),
            asyncio.create_task(self._echo(), name="echo"),
        ]

    @property
    def hears(self) -> bool:
        """See `ports.Transport`: our own voice comes back, so others' would too."""
        return time.monotonic() - self._echoed_at < DEAF_SECONDS

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """See `ports.Transport`."""
        for work in works:
            self._outbox.put_nowait((machine, Sealed(work)))

    async def receive(self) -> Sequence[FromWorker]:
        """See `ports.Transport`. May be cancelled: nothing is lost."""
        messages = [await self._heard.get()]
        while not self._heard.empty():
            messages.append(self._heard.get_nowait())
        return messages

    async def settle(self, messages: Sequence[FromWorker]) -> None:
        """See `ports.Transport`."""
        for message in messages:
            delivery = self._unsettled.pop(id(message), None)
            if delivery is not None:
                await self.link.acknowledge(delivery)

    async def control(self, control: Control, machine: str) -> None:
        """See `ports.Transport`."""
        self._outbox.put_nowait((machine, control))

    async def forget(self, machine: str) -> None:
        """See `ports.Transport`."""
        self._known.pop(machine, None)
        self._outbox.put_nowait((machine, None))

    async def close(self) -> None:
        """See `ports.Transport`: what was said last is still sent, if it can be in a few seconds."""
        if self._tasks:
            await asyncio.wait({asyncio.ensure_future(self._outbox.join())}, timeout=CLOSE_SECONDS)
        tasks = (*self._tasks, *self._telling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.link.close()

    async def _connected(self) -> bool:
        try:
            async with asyncio.timeout(0.2):
                await self.link.connected()
        except TimeoutError:
            return False
        return True

    async def _read_all(self) -> None:
        """Read what workers say; those that are heard for the first time are welcomed here."""
        while True:
            for delivery in await self.link.receive():
                message = await self._read(delivery)
                if message is None:
                    await self.link.acknowledge(delivery)
                elif isinstance(message, Poison) and delivery.queue != self._names.dead:
                    await self.link.reject(delivery)
                else:
                    self._unsettled[id(message)] = delivery
                    self._heard.put_nowait(message)
            await asyncio.sleep(GATHER_SECONDS)

    async def _send_all(self) -> None:
        """Send in order; but pieces of work side by side: a broker confirms ten for half the price of ten singly."""
        sending: list[asyncio.Task[None]] = []
        while True:
            machine, message = await self._outbox.get()
            if not isinstance(message, Sealed) or len(sending) >= SENT_AT_ONCE:
                await asyncio.gather(*sending)
                sending.clear()
            sending.append(asyncio.create_task(self._send_one(machine, message), name="send one"))
            if not isinstance(message, Sealed) or self._outbox.empty():
                await asyncio.gather(*sending)
                sending.clear()

    async def _send_one(self, machine: str, message: Value | None) -> None:
        queue = self._names.machine(machine)
        if message is None:
            await self.link.purge(queue)
        else:
            # A machine's queue that is gone is not made again here: its worker does that, and work counts as lost meanwhile.
            await self.link.publish(queue, encode(message), self._envelope(machine), insist=False)
        self._outbox.task_done()

    async def _echo(self) -> None:
        while True:
            await self.link.tell(self._names.coordinator, encode(Echo()), Envelope(self._version))
            await asyncio.sleep(ECHO_SECONDS)

    def _envelope(self, machine: str) -> Envelope:
        return Envelope(self._version, self._welcome.journal, self._known.get(machine, ""))

    async def _read(self, delivery: Delivery) -> FromWorker | None:
        """Understand a message; None is one that says nothing to the books."""
        if delivery.queue == self._names.dead:
            return _poison(delivery)
        outside = delivery.envelope
        if delivery.queue == self._names.coordinator and outside.version not in {"", self._version}:
            await self._refuse(
                outside,
                f"its version is {outside.version}, the coordinator's {self._version}: install the same",
            )
            return None
        if outside.journal not in {"", self._welcome.journal}:
            return None  # of another journal of this job's name: its work ids are not ours
        try:
            message = decode_up(delivery.body)
        except msgspec.DecodeError:
            return _poison(delivery)
        return await self._answer(message, outside)

    async def _answer(
        self, message: FromWorker | Echo | Ask | AskFailures, outside: Envelope
    ) -> FromWorker | None:
        if isinstance(message, Echo):
            self._echoed_at = time.monotonic()
            return None
        if isinstance(message, Ask):
            if self.snapshot is not None:
                await self.link.tell(outside.reply_to, encode(self.snapshot()), Envelope(self._version))
            return None
        if isinstance(message, AskFailures):
            # Beside the receipts: to go through millions of failures takes seconds.
            telling = asyncio.create_task(self._tell_failures(message, outside.reply_to), name="failures")
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
            return None
        if isinstance(message, Pulse):
            return message if await self._admit(message, outside) else None
        if isinstance(message, Goodbye) and self._known.get(message.machine) != message.incarnation:
            return None
        return message

    async def _tell_failures(self, question: AskFailures, reply_to: str) -> None:
        if self.failures is not None:
            failures = await self.failures(question)
            await self.link.tell(reply_to, encode(failures), Envelope(self._version))

    async def _admit(self, pulse: Pulse, outside: Envelope) -> bool:
        """Welcome a worker that is new, or refuse it; only welcomed workers count."""
        if not pulse.job_digest:
            queue = self._names.machine(pulse.machine)
            envelope = Envelope(self._version, self._welcome.journal, pulse.incarnation)
            known = await self.known(pulse.machine) if self.known is not None else {}
            welcome = msgspec.structs.replace(self._welcome, known=known)
            await self.link.publish(queue, encode(welcome), envelope, insist=False)
            return False
        if pulse.job_digest != self._welcome.job_digest:
            await self._refuse(outside, "it was welcomed to another configuration of the job: start it again")
            return False
        self._known[pulse.machine] = pulse.incarnation
        return True

    async def _refuse(self, outside: Envelope, reason: str) -> None:
        who, now = (outside.reply_to, outside.incarnation), time.monotonic()
        if (
            not self._names.is_machine(outside.reply_to)
            or now - self._refusals.get(who, -1e9) < REFUSE_SECONDS
        ):
            return
        self._refusals[who] = now
        envelope = Envelope(self._version, self._welcome.journal, outside.incarnation)
        await self.link.publish(outside.reply_to, encode(Refusal(reason)), envelope, insist=False)


def _poison(delivery: Delivery) -> Poison:
    """Say of a message that nobody understands what it looks like; the same message is always said in the same words."""
    name = hashlib.sha256(delivery.body).hexdigest()[:12]
    start = delivery.body[:_SHOWN_BYTES].hex()
    more = "..." if len(delivery.body) > _SHOWN_BYTES else ""
    return Poison("", f"{name}: {len(delivery.body)} bytes nobody understands, {start}{more}")
