"""The coordinator's end of RabbitMQ.

The broker holds as much work as the workers' windows allow; the rest is in the journal. Work that is purged, or with a dead
machine, is missing from the pulses, and the coordinator gives it again.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.messages import Control, Fatal, FromWorker, Goodbye, Pulse, Refusal, Welcome, Work
from bucketpull.domain.model import Value
from bucketpull.transport.admission import MOST_FALSE_CLAIMS, Admission, claims_of, poison_of
from bucketpull.transport.broker_link import SETTLE_SECONDS, Delivery, Link
from bucketpull.transport.broker_url import unreachable
from bucketpull.transport.envelope import Direction, Header, Rejected, RejectionLog, Session, read_header
from bucketpull.transport.job_key import COORDINATOR, JobKey
from bucketpull.transport.mailbox import Mailbox, end_tasks
from bucketpull.transport.queues import QueueNames, QueueType
from bucketpull.transport.remote_query import QueryServer, job_taken
from bucketpull.transport.wire import Echo, Greeting, Query, SealedWork, encode

PREFETCH: Final = 256
START_SECONDS: Final = 10.0
ECHO_SECONDS: Final = 1.0
# Shorter than the silence after which a machine is taken for dead: without our own echo, pulses do not arrive either.
DEAF_SECONDS: Final = 2.5
REFUSE_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 3.0
MOST_KEPT: Final = 1_000
SENT_AT_ONCE: Final = 32
DROPPED_BY_POLICY: Final = (
    "a policy of the queue says so (message-ttl or max-length): it costs time, as the work is given again; "
    "`rabbitmqctl list_policies` shows it"
)
# Messages that come within so short a time are booked in one transaction.
GATHER_SECONDS: Final = 0.02


class RabbitTransport:
    """See `ports.Transport`. Call `start` first. Sending never waits for the broker: messages leave in order, when they can.

    `queries` is for whoever asks through the broker under a name; `known` for the
    ids of the volumes that a machine has, by path; `outstanding` whether any of this work is: receipts for it are not believed
    of machines that were not given it.

    Args:
        key: What messages are sealed with.
        welcome: What a worker is told of the job when it is heard for the first time.
        version: Workers of another version are refused.
        settle_seconds: How long new queues rest before they are used.

    """

    def __init__(
        self,
        url: str,
        job: str,
        kind: QueueType,
        key: JobKey,
        welcome: Welcome,
        version: str,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._names = names = QueueNames(job, kind)
        self._job = job
        self._url = url
        self._welcome = welcome
        self._me = Session(key, version, job, secrets.token_hex(8), welcome.journal)
        self._admission = Admission(names, self._me)
        self._known: dict[str, str] = {}
        self._answered: dict[tuple[str, str], float] = {}
        self._early: dict[str, tuple[FromWorker, Delivery, Header]] = {}
        self._kept = 0
        self.rejections = RejectionLog(time.monotonic)
        self._outbox: asyncio.Queue[tuple[str, Value | None]] = asyncio.Queue()
        self._heard: Mailbox[FromWorker] = Mailbox()
        self._tasks: list[asyncio.Task[None]] = []
        self._echoed_at = 0.0
        self.known: Callable[[str], Awaitable[dict[str, str]]] | None = None
        self.outstanding: Callable[[Sequence[int]], Awaitable[bool]] | None = None
        self.link = Link(
            url,
            {queue: names.arguments(queue) for queue in (names.dead, names.receipts)},
            {names.coordinator: names.dead_letters()},
            dict.fromkeys((names.coordinator, names.receipts, names.dead), PREFETCH),
            settle_seconds=settle_seconds,
            believes=lambda queue, body: queue != names.dead and self._me.is_sealed(body),
        )
        self.queries = QueryServer(names, self._me, self.link)

    async def start(self) -> None:
        """Connect, and make sure that no other coordinator has the job.

        Raises:
            ConfigError: Another coordinator has it, or the broker refuses the login.
            TransportError: The broker cannot be reached in ten seconds.

        """
        self.link.start()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.link.connected()
        except (TimeoutError, ConfigError):
            await self.close()
            if self.link.taken:
                raise ConfigError(job_taken(self._job)) from None
            raise (self.link.trouble or unreachable(self._url, TimeoutError())) from None
        self._echoed_at = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._send_all(), name="send"),
            asyncio.create_task(self._read_all(), name="read"),
            asyncio.create_task(self._echo(), name="echo"),
        ]
        for task in self._tasks:
            self._heard.watch(task)

    @property
    def session(self) -> str:
        """The name of this coordinator's session."""
        return self._me.session

    @property
    def hears(self) -> bool:
        """See `ports.Transport`: our own echo comes back, so others' messages would come too."""
        return time.monotonic() - self._echoed_at < DEAF_SECONDS

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """See `ports.Transport`."""
        for work in works:
            self._admission.give(work, machine)
            self._outbox.put_nowait((machine, SealedWork(work)))

    def inherit(self, sent: Iterable[tuple[int, str]]) -> None:
        """Note which work earlier sessions gave to which machines."""
        for work, machine in sent:
            self._admission.inherit(work, machine)

    async def receive(self) -> Sequence[FromWorker]:
        """See `ports.Transport`. May be cancelled: nothing is lost. Raises the error of a background task that ended."""
        return await self._heard.take_all()

    async def acknowledge(self, messages: Sequence[FromWorker]) -> None:
        """See `ports.Transport`."""
        for message in messages:
            delivery = self._admission.acknowledged(message)
            if delivery is not None:
                await self.link.acknowledge(delivery)
            for work in self._admission.shared(message):
                if self.outstanding is not None and not await self.outstanding([work]):
                    self._admission.forget(work)

    async def control(self, control: Control, machine: str) -> None:
        """See `ports.Transport`."""
        self._outbox.put_nowait((machine, control))

    async def forget(self, machine: str) -> None:
        """See `ports.Transport`."""
        self._known.pop(machine, None)
        self._outbox.put_nowait((machine, None))

    async def close(self) -> None:
        """See `ports.Transport`: waits a few seconds for the last messages to be sent."""
        if self._tasks:
            await asyncio.wait({asyncio.ensure_future(self._outbox.join())}, timeout=CLOSE_SECONDS)
        await end_tasks(self._tasks)
        await self.queries.close()
        await self.link.close()

    async def _read_all(self) -> None:
        """Read messages of workers; welcome those that are new."""
        while True:
            for delivery in await self.link.receive():
                await self._read(delivery)
            await asyncio.sleep(GATHER_SECONDS)

    async def _send_all(self) -> None:
        """Send in order; but pieces of work side by side: a broker confirms ten for half the price of ten singly."""
        sending: list[asyncio.Task[None]] = []
        while True:
            machine, message = await self._outbox.get()
            if not isinstance(message, SealedWork) or len(sending) >= SENT_AT_ONCE:
                await asyncio.gather(*sending)
                sending.clear()
            sending.append(asyncio.create_task(self._send_one(machine, message), name="send one"))
            if not isinstance(message, SealedWork) or self._outbox.empty():
                await asyncio.gather(*sending)
                sending.clear()

    async def _send_one(self, machine: str, message: Value | None) -> None:
        queue = self._names.machine(machine)
        if message is None:
            await self.link.purge(queue)
        else:
            # A machine's queue that is gone is not made again here: its worker does that, and work counts as lost meanwhile.
            make = self._sealing(machine, message, self._known.get(machine, ""))
            await self.link.publish(queue, make, insist=False)
        self._outbox.task_done()

    async def _echo(self) -> None:
        queue = self._names.coordinator
        while True:
            await self.link.publish_unconfirmed(
                queue, self._me.seal(Direction.ECHO, COORDINATOR, queue, encode(Echo()))
            )
            await asyncio.sleep(ECHO_SECONDS)

    def _sealing(self, machine: str, message: Value, meant: str) -> Callable[[], bytes]:
        """Return what seals the message to a machine, anew for each try."""
        queue, body = self._names.machine(machine), encode(message)
        return lambda: self._me.seal(Direction.DOWN, machine, queue, body, meant=meant)

    # --- what came

    async def _read(self, delivery: Delivery) -> None:
        """Hand on what the coordinator has to know, and answer the rest."""
        if delivery.queue == self._names.dead:
            await self._keep(delivery)
            return
        try:
            header, body = self._admission.open(delivery)
        except Rejected as error:
            await self._disbelieve(delivery, error, self._make_known)
            return
        try:
            repeated, done = self._admission.is_repeated(header, delivery)
            if repeated:
                if done:
                    await self._drop_repeated(delivery, header)
                return
            message = await self._understand(delivery.queue, header, body)
        except Rejected as error:
            await self._disbelieve(delivery, error, partial(self._refuse, reason=str(error)))
            return
        if message is None:
            await self.link.acknowledge(delivery)
        else:
            self._hand_on(message, delivery, header)

    def _hand_on(self, message: FromWorker, delivery: Delivery, header: Header) -> None:
        """Give a message to the coordinator. A refusal of the source, which ends the job, waits until its worker is known to be there."""
        if isinstance(message, Fatal) and header.heard != self.session and header.machine not in self._known:
            self._early[header.machine] = message, delivery, header
            return
        self._admission.hold(message, delivery, header)
        self._heard.put(message)
        if isinstance(message, Pulse) and header.machine in self._early:
            self._hand_on(*self._early.pop(header.machine))

    async def _keep(self, delivery: Delivery) -> None:
        """Hand on a dead letter; only the first thousand, since somebody may send them without end. One of ours was only dropped: its work is given again."""
        if delivery.dropped and self._me.is_sealed(delivery.body):
            header = read_header(delivery.body)[0]
            if header.way is not Direction.QUESTION:  # which is to be dropped where nobody is there to answer
                self.rejections.note(DROPPED_BY_POLICY, claims_of(header), "dropped by the broker")
            await self.link.acknowledge(delivery)
            return
        self._kept += 1
        if self._kept > MOST_KEPT:
            self.rejections.note(f"beyond the first {MOST_KEPT:,} they are counted and not kept")
            await self.link.acknowledge(delivery)
            return
        poison = poison_of(delivery.body, delivery.size)
        self._admission.hold(poison, delivery, None)
        self._heard.put(poison)

    async def _drop_repeated(self, delivery: Delivery, header: Header) -> None:
        if not delivery.redelivered:
            self.rejections.note("it came before", claims_of(header))
        await self.link.acknowledge(delivery)

    async def _disbelieve(
        self, delivery: Delivery, error: Rejected, answer: Callable[[Header], Awaitable[None]]
    ) -> None:
        """Put a rejected message to the dead letters, except pulses and hellos, which come every second: their worker gets an answer."""
        header = error.header
        self.rejections.note(str(error), claims_of(header))
        if header is None or delivery.queue != self._names.coordinator:
            await self.link.reject(delivery)
            return
        await self.link.acknowledge(delivery)
        if header.way is Direction.UP and header.job == self._job and self._names.fits(header.machine):
            await answer(header)

    async def _understand(self, queue: str, header: Header, body: bytes) -> FromWorker | None:
        """Return a message if the coordinator has to know it, else None."""
        if queue == self._names.coordinator and header.version != self._me.version:
            await self._refuse(
                header,
                f"its version is {header.version}, the coordinator's {self._me.version}: install the same",
            )
            return None
        if header.journal not in {"", self._welcome.journal}:
            return None  # of another journal of this job's name: its work ids are not ours
        message = self._admission.read(header, body)
        if isinstance(message, Echo):
            if header.session == self._me.session:
                self._echoed_at = time.monotonic()
            return None
        if isinstance(message, Query):
            if message.method != "GET" and header.meant != self.session:
                raise Rejected("it is an order to another session of the coordinator", header)
            self.queries.take(message, header)
            return None
        return await self._admitted(message, header)

    async def _admitted(self, message: FromWorker, header: Header) -> FromWorker | None:
        if isinstance(message, Pulse):
            return message if await self._admit(message, header) else None
        if isinstance(message, Goodbye):
            return message if self._known.get(header.machine) == header.session else None
        if isinstance(message, Fatal):
            return message if self._known.get(header.machine, header.session) == header.session else None
        strange = self._admission.not_given(message)
        if strange and self.outstanding is not None and await self.outstanding(strange):
            self.rejections.note("it is about work that its machine was not given", claims_of(header))
            return None
        return message

    async def _admit(self, pulse: Pulse, header: Header) -> bool:
        """Welcome a new worker, or refuse it; return whether the pulse of a welcomed one counts."""
        if not pulse.job_digest:
            known = await self.known(pulse.machine) if self.known is not None else {}
            welcome = msgspec.structs.replace(self._welcome, known=known)
            await self._answer(header, welcome)
            return False
        if self._admission.false_claims[header.machine] >= MOST_FALSE_CLAIMS:
            await self._refuse(
                header, f"{MOST_FALSE_CLAIMS} of its messages could not be believed: look at that machine"
            )
            return False
        if pulse.job_digest != self._welcome.job_digest:
            await self._refuse(header, "it was welcomed to another configuration of the job: start it again")
            return False
        if header.heard != self._me.session:
            await self._greet(header)
            return False
        self._known[pulse.machine] = pulse.incarnation
        return True

    async def _greet(self, header: Header) -> None:
        """Make this session known to a worker: until it answers to it, its pulse may be an old one that somebody sent again."""
        make = self._sealing(header.machine, Greeting(), header.session)
        await self.link.publish_unconfirmed(self._names.machine(header.machine), make())

    async def _make_known(self, header: Header) -> None:
        """Greet the worker from which a message with a wrong seal claims to be. One with another key cannot read that, and says so.

        It is not refused: a refusal would end it, and anybody can name its session.
        """
        if self._is_due(header.machine, ""):
            await self._greet(header)

    def _is_due(self, machine: str, session: str) -> bool:
        """Whether a worker has not been answered for a while; it asks every second."""
        who, now = (machine, session), time.monotonic()
        if now - self._answered.get(who, -math.inf) < REFUSE_SECONDS:
            return False
        if len(self._answered) > MOST_KEPT:
            self._answered.clear()
        self._answered[who] = now
        return True

    async def _refuse(self, header: Header, reason: str) -> None:
        """Send away a worker, whose message had a right seal."""
        if not self._is_due(header.machine, header.session):
            return
        await self._answer(header, Refusal(reason))

    async def _answer(self, header: Header, message: Value) -> None:
        make = self._sealing(header.machine, message, header.session)
        await self.link.publish(self._names.machine(header.machine), make, insist=False)
