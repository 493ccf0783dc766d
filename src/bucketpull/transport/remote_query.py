"""Requests to the API of a job through the broker: who asks, and who answers; and whether a coordinator has the job."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.transport import wire
from bucketpull.transport.broker_link import HEARTBEAT_SECONDS, Link, connected, is_blocked
from bucketpull.transport.broker_url import takes_nothing, unreachable, with_heartbeat
from bucketpull.transport.envelope import Direction, Header, Rejected, Session
from bucketpull.transport.mailbox import end_tasks
from bucketpull.transport.queues import QueueNames
from bucketpull.transport.wire import Query, QueryAnswer, encode

ANSWER_SECONDS: Final = 10.0
MOST_QUESTIONS: Final = 8


class MachineSilent(TransportError):
    """A machine of a job does not answer, or has no queue at the broker."""


class QueryClient:
    """Sends requests to the coordinator of a job, or to its machines, through a broker. Stays connected until `close`.

    Args:
        me: A session of its own.
        name: Under which name it asks the coordinator.
        seconds: How long it waits for an answer.

    """

    def __init__(self, url: str, job: str, name: str, me: Session, seconds: float = ANSWER_SECONDS) -> None:
        self._url = with_heartbeat(url, HEARTBEAT_SECONDS)
        self._job = job
        self._name = name
        self._me = me
        self._seconds = seconds
        self._names = QueueNames(job)
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._reply = ""  # the queue in which answers come
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._coordinator = ""  # its session

    async def ask(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Send a request to the API of the job, and disconnect; return status and body of the answer.

        Raises TransportError where the broker cannot be reached, no coordinator of the job is there, or it does not answer.
        """
        job, queue = self._job, self._names.coordinator
        try:
            # Learn who has the job: an order that somebody keeps back is nothing to the next coordinator.
            if method != "GET":
                await self._ask(Query("GET", "/", b""), self._name, queue)
            return await self._ask(Query(method, target, body), self._name, queue)
        except aiormq.exceptions.PublishError:
            raise TransportError(
                f"job {job}: no coordinator of it is at this broker; check --job, or start `bucketpull coordinate`"
            ) from None
        except TimeoutError:
            raise TransportError(
                f"job {job}: its coordinator does not answer in {self._seconds:.0f} s; "
                "check that --job-key-file and the version are the coordinator's"
            ) from None
        finally:
            await self.close()

    async def ask_machine(self, machine: str, target: str) -> tuple[int, bytes]:
        """Send a request to a machine of the job; return status and body of the answer.

        Raises:
            MachineSilent: It does not answer, or is not there.
            TransportError: The broker cannot be reached.

        """
        try:
            return await self._ask(Query("GET", target, b""), machine, self._names.machine(machine))
        except aiormq.exceptions.PublishError:
            raise MachineSilent(f"machine {machine}: is not at this broker") from None
        except TimeoutError:
            raise MachineSilent(f"machine {machine}: does not answer in {self._seconds:.0f} s") from None

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def _ask(self, question: Query, name: str, queue: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._seconds):
                answer = wire.answer.read(await self._exchange(question, name, queue))
        except Rejected as error:
            raise TransportError(
                f"job {self._job}: its coordinator is of another version ({error}); install the same here"
            ) from error
        except aiormq.exceptions.PublishError:
            raise
        except TimeoutError as error:
            if self._connection is None:
                raise unreachable(self._url, error) from error
            if await is_blocked(self._connection):
                raise takes_nothing(self._url) from error
            await self.close()  # a connection that is gone silently is one of the causes
            raise
        except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as error:
            self._connection = self._channel = None
            raise unreachable(self._url, error) from error
        return answer.status, answer.body

    async def _exchange(self, question: Query, name: str, queue: str) -> bytes:
        channel = self._channel or await self._connect()
        meant = "" if question.method == "GET" else self._coordinator
        sealed = self._me.seal(
            Direction.QUESTION, name, queue, encode(question), meant=meant, reply_to=self._reply
        )
        # Who is away must not find it years later.
        properties = aiormq.spec.Basic.Properties(expiration=str(round(self._seconds * 1000)))
        await channel.basic_publish(sealed, routing_key=queue, mandatory=True, properties=properties)
        while True:
            with contextlib.suppress(Rejected):
                header, body = self._me.open(await self._answers.get(), self._reply, Direction.ANSWER)
                if header.meant == self._me.session and header.machine == name:
                    self._coordinator = header.session
                    return body

    async def _connect(self) -> AbstractChannel:
        """Connect, with a new queue for answers: what still comes to a former one is for no question of this connection."""
        connection = await connected(self._url)
        try:
            channel = await connection.channel(publisher_confirms=True)
            self._reply, self._answers = self._names.answers(), asyncio.Queue()  # of this event loop
            await channel.queue_declare(self._reply, exclusive=True)
            await channel.basic_consume(self._reply, self._take, no_ack=True)
        except BaseException:
            await connection.close()
            raise
        self._connection, self._channel = connection, channel
        return channel

    async def _take(self, message: DeliveredMessage) -> None:
        self._answers.put_nowait(message.body)


class QueryServer:
    """Answers requests in tasks of their own, since going through millions of failures takes seconds: at most eight at a time.

    Others get no answer, and are repeated by their clients.

    `answer` is what answers a question of somebody who asks under a name; None answers nothing.
    """

    def __init__(self, names: QueueNames, me: Session, link: Link) -> None:
        self._names = names
        self._me = me
        self._link = link
        self._telling: set[asyncio.Task[None]] = set()
        self.answer: Callable[[Query, str], Awaitable[QueryAnswer]] | None = None

    def take(self, question: Query, header: Header) -> None:
        """Begin to answer a request."""
        if self._names.is_answers(header.reply_to) and len(self._telling) < MOST_QUESTIONS:
            telling = asyncio.create_task(self._tell(question, header), name="answer")
            self._telling.add(telling)
            telling.add_done_callback(self._told)

    async def close(self) -> None:
        """Stop answering."""
        await end_tasks(list(self._telling))

    def _told(self, telling: asyncio.Task[None]) -> None:
        self._telling.discard(telling)
        if not telling.cancelled() and (error := telling.exception()) is not None:
            self._link.lost(f"a question that came through the broker could not be answered: {error}")

    async def _tell(self, question: Query, header: Header) -> None:
        if self.answer is None:
            return
        answer = await self.answer(question, header.machine)
        queue = header.reply_to
        sealed = self._me.seal(Direction.ANSWER, header.machine, queue, encode(answer), meant=header.session)
        await self._link.publish_unconfirmed(queue, sealed)


async def check_alone(url: str, job: str) -> None:
    """Make sure, before anything is written, that the broker lets us in and that no coordinator has the job.

    Raises:
        ConfigError: One has it, or the broker refuses the login.
        TransportError: The broker cannot be reached.

    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await _look(with_heartbeat(url, HEARTBEAT_SECONDS), QueueNames(job).coordinator)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return
    except aiormq.exceptions.ChannelLockedResource:
        raise ConfigError(job_taken(job)) from None
    except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as error:
        raise unreachable(url, error) from error


def job_taken(job: str) -> str:
    """Say that another coordinator has a job, or somebody else its queue: the broker does not tell who."""
    queue = QueueNames(job).coordinator
    return (
        f"another coordinator has job {job}: stop it first, or give another --job; if there is none, "
        f"another user of the broker holds queue {queue}: `rabbitmqctl list_queues name owner_pid` says which connection"
    )


async def _look(url: str, queue: str) -> None:
    connection = await connected(url)
    try:
        channel = await connection.channel(publisher_confirms=False)
        await channel.queue_declare(queue, passive=True)
    finally:
        await connection.close()
