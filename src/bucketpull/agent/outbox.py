"""What a worker says to its coordinator: in groups, and without a pulse for each."""

import asyncio
import math
from collections.abc import Callable

from bucketpull.domain.messages import BatchReceipt, FromWorker, Pulse
from bucketpull.ports import Clock, Inbox

REPLIES_AT_ONCE = 32


class Outbox:
    """Sends what was `put`, and pulses between.

    Through a broker a pulse costs half of what a batch does, and the coordinator gives new work by the receipts: so receipts bring
    a pulse only when the last is `rest_seconds` old. `sent` is told each receipt that the transport has for good.
    """

    def __init__(
        self, inbox: Inbox, clock: Clock, rest_seconds: float, sent: Callable[[BatchReceipt], None]
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._rest = rest_seconds
        self._sent = sent
        self._queue: asyncio.Queue[FromWorker] = asyncio.Queue()
        self._pulse_at = -math.inf

    def put(self, message: FromWorker) -> None:
        """Have something said soon."""
        self._queue.put_nowait(message)

    async def emptied(self) -> None:
        """Wait until everything is sent."""
        await self._queue.join()

    async def say_pulse(self, pulse: Pulse) -> None:
        """Say it at once."""
        self._pulse_at = self._clock.monotonic()
        await self._inbox.reply(pulse)

    async def say_group(self) -> bool:
        """Wait for something to say, and say it; return whether a pulse should follow."""
        messages = [await self._queue.get()]
        while not self._queue.empty() and len(messages) < REPLIES_AT_ONCE:
            messages.append(self._queue.get_nowait())
        # Side by side: a broker confirms ten for half the price of ten singly, and they are booked together.
        await asyncio.gather(*map(self._say, messages))
        return self._queue.empty() and self._clock.monotonic() - self._pulse_at > self._rest

    async def _say(self, message: FromWorker) -> None:
        await self._inbox.reply(message)
        if isinstance(message, BatchReceipt):
            self._sent(message)
        self._queue.task_done()
