"""The rights at the broker that docs/howto/several-machines.md gives a job's account are enough for all that a job does, and no more."""

import re
import shlex
from pathlib import Path

import aiormq
import pytest
from tests.transport.conftest import Job, pulse, receipt, taken, work
from tests.transport.test_rabbitmq import asker, run

from bucketpull.domain.messages import Pulse
from bucketpull.transport.queues import QueueNames
from bucketpull.transport.remote_query import check_alone
from bucketpull.transport.wire import QueryAnswer

PAGE = Path(__file__).parents[2] / "docs/howto/several-machines.md"


def documented() -> list[str]:
    """Return the three patterns that the page has for one job: to make, to write and to read."""
    found = re.search(r"^rabbitmqctl set_permissions bucketpull (.*)$", PAGE.read_text(), re.MULTILINE)
    assert found
    return shlex.split(found[1])


@pytest.fixture
def account(broker):
    """Return a job, and the broker's URL for an account that has the documented rights to it."""
    job = Job(broker.url)
    rights = [pattern.replace("photos", job.name) for pattern in documented()]
    broker.control("add_user", "photos", "SECRET")
    broker.control("set_permissions", "photos", *rights)
    yield job.name, broker.url.replace("guest:guest", "photos:SECRET")
    broker.control("delete_user", "photos")


def test_the_documented_rights_are_enough_for_a_job_and_for_nothing_else(account, broker):
    name, url = account

    async def scenario():
        await check_alone(url, name)
        async with Job(url, name=name) as job:
            transport = await job.coordinator()

            async def answer(ask, machine):
                return QueryAnswer(200, f"{ask.target} for {machine}".encode())

            transport.queries.answer = answer
            inbox = await job.inbox()
            await inbox.reply(pulse())
            await taken(transport.receive, 1, Pulse)
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]
            await inbox.reply(receipt(1))
            assert await taken(transport.receive, 1) == [receipt(1)]
            status, body = await asker(url, name).ask("GET", "/api/job", b"")
            assert (status, body.split()[0]) == (200, b"/api/job")

            for refused in (QueueNames(name + "2").receipts, "bucketpull", "something.else"):
                connection = await aiormq.connect(url)
                channel = await connection.channel()
                with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
                    await channel.queue_declare(refused)
                await connection.close()

    run(scenario)
