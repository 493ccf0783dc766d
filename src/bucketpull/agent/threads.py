"""Blocking calls in threads of their own, which a disk that never answers may keep: nobody waits for them at the end."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a new daemon thread (60 µs); if this is cancelled, the thread goes on alone."""
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

    threading.Thread(target=run, daemon=True, name=getattr(function, "__name__", "call")).start()
    return await result
