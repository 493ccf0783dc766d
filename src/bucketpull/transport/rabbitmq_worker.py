"""A worker's end of RabbitMQ."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.messages import Control, FromWorker, Goodbye, Pulse, Refusal, Welcome, Work
from bucketpull.domain.user_limits import Limits
from bucketpull.transport.admission import claims_of, ends_work, works_of
from bucketpull.transport.broker_link import SETTLE_SECONDS, Delivery, Link
from bucketpull.transport.envelope import Direction, Header, Rejected, RejectionLog, Session
from bucketpull.transport.queues import QueueNames, QueueType
from bucketpull.transport.remote_query import QueryServer
from bucketpull.transport.wire import Query, SealedWork, ToWorker, down, encode

# Above any window: what a worker may hold is the coordinator's decision, and what waits in the queue would look lost.
PREFETCH: Final = 512
HELLO_SECONDS: Final = 1.0
REMEMBERED: Final = 10_000
# A broker may need this long to notice that the connection of a worker that was cut off is dead.
TAKEN_SECONDS: Final = 45.0


class RabbitInbox:
    """See `ports.Inbox`. Call `start` first, then `join` if the job is not known yet.

    Args:
        me: This worker's session; the same for every inbox of its life.
        journal: The journal of the job; work of another one is left alone. "" before `join`.
        settle_seconds: How long new queues rest before they are used.
        volumes: The paths on this worker's command line: it is told to use no others.

    `queries` is for whoever asks this machine through the broker.

    """

    def __init__(
        self,
        url: str,
        job: str,
        machine: str,
        kind: QueueType,
        me: Session,
        journal: str = "",
        settle_seconds: float = SETTLE_SECONDS,
        volumes: Collection[str] = (),
    ) -> None:
        names = QueueNames(job, kind)
        self._names = names
        self._machine = machine
        self._queue = names.machine(machine)
        self._journal = journal
        self._me = me
        self._volumes = volumes
        self._limited: tuple[str, int, Limits] | None = None
        me.journal = journal
        self.rejections = RejectionLog(time.monotonic)
        self._held: dict[int, Delivery] = {}
        self._done: dict[int, None] = {}
        self._left: Counter[int] = Counter()  # by generation of deliveries, before it has joined
        queues = (names.dead, names.receipts, self._queue)
        self.link = Link(
            url,
            {queue: names.arguments(queue) for queue in queues},
            {names.lock(machine): {}},
            {self._queue: PREFETCH},
            settle_seconds=settle_seconds,
            believes=lambda _, body: me.is_sealed(body),
        )
        self.queries = QueryServer(names, me, self.link)

    async def start(self) -> None:
        """Connect, and stay connected, in the background."""
        self.link.start()

    async def join(self, hello: Pulse, told: Callable[[str], None] = lambda _: None) -> Welcome:
        """Ask to join, every second until the coordinator answers. May wait without end.

        Args:
            hello: Names the worker; without a job digest.
            told: Called with a reason for waiting, whenever it is another one.

        Raises:
            ConfigError: The coordinator or the broker refuses this worker; says why.

        """
        taken_since: float | None = None
        self.link.lost = _changes(told)
        while True:
            await self._report(hello)
            try:
                async with asyncio.timeout(HELLO_SECONDS):
                    return await self._answer()
            except TimeoutError:
                now = asyncio.get_running_loop().time()
                taken_since = (taken_since or now) if self.link.taken else None
                self._check_refused(taken_since is not None and now - taken_since > TAKEN_SECONDS)

    async def receive(self) -> Sequence[Work | Control]:
        """See `ports.Inbox`. Work that is delivered again after its receipt is acknowledged, and not returned twice."""
        found: list[Work | Control] = []
        for delivery in await self.link.receive():
            try:
                header, message = self._open(delivery)
            except Rejected as error:
                self.rejections.note(str(error), claims_of(error.header))
                await self.link.reject(delivery)
                continue
            if isinstance(message, SealedWork):
                if await self._is_new(message.work, header, delivery):
                    found.append(message.work)
                continue
            await self.link.acknowledge(delivery)
            if not self._is_first(header, delivery):
                continue
            if isinstance(message, Query):
                self.queries.take(message, header)
            elif isinstance(message, Control):
                found.append(self._allowed(self._ours(self._in_order(message, header), header), header))
            elif isinstance(message, Refusal) and header.meant == self._me.session:
                raise ConfigError(f"refused by the coordinator: {message.reason}")
        return found

    async def reply(self, message: FromWorker) -> None:
        """See `ports.Inbox`: what must not be lost waits for the broker's confirmation, then its work is acknowledged."""
        if isinstance(message, Pulse | Goodbye):
            await self._report(message)
            return
        body = encode(message)
        await self.link.publish(self._names.receipts, lambda: self._sealed(self._names.receipts, body))
        for work in works_of(message):
            delivery = self._held.pop(work, None)
            if ends_work(message):
                self._remember(work)
            if delivery is not None:
                await self.link.acknowledge(delivery)

    async def close(self) -> None:
        """See `ports.Inbox`."""
        await self.queries.close()
        await self.link.close()

    def _check_refused(self, taken: bool) -> None:
        if isinstance(self.link.trouble, ConfigError):
            raise self.link.trouble
        if taken:
            raise ConfigError(
                f"another worker of this job is machine {self._machine}: give another --machine"
            )

    def _remember(self, work: int) -> None:
        self._done[work] = None
        if len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]

    async def _is_new(self, work: Work, header: Header, delivery: Delivery) -> bool:
        held = self._held.get(work.id)
        again = held is not None and held.generation < delivery.generation  # over a new connection
        first = self._is_first(header, delivery) if not again else True
        done = (held is not None and not again) or (delivery.redelivered and work.id in self._done)
        if header.journal != self._journal or not first or done:
            await self.link.acknowledge(delivery)
            return False
        self._held[work.id] = delivery  # by which it is acknowledged
        return True

    def _is_first(self, header: Header, delivery: Delivery) -> bool:
        """Whether a message comes for the first time; then note which session of the coordinator sent it.

        The broker says of what it repeats that it does; others do not.
        """
        if self._me.numbers.is_new(header):
            if header.meant == self._me.session:
                self._me.heard = header.session
            return True
        if not delivery.redelivered:
            self.rejections.note("it came before", claims_of(header))
        return False

    def _in_order(self, control: Control, header: Header) -> Control:
        """Use no limits older than the present ones: whoever may read the queue can keep a message, and put it there later."""
        if control.limits is None:
            return control
        if self._limited is not None:
            session, number, limits = self._limited
            if session == header.session and number > header.number:
                return msgspec.structs.replace(control, limits=limits)
        self._limited = header.session, header.number, control.limits
        return control

    def _ours(self, control: Control, header: Header) -> Control:
        """Leave out messages to an earlier worker of this machine."""
        if header.journal != self._journal:
            return Control(control.limits)
        if header.meant != self._me.session:
            return Control(control.limits, booked=control.booked)
        return control

    def _allowed(self, control: Control, header: Header) -> Control:
        """Leave out volumes that this worker's own command line does not name, whoever says that it should use them."""
        known = [path for path in control.add_volumes if path in self._volumes]
        if len(known) == len(control.add_volumes):
            return control
        self.rejections.note(
            "it adds a volume that this worker's command line does not name", claims_of(header)
        )
        return msgspec.structs.replace(control, add_volumes=known)

    async def _answer(self) -> Welcome:
        while True:
            for delivery in await self.link.receive():
                try:
                    header, message = self._open(delivery)
                except Rejected as error:
                    self.rejections.note(str(error), claims_of(error.header))
                    await self.link.acknowledge(delivery)
                    continue
                if not isinstance(message, Welcome | Refusal):
                    await self._leave(delivery)
                    continue
                await self.link.acknowledge(delivery)
                if header.meant != self._me.session or not self._is_first(header, delivery):
                    continue
                if isinstance(message, Refusal):
                    raise ConfigError(f"refused by the coordinator: {message.reason}")
                return message

    async def _leave(self, delivery: Delivery) -> None:
        """Leave a message unacknowledged, so that it comes again when the work begins.

        Of many the later ones are dropped, as if the queue were purged: the broker would not deliver the answer behind them.
        """
        self._left[delivery.generation] += 1
        if self._left[delivery.generation] > PREFETCH // 2:
            await self.link.acknowledge(delivery)

    def _open(self, delivery: Delivery) -> tuple[Header, ToWorker]:
        """Return a message of the coordinator, or a request of somebody who has this machine's key.

        Raises:
            Rejected: It is neither of them that speaks, not to this machine, or it cannot be decoded.

        """
        header, body = self._me.open(delivery.body, self._queue, Direction.DOWN, Direction.QUESTION)
        if header.machine != self._machine:
            raise Rejected("it is meant for another machine", header)
        message = down.read(body)
        if isinstance(message, Query) is not (header.way is Direction.QUESTION):
            raise Rejected("the sender of a question may not send work or orders", header)
        return header, message

    async def _report(self, message: Pulse | Goodbye) -> None:
        queue = self._names.coordinator
        await self.link.publish_unconfirmed(queue, self._sealed(queue, encode(message)))

    def _sealed(self, queue: str, body: bytes) -> bytes:
        return self._me.seal(Direction.UP, self._machine, queue, body)


def _changes(told: Callable[[str], None]) -> Callable[[str], None]:
    """Tell a reason only if it differs from the one before."""
    last = ""

    def tell(reason: str) -> None:
        nonlocal last
        if reason != last:
            last = reason
            told(reason)

    return tell
