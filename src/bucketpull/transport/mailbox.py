"""What tasks in the background found, for whoever waits for it; the end of such a task is found there too, and is never silent."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue of which one takes all that is there."""

    def __init__(self) -> None:
        self._found: asyncio.Queue[T | BaseException] = asyncio.Queue()

    def put(self, found: T) -> None:
        """Add something."""
        self._found.put_nowait(found)

    def watch(self, task: asyncio.Task[None]) -> None:
        """Have whoever takes next learn that a task ended which never should; one that was cancelled was told to."""
        task.add_done_callback(self._ended)

    async def take_all(self) -> list[T]:
        """Wait until something is there; take all of it. May be cancelled: nothing is lost.

        Raises:
            BaseException: What a watched task ended with, again each time.

        """
        found = [self._checked(await self._found.get())]
        while not self._found.empty():
            found.append(self._checked(self._found.get_nowait()))
        return found

    def clear(self) -> None:
        """Drop what is there; whoever waits goes on waiting."""
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
