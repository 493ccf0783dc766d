"""What background tasks have found, for those who wait for it. They learn it, too, when such a task ends, which it never should."""

import asyncio
from collections.abc import Collection
from typing import Generic, TypeVar

T = TypeVar("T")
CANCELLED_AGAIN_SECONDS = 5.0  # closing two connections in order takes up to 4


class Mailbox(Generic[T]):
    """A queue from which all items are taken at once."""

    def __init__(self) -> None:
        self._found: asyncio.Queue[T | BaseException] = asyncio.Queue()

    def put(self, found: T) -> None:
        """Add something."""
        self._found.put_nowait(found)

    def watch(self, task: asyncio.Task[None]) -> None:
        """Raise in the next `take_all` if a task ends by itself; one that is cancelled may end."""
        task.add_done_callback(self._ended)

    async def take_all(self) -> list[T]:
        """Wait for items, and take all of them. May be cancelled: nothing is lost.

        Raises:
            BaseException: What a watched task ended with, again each time.

        """
        found = [self._checked(await self._found.get())]
        while not self._found.empty():
            found.append(self._checked(self._found.get_nowait()))
        return found

    def clear(self) -> None:
        """Drop all items; those who wait go on waiting."""
        while not self._found.empty():
            self._checked(self._found.get_nowait())

    def _checked(self, found: T | BaseException) -> T:
        if isinstance(found, BaseException):
            self._found.put_nowait(found)
            raise found
        return found

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            error = task.exception() or RuntimeError(f"task {task.get_name()} ended")
            self._found.put_nowait(error)


async def end_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended, whatever they end with.

    Once may not do: where a cancellation meets the end of a connection, the client raises an error of its own in its place, and a
    task that tries again after errors goes on.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCELLED_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
