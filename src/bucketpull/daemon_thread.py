"""Blocking calls beside an event loop, each in a thread of its own: one of a pool would be lost to a disk that never answers, and end no program."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

TRIES: Final = 1200  # to start a thread: ten minutes
TRY_SECONDS: Final = 0.5

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Call a blocking function in a daemon thread of its own (60 µs), which a disk that never answers may keep; if this is cancelled, the thread goes on alone."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            value = function(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            tell(result.set_exception, error)
        else:
            tell(result.set_result, value)

    def tell(how: Callable[..., None], what: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if result.done() else how(what))

    for left in reversed(range(TRIES)):
        try:
            threading.Thread(target=run, daemon=True, name=getattr(function, "__name__", "call")).start()
            break
        except RuntimeError:  # this machine starts no more now: until it does, the disk has not answered
            if not left:
                raise
            await asyncio.sleep(TRY_SECONDS)
    return await result
