"""Questions asked through the broker: where a job stands, what failed, and whether a coordinator has it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import aiormq
import msgspec
from aiormq.abc import DeliveredMessage

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.domain.model import Failure
from bucketpull.domain.progress import Snapshot
from bucketpull.transport.amqp import REFUSED, with_heartbeat
from bucketpull.transport.wire import Ask, AskFailures, Names, decode_failures, decode_snapshot, encode

ANSWER_SECONDS = 10.0

T = TypeVar("T")


async def ask_job(url: str, job: str, seconds: float = ANSWER_SECONDS) -> Snapshot:
    """Ask the coordinator of a job where it stands.

    Raises:
        TransportError: The broker cannot be reached, no coordinator of the job is there, or it is of another version.

    """
    return await _answer(url, job, Ask(), decode_snapshot, seconds)


async def ask_failures(
    url: str, job: str, question: AskFailures, seconds: float = ANSWER_SECONDS
) -> list[Failure]:
    """Ask the coordinator of a job what failed; raises as `ask_job`."""
    return await _answer(url, job, question, decode_failures, seconds)


async def _answer(
    url: str, job: str, question: Ask | AskFailures, decode: Callable[[bytes], T], seconds: float
) -> T:
    try:
        async with asyncio.timeout(seconds):
            body = await _ask(with_heartbeat(url), Names(job), question)
    except aiormq.exceptions.PublishError:
        raise TransportError(
            f"job {job}: no coordinator of it is at this broker; check --job, or start `bucketpull coordinate`"
        ) from None
    except TimeoutError:
        raise TransportError(f"job {job}: its coordinator does not answer in {seconds:.0f} s") from None
    except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as error:
        raise TransportError(
            f"the broker cannot be reached: {error}; check --broker, and whether it runs"
        ) from error
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise TransportError(
            f"job {job}: its coordinator is of another version ({error}); install the same here"
        ) from error


async def check_alone(url: str, job: str, seconds: float = ANSWER_SECONDS) -> None:
    """Make sure, before anything is written, that the broker lets us in and that no coordinator has the job.

    Raises:
        ConfigError: One has it, or the broker does not let us in.
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
        raise ConfigError(f"--broker: it does not let us in: {error}") from None
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
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=False)
        await channel.queue_declare(queue, passive=True)
    finally:
        await connection.close()


async def _ask(url: str, names: Names, question: Ask | AskFailures) -> bytes:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: DeliveredMessage) -> None:
            answers.put_nowait(message.body)

        reply = names.answers()
        await channel.queue_declare(reply, exclusive=True)
        await channel.basic_consume(reply, take, no_ack=True)
        properties = aiormq.spec.Basic.Properties(reply_to=reply)
        await channel.basic_publish(
            encode(question), routing_key=names.coordinator, properties=properties, mandatory=True
        )
        return await answers.get()
    finally:
        await connection.close()
