"""An asyncio loop whose time moves on when nothing is ready, so that a pause of minutes takes none."""

import asyncio
import selectors
import threading

_THREAD_SECONDS = 0.02  # what a thread that is at work gets, before time moves on without it


class _Selector(selectors.DefaultSelector):
    seconds = 0.0

    def select(self, timeout=None):
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(_THREAD_SECONDS if threading.active_count() > 1 else 0)
        if not ready:
            self.seconds += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time` is in seconds since its start."""

    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.seconds


class LoopClock:
    """See `ports.Clock`: the time of the running loop."""

    def now(self):
        return 1_700_000_000.0 + self.monotonic()

    def monotonic(self):
        return asyncio.get_running_loop().time()


def play(coroutine):
    """Run a coroutine in virtual time, and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
