"""A link to RabbitMQ that is restored whenever it breaks: after any error both connections are dropped and made again.

Facts of the broker that shape it, each measured on 3.10, 4.0 and 4.3:

* Publishing and consuming have a connection each: a memory or disk alarm blocks a publisher without an error, and would hold
  back the acknowledgements of its connection too. A publisher that the broker says is blocked waits, however long.
* The client cancels the tasks of consumer callbacks when a connection closes: callbacks only fill a queue of ours.
* A publish that loses its connection may raise CancelledError; it counts as lost, and is published again. A publish that
  timed out may have been stored all the same: receivers know their work by its id.
* A broker silently gone is noticed after three heartbeats: 10 s instead of the default 60.
* Messages that matter are persistent and mandatory: an unroutable one is an error, not a silent loss.
* When a message was held longer than the consumer time-out (30 minutes unless configured), 3.10 and 4.0 close the channel, 4.3
  cancels the consumer: both break the link, and what was held comes again, to be recognised by its id.
* Prefetch is per consumer: the global one is an error on quorum queues, and is gone in 4.3.
* A quorum queue killed within a second of its declaration comes back empty or without a leader: new queues rest for two.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import aiormq
import msgspec
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.transport.amqp_stream import DROPPED, FilteredTransport
from bucketpull.transport.broker_url import lost_at, takes_nothing, unreachable, with_heartbeat
from bucketpull.transport.mailbox import Mailbox, end_tasks

HEARTBEAT_SECONDS: Final = 10  # unless --broker asks for another
PUBLISH_SECONDS: Final = 30.0
NACKS: Final = 3  # in a row, a second apart, until a queue is taken for one that takes nothing
CONNECT_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 2.0
BLOCKED_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.1
RETRY_SECONDS: Final = (0.2, 5.0)
# The client raises errors of many kinds where its connection is lost, a bare Exception among them.
_LOST: Final = Exception

_LONG_BYTES: Final = 256 << 10
_BEGINNING_BYTES: Final = 4 << 10  # an envelope's header is shorter, and says whose message it claims to be

logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it has to say, `Link.lost` says in our words


class Delivery(msgspec.Struct):
    """One message, and what is needed to acknowledge it; `generation` tells deliveries of before a reconnect.

    `body` is only the beginning of one that is long and not believed, `size` the length of the whole in bytes. `dropped` is whether
    it is a dead letter because it was too old or one too many for its queue, as the broker or whoever sent it says.
    """

    queue: str
    body: bytes
    size: int
    tag: int
    generation: int
    redelivered: bool
    dropped: bool = False


class Link:
    """Publishes and consumes durable messages, across any number of reconnections. `run` keeps it alive, in a task of its own.

    `lost` is told why there is no connection, `reached` that there is one. `trouble` is why the last try to connect failed, a ConfigError
    where the login is refused; `taken` whether another connection has a queue that must be ours alone.

    Args:
        durable: Queues that must be there, with the arguments with which they are made if they are not.
        owned: Queues that are exclusive to this connection and die with it, with their arguments: locks. (An exclusive consumer
            would be none: a quorum queue of 3.10 takes a second one.)
        consume: Queues to consume, with their prefetch counts.
        believes: Asked of each long body of a queue: of one that is not believed only the beginning is kept, so that strangers
            cannot fill our memory with as many as are prefetched.
        settle_seconds: How long new queues rest before they are used.

    """

    def __init__(
        self,
        url: str,
        durable: Mapping[str, Mapping[str, object]],
        owned: Mapping[str, Mapping[str, object]],
        consume: Mapping[str, int],
        settle_seconds: float = SETTLE_SECONDS,
        believes: Callable[[str, bytes], bool] = lambda *_: True,
    ) -> None:
        self._url = with_heartbeat(url, HEARTBEAT_SECONDS)
        self._believes = believes
        self._settle_seconds = settle_seconds
        self._durable = durable
        self._consume = consume
        self._owned = owned
        self._generation = 0
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()
        self._publishing: AbstractConnection | None = None
        self._publisher: AbstractChannel | None = None
        self._unconfirmed: AbstractChannel | None = None
        self._consumer: AbstractChannel | None = None
        self._blocked_at: float | None = None
        self._deliveries: Mailbox[Delivery] = Mailbox()
        self._task: asyncio.Task[None] | None = None
        self.taken = False
        self.trouble: ConfigError | TransportError | None = None
        self.lost: Callable[[str], None] = lambda _: None
        self.reached: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Connect, and reconnect, in the background."""
        self._task = asyncio.create_task(self.run(), name="broker")
        self._deliveries.watch(self._task)

    async def close(self) -> None:
        """Disconnect; messages that are not acknowledged are delivered again to the next consumer."""
        if self._task is not None:
            await end_tasks([self._task])

    async def run(self) -> None:
        """Connect, and reconnect, until cancelled."""
        delay = RETRY_SECONDS[0]
        while True:
            connections: list[AbstractConnection] = []
            try:
                await self._connect(connections)
                delay = RETRY_SECONDS[0]
                self.reached()
                await self._broken.wait()
                self.lost(lost_at(self._url))
            except asyncio.CancelledError:
                if _cancelled():
                    raise
                self.lost(lost_at(self._url))
            except _LOST as error:
                self._explain(error)
            finally:
                await self._disconnect(connections)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, RETRY_SECONDS[1])

    async def connected(self) -> None:
        """Wait until there is a connection. Raises ConfigError where the broker refuses the login."""
        while not self._ready.is_set():
            if isinstance(self.trouble, ConfigError):
                raise self.trouble
            await asyncio.sleep(LOOK_SECONDS)

    async def publish(self, queue: str, make: Callable[[], bytes], *, insist: bool = True) -> bool:
        """Return when the broker has confirmed the message; wait and try again for as long as that takes.

        `make` returns the message; it is called for each try, so that none is the same message twice.

        Returns:
            False where there is no such queue, or it takes nothing, unless `insist`: then it is made again, or waited for.

        """
        tries = NACKS
        while True:
            await self._ready.wait()
            channel, connection = self._publisher, self._publishing
            try:
                if channel is not None and connection is not None:
                    await _confirmed(channel, connection, queue, make())
                    return True
            except aiormq.exceptions.PublishError:
                if not insist:
                    return False
                self._break()
            except aiormq.exceptions.DeliveryError:  # a quorum queue without a majority, or one that is full
                if not insist and not (tries := tries - 1):
                    return False
                await asyncio.sleep(1.0)
            except TimeoutError:
                self._break()
                if not insist:
                    return False
            except _LOST:
                self._break()
            await asyncio.sleep(0.05)

    async def publish_unconfirmed(self, queue: str, body: bytes) -> None:
        """Publish if that is possible now, without confirmation: for messages that are sent again anyway."""
        channel, connection = self._unconfirmed, self._publishing
        if channel is None or connection is None or not self._ready.is_set():
            return
        if await self._waits_for_room(connection):
            return
        try:
            async with asyncio.timeout(1.0):
                await channel.basic_publish(body, routing_key=queue, properties=_properties(1))
        except TimeoutError:
            return
        except _LOST:
            self._break()

    async def _waits_for_room(self, connection: AbstractConnection) -> bool:
        """Whether the broker lets us publish nothing; say so when that has lasted for a while, and when it has ended."""
        now = time.monotonic()
        if not await is_blocked(connection):
            if self._blocked_at is not None:
                self._blocked_at = None
                self.reached()
            return False
        self._blocked_at = now if self._blocked_at is None else self._blocked_at
        if now - self._blocked_at >= BLOCKED_SECONDS:
            self.lost(str(takes_nothing(self._url)))
        return True

    async def receive(self) -> list[Delivery]:
        """Wait for deliveries; take all that are there."""
        return await self._deliveries.take_all()

    async def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge a delivery; one from before a reconnection is delivered again instead."""
        await self._answer(delivery, "basic_ack")

    async def reject(self, delivery: Delivery) -> None:
        """Send a delivery to the dead letters."""
        await self._answer(delivery, "basic_reject")

    async def purge(self, queue: str) -> None:
        """Drop what waits in a queue; does nothing while there is no connection, or no such queue."""
        connection = self._publishing
        if connection is None or not self._ready.is_set():
            return
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                channel = await connection.channel()
                await channel.queue_purge(queue)
                await channel.close()
        except aiormq.exceptions.ChannelNotFoundEntity:
            return
        except _LOST:
            self._break()

    async def _answer(self, delivery: Delivery, verb: str) -> None:
        if delivery.generation != self._generation or self._consumer is None:
            return
        options = {"requeue": False} if verb == "basic_reject" else {}
        try:
            await getattr(self._consumer, verb)(delivery.tag, **options)
        except _LOST:
            self._break()

    def _break(self) -> None:
        self._ready.clear()
        self._broken.set()

    def _explain(self, error: BaseException) -> None:
        self.taken = isinstance(error, aiormq.exceptions.ChannelLockedResource)
        self.trouble = unreachable(self._url, error)
        if self.taken:
            self.lost(
                "another process has this name at the broker: waiting for it to go; "
                "if it died, the broker lets go of it within a minute"
            )
        else:
            self.lost(str(self.trouble))

    async def _connect(self, connections: list[AbstractConnection]) -> None:
        self._generation += 1
        self._broken.clear()
        self._deliveries.clear()  # they come again
        async with asyncio.timeout(CONNECT_SECONDS):
            for _ in range(2):
                connection = await connected(self._url)
                connections.append(connection)
                connection.closing.add_done_callback(lambda _: self._break())
            self._publishing = connections[0]
            self._publisher = await connections[0].channel(publisher_confirms=True)
            self._unconfirmed = await connections[0].channel(publisher_confirms=False)
            self._consumer = await connections[1].channel(publisher_confirms=False)
            # What must be ours alone comes first: who is refused has changed nothing.
            for queue, arguments in self._owned.items():
                await self._consumer.queue_declare(queue, exclusive=True, arguments=dict(arguments))  # type: ignore[arg-type]
            made = [
                await _make(connections[0], queue, arguments) for queue, arguments in self._durable.items()
            ]
            if any(made):
                await asyncio.sleep(self._settle_seconds)
            await self._begin(self._consumer)
        if not self._broken.is_set():
            self.taken, self.trouble = False, None
            self._ready.set()

    async def _begin(self, channel: AbstractChannel) -> None:
        channel.on_consumer_cancel_callbacks.add(lambda _: self._break())
        channel.closing.add_done_callback(lambda _: self._break())
        for queue, prefetch in self._consume.items():
            await channel.basic_qos(prefetch_count=prefetch)
            await channel.basic_consume(queue, self._taker(queue, self._generation))

    def _taker(self, queue: str, generation: int) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
        async def take(message: DeliveredMessage) -> None:
            assert isinstance(message.delivery, aiormq.spec.Basic.Deliver)
            tag = message.delivery.delivery_tag
            assert tag is not None
            again = bool(message.delivery.redelivered)
            body, size = message.body, len(message.body)
            if size > _LONG_BYTES and not self._believes(queue, body):
                body = body[:_BEGINNING_BYTES]
            dropped = message.header.properties.content_type == DROPPED
            self._deliveries.put(Delivery(queue, body, size, tag, generation, again, dropped))

        return take

    async def _disconnect(self, connections: list[AbstractConnection]) -> None:
        self._ready.clear()
        self._publishing = None
        self._publisher = self._unconfirmed = self._consumer = None
        for connection in connections:
            try:
                async with asyncio.timeout(2.0):
                    await connection.close()
            except _LOST:
                continue
            except asyncio.CancelledError:
                if _cancelled():
                    raise


def _properties(delivery_mode: int) -> aiormq.spec.Basic.Properties:
    """Return new properties for each message: the client writes its message number into them."""
    return aiormq.spec.Basic.Properties(delivery_mode=delivery_mode)


async def connected(url: str) -> AbstractConnection:
    """Connect to a broker; headers and properties that strangers set do not reach the client."""
    transport = FilteredTransport()
    try:
        return await aiormq.connect(url, transport_factory=transport)
    except aiormq.exceptions.InvalidFrameError:
        # It keeps to itself why the broker closes a connection in place of opening the virtual host.
        if not transport.said:
            raise
        if transport.said.startswith("NOT_ALLOWED"):
            raise aiormq.exceptions.ConnectionNotAllowed(transport.said) from None
        raise ConnectionError(transport.said) from None


async def _make(connection: AbstractConnection, queue: str, arguments: Mapping[str, object]) -> bool:
    """Declare a queue; return whether it was new. One that exists may be of another type, and is used as it is."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        await channel.queue_declare(queue, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        channel = await connection.channel(publisher_confirms=False)
        await channel.queue_declare(queue, durable=True, arguments=dict(arguments))  # type: ignore[arg-type]
        await channel.close()
        return True
    await channel.close()
    return False


async def _confirmed(
    channel: AbstractChannel,
    connection: AbstractConnection,
    queue: str,
    body: bytes,
) -> None:
    """Publish and wait for the confirmation: without end while the broker says that it is blocked, else for half a minute."""
    publishing = asyncio.ensure_future(
        channel.basic_publish(body, routing_key=queue, mandatory=True, properties=_properties(2))
    )
    try:
        while not publishing.done():
            await asyncio.wait({publishing}, timeout=PUBLISH_SECONDS)
            if not publishing.done() and not await is_blocked(connection):
                raise TimeoutError
        answer = publishing.result()
    except asyncio.CancelledError:
        if _cancelled():
            raise
        raise ConnectionError("the connection was lost while publishing") from None
    finally:
        publishing.cancel()
    if not isinstance(answer, aiormq.spec.Basic.Ack):
        raise ConnectionError("the broker did not confirm")


async def is_blocked(connection: AbstractConnection) -> bool:
    """Whether the broker lets us publish nothing at present, because its memory or its disk is nearly full."""
    waiting = asyncio.ensure_future(connection.ready())
    await asyncio.wait({waiting}, timeout=0)
    blocked = not waiting.done()
    waiting.cancel()
    return blocked


def _cancelled() -> bool:
    """Whether this task is being cancelled: the client raises CancelledError also when it loses its connection."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
