"""Receipts are said side by side, and bring a pulse only now and then."""

import asyncio

from bucketpull.agent.shell import REPLIES_AT_ONCE, Outbox
from bucketpull.domain.messages import BatchReceipt, Pulse
from bucketpull.transport.local import DirectTransport


class Watch:
    """A clock that is set by hand."""

    at = 100.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


def pulse():
    return Pulse("m1", "i", "v", 1, 0, 0, 2, 0, [], {}, {}, {}, [])


def receipts(count):
    return [BatchReceipt(work, "m1") for work in range(count)]


def test_what_waits_is_said_together_and_each_receipt_is_told():
    async def main():
        transport, told = DirectTransport(), []
        outbox = Outbox(transport.inbox, Watch(), 0.25, told.append)
        for receipt in receipts(REPLIES_AT_ONCE + 3):
            outbox.put(receipt)
        assert not await outbox.say_group()  # more is to be said: no pulse yet
        assert len(await transport.receive()) == REPLIES_AT_ONCE
        assert await outbox.say_group()
        assert len(await transport.receive()) == 3
        await outbox.emptied()
        assert told == receipts(REPLIES_AT_ONCE + 3)

    asyncio.run(main())


def test_a_pulse_follows_only_when_the_last_is_old():
    async def main():
        transport, watch = DirectTransport(), Watch()
        outbox = Outbox(transport.inbox, watch, 0.25, lambda _: None)
        await outbox.say_pulse(pulse())
        assert await transport.receive() == [pulse()]
        for later, follows in ((0.1, False), (0.1, False), (0.1, True)):
            watch.at += later
            outbox.put(receipts(1)[0])
            assert await outbox.say_group() is follows

    asyncio.run(main())
