"""What a worker sends its coordinator: messages in groups, and pulses between them."""

import asyncio
import math
from collections.abc import Callable

from bucketpull.domain.messages import BatchReceipt, FromWorker, Pulse
from bucketpull.ports import Clock, Inbox

REPLIES_AT_ONCE = 32


class Outbox:
    """Sends what was `put`, and pulses between.

    Through a broker a pulse costs half as much as a batch, and receipts alone make the coordinator give new work: so a group is
    followed by a pulse only if the last one is `rest_seconds` old. `sent` is called with each receipt that is safe with the transport.
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
        """Queue a message."""
        self._queue.put_nowait(message)

    async def emptied(self) -> None:
        """Wait until everything is sent."""
        await self._queue.join()

    async def say_pulse(self, pulse: Pulse) -> None:
        """Send it at once."""
        self._pulse_at = self._clock.monotonic()
        await self._inbox.reply(pulse)

    async def say_group(self) -> bool:
        """Wait for messages, and send them; return whether a pulse should follow."""
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
