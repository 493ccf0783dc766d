"""A question to a running coordinator, asked through the broker from anywhere."""

import asyncio

import aiormq
import msgspec
from aiormq.abc import DeliveredMessage

from bucketpull.domain.errors import TransportError
from bucketpull.domain.progress import Snapshot
from bucketpull.transport.amqp import with_heartbeat
from bucketpull.transport.wire import Ask, Names, decode_snapshot, encode

ANSWER_SECONDS = 10.0


async def ask_job(url: str, job: str, seconds: float = ANSWER_SECONDS) -> Snapshot:
    """Ask the coordinator of a job where it stands.

    Raises:
        TransportError: The broker cannot be reached, no coordinator of the job is there, or it is of another version.

    """
    try:
        async with asyncio.timeout(seconds):
            body = await _ask(with_heartbeat(url), Names(job).coordinator)
    except aiormq.exceptions.PublishError:
        raise TransportError(f"job {job}: no coordinator of it is at this broker") from None
    except TimeoutError:
        raise TransportError(f"job {job}: its coordinator does not answer in {seconds:.0f} s") from None
    except (OSError, aiormq.exceptions.AMQPError, RuntimeError) as error:
        raise TransportError(f"the broker cannot be reached: {error}") from error
    try:
        return decode_snapshot(body)
    except msgspec.DecodeError as error:
        raise TransportError(f"job {job}: its coordinator is of another version ({error})") from error


async def _ask(url: str, queue: str) -> bytes:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: DeliveredMessage) -> None:
            answers.put_nowait(message.body)

        reply = await channel.queue_declare("", exclusive=True)
        assert reply.queue is not None
        await channel.basic_consume(reply.queue, take, no_ack=True)
        properties = aiormq.spec.Basic.Properties(reply_to=reply.queue)
        await channel.basic_publish(encode(Ask()), routing_key=queue, properties=properties, mandatory=True)
        return await answers.get()
    finally:
        await connection.close()
