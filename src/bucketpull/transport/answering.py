"""Answers requests that come through the broker, in tasks of their own: going through millions of failures takes seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from bucketpull.transport.amqp import Link
from bucketpull.transport.envelope import Direction, Header, Sealer
from bucketpull.transport.wire import Query, QueryAnswer, QueueNames, encode

MOST_QUESTIONS: Final = 8


class Answering:
    """Answers at most eight requests at a time; others get no answer, and are repeated by their clients.

    `answer` is what answers a question of somebody who asks under a name; None answers nothing.
    """

    def __init__(self, names: QueueNames, sealer: Sealer, link: Link) -> None:
        self._names = names
        self._sealer = sealer
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
        telling = list(self._telling)
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)

    def _told(self, telling: asyncio.Task[None]) -> None:
        self._telling.discard(telling)
        if not telling.cancelled() and (error := telling.exception()) is not None:
            self._link.lost(f"a question that came through the broker could not be answered: {error}")

    async def _tell(self, question: Query, header: Header) -> None:
        if self.answer is None:
            return
        answer = await self.answer(question, header.machine)
        queue = header.reply_to
        sealed = self._sealer.seal(
            Direction.ANSWER, header.machine, queue, encode(answer), meant=header.session
        )
        await self._link.tell(queue, sealed)
