"""Requests to the API of a job through the broker, and whether a coordinator has the job."""

import asyncio
import contextlib
from typing import TypeVar

import aiormq
from aiormq.abc import DeliveredMessage

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.transport import wire
from bucketpull.transport.amqp import REFUSED, connected, with_heartbeat
from bucketpull.transport.envelope import Correspondence, Distrusted, Way
from bucketpull.transport.wire import Ask, Names, encode

ANSWER_SECONDS = 10.0

T = TypeVar("T")


class Asker:
    """One who asks the coordinator of a job, at a broker.

    Args:
        me: A session of its own.
        machine: Under whose name it asks.
        seconds: How long it waits for an answer.

    """

    def __init__(
        self, url: str, job: str, machine: str, me: Correspondence, seconds: float = ANSWER_SECONDS
    ) -> None:
        self._url = with_heartbeat(url)
        self._job = job
        self._machine = machine
        self._me = me
        self._seconds = seconds

    async def ask(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Send a request to the API of the job; return status and body of the answer.

        Raises:
            TransportError: The broker cannot be reached, no coordinator of the job is there, or it does not answer.

        """
        answer = await self._answer(Ask(method, target, body), wire.answer)
        return answer.status, answer.body

    async def _answer(self, question: Ask, reader: wire.Reader[T]) -> T:
        job = self._job
        try:
            async with asyncio.timeout(self._seconds):
                return reader.read(await self._ask(question))
        except Distrusted as error:
            raise TransportError(
                f"job {job}: its coordinator is of another version ({error}); install the same here"
            ) from error
        except aiormq.exceptions.PublishError:
            raise TransportError(
                f"job {job}: no coordinator of it is at this broker; check --job, or start `bucketpull coordinate`"
            ) from None
        except TimeoutError:
            raise TransportError(
                f"job {job}: its coordinator does not answer in {self._seconds:.0f} s; "
                "check that --job-key-file and the version are the coordinator's"
            ) from None
        except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as error:
            raise TransportError(
                f"the broker cannot be reached: {error}; check --broker, and whether it runs"
            ) from error

    async def _ask(self, question: Ask) -> bytes:
        names, me = Names(self._job), self._me
        connection = await connected(self._url)
        try:
            channel = await connection.channel(publisher_confirms=True)
            answers: asyncio.Queue[bytes] = asyncio.Queue()

            async def take(message: DeliveredMessage) -> None:
                answers.put_nowait(message.body)

            reply = names.answers()
            await channel.queue_declare(reply, exclusive=True)
            await channel.basic_consume(reply, take, no_ack=True)
            sealed = me.sealer.seal(
                Way.QUESTION, self._machine, names.coordinator, encode(question), reply_to=reply
            )
            await channel.basic_publish(sealed, routing_key=names.coordinator, mandatory=True)
            while True:
                with contextlib.suppress(Distrusted):
                    header, body = me.opener.open(await answers.get(), reply, Way.ANSWER)
                    if header.meant == me.session:
                        return body
        finally:
            await connection.close()


async def check_alone(url: str, job: str, seconds: float = ANSWER_SECONDS) -> None:
    """Make sure, before anything is written, that the broker lets us in and that no coordinator has the job.

    Raises:
        ConfigError: One has it, or the broker refuses the login.
        TransportError: The broker cannot be reached.

    """
    try:
        async with asyncio.timeout(seconds):
            await _look(with_heartbeat(url), Names(job).coordinator)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return
    except aiormq.exceptions.ChannelLockedResource:
        raise ConfigError(taken(job)) from None
    except REFUSED as error:
        raise ConfigError(
            f"--broker: the login was refused: {error}; check user, password and virtual host"
        ) from None
    except TimeoutError:
        raise TransportError("the broker does not answer; check --broker, and whether it runs") from None
    except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as error:
        raise TransportError(
            f"the broker cannot be reached: {error}; check --broker, and whether it runs"
        ) from error


def taken(job: str) -> str:
    """Say that another coordinator has a job."""
    return f"another coordinator has job {job}: stop it first, or give another --job"


async def _look(url: str, queue: str) -> None:
    connection = await connected(url)
    try:
        channel = await connection.channel(publisher_confirms=False)
        await channel.queue_declare(queue, passive=True)
    finally:
        await connection.close()
