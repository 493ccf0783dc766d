"""What Ctrl-C and the other signals that end a process do: the first stops in order, the second at once."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from bucketpull.domain.errors import ExitCode

# What a second Ctrl-C may take in all: the last lines, the ping, the command of --on-end.
LEAVE_AT_ONCE_SECONDS: Final = 10.0


def on_signals(
    stop: Callable[[], Coroutine[Any, Any, None]],
    leave: Callable[[], object] = lambda: None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Stop in order at the first signal; at the second call `leave` and exit; at the third exit at once; none counts once all `is_over`.

    Everything is resumable at any time. `leave` may take `LEAVE_AT_ONCE_SECONDS`. A terminal that is closed may send SIGHUP more than
    once: that is no second wish. Where it is ignored, as under nohup, it stays so.
    """
    heard = 0
    stopping: list[asyncio.Task[None]] = []  # the loop keeps no task

    def go(*_: object) -> None:
        os._exit(ExitCode.INTERRUPTED)

    def hear(number: int) -> None:
        nonlocal heard
        if is_over():
            return
        heard += 1
        if heard == 1:
            stopping.append(asyncio.create_task(stop(), name="stop"))
        elif number != signal.SIGHUP:
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, go)
            late = threading.Timer(LEAVE_AT_ONCE_SECONDS, go)
            late.daemon = True
            late.start()
            try:
                leave()
            finally:
                go()

    loop = asyncio.get_running_loop()

    def wake(number: int, _: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(hear, number)
            return
        # As after the end of a loop that has handlers of its own.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.raise_signal(number)

    # The loop's `add_signal_handler` and its undoing look up 380 members of an enumeration, a hundredth of a start. What they do besides
    # is to wake the loop by a signal of the very instant before it waits: here that is heard at the loop's next timer.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, wake)
            signal.siginterrupt(number, False)  # a call of a library is not cut short
