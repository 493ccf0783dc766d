"""What every transport promises (`ports.Transport`, `ports.Inbox`), over all of them."""

import asyncio

import pytest
from tests.transport.conftest import pulse, receipt, taken, work

from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import (
    BatchReceipt,
    BatchVerdict,
    Control,
    Fatal,
    Handback,
    Pulse,
    ScanReceipt,
    Work,
)
from bucketpull.domain.model import Extent, WorkKind
from bucketpull.domain.user_limits import Limits


def test_work_arrives_whole_and_in_order(ends):
    async def scenario():
        async with ends() as (transport, inbox):
            sent = [
                Work(number, WorkKind.BATCH, bytes([number]) * 40_000, number % 3, [Extent("v1", number)])
                for number in range(1, 41)
            ]
            await transport.send(sent[:25], "m1")
            await transport.send(sent[25:], "m1")
            assert await taken(inbox.receive, 40) == sent

    asyncio.run(scenario())


def test_a_control_message_comes_after_the_work_that_was_sent_before_it(ends):
    async def scenario():
        async with ends() as (transport, inbox):
            await inbox.reply(pulse())
            await taken(transport.receive, 1, Pulse)
            control = Control(Limits(requests_per_second=5.0), booked=[7], verdicts=[BatchVerdict(8)])
            await transport.send([work(1), work(2)], "m1")
            await transport.control(control, "m1")
            await transport.send([work(3)], "m1")
            assert await taken(inbox.receive, 4) == [work(1), work(2), control, work(3)]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "message",
    [
        receipt(5),
        ScanReceipt(6, "m1"),
        Handback([1, 2], "m1"),
        Fatal("m1", Reason.PERMISSION, "no"),
        pulse(holds=[1, 2, 3], limited_by="disk"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_a_worker_says_arrives_and_is_settled(ends, message):
    async def scenario():
        async with ends() as (transport, inbox):
            await transport.send([work(5)], "m1")
            await taken(inbox.receive, 1)
            await inbox.reply(message)
            heard = await taken(transport.receive, 1, type(message))
            assert heard == [message]
            await transport.acknowledge(heard)

    asyncio.run(scenario())


def test_a_receive_that_is_given_up_loses_nothing(ends):
    async def scenario():
        async with ends() as (transport, inbox):
            for number in range(1, 31):
                await inbox.reply(receipt(number))
                try:
                    async with asyncio.timeout(0.001):
                        await inbox.receive()
                except TimeoutError:
                    pass
            heard = []
            while len(heard) < 30:
                try:
                    async with asyncio.timeout(0.005):
                        heard += await transport.receive()
                except TimeoutError:
                    pass
            assert [message.work for message in heard] == list(range(1, 31))

    asyncio.run(scenario())


def test_the_coordinator_hears_itself(ends):
    async def scenario():
        async with ends() as (transport, _):
            assert transport.hears

    asyncio.run(scenario())


def test_forgetting_a_machine_drops_what_waits_for_it_or_leaves_it_to_be_recognised(ends):
    async def scenario():
        async with ends() as (transport, inbox):
            await transport.forget("m2")
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]
            await inbox.reply(pulse())
            assert isinstance((await taken(transport.receive, 1, Pulse))[0], Pulse)
            await inbox.reply(receipt(1))
            assert isinstance((await taken(transport.receive, 1, BatchReceipt))[0], BatchReceipt)

    asyncio.run(scenario())
