"""A link to RabbitMQ that is made again whenever it breaks: any error drops both connections and starts over.

Facts of the broker that shape it, each measured on 3.10, 4.0 and 4.3:

* Publishing and consuming have a connection each: a memory or disk alarm blocks a publisher without an error, and would hold
  back the acknowledgements of its connection too.
* The client cancels the tasks of consumer callbacks when a connection closes: callbacks only fill a queue of ours.
* A publish that loses its connection may raise CancelledError; it counts as lost, and is published again. A publish that
  timed out may have been stored all the same: receivers know their work by its id.
* A broker silently gone is noticed after three heartbeats: 10 s instead of the default 60.
* Messages are persistent and mandatory: an unroutable one is an error, not a silent loss.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiormq
import msgspec
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from bucketpull.domain.errors import ConfigError

HEARTBEAT_SECONDS = 10
PUBLISH_SECONDS = 30.0
RETRY_SECONDS = (0.5, 30.0)

Declare = Callable[[AbstractChannel], Awaitable[None]]


class Delivery(msgspec.Struct):
    """One message, and what is needed to acknowledge it; `generation` tells deliveries of before a reconnect."""

    queue: str
    body: bytes
    tag: int
    generation: int


class Link:
    """Publishes and consumes durable messages through whatever breaks. `run` keeps it alive, in a task of its own.

    Args:
        declare: Declares the queues, after each connect; idempotent.
        own: Declares what is exclusive to the consuming connection.
        consume: Queues to consume, with their prefetch counts. Work that is held is bounded by the coordinator's window; the
            prefetch only bounds what is on its way.

    """

    def __init__(
        self, url: str, declare: Declare, consume: dict[str, int], own: Declare | None = None
    ) -> None:
        self._url = with_heartbeat(url)
        self._declare = declare
        self._own = own
        self._consume = consume
        self._generation = 0
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()
        self._publisher: AbstractChannel | None = None
        self._consumer: AbstractChannel | None = None
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self.lost: Callable[[str], None] = lambda _: None

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        delay = RETRY_SECONDS[0]
        while True:
            connections: list[AbstractConnection] = []
            try:
                await self._connect(connections)
                delay = RETRY_SECONDS[0]
                await self._broken.wait()
                self.lost("the connection to the broker was lost")
            except (OSError, aiormq.exceptions.AMQPError, TimeoutError) as error:
                self.lost(f"the broker cannot be reached: {error or type(error).__name__}")
            finally:
                await self._disconnect(connections)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, RETRY_SECONDS[1])

    async def connected(self) -> None:
        """Wait until there is a connection."""
        await self._ready.wait()

    async def publish(self, queue: str, body: bytes) -> None:
        """Return when the broker has the message for good; waits and tries again as long as it takes."""
        properties = aiormq.spec.Basic.Properties(delivery_mode=2)
        while True:
            await self._ready.wait()
            channel = self._publisher
            try:
                if channel is not None and await _confirmed(channel, queue, body, properties):
                    return
            except (OSError, aiormq.exceptions.AMQPError, TimeoutError, asyncio.InvalidStateError):
                self._break()
            await asyncio.sleep(0.05)

    async def tell(self, queue: str, body: bytes) -> None:
        """Publish if that is possible now, without confirmation: for what will be said again anyway."""
        channel = self._publisher
        if channel is None or not self._ready.is_set():
            return
        try:
            async with asyncio.timeout(1.0):
                await channel.basic_publish(body, routing_key=queue, mandatory=False)
        except (OSError, aiormq.exceptions.AMQPError, TimeoutError, asyncio.InvalidStateError):
            self._break()

    async def receive(self) -> list[Delivery]:
        """Wait for deliveries; take all that are there."""
        found = [await self._deliveries.get()]
        while not self._deliveries.empty():
            found.append(self._deliveries.get_nowait())
        return found

    async def acknowledge(self, delivery: Delivery) -> None:
        """Settle a delivery; one of before a reconnect comes again instead."""
        await self._answer(delivery, "basic_ack")

    async def reject(self, delivery: Delivery) -> None:
        """Send a delivery to the dead letters."""
        await self._answer(delivery, "basic_reject")

    async def purge(self, queue: str) -> None:
        """Drop what waits in a queue; does nothing while there is no connection."""
        if self._publisher is not None and self._ready.is_set():
            try:
                await self._publisher.queue_purge(queue)
            except (OSError, aiormq.exceptions.AMQPError, asyncio.InvalidStateError):
                self._break()

    async def _answer(self, delivery: Delivery, verb: str) -> None:
        if delivery.generation != self._generation or self._consumer is None:
            return
        options = {"requeue": False} if verb == "basic_reject" else {}
        try:
            await getattr(self._consumer, verb)(delivery.tag, **options)
        except (OSError, aiormq.exceptions.AMQPError, asyncio.InvalidStateError):
            self._break()

    def _break(self) -> None:
        self._ready.clear()
        self._broken.set()

    async def _connect(self, connections: list[AbstractConnection]) -> None:
        self._generation += 1
        self._broken.clear()
        async with asyncio.timeout(PUBLISH_SECONDS):
            for _ in range(2):
                connection = await aiormq.connect(self._url)
                connections.append(connection)
                connection.closing.add_done_callback(lambda _: self._break())
            self._publisher = await connections[0].channel(publisher_confirms=True)
            await self._declare(self._publisher)
            self._consumer = await connections[1].channel(publisher_confirms=False)
            if self._own is not None:
                await self._own(self._consumer)
            self._consumer.on_consumer_cancel_callbacks.add(lambda _: self._break())
            self._consumer.closing.add_done_callback(lambda _: self._break())
            for queue, prefetch in self._consume.items():
                await self._consumer.basic_qos(prefetch_count=prefetch)
                await self._consumer.basic_consume(queue, self._taker(queue, self._generation))
        self._ready.set()

    def _taker(self, queue: str, generation: int) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
        async def take(message: DeliveredMessage) -> None:
            assert isinstance(message.delivery, aiormq.spec.Basic.Deliver)
            tag = message.delivery.delivery_tag
            assert tag is not None
            self._deliveries.put_nowait(Delivery(queue, message.body, tag, generation))

        return take

    async def _disconnect(self, connections: list[AbstractConnection]) -> None:
        self._ready.clear()
        self._publisher = self._consumer = None
        for connection in connections:
            try:
                async with asyncio.timeout(2.0):
                    await connection.close()
            except (OSError, aiormq.exceptions.AMQPError, TimeoutError, RuntimeError):
                continue


async def _confirmed(
    channel: AbstractChannel, queue: str, body: bytes, properties: aiormq.spec.Basic.Properties
) -> bool:
    try:
        answer = await channel.basic_publish(
            body, routing_key=queue, mandatory=True, properties=properties, timeout=PUBLISH_SECONDS
        )
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionError("the connection was lost while publishing") from None
    return isinstance(answer, aiormq.spec.Basic.Ack)


def with_heartbeat(url: str) -> str:
    """Return a broker's URL with our heartbeat, unless it has one.

    Raises:
        ConfigError: It is no AMQP URL. The message does not repeat it: it may hold a password.

    """
    parts = urlsplit(url)
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
        raise ConfigError("--broker: write amqp://USER:PASSWORD@HOST:PORT/VHOST (or amqps://)")
    query = dict(parse_qsl(parts.query))
    query.setdefault("heartbeat", str(HEARTBEAT_SECONDS))
    return urlunsplit(parts._replace(query=urlencode(query)))
